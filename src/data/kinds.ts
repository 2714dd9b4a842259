/**
 * What kind of file a path names: by its ending where that says it, else by how the file begins. What would be markup,
 * tables or binary data to a model is refused, not read as text.
 */
import { closeSync, readSync } from 'node:fs';
import { DataError } from '../core/index.js';
import { isBlank } from './json-lines.js';
import { checkPlain, linesOf, openText } from './lines.js';

/** The kinds of data files that are read: plain text, JSON Lines, Parquet. */
export type InputKind = 'text' | 'jsonl' | 'parquet';
/** The compressions that are unpacked before a file is read. */
export type Packing = 'gzip' | 'zstd';

const JSON_LINES: ReadonlySet<string> = new Set(['jsonl', 'jsonlines', 'ndjson', 'jl']);
const PACKINGS: ReadonlyMap<string, Packing> = new Map([
  ['gz', 'gzip'],
  ['gzip', 'gzip'],
  ['zst', 'zstd'],
  ['zstd', 'zstd'],
]);

const AS_TEXT = 'or name it .txt to take it as it stands';
const TABLE = `is a table; write one JSON object a line (.jsonl) with its text, ${AS_TEXT}`;
const MARKUP = `is markup, tags and all; take the text out of it, ${AS_TEXT}`;
const BINARY = 'is not text; write its texts as JSON lines (.jsonl), Parquet or .txt';
const PACKED = 'is compressed or an archive; unpack it first (.gz and .zst are read as they are)';

/** Endings that are refused, and what to do instead. */
const REFUSED: ReadonlyMap<string, string> = new Map([
  ...['csv', 'tsv'].map((e) => [e, TABLE] as const),
  ...['html', 'htm', 'xhtml', 'xml', 'svg', 'warc', 'rtf', 'ipynb'].map((e) => [e, MARKUP] as const),
  ...['pdf', 'doc', 'docx', 'odt', 'epub', 'xls', 'xlsx'].map((e) => [e, BINARY] as const),
  ...['arrow', 'feather', 'orc', 'avro', 'npy', 'npz', 'bin', 'tokens', 'pt', 'safetensors', 'h5', 'sqlite', 'db'].map(
    (e) => [e, BINARY] as const,
  ),
  ...['bz2', 'xz', 'lzma', 'lz4', 'br', 'zip', '7z', 'rar', 'tar', 'tgz'].map((e) => [e, PACKED] as const),
]);

/** How files begin that must not be read as text, whatever their ending; the bytes as Latin-1. */
const BEGINNINGS: readonly (readonly [string, string])[] = [
  ...['<!doctype html', '<html', '<?xml'].map((start) => [start, MARKUP] as const),
  ...['PAR1', 'ARROW1', '%PDF', 'PK\x03\x04'].map((start) => [start, BINARY] as const),
  ...['\x1f\x8b', '\x28\xb5\x2f\xfd', 'BZh', '\xfd7zXZ'].map((start) => [start, PACKED] as const),
];

const SNIFFED_BYTES = 4096;

const endingOf = (path: string): string => /\.([a-z0-9]+)(?:\?.*)?$/i.exec(path)?.[1]?.toLowerCase() ?? '';

/** Whether a path is an `http://` or `https://` URL. */
export const isUrl = (path: string): boolean => /^https?:\/\//.test(path);

/** How a file is compressed, by its ending; null if it is not. */
export function packingOf(path: string): Packing | null {
  const packing = PACKINGS.get(endingOf(path)) ?? null;
  if (packing !== null && isUrl(path))
    throw new DataError(`${path}: download the file first; only Parquet is read by URL`);
  return packing;
}

/** The name of a compressed file without the ending that says so. */
export const unpackedName = (path: string): string => path.replace(/\.[a-z0-9]+$/i, '');

/**
 * The kind of a file, from its ending and, where that leaves it open, its beginning.
 *
 * @throws DataError naming the file, what it is, and what to do, if it is of no kind that is read
 */
export function kindOf(path: string): InputKind {
  const ending = endingOf(path);
  if (ending === 'parquet') return 'parquet';
  if (isUrl(path)) throw new DataError(`${path}: only Parquet files are read by URL; download the file first`);
  const why = REFUSED.get(ending);
  if (why !== undefined) throw refused(path, why);
  if (JSON_LINES.has(ending)) return 'jsonl';
  if (ending === 'json') return jsonKind(path);
  if (ending !== 'txt') sniff(path);
  return 'text';
}

function refused(path: string, why: string): DataError {
  return new DataError(`${path} ${why}`, { details: { path } });
}

/** Files named `.json` are read where they hold JSON lines, as many data sets do. */
function jsonKind(path: string): 'jsonl' {
  const line = firstLine(path);
  if (line === null || isObject(line)) return 'jsonl';
  const list = line.trimStart().startsWith('[');
  throw refused(
    path,
    list
      ? `holds a JSON list; write one object a line (jq -c '.[]' FILE.json > FILE.jsonl), ${AS_TEXT}`
      : `holds no JSON lines; write one object a line (jq -c . FILE.json > FILE.jsonl), ${AS_TEXT}`,
  );
}

function sniff(path: string): void {
  const start = beginning(path);
  const lower = start.trimStart().toLowerCase();
  for (const [first, why] of BEGINNINGS) if (lower.startsWith(first.toLowerCase())) throw refused(path, why);
  const line = /^\s*\{\s*"/.test(start) ? firstLine(path) : null;
  if (line !== null && isObject(line)) throw refused(path, `holds JSON lines; name it .jsonl to read them, ${AS_TEXT}`);
}

/** The first bytes of a file, a character each. */
function beginning(path: string): string {
  const fd = openText(path);
  try {
    checkPlain(path, fd);
    const buffer = Buffer.alloc(SNIFFED_BYTES);
    return buffer.toString('latin1', 0, readSync(fd, buffer, 0, SNIFFED_BYTES, 0)).replace(/^\xef\xbb\xbf/, '');
  } finally {
    closeSync(fd);
  }
}

/** The first line that is not blank; null if there is none. */
function firstLine(path: string): string | null {
  for (const { bytes } of linesOf(path)) {
    if (!isBlank(bytes)) return bytes.toString().replace(/^\uFEFF/, '');
  }
  return null;
}

function isObject(json: string): boolean {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}
