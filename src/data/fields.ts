/** Fields of users' JSON lines: those with text are read, or refused by name; none is dropped in silence. */
import { z } from 'zod';
import { DataError, parseJsonLines, quoted, readUtf8, type JsonLine } from '../core/index.js';

/** Fields whose text says where a row comes from or explains its answer; no prompt is made of them. */
export const METADATA_FIELDS: readonly string[] = (
  'id _id uid qid ind idx index example_id question_id article_id passage_id context_id document_id source source_id src ' +
  'split split_type dataset task subset subject category topic type question_type difficulty level url license lang ' +
  'language date timestamp author metadata meta question_concept explanation rationale solution cot_content'
).split(' ');

/** A line of a user's JSON Lines file, parsed as an object. */
export type JsonRow = Readonly<Record<string, unknown>>;

/** Any object: what a row holds beyond the fields that are read is looked at by `refuseUnread`. */
const anyRow = z.record(z.string(), z.unknown());

/**
 * The rows of a user's JSON Lines file, without a byte order mark, as a schema reads them.
 *
 * @throws StoreError if it cannot be read
 * @throws DataError if it is compressed, or no UTF-8, or naming the line and field that is wrong
 */
export function readRows(path: string): JsonLine<JsonRow>[];
export function readRows<S extends z.ZodType>(path: string, schema: S): JsonLine<z.output<S>>[];
export function readRows(path: string, schema: z.ZodType = anyRow): JsonLine<unknown>[] {
  return parseJsonLines(readUtf8(path, 'drop'), path, schema, { origin: 'user' });
}

/** The rows of the content of a user's JSON Lines file; see `readRows`. */
export function parseRows(content: string, path: string): JsonLine<JsonRow>[] {
  return parseJsonLines(content, path, anyRow, { origin: 'user' });
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
