/** Files read in order in bounded memory: as chunks of bytes, and as lines. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { messageOf, DataError, LIMITS } from '../core/index.js';

const CHUNK_BYTES = 4 * 2 ** 20;
const NEWLINE = 0x0a;

/**
 * Opens a text file for reading and gives its file descriptor.
 * @throws DataError if the file cannot be read
 */
export function openText(path: string): number {
  try {
    return openSync(path, 'r');
  } catch (cause) {
    throw new DataError(`cannot read text file ${path}: ${messageOf(cause)}`, { details: { path }, cause });
  }
}

/** Throws `DataError` where an open file is a folder, a pipe or the like, of which no place can be read. */
export function checkPlain(path: string, fd: number): void {
  if (!fstatSync(fd).isFile()) throw new DataError(`${path} is not a plain file; copy its text to one`);
}

/** The chunks of a file from byte `from` on, in a buffer that is used again for each. */
export function* chunksOf(path: string, from = 0, chunkBytes = CHUNK_BYTES): Generator<Buffer> {
  const fd = openText(path);
  try {
    checkPlain(path, fd);
    const buffer = Buffer.alloc(chunkBytes);
    for (let at = from; ;) {
      const got = readSync(fd, buffer, 0, chunkBytes, at);
      if (got === 0) return;
      yield buffer.subarray(0, got);
      at += got;
    }
  } finally {
    closeSync(fd);
  }
}

/** A line of a file. */
export interface Line {
  /** The byte of the file at which the line starts. */
  readonly begin: number;
  /** The bytes of the line without its newline, in a buffer that is used again for the next line. */
  readonly bytes: Buffer;
}

/** The lines that start at byte `from` (which must start one) or after it. */
export function* linesOf(path: string, from = 0): Generator<Line> {
  let begin = from;
  let held: Buffer[] = [];
  let heldBytes = 0;
  for (const chunk of chunksOf(path, from)) {
    let at = 0;
    for (let to = chunk.indexOf(NEWLINE); to !== -1; to = chunk.indexOf(NEWLINE, at)) {
      const bytes = held.length === 0 ? chunk.subarray(at, to) : Buffer.concat([...held, chunk.subarray(at, to)]);
      yield { begin, bytes };
      begin += bytes.length + 1;
      held = [];
      heldBytes = 0;
      at = to + 1;
    }
    heldBytes += chunk.length - at;
    if (heldBytes > LIMITS.lineBytes.most) {
      throw new DataError(`${path}: the line at byte ${begin} is longer than ${LIMITS.lineBytes.most} bytes; split it`);
    }
    if (at < chunk.length) held.push(Buffer.from(chunk.subarray(at)));
  }
  if (heldBytes > 0) yield { begin, bytes: Buffer.concat(held) };
}

/** The start of the first line at or after byte `at`; the end of the file if there is none. */
export function lineStart(path: string, at: number): number {
  if (at === 0) return 0;
  let position = at - 1;
  for (const chunk of chunksOf(path, position)) {
    const newline = chunk.indexOf(NEWLINE);
    if (newline !== -1) return position + newline + 1;
    position += chunk.length;
  }
  return position;
}

/** Line feeds in some bytes. */
export function countLines(bytes: Uint8Array): number {
  let lines = 0;
  for (let at = bytes.indexOf(NEWLINE); at !== -1; at = bytes.indexOf(NEWLINE, at + 1)) lines++;
  return lines;
}

/** The number, from 1, of the line that starts at byte `begin`. */
export function lineNumber(path: string, begin: number): number {
  let lines = 1;
  let at = 0;
  for (const chunk of chunksOf(path)) {
    if (at >= begin) break;
    lines += countLines(chunk.subarray(0, begin - at));
    at += chunk.length;
  }
  return lines;
}
