/** Columns of text in Parquet files, local or by URL, through hyparquet; one row group at a time. */
import { asyncBufferFromFile, asyncBufferFromUrl, parquetMetadataAsync, parquetReadObjects } from 'hyparquet';
import type { AsyncBuffer, FileMetaData } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { DataError, nearest } from '../core/index.js';

export interface ParquetText {
  readonly bytes: number;
  /** Rows of each row group. */
  readonly groups: readonly number[];
  /** The values of the column in a row group; null where a row has none. */
  read(group: number): Promise<(string | null)[]>;
}

/**
 * Opens a Parquet file.
 *
 * @param path a file, or an `https://` URL whose server answers range requests
 * @param field the column that holds the text
 * @throws DataError if it cannot be read or is no Parquet file, if the column is missing (naming those that are there), or
 *   is not text
 */
export async function openParquet(path: string, field: string): Promise<ParquetText> {
  const attempt = async <T>(what: () => Promise<T>): Promise<T> => {
    try {
      return await what();
    } catch (cause) {
      throw new DataError(`cannot read ${path} as Parquet: ${(cause as Error).message}`, { details: { path }, cause });
    }
  };
  const file = await attempt<AsyncBuffer>(() =>
    isUrl(path) ? asyncBufferFromUrl({ url: path }) : asyncBufferFromFile(path),
  );
  const metadata = await attempt<FileMetaData>(() => parquetMetadataAsync(file));
  checkColumn(path, metadata, field);
  const groups = metadata.row_groups.map((group) => Number(group.num_rows));
  const starts = groups.map((_, i) => groups.slice(0, i).reduce((a, b) => a + b, 0));
  return {
    bytes: file.byteLength,
    groups,
    read: async (group) => {
      const rowStart = starts[group] as number;
      const rowEnd = rowStart + (groups[group] as number);
      const rows = await attempt(() =>
        parquetReadObjects({ file, metadata, columns: [field], rowStart, rowEnd, compressors }),
      );
      return rows.map((row, i) => textOf(row[field] as unknown, path, field, rowStart + i));
    },
  };
}

export const isUrl = (path: string): boolean => /^https?:\/\//.test(path);

function checkColumn(path: string, metadata: FileMetaData, field: string): void {
  const [root, ...elements] = metadata.schema;
  const names: string[] = [];
  // Columns are the children of the root; each is followed by what it contains.
  for (let at = 0, left = root?.num_children ?? 0; left > 0 && at < elements.length; left--) {
    names.push(elements[at]?.name as string);
    for (let inside = 1; inside > 0; at++) inside += (elements[at]?.num_children ?? 0) - 1;
  }
  if (names.includes(field)) return;
  const near = nearest(field, names);
  const hint = near === undefined ? '' : `; did you mean "${near}"?`;
  throw new DataError(`${path} has no column "${field}"; its columns are ${names.join(', ')}${hint}`, {
    details: { path, field, columns: names },
  });
}

function textOf(value: unknown, path: string, field: string, row: number): string | null {
  if (value === null || value === undefined) return null;
  if (typeof value === 'string') return value;
  throw new DataError(`${path}, row ${row}: column "${field}" is no text (${typeof value}); choose another column`, {
    details: { path, field, row },
  });
}
