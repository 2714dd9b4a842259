/** JSON as files hold it: one reader for whole files, one for lines, with messages that name file, line and field. */
import { readFileSync, statSync } from 'node:fs';
import type { z } from 'zod';
import { DataError, messageOf, StoreError, type LongsightError } from './errors.js';
import { fileError } from './files.js';
import { LIMITS } from './limits.js';
import { clip, showValue } from './messages.js';
import { problemsOf } from './schema.js';
import { decodeUtf8, wellFormed } from './utf8.js';

/** Whose file it is: a user's (`DataError`), or one that Longsight or Transformers wrote (`StoreError`). */
export type FileOrigin = 'user' | 'store';

const errorOf = (origin: FileOrigin, message: string, where: string, cause?: unknown): LongsightError =>
  new (origin === 'user' ? DataError : StoreError)(message, { details: { where }, cause });

/**
 * The value of a text of JSON.
 *
 * @param where the file, or file and line, for messages
 * @throws DataError or StoreError if it is no JSON, or nested deeper than `LIMITS.nesting`
 */
export function parseJson(text: string, where: string, origin: FileOrigin = 'store', remedy = ''): unknown {
  if (isTooDeep(text))
    throw errorOf(origin, `${where} nests lists and objects deeper than ${LIMITS.nesting.most} levels${remedy}`, where);
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw errorOf(origin, `${where} is not valid JSON: ${messageOf(cause)}${remedy}`, where, cause);
  }
}

/** Whether brackets outside of texts nest deeper than is read: what follows walks values by recursion. */
function isTooDeep(text: string): boolean {
  // Few brackets, wherever they stand, nest no deeper; most lines of JSON have one.
  const most = LIMITS.nesting.most;
  if (countOf(text, '{', most) + countOf(text, '[', most) <= most) return false;
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const char = text.charCodeAt(i);
    if (char === 0x22) {
      i = endOfText(text, i + 1);
    } else if (char === 0x5b || char === 0x7b) {
      depth += 1;
      if (depth > LIMITS.nesting.most) return true;
    } else if (char === 0x5d || char === 0x7d) depth -= 1;
  }
  return false;
}

/** How often a character is in a text; counting stops beyond `most`. */
function countOf(text: string, char: string, most = Infinity): number {
  let count = 0;
  for (let i = text.indexOf(char); i !== -1 && count <= most; i = text.indexOf(char, i + 1)) count++;
  return count;
}

/** The index of the quote that ends the JSON text whose characters begin at `from`; the text's length if none does. */
function endOfText(text: string, from: number): number {
  for (let i = from; i < text.length; i++) {
    const char = text.charCodeAt(i);
    if (char === 0x5c) i += 1;
    else if (char === 0x22) return i;
  }
  return text.length;
}

/**
 * Reads and parses a JSON file.
 *
 * @param repair changes the text before it is parsed
 * @throws StoreError naming the path if it is missing, too large, no UTF-8, no JSON or nested too deeply
 */
export function readJson(path: string, repair: (text: string) => string = (text) => text): unknown {
  let bytes: Buffer;
  try {
    const { size } = statSync(path);
    if (size > LIMITS.jsonBytes.most)
      throw new StoreError(`${path} has ${size} bytes; JSON of more than ${LIMITS.jsonBytes.most} bytes is not read`);
    bytes = readFileSync(path);
  } catch (cause) {
    throw cause instanceof StoreError ? cause : fileError('read', path, cause);
  }
  const text = decodeUtf8(
    bytes,
    'refuse',
    (offset) => new StoreError(`${path} is not valid JSON: byte ${offset} is not valid UTF-8`, { details: { path } }),
  );
  return parseJson(repair(text), path);
}

/**
 * `value` as `schema` reads it.
 *
 * @param where the file, or file and line, for the message
 * @param remedy what to do about it, such as `; remove the line`
 * @throws StoreError (or DataError, for a user's file) naming the first fields that are wrong, with what was found and
 *   what is wanted
 */
export function parseStored<S extends z.ZodType>(
  schema: S,
  value: unknown,
  where: string,
  remedy = '',
  origin: FileOrigin = 'store',
): z.output<S> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw errorOf(origin, `${where}: ${problemsOf(schema, value, result.error).text}${remedy}`, where, result.error);
}

/** What a reader of JSON lines does with lines that are wrong. */
export interface JsonLinesOptions<T = unknown> {
  readonly origin: FileOrigin;
  /** What to do about a wrong line, to end messages with, such as `; remove the line`. */
  readonly remedy?: string;
  /** Whether the schema is sure to read a value as it is; it is not asked then. For files of many lines. */
  readonly isPlain?: (value: unknown) => value is T;
}

/** A line of JSON, read, with what messages call it. */
export interface JsonLine<T> {
  /** The line as it stands in the file. */
  readonly text: string;
  readonly value: T;
  /** `FILE:LINE`, lines counted from 1. */
  readonly where: string;
  /** The line's number, from 0. */
  readonly index: number;
}

/**
 * The lines of a text of JSON lines as `schema` reads them; blank ones are passed over.
 *
 * @param path what messages call the text
 * @throws DataError or StoreError, see `parseJsonLine`
 */
export function parseJsonLines<S extends z.ZodType>(
  text: string,
  path: string,
  schema: S,
  options: JsonLinesOptions<z.output<S>>,
): JsonLine<z.output<S>>[] {
  return text.split('\n').flatMap((line, index) => {
    if (line.trim() === '') return [];
    const where = `${path}:${index + 1}`;
    return [{ text: line, value: parseJsonLine(schema, line, where, options), where, index }];
  });
}

/**
 * One line of JSON, which must be an object, as `schema` reads it.
 *
 * @param where `FILE:LINE`, for messages
 * @throws DataError or StoreError: no JSON, no object, a key that is there twice, half of a surrogate pair, nested too
 *   deeply, or a field that is not as the schema wants it (with what was found and what is wanted)
 */
export function parseJsonLine<S extends z.ZodType>(
  schema: S,
  line: string,
  where: string,
  { origin, remedy = '', isPlain }: JsonLinesOptions<z.output<S>>,
): z.output<S> {
  const value = parseJson(line, where, origin, remedy);
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw errorOf(origin, `${where} must be a JSON object, got ${showValue(value)}${remedy}`, where);
  const twice = repeatedKey(line, value);
  if (twice !== null) throw errorOf(origin, `${where} has "${clip(twice)}" twice; keep one`, where);
  if (/\\u[dD][89a-fA-F]/.test(line)) checkText(value, where);
  if (isPlain?.(value) === true) return value;
  return parseStored(schema, value, where, remedy, origin);
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

/**
 * Visits brackets and keys of valid JSON in order. By hand: a regular expression overflows the stack at a long text.
 *
 * @param visit gets a bracket, or a key as it is written, with its quotes
 */
function scanJson(json: string, visit: (token: string) => void): void {
  for (let i = 0; i < json.length; i++) {
    const char = json[i];
    if (char === '"') {
      const end = endOfText(json, i + 1) + 1;
      let after = end;
      while (isSpace(json.charCodeAt(after))) after += 1;
      if (json[after] === ':') visit(json.slice(i, end));
      i = end - 1;
    } else if (char === '{' || char === '}' || char === '[' || char === ']') visit(char);
  }
}

const isSpace = (char: number): boolean => char === 0x20 || char === 0x0a || char === 0x0d || char === 0x09;

/** The keys and the texts of a value. */
function textsIn(value: unknown): number {
  if (typeof value === 'string') return 1;
  if (typeof value !== 'object' || value === null) return 0;
  let texts = 0;
  if (Array.isArray(value)) for (const part of value) texts += textsIn(part);
  else for (const part of Object.values(value)) texts += 1 + textsIn(part);
  return texts;
}

/**
 * A key that an object in valid JSON has twice, at any depth; null if there is none.
 *
 * @param value what the JSON was parsed to
 */
function repeatedKey(json: string, value: unknown): string | null {
  // Of a key that is there twice the value has one: then the text has more quotes than the value's keys and texts.
  if (!json.includes('\\') && countOf(json, '"') === 2 * textsIn(value)) return null;
  const open: (Set<string> | null)[] = [];
  let twice: string | null = null;
  scanJson(json, (token) => {
    if (token === '{') open.push(new Set());
    else if (token === '[') open.push(null);
    else if (token === '}' || token === ']') open.pop();
    else {
      const key = String(JSON.parse(token));
      const keys = open.at(-1);
      if (keys?.has(key) === true) twice ??= key;
      keys?.add(key);
    }
  });
  return twice;
}

/**
 * How often an object, given as valid JSON, has a key at its top. Keys that are written with escapes are not counted.
 */
export function timesGiven(json: string, key: string): number {
  const quoted = JSON.stringify(key);
  if (json.indexOf(quoted) === json.lastIndexOf(quoted)) return 1;
  let [depth, times] = [0, 0];
  scanJson(json, (token) => {
    if (token === '{' || token === '[') depth++;
    else if (token === '}' || token === ']') depth--;
    else if (depth === 1 && token === quoted) times++;
  });
  return times;
}

/** A plain object, as YAML and JSON give it. */
export type Plain = Readonly<Record<string, unknown>>;

/** Whether a value is an object other than a list. */
export function isPlain(value: unknown): value is Plain {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
