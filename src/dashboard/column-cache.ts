/**
 * Columns of one metrics file on disk, so that a large file is read once: a head that says which file and how far, then
 * the numbers of each column, which can be read one by one. Can be deleted at any time. Files are not synced, which
 * would take longer than all the rest: every part carries a checksum, and what a power cut has ended does not count.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { dirname } from 'node:path';
import { makeFolder, openScratch, writeAll } from '../core/index.js';
import type { ColumnData } from './columns.js';

const MAGIC = 'LSC4';
/** Bytes of a place: step, tokens and seconds as float64. Columns of the same lines share their places. */
const PLACE_BYTES = 24;
/** Bytes of the values of a bucket: a float64 sum and two float32. */
const VALUE_BYTES = 16;
/** Magic, length of the head and its checksum. */
const PREFIX_BYTES = 12;
/** Bytes in which the whole head is found at the first read, mostly. */
const FIRST_BYTES = 16 * 1024;
const MOST_HEAD_BYTES = 64 * 1024 * 1024;

/** Which file columns are of, and how far it was read. */
export interface CacheHead {
  readonly path: string;
  /** Size, time of change and number of the file when its reading began; empty where it was not read to its end. */
  readonly stamp: string;
  /** The file's number on its disk. */
  readonly ino: number;
  /** Bytes of the file that the columns hold. */
  readonly offset: number;
  /** The last bytes before `offset`, in hexadecimal digits: a file that was written anew has others. */
  readonly tail: string;
  /** Lines that were no measurement. */
  readonly bad: number;
}

/** The head as it is stored. */
interface StoredHead extends CacheHead {
  readonly names: readonly string[];
  /** The lists of places: how long each is, and its checksum. */
  readonly places: readonly (readonly [number, number])[];
  /** The columns: list of places, points in a full bucket, points in the last one, checksum, and the last place. */
  readonly columns: readonly (readonly [number, number, number, number, ColumnData['end']])[];
}

interface ColumnPlace {
  readonly n: number;
  readonly perBucket: number;
  readonly inLast: number;
  readonly end: ColumnData['end'];
  /** Where its places and its values begin, in bytes, and the checksum of each. */
  readonly places: readonly [number, number];
  readonly values: readonly [number, number];
}

/** A file of columns whose head has been read. */
export class ColumnCache {
  readonly head: CacheHead;
  /** The names of the columns. */
  readonly names: readonly string[];
  readonly #file: string;
  readonly #ino: number;
  readonly #places: ReadonlyMap<string, ColumnPlace>;

  private constructor(file: string, ino: number, stored: StoredHead, places: ReadonlyMap<string, ColumnPlace>) {
    const { names, places: _places, columns: _columns, ...head } = stored;
    this.#file = file;
    this.#ino = ino;
    this.#places = places;
    this.head = head;
    this.names = names;
  }

  /** Opens a file of columns; null for one that is missing, damaged, or of another version. */
  static open(file: string): ColumnCache | null {
    try {
      return withFile(file, (fd) => {
        const { size, ino } = fstatSync(fd);
        const start = readAt(fd, 0, Math.min(size, FIRST_BYTES));
        const length = start.readUInt32LE(4);
        if (start.toString('latin1', 0, 4) !== MAGIC || length > MOST_HEAD_BYTES) return null;
        const end = PREFIX_BYTES + length;
        const text = end <= start.length ? start.subarray(PREFIX_BYTES, end) : readAt(fd, PREFIX_BYTES, length);
        if (checksum(text) !== start.readUInt32LE(8)) return null;
        // What has its checksum was written by `write`, in this form.
        const stored = JSON.parse(text.toString('utf8')) as StoredHead;
        const { places, end: at } = placesOf(stored, 8 * Math.ceil(end / 8));
        return size === at ? new ColumnCache(file, ino, stored, places) : null;
      });
    } catch {
      return null;
    }
  }

  /** A column; null where there is none, undefined where the file is gone, damaged, or has become another one. */
  column(name: string): ColumnData | null | undefined {
    const place = this.#places.get(name);
    if (place === undefined) return null;
    try {
      return withFile(this.#file, (fd) => (fstatSync(fd).ino === this.#ino ? columnAt(fd, place) : undefined));
    } catch {
      return undefined;
    }
  }

  /** All columns; undefined as for one. */
  columns(): ReadonlyMap<string, ColumnData> | undefined {
    try {
      return withFile(this.#file, (fd) => {
        if (fstatSync(fd).ino !== this.#ino) return undefined;
        return new Map([...this.#places].map(([name, place]) => [name, columnAt(fd, place)]));
      });
    } catch {
      return undefined;
    }
  }

  /** Writes columns; where the disk does not take them there is no cache, and no harm. */
  static write(file: string, head: CacheHead, columns: ReadonlyMap<string, ColumnData>): ColumnCache | null {
    const { lists, of } = sharedPlaces([...columns.values()]);
    const values = [...columns.values()].map(({ sum, low, high }) => joined(sum, low, high));
    const stored: StoredHead = {
      ...head,
      names: [...columns.keys()],
      places: lists.map((list) => [list.length / PLACE_BYTES, checksum(list)]),
      columns: [...columns.values()].map(({ perBucket, inLast, end }, i) => {
        return [of[i] ?? 0, perBucket, inLast, checksum(values[i] ?? EMPTY), end];
      }),
    };
    const text = Buffer.from(JSON.stringify(stored));
    const start = Buffer.alloc(8 * Math.ceil((PREFIX_BYTES + text.length) / 8));
    start.write(MAGIC, 'latin1');
    start.writeUInt32LE(text.length, 4);
    start.writeUInt32LE(checksum(text), 8);
    text.copy(start, PREFIX_BYTES);
    try {
      makeFolder(dirname(file));
      const fd = openScratch(file);
      try {
        writeAll(fd, Buffer.concat([start, ...lists, ...values]));
      } finally {
        closeSync(fd);
      }
    } catch {
      return null;
    }
    return ColumnCache.open(file);
  }
}

const EMPTY = new Uint8Array(0);

/** Where the numbers of each column lie. */
function placesOf(
  { names, places, columns }: StoredHead,
  start: number,
): { readonly places: ReadonlyMap<string, ColumnPlace>; readonly end: number } {
  let at = start;
  const lists = places.map(([n, sum]) => {
    const own = { n, at, sum };
    at += PLACE_BYTES * n;
    return own;
  });
  const found = new Map<string, ColumnPlace>();
  columns.forEach(([list, perBucket, inLast, sum, end], i) => {
    const own = lists[list];
    if (own === undefined) throw new Error('a column without places');
    const { n } = own;
    found.set(names[i] ?? '', { n, perBucket, inLast, end, places: [own.at, own.sum], values: [at, sum] });
    at += VALUE_BYTES * n;
  });
  return { places: found, end: at };
}

/** The lists of places of columns, each different one once, and by column which of them it has. */
function sharedPlaces(columns: readonly ColumnData[]): {
  readonly lists: readonly Uint8Array[];
  readonly of: readonly number[];
} {
  const lists: Uint8Array[] = [];
  const of = columns.map(({ step, tokens, time }) => {
    const own = joined(step, tokens, time);
    // Nearly all metrics are of the same lines as the one before.
    const known = lists.findLastIndex((list) => Buffer.compare(list, own) === 0);
    return known >= 0 ? known : lists.push(own) - 1;
  });
  return { lists, of };
}

function joined(...lists: readonly (Float64Array | Float32Array)[]): Uint8Array {
  return Buffer.concat(lists.map((l) => new Uint8Array(l.buffer, l.byteOffset, l.byteLength)));
}

function columnAt(fd: number, { n, perBucket, inLast, end, places, values }: ColumnPlace): ColumnData {
  const [where, what] = [readChecked(fd, places, PLACE_BYTES * n), readChecked(fd, values, VALUE_BYTES * n)];
  const wide = (buffer: ArrayBuffer, i: number) => new Float64Array(buffer, 8 * n * i, n);
  const narrow = (i: number) => new Float32Array(what, 8 * n + 4 * n * i, n);
  return {
    ...{ n, perBucket, inLast, end },
    ...{ step: wide(where, 0), tokens: wide(where, 1), time: wide(where, 2) },
    ...{ sum: wide(what, 0), low: narrow(0), high: narrow(1) },
  };
}

function readChecked(fd: number, [at, sum]: readonly [number, number], length: number): ArrayBuffer {
  const bytes = new Uint8Array(new ArrayBuffer(length));
  readInto(fd, at, bytes);
  if (checksum(bytes) !== sum) throw new Error('damaged');
  return bytes.buffer;
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
  readInto(fd, at, bytes);
  return bytes;
}

function readInto(fd: number, at: number, bytes: Uint8Array): void {
  let done = 0;
  while (done < bytes.length) {
    const got = readSync(fd, bytes, done, bytes.length - done, at + done);
    if (got === 0) throw new Error('cut off');
    done += got;
  }
}

/** A number that changes with any of the bytes, in all likelihood; not 0 for zeros. */
export function checksum(bytes: Uint8Array): number {
  let hash = 0x811c9dc5 ^ bytes.length;
  const words = bytes.length >> 2;
  if (bytes.byteOffset % 4 === 0) {
    const list = new Int32Array(bytes.buffer, bytes.byteOffset, words);
    for (let i = 0; i < words; i++) hash = mixed(hash, list[i] ?? 0);
  } else {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (let i = 0; i < words; i++) hash = mixed(hash, view.getInt32(4 * i, true));
  }
  for (let i = 4 * words; i < bytes.length; i++) hash = mixed(hash, bytes[i] ?? 0);
  return hash >>> 0;
}

function mixed(hash: number, word: number): number {
  const next = Math.imul(hash ^ word, 0x01000193);
  return next ^ (next >>> 15);
}
