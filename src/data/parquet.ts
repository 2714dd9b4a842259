/** Columns of text in Parquet files, local or by URL, through hyparquet; one row group at a time. */
import { DEFAULT_PARSERS } from 'hyparquet/src/convert.js';
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } from 'hyparquet';
import type { AsyncBuffer, FileMetaData, SchemaElement } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import {
  present,
  messageOf,
  at,
  DataError,
  LongsightError,
  nearest,
  decodeUtf8,
  type InvalidText,
  listed,
} from '../core/index.js';
import { openRanges, type RequestOptions } from './network/https.js';
import { isUrl } from './kinds.js';

/** The text column of an open Parquet file. */
export interface ParquetText {
  /** The size of the file in bytes. */
  readonly bytes: number;
  /** The number of rows of each row group. */
  readonly groups: readonly number[];
  /**
   * The values of the column in a row group; null where a row has none.
   *
   * @throws DataError naming file and row if a value is no UTF-8 and `invalid` does not replace it
   */
  read(group: number, invalid: InvalidText): Promise<(string | null)[]>;
}

/**
 * Opens a Parquet file.
 *
 * @param path a file, or an `https://` URL whose server answers range requests
 * @param field the column that holds the text
 * @param options how a URL is asked
 * @throws DataError if it cannot be read or is no Parquet file, if the column is missing (naming those that are there),
 * or
 *   is not text
 */
export async function openParquet(path: string, field: string, options: RequestOptions = {}): Promise<ParquetText> {
  const attempt = async <T>(what: () => Promise<T>): Promise<T> => {
    try {
      return await what();
    } catch (cause) {
      if (cause instanceof LongsightError) throw cause;
      throw new DataError(`cannot read ${path} as Parquet: ${messageOf(cause)}`, { details: { path }, cause });
    }
  };
  const file = await attempt<AsyncBuffer>(() => (isUrl(path) ? openRanges(path, options) : asyncBufferFromFile(path)));
  const metadata = await attempt<FileMetaData>(() => parquetMetadataAsync(file));
  checkColumn(path, metadata, field);
  const groups = metadata.row_groups.map((group) => Number(group.num_rows));
  const starts = groups.map((_, i) => groups.slice(0, i).reduce((a, b) => a + b, 0));
  return {
    bytes: file.byteLength,
    groups,
    read: async (group, invalid) => {
      const rowStart = at(starts, group);
      const rowEnd = rowStart + at(groups, group);
      const rows = await attempt(() =>
        parquetReadObjects({ file, metadata, columns: [field], rowStart, rowEnd, compressors, parsers: BYTES }),
      );
      return rows.map((row, i) => textOf(row[field] as unknown, { path, field, row: rowStart + i, invalid }));
    },
  };
}

/**
 * hyparquet's own parser of strings replaces what is no UTF-8 and takes a leading U+FEFF off; this one leaves the
 * bytes.
 */
const BYTES = { ...DEFAULT_PARSERS, stringFromBytes: (bytes: Uint8Array | undefined) => bytes };

function checkColumn(path: string, metadata: FileMetaData, field: string): void {
  const [root, ...elements] = metadata.schema;
  const columns = new Map<string, SchemaElement>();
  // Columns are the children of the root; each is followed by what it contains.
  for (let at = 0, left = root?.num_children ?? 0; left > 0 && at < elements.length; left--) {
    const column = present(elements[at]);
    columns.set(column.name, column);
    for (let inside = 1; inside > 0; at++) inside += (elements[at]?.num_children ?? 0) - 1;
  }
  const column = columns.get(field);
  const names = [...columns.keys()];
  if (column !== undefined) {
    if (isText(column)) return;
    throw new DataError(`${path}: column "${field}" is no text (${typeOf(column)}); choose another column`, {
      details: { path, field, columns: names },
    });
  }
  const near = nearest(field, names);
  const hint = near === undefined ? '' : `; did you mean "${near}"?`;
  throw new DataError(`${path} has no column "${field}"; its columns are ${listed(names)}${hint}`, {
    details: { path, field, columns: names },
  });
}

/** Whether each row has at most one value of bytes that are said to be text, or of which nothing is said. */
function isText({ type, repetition_type, converted_type, logical_type }: SchemaElement): boolean {
  if (type !== 'BYTE_ARRAY' || repetition_type === 'REPEATED') return false;
  return [converted_type, logical_type?.type].every((t) => t === undefined || ['UTF8', 'STRING', 'ENUM'].includes(t));
}

function typeOf({ type, num_children, repetition_type, converted_type, logical_type }: SchemaElement): string {
  const what = logical_type?.type ?? converted_type ?? ((num_children ?? 0) > 0 ? 'group' : type) ?? 'unknown';
  return repetition_type === 'REPEATED' ? `repeated ${what}` : what;
}

interface Place {
  readonly path: string;
  readonly field: string;
  readonly row: number;
  readonly invalid: InvalidText;
}

function textOf(value: unknown, { path, field, row, invalid }: Place): string | null {
  if (value === null || value === undefined) return null;
  const details = { path, field, row };
  if (!(value instanceof Uint8Array)) {
    throw new DataError(`${path}, row ${row}: column "${field}" is no text (${typeof value}); choose another column`, {
      details,
    });
  }
  return decodeUtf8(
    value,
    invalid,
    (offset) =>
      new DataError(
        `${path}, row ${row}: byte ${offset} of "${field}" is not valid UTF-8; correct the file, or replace such bytes by ` +
          'U+FFFD (--invalid replace)',
        { details: { ...details, offset } },
      ),
  );
}
