/**
 * Columns of one metrics file on disk, so that a large file is read once: a head that says which file and how far, then
 * the numbers of each column, which can be read one by one. Can be deleted at any time. Files are not synced, which
 * would take longer than all the rest: every part carries a checksum, and what a power cut has ended does not count.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { dirname } from 'node:path';
import { makeFolder, openScratch, writeAll } from '../core/index.js';
import { copied, MAX_BUCKETS, type ColumnData } from './columns.js';

const MAGIC = 'LSC5';
/** Bytes of a place: step, tokens and seconds as float64. Columns of the same lines share their places. */
const PLACE_BYTES = 24;
/** Bytes of the values of a bucket: a float64 sum and two float32. */
const VALUE_BYTES = 16;
/** Magic, checksum of the head, length of its texts, how many lists of places and how many columns there are. */
const PREFIX_BYTES = 24;
/** Bytes of a list of places in the head, and of a column; see `Directory`. */
const [LIST_BYTES, COLUMN_BYTES] = [8, 40];
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

/** What the head says of lists and columns, as it is stored: numbers, which cost less to read than a text of them. */
interface Directory {
  /** The last place of each column: step, tokens, seconds. */
  readonly ends: Float64Array;
  /** Two numbers a list of places: how long it is, and its checksum. */
  readonly lists: Uint32Array;
  /** Four numbers a column: its list of places, points in a full bucket and in the last one, checksum of its values. */
  readonly columns: Uint32Array;
}

/** The names of columns, and where each stands. Files of most runs have the same ones. */
interface Names {
  readonly text: string;
  readonly list: readonly string[];
  readonly indices: ReadonlyMap<string, number>;
}

let lastNames: Names = { text: '[]', list: [], indices: new Map() };

function namesIn(text: string): Names {
  if (text !== lastNames.text) {
    // What has its checksum was written by `write`, in this form.
    const list = JSON.parse(text) as readonly string[];
    lastNames = { text, list, indices: new Map(list.map((name, i) => [name, i])) };
  }
  return lastNames;
}

/** A file of columns whose head has been read. */
export class ColumnCache {
  readonly head: CacheHead;
  readonly #names: Names;
  readonly #file: string;
  readonly #ino: number;
  readonly #directory: Directory;
  /** Where the lists of places begin; the values of all columns follow them. */
  readonly #start: number;
  /** Lists of places that were read: nearly all columns of a file have the same one. */
  readonly #places: Places[] = [];

  private constructor(fd: number, file: string, ino: number) {
    const first = readAt(fd, 0, Math.min(fstatSync(fd).size, FIRST_BYTES));
    const sum = first.readUInt32LE(4);
    const textLength = first.readUInt32LE(8);
    const lists = first.readUInt32LE(12);
    const columns = first.readUInt32LE(16);
    const texts = 8 * Math.ceil(textLength / 8);
    const length = texts + LIST_BYTES * lists + COLUMN_BYTES * columns;
    if (first.toString('latin1', 0, 4) !== MAGIC || length > MOST_HEAD_BYTES) throw new Error('of another form');
    const end = PREFIX_BYTES + length;
    const head = end <= first.length ? first.subarray(PREFIX_BYTES, end) : readAt(fd, PREFIX_BYTES, length);
    if (checksum(head) !== sum) throw new Error('damaged');
    const [text = '', names = ''] = head.toString('utf8', 0, textLength).split('\n');
    const numbers = Uint8Array.from(head.subarray(texts)).buffer;
    this.#file = file;
    this.#ino = ino;
    this.#start = end;
    this.#names = namesIn(names);
    this.#directory = {
      ends: new Float64Array(numbers, 0, 3 * columns),
      lists: new Uint32Array(numbers, 24 * columns, 2 * lists),
      columns: new Uint32Array(numbers, 24 * columns + LIST_BYTES * lists, 4 * columns),
    };
    // What has its checksum was written by `write`, in this form.
    this.head = JSON.parse(text) as CacheHead;
  }

  /** Opens a file of columns; null for one that is missing, damaged, or of another version. */
  static open(file: string): ColumnCache | null {
    try {
      return withFile(file, (fd) => {
        const { size, ino } = fstatSync(fd);
        const cache = new ColumnCache(fd, file, ino);
        return size === cache.#valuesAt(cache.names.length) ? cache : null;
      });
    } catch {
      return null;
    }
  }

  /** The names of the columns. */
  get names(): readonly string[] {
    return this.#names.list;
  }

  /**
   * A column, in memory that the next one is read into; null where there is none, undefined where the file is gone,
   * damaged, or has become another one.
   */
  column(name: string): ColumnData | null | undefined {
    const i = this.#names.indices.get(name);
    if (i === undefined) return null;
    try {
      return withFile(this.#file, (fd) =>
        fstatSync(fd).ino === this.#ino ? this.#read(fd, i, this.#valuesAt(i)) : undefined,
      );
    } catch {
      return undefined;
    }
  }

  /** All columns, in memory of their own; undefined as for one. */
  columns(): ReadonlyMap<string, ColumnData> | undefined {
    try {
      return withFile(this.#file, (fd) => {
        if (fstatSync(fd).ino !== this.#ino) return undefined;
        let at = this.#valuesAt(0);
        return new Map(
          this.names.map((name, i) => {
            const column = copied(this.#read(fd, i, at));
            at += VALUE_BYTES * column.n;
            return [name, column];
          }),
        );
      });
    } catch {
      return undefined;
    }
  }

  /** Writes columns; where the disk does not take them there is no cache, and no harm. */
  static write(file: string, head: CacheHead, columns: ReadonlyMap<string, ColumnData>): ColumnCache | null {
    const all = [...columns.values()];
    const { lists, of } = sharedPlaces(all);
    const values = all.map(({ sum, low, high }) => joined(sum, low, high));
    const text = Buffer.from(`${JSON.stringify(head)}\n${JSON.stringify([...columns.keys()])}`);
    const body = Buffer.concat([
      ...[text, Buffer.alloc(8 * Math.ceil(text.length / 8) - text.length)],
      joined(Float64Array.from(all.flatMap(({ end }) => [end.step, end.tokens, end.time]))),
      joined(Uint32Array.from(lists.flatMap((list) => [list.length / PLACE_BYTES, checksum(list)]))),
      joined(
        Uint32Array.from(
          all.flatMap(({ perBucket, inLast }, i) => [of[i] ?? 0, perBucket, inLast, checksum(values[i] ?? EMPTY)]),
        ),
      ),
    ]);
    const prefix = Buffer.alloc(PREFIX_BYTES);
    prefix.write(MAGIC, 'latin1');
    [checksum(body), text.length, lists.length, all.length].forEach((n, i) => prefix.writeUInt32LE(n, 4 + 4 * i));
    try {
      makeFolder(dirname(file));
      const fd = openScratch(file);
      try {
        writeAll(fd, Buffer.concat([prefix, body, ...lists, ...values]));
      } finally {
        closeSync(fd);
      }
    } catch {
      return null;
    }
    return ColumnCache.open(file);
  }

  /** Where the values of a column begin; for the number of columns, where the file ends. */
  #valuesAt(column: number): number {
    const { lists } = this.#directory;
    let at = this.#start;
    for (let list = 0; list < lists.length / 2; list++) at += PLACE_BYTES * this.#lengthOf(list);
    for (let i = 0; i < column; i++) at += VALUE_BYTES * this.#lengthOf(this.#directory.columns[4 * i] ?? 0);
    return at;
  }

  /** How long a list of places is. */
  #lengthOf(list: number): number {
    const n = this.#directory.lists[2 * list];
    if (n === undefined) throw new Error('a column without places');
    return n;
  }

  /** Reads a column whose values begin at `at`. */
  #read(fd: number, i: number, at: number): ColumnData {
    const { ends, columns } = this.#directory;
    const list = columns[4 * i] ?? 0;
    const n = this.#lengthOf(list);
    const places = (this.#places[list] ??= this.#readPlaces(fd, list));
    if (room.n !== n) room = roomFor(n);
    readChecked(fd, room.bytes, at, columns[4 * i + 3] ?? 0);
    return {
      ...{ n, perBucket: columns[4 * i + 1] ?? 0, inLast: columns[4 * i + 2] ?? 0 },
      ...{ step: places.step, tokens: places.tokens, time: places.time },
      ...{ sum: room.sum, low: room.low, high: room.high },
      end: { step: ends[3 * i] ?? 0, tokens: ends[3 * i + 1] ?? 0, time: ends[3 * i + 2] ?? 0 },
    };
  }

  #readPlaces(fd: number, list: number): Places {
    let at = this.#start;
    for (let i = 0; i < list; i++) at += PLACE_BYTES * this.#lengthOf(i);
    const n = this.#lengthOf(list);
    const bytes = new Uint8Array(PLACE_BYTES * n);
    readChecked(fd, bytes, at, this.#directory.lists[2 * list + 1] ?? 0);
    const wide = (k: number) => new Float64Array(bytes.buffer, 8 * n * k, n);
    return { step: wide(0), tokens: wide(1), time: wide(2) };
  }
}

type Places = Pick<ColumnData, 'step' | 'tokens' | 'time'>;

/** Memory for the values of a column. */
interface Room extends Pick<ColumnData, 'n' | 'sum' | 'low' | 'high'> {
  readonly bytes: Uint8Array;
}

function roomFor(n: number): Room {
  const bytes = new Uint8Array(VALUE_BYTES * n);
  const narrow = (at: number) => new Float32Array(bytes.buffer, at, n);
  return { n, bytes, sum: new Float64Array(bytes.buffer, 0, n), low: narrow(8 * n), high: narrow(12 * n) };
}

/** What values are read into: memory of its own for each of a thousand columns would cost more than reading them. */
let room = roomFor(MAX_BUCKETS);
const EMPTY = new Uint8Array(0);

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

function joined(...lists: readonly (Float64Array | Float32Array | Uint32Array)[]): Uint8Array {
  return Buffer.concat(lists.map((l) => new Uint8Array(l.buffer, l.byteOffset, l.byteLength)));
}

/** Fills `bytes` from `at` on. */
function readChecked(fd: number, bytes: Uint8Array, at: number, sum: number): void {
  readInto(fd, at, bytes);
  if (checksum(bytes) !== sum) throw new Error('damaged');
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
