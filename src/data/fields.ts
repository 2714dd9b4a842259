/** Fields of users' JSON lines: those with text are read, or refused by name; none is dropped in silence. */
import { messageOf, DataError, quoted, readUtf8, wellFormed } from '../core/index.js';
import { repeatedKey } from './json-lines.js';

/** Fields whose text says where a row comes from or explains its answer; no prompt is made of them. */
export const METADATA_FIELDS: readonly string[] = (
  'id _id uid qid ind idx index example_id question_id article_id passage_id context_id document_id source source_id src ' +
  'split split_type dataset task subset subject category topic type question_type difficulty level url license lang ' +
  'language date timestamp author metadata meta question_concept explanation rationale solution cot_content'
).split(' ');

/** A line of a user's JSON Lines file, parsed as an object. */
export type JsonRow = Readonly<Record<string, unknown>>;

/** The lines of a user's JSON Lines file that are not blank, each with its place for messages and its number from 0. */
export function rowLines(
  content: string,
  path: string,
): { readonly line: string; readonly where: string; readonly index: number }[] {
  return content
    .split('\n')
    .map((line, index) => ({ line, where: `${path}:${index + 1}`, index }))
    .filter(({ line }) => line.trim() !== '');
}

/**
 * The content of a user's JSON Lines file, without a byte order mark.
 *
 * @throws StoreError if it cannot be read
 * @throws DataError if it is compressed, or no UTF-8
 */
export function readRows(path: string): ReturnType<typeof rowLines> {
  return rowLines(readUtf8(path, 'drop'), path);
}

/**
 * A line of JSON as an object; one that is no object as an empty one.
 *
 * @throws DataError naming the line: no JSON, a key that is there twice, or half of a surrogate pair
 */
export function parseRow(line: string, where: string): JsonRow {
  let row: unknown;
  try {
    row = JSON.parse(line);
  } catch (cause) {
    throw new DataError(`${where} is not valid JSON: ${messageOf(cause)}`, { details: { where }, cause });
  }
  const twice = repeatedKey(line);
  if (twice !== null) throw new DataError(`${where} has ${quoted([twice])} twice; keep one`, { details: { where } });
  if (/\\u[dD][89a-fA-F]/.test(line)) checkText(row, where);
  return typeof row === 'object' && row !== null && !Array.isArray(row) ? (row as JsonRow) : {};
}

function checkText(value: unknown, where: string): void {
  if (typeof value === 'string') {
    wellFormed(
      value,
      'refuse',
      (index) =>
        new DataError(
          `${where} has half of a surrogate pair at character ${index} of a text, which is no text; correct it`,
        ),
    );
  } else if (typeof value === 'object' && value !== null) {
    for (const part of Object.values(value)) checkText(part, where);
  }
}

/** Whether a value is a text that is not empty, or holds one. */
function holdsText(value: unknown): boolean {
  if (typeof value === 'string') return value.trim() !== '';
  return typeof value === 'object' && value !== null && Object.values(value).some(holdsText);
}

/**
 * Refuses a row with text in a field that nothing reads.
 *
 * @param read the fields that are read; those of `METADATA_FIELDS` may be there too
 * @throws DataError naming the line and the field
 */
export function refuseUnread(row: JsonRow, read: readonly string[], where: string): void {
  const known = new Set([...read, ...METADATA_FIELDS]);
  const unread = Object.keys(row).filter((name) => !known.has(name) && holdsText(row[name]));
  if (unread.length === 0) return;
  throw new DataError(
    `${where} has text in ${quoted(unread)}, which is not read; put it into a field that is (${read.join(', ')}), or remove it`,
    { details: { where, unread } },
  );
}
