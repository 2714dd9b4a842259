/**
 * Fingerprints: what tells contents apart wherever something is reused, resumed or named. Equal contents have equal
 * fingerprints, different ones do not (SHA-256); paths, times of change and order of keys play no part.
 */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { fileError } from './files.js';

/** Bytes of a file that are read at a time: memory does not grow with the file. */
const PIECE_BYTES = 4 * 2 ** 20;

/**
 * A value as text that is the same for equal values only: keys sorted, those without a value left out, numbers that
 * JSON has no text for (NaN, infinities) by name, bytes and typed arrays in base64 with their type. Throws `TypeError`
 * for functions and symbols.
 */
export function canonicalJson(value: unknown): string {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return JSON.stringify(value);
    case 'number':
      return Number.isFinite(value) ? JSON.stringify(value) : `#${value}`;
    case 'bigint':
      return `#${value}n`;
    case 'undefined':
      return '#undefined';
    case 'object':
      return value === null ? 'null' : canonicalObject(value);
    default:
      throw new TypeError(`a ${typeof value} has no canonical text`);
  }
}

function canonicalObject(value: object): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (ArrayBuffer.isView(value)) {
    const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    return `#${value.constructor.name}:${bytes.toString('base64')}`;
  }
  const entries = Object.entries(value).filter(([, v]) => v !== undefined);
  const sorted = entries.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return `{${sorted.map(([key, v]) => `${JSON.stringify(key)}:${canonicalJson(v)}`).join(',')}}`;
}

/** SHA-256 of a value's canonical text (`canonicalJson`), as 64 hexadecimal digits. */
export function fingerprint(value: unknown): string {
  return createHash('sha256').update(canonicalJson(value)).digest('hex');
}

/** SHA-256 of bytes, as 64 hexadecimal digits. */
export function fingerprintBytes(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/**
 * SHA-256 of a file's bytes, as 64 hexadecimal digits. Reads the file once from front to back, 4 MiB at a time.
 *
 * @throws StoreError if the file cannot be read
 */
export function fingerprintFile(path: string): string {
  const hash = createHash('sha256');
  const piece = Buffer.allocUnsafe(PIECE_BYTES);
  let fd: number | undefined;
  try {
    fd = openSync(path, 'r');
    for (let n = readSync(fd, piece); n > 0; n = readSync(fd, piece)) hash.update(piece.subarray(0, n));
  } catch (cause) {
    throw fileError('read', path, cause);
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
  return hash.digest('hex');
}
