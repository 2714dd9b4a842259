/** Bytes as UTF-8: what is no UTF-8 is found and named, never replaced without being asked for. */
import { u8At } from './at.js';
import { isUtf8 } from 'node:buffer';
import { closeSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs';
import type { LongsightError } from './errors.js';
import { DataError } from './errors.js';
import { fileError } from './files.js';
import { LIMITS } from './limits.js';

/** What happens to bytes that are not UTF-8 and to halves of surrogate pairs: an error, or U+FFFD in their place. */
export type InvalidText = 'refuse' | 'replace';

/**
 * Bytes as text; a leading U+FEFF is part of it.
 *
 * @param wrong makes the error from the offset of the first byte that is no UTF-8
 */
export function decodeUtf8(bytes: Uint8Array, invalid: InvalidText, wrong: (offset: number) => LongsightError): string {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (invalid === 'refuse' && !isUtf8(view)) throw wrong(firstInvalid(view));
  return view.toString();
}

/** How compressed files and other files of bytes begin, as Latin-1, and what they are. */
const BYTES_BEGIN: readonly (readonly [string, string])[] = [
  ['\x1f\x8b', 'compressed (gzip); unpack it first'],
  ['\x28\xb5\x2f\xfd', 'compressed (Zstandard); unpack it first'],
  ['BZh', 'compressed (bzip2); unpack it first'],
  ['\xfd7zXZ', 'compressed (xz); unpack it first'],
  ['PK\x03\x04', 'an archive (zip); unpack it first'],
  ['PAR1', 'a Parquet file, not text; write its rows as JSON lines'],
];

/**
 * The bytes of a file. What is no regular file, such as a pipe, is read up to a limit: a device may never end. Throws
 * the failing call's error.
 */
export function readBytes(path: string, most: number = LIMITS.jsonBytes.most): Buffer {
  const fd = openSync(path, 'r');
  try {
    if (fstatSync(fd).isFile()) return readFileSync(fd);
    const parts: Buffer[] = [];
    for (let total = 0; ;) {
      const part = Buffer.alloc(2 ** 20);
      const count = readSync(fd, part);
      if (count === 0) return Buffer.concat(parts);
      total += count;
      if (total > most) throw new Error(`it gives more than ${most} bytes`);
      parts.push(part.subarray(0, count));
    }
  } finally {
    closeSync(fd);
  }
}

/**
 * The text of a file that must be UTF-8. A byte order mark at its start is left out where `mark` is "drop": it is no
 * part of JSON, YAML or a table.
 *
 * @throws StoreError if the file cannot be read
 * @throws DataError if it is compressed, or holds bytes that are no UTF-8
 */
export function readUtf8(path: string, mark: 'keep' | 'drop'): string {
  let bytes: Buffer;
  try {
    bytes = readBytes(path);
  } catch (cause) {
    throw fileError('read', path, cause);
  }
  const text = decodeUtf8(bytes, 'refuse', (offset) => {
    const start = bytes.toString('latin1', 0, 8);
    const what = BYTES_BEGIN.find(([first]) => start.startsWith(first))?.[1];
    const why =
      what === undefined ? `holds byte ${offset}, which is not valid UTF-8; convert it to UTF-8` : `is ${what}`;
    return new DataError(`${path} ${why}`, { details: { path, offset } });
  });
  return mark === 'drop' && text.startsWith('\ufeff') ? text.slice(1) : text;
}

/**
 * A text without halves of surrogate pairs, which no UTF-8 can hold: as `JSON.parse` reads `"\\ud800"`.
 *
 * @param wrong makes the error from the index of the first half
 */
export function wellFormed(text: string, invalid: InvalidText, wrong: (index: number) => DataError): string {
  const index = text.search(/\p{Surrogate}/u);
  if (index === -1) return text;
  if (invalid === 'refuse') throw wrong(index);
  return text.replaceAll(/\p{Surrogate}/gu, '\ufffd');
}

/** Checks chunks of a file, one after another, wherever they are cut. */
export class Utf8Check {
  #held = Buffer.alloc(0);
  #offset = 0;

  /**
   * The offset of the first byte in all chunks so far that is no UTF-8; null if there is none. `end` after the last
   * chunk.
   */
  add(chunk: Uint8Array, end = false): number | null {
    const bytes = Buffer.concat([this.#held, chunk]);
    const size = end || bytes.length === 0 ? bytes.length : wholeCharacters(bytes);
    const whole = bytes.subarray(0, size);
    if (!isUtf8(whole)) return this.#offset + firstInvalid(whole);
    this.#held = Buffer.from(bytes.subarray(size));
    this.#offset += size;
    return null;
  }
}

/** The first byte that starts no valid character. */
export function firstInvalid(bytes: Buffer): number {
  let [low, high] = [0, bytes.length];
  // `low` bytes are valid up to a character that may be cut off; `high` are not.
  while (high - low > 8) {
    const middle = characterStart(bytes, (low + high) >> 1);
    if (middle <= low) break;
    if (isUtf8(bytes.subarray(low, middle))) low = middle;
    else high = middle;
  }
  for (let at = low; at < bytes.length;) {
    const width = [1, 2, 3, 4].find((w) => at + w <= bytes.length && isUtf8(bytes.subarray(at, at + w)));
    if (width === undefined) return at;
    at += width;
  }
  return bytes.length;
}

/** The start of the character in which byte `at` lies (of at most 4 bytes). */
function characterStart(bytes: Uint8Array, at: number): number {
  let start = at;
  while (start > 0 && at - start < 3 && (u8At(bytes, start) & 0xc0) === 0x80) start--;
  return start;
}

/** How many bytes of `bytes` are whole characters: all, or all but an unfinished last one. */
export function wholeCharacters(bytes: Uint8Array): number {
  const start = characterStart(bytes, bytes.length - 1);
  const lead = u8At(bytes, start);
  const width = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
  return start + width > bytes.length ? start : bytes.length;
}
