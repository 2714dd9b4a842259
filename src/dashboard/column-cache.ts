/**
 * Columns of one metrics file on disk, so that a large file is read once: a head that says which file and how far, then
 * the numbers of each column, which can be read one by one. Can be deleted at any time.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { z } from 'zod';
import { makeFolder, parseJson, writeFileAtomic } from '../core/index.js';
import { dirname } from 'node:path';
import type { ColumnData } from './columns.js';

const MAGIC = 'LSC1';
/** Bytes of a bucket: four float64 and two float32. */
const BUCKET_BYTES = 40;
const MOST_HEAD_BYTES = 64 * 1024 * 1024;

const headSchema = z.object({
  path: z.string(),
  ino: z.number(),
  offset: z.number(),
  tail: z.string(),
  bad: z.number(),
  columns: z.array(
    z.object({ name: z.string(), n: z.int().min(0).max(4096), perBucket: z.int().min(1), inLast: z.int().min(0) }),
  ),
});

/** Which file columns are of, and how far it was read. */
export interface CacheHead {
  readonly path: string;
  /** The file's number on its disk. */
  readonly ino: number;
  /** Bytes of the file that the columns hold. */
  readonly offset: number;
  /** The last bytes before `offset`, in hexadecimal digits: a file that was written anew has others. */
  readonly tail: string;
  /** Lines that were no measurement. */
  readonly bad: number;
}

interface ColumnPlace {
  readonly n: number;
  readonly perBucket: number;
  readonly inLast: number;
  /** Where its numbers begin, in bytes. */
  readonly at: number;
}

/** A file of columns whose head has been read. */
export class ColumnCache {
  readonly head: CacheHead;
  readonly #file: string;
  readonly #places: ReadonlyMap<string, ColumnPlace>;

  private constructor(file: string, head: CacheHead, places: ReadonlyMap<string, ColumnPlace>) {
    this.#file = file;
    this.head = head;
    this.#places = places;
  }

  /** Opens a file of columns; null for one that is missing, damaged, or of another version. */
  static open(file: string): ColumnCache | null {
    try {
      const start = readAt(file, 0, 8);
      const length = start.readUInt32LE(4);
      if (start.toString('latin1', 0, 4) !== MAGIC || length > MOST_HEAD_BYTES) return null;
      const { columns, ...head } = headSchema.parse(parseJson(readAt(file, 8, length).toString('utf8'), file));
      const places = new Map<string, ColumnPlace>();
      let at = 8 * Math.ceil((8 + length) / 8);
      for (const { name, ...column } of columns) {
        places.set(name, { ...column, at });
        at += BUCKET_BYTES * column.n;
      }
      return new ColumnCache(file, head, places);
    } catch {
      return null;
    }
  }

  /** The names of the columns. */
  get names(): readonly string[] {
    return [...this.#places.keys()];
  }

  /** A column; null where there is none, or the file is gone. */
  column(name: string): ColumnData | null {
    const place = this.#places.get(name);
    if (place === undefined) return null;
    try {
      return columnOf(readAt(this.#file, place.at, BUCKET_BYTES * place.n), place);
    } catch {
      return null;
    }
  }

  /** Writes columns; where the disk does not take them there is no cache, and no harm. */
  static write(file: string, head: CacheHead, columns: ReadonlyMap<string, ColumnData>): ColumnCache | null {
    const list = [...columns].map(([name, { n, perBucket, inLast }]) => ({ name, n, perBucket, inLast }));
    const text = Buffer.from(JSON.stringify({ ...head, columns: list }));
    const start = Buffer.alloc(8 * Math.ceil((8 + text.length) / 8));
    start.write(MAGIC, 'latin1');
    start.writeUInt32LE(text.length, 4);
    text.copy(start, 8);
    try {
      makeFolder(dirname(file));
      const parts = [...columns.values()].flatMap(({ step, tokens, time, sum, low, high }) =>
        [step, tokens, time, sum, low, high].map((l) => new Uint8Array(l.buffer, l.byteOffset, l.byteLength)),
      );
      writeFileAtomic(file, start, Buffer.concat(parts));
    } catch {
      return null;
    }
    return ColumnCache.open(file);
  }
}

function columnOf(bytes: Buffer, { n, perBucket, inLast }: ColumnPlace): ColumnData {
  const copy = new Uint8Array(bytes).buffer;
  const wide = (i: number) => new Float64Array(copy, 8 * n * i, n);
  const narrow = (i: number) => new Float32Array(copy, 32 * n + 4 * n * i, n);
  const [step, tokens, time, sum] = [wide(0), wide(1), wide(2), wide(3)];
  return { n, perBucket, inLast, step, tokens, time, sum, low: narrow(0), high: narrow(1) };
}

/** Exactly `length` bytes of a file from `at` on. */
function readAt(file: string, at: number, length: number): Buffer {
  const fd = openSync(file, 'r');
  try {
    const bytes = Buffer.alloc(length);
    let done = 0;
    while (done < length) {
      const got = readSync(fd, bytes, done, length - done, at + done);
      if (got === 0) throw new Error('cut off');
      done += got;
    }
    return bytes;
  } finally {
    closeSync(fd);
  }
}
