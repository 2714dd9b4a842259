/**
 * Columns of one metrics file on disk, so that a large file is read once: a head that says which file and how far, then
 * the numbers of each column, which can be read one by one. Can be deleted at any time. Files are not synced, which
 * would take longer than all the rest: those of another boot, whose writing a power cut may have ended, do not count.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { z } from 'zod';
import { makeFolder, openScratch, parseJson, thisProcess, writeAll } from '../core/index.js';
import { dirname } from 'node:path';
import type { ColumnData } from './columns.js';

const MAGIC = 'LSC2';
/** Bytes of a bucket: four float64 and two float32. */
const BUCKET_BYTES = 40;
const MOST_HEAD_BYTES = 64 * 1024 * 1024;

const headSchema = z.object({
  boot: z.string(),
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
  readonly #ino: number;
  readonly #places: ReadonlyMap<string, ColumnPlace>;

  private constructor(file: string, ino: number, head: CacheHead, places: ReadonlyMap<string, ColumnPlace>) {
    this.#file = file;
    this.#ino = ino;
    this.head = head;
    this.#places = places;
  }

  /** Opens a file of columns; null for one that is missing, damaged, or of another version or boot. */
  static open(file: string): ColumnCache | null {
    try {
      return withFile(file, (fd) => {
        const start = readAt(fd, 0, 8);
        const length = start.readUInt32LE(4);
        if (start.toString('latin1', 0, 4) !== MAGIC || length > MOST_HEAD_BYTES) return null;
        const { columns, boot, ...head } = headSchema.parse(parseJson(readAt(fd, 8, length).toString('utf8'), file));
        const places = new Map<string, ColumnPlace>();
        let at = 8 * Math.ceil((8 + length) / 8);
        for (const { name, ...column } of columns) {
          places.set(name, { ...column, at });
          at += BUCKET_BYTES * column.n;
        }
        const { size, ino } = fstatSync(fd);
        return size === at && boot !== '' && boot === thisBoot() ? new ColumnCache(file, ino, head, places) : null;
      });
    } catch {
      return null;
    }
  }

  /** The names of the columns. */
  get names(): readonly string[] {
    return [...this.#places.keys()];
  }

  /** A column; null where there is none, undefined where the file is gone or has become another one. */
  column(name: string): ColumnData | null | undefined {
    const place = this.#places.get(name);
    if (place === undefined) return null;
    try {
      return withFile(this.#file, (fd) =>
        fstatSync(fd).ino === this.#ino ? columnOf(readAt(fd, place.at, BUCKET_BYTES * place.n), place) : undefined,
      );
    } catch {
      return undefined;
    }
  }

  /** Writes columns; where the disk does not take them there is no cache, and no harm. */
  static write(file: string, head: CacheHead, columns: ReadonlyMap<string, ColumnData>): ColumnCache | null {
    const list = [...columns].map(([name, { n, perBucket, inLast }]) => ({ name, n, perBucket, inLast }));
    const text = Buffer.from(JSON.stringify({ ...head, boot: thisBoot(), columns: list }));
    const start = Buffer.alloc(8 * Math.ceil((8 + text.length) / 8));
    start.write(MAGIC, 'latin1');
    start.writeUInt32LE(text.length, 4);
    text.copy(start, 8);
    const parts = [...columns.values()].flatMap(({ step, tokens, time, sum, low, high }) =>
      [step, tokens, time, sum, low, high].map((l) => new Uint8Array(l.buffer, l.byteOffset, l.byteLength)),
    );
    try {
      makeFolder(dirname(file));
      const fd = openScratch(file);
      try {
        writeAll(fd, Buffer.concat([start, ...parts]));
      } finally {
        closeSync(fd);
      }
    } catch {
      return null;
    }
    return ColumnCache.open(file);
  }
}

/** The id of this boot; where the system does not say, that of no boot at all, so that no cache counts. */
const thisBoot = (): string => thisProcess().boot ?? '';

function columnOf(bytes: Buffer, { n, perBucket, inLast }: ColumnPlace): ColumnData {
  const copy = new Uint8Array(bytes).buffer;
  const wide = (i: number) => new Float64Array(copy, 8 * n * i, n);
  const narrow = (i: number) => new Float32Array(copy, 32 * n + 4 * n * i, n);
  const [step, tokens, time, sum] = [wide(0), wide(1), wide(2), wide(3)];
  return { n, perBucket, inLast, step, tokens, time, sum, low: narrow(0), high: narrow(1) };
}

function withFile<T>(file: string, use: (fd: number) => T): T {
  const fd = openSync(file, 'r');
  try {
    return use(fd);
  } finally {
    closeSync(fd);
  }
}

/** Exactly `length` bytes of an open file from `at` on. */
function readAt(fd: number, at: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let done = 0;
  while (done < length) {
    const got = readSync(fd, bytes, done, length - done, at + done);
    if (got === 0) throw new Error('cut off');
    done += got;
  }
  return bytes;
}
