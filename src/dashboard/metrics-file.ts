/** One metrics file that is read as it grows: every byte once, whole lines only. */
import { closeSync, fstatSync, openSync, readSync, type Stats } from 'node:fs';
import { Column, type ColumnData } from './columns.js';
import type { CacheHead, ColumnCache } from './column-cache.js';
import { LineScanner, type LineSink } from './line-scanner.js';

const CHUNK_BYTES = 1 << 20;
/** A line longer than this is none that a run writes. */
const MOST_LINE_BYTES = 16 << 20;
const TAIL_BYTES = 64;
/** The most different metrics of a run that are kept. */
const MOST_METRICS = 2000;

/** What reading on has come to. */
export type Advance = 'more' | 'done' | 'replaced' | 'gone';

/** The columns of one file, and how far it has been read. */
export class MetricsFile implements LineSink {
  readonly path: string;
  #offset = 0;
  #ino = 0;
  #tail = Buffer.alloc(0);
  #buffer: Buffer | null = null;
  readonly #names: string[] = [];
  readonly #indices = new Map<string, number>();
  readonly #columns: Column[] = [];
  readonly #scanner = new LineScanner(this);
  /** Why the rest is not read; null where it is. */
  problem: string | null = null;

  constructor(path: string, known: ColumnCache | null = null) {
    this.path = path;
    if (known === null) return;
    this.#offset = known.head.offset;
    this.#ino = known.head.ino;
    this.#tail = Buffer.from(known.head.tail, 'hex');
    this.#scanner.bad = known.head.bad;
    const columns = known.columns();
    if (columns === undefined) this.#offset = 0; // the cache is gone meanwhile: the file is read from its beginning
    for (const [name, data] of columns ?? []) this.#columns[this.indexOf(name)] = Column.from(data);
  }

  /** Bytes read so far. */
  get offset(): number {
    return this.#offset;
  }

  /** Lines that were no measurement. */
  get bad(): number {
    return this.#scanner.bad;
  }

  /** What a cache says of this file as far as it is read. */
  get head(): Omit<CacheHead, 'stamp'> {
    const { path } = this;
    return { path, ino: this.#ino, offset: this.#offset, tail: this.#tail.toString('hex'), bad: this.bad };
  }

  /** Every metric with its points. */
  columns(): ReadonlyMap<string, ColumnData> {
    return new Map(this.#names.flatMap((name) => (this.column(name) === null ? [] : [[name, this.#dataOf(name)]])));
  }

  /** The points of one metric; null where there are none. */
  column(name: string): ColumnData | null {
    const index = this.#indices.get(name);
    const data = index === undefined ? undefined : this.#columns[index]?.data();
    return data === undefined || data.n === 0 ? null : data;
  }

  /** Reads on by at most one chunk. `replaced`: it is another file now, or a shorter one, and is to be read anew. */
  advance(): Advance {
    let fd;
    try {
      fd = openSync(this.path, 'r');
    } catch {
      return 'gone';
    }
    try {
      const stat = fstatSync(fd);
      if (!stat.isFile()) return 'gone';
      if (isOther(fd, stat, { offset: this.#offset, ino: this.#ino, tail: this.#tail })) return 'replaced';
      this.#ino = stat.ino;
      if (stat.size <= this.#offset || this.problem !== null) return 'done';
      return this.#read(fd, stat.size);
    } catch {
      return 'gone';
    } finally {
      closeSync(fd);
    }
  }

  indexOf(name: string): number {
    const known = this.#indices.get(name);
    if (known !== undefined) return known;
    const index = this.#names.length;
    this.#indices.set(name, index);
    this.#names.push(name);
    return index;
  }

  line(step: number, tokens: number, time: number, indices: Int32Array, values: Float64Array, count: number): void {
    for (let i = 0; i < count; i++) {
      const index = indices[i] ?? 0;
      if (index >= MOST_METRICS) continue;
      const column = (this.#columns[index] ??= new Column());
      column.push(step, tokens, time, values[i] ?? 0);
    }
  }

  #dataOf(name: string): ColumnData {
    return this.column(name) ?? new Column().data();
  }

  #read(fd: number, size: number): Advance {
    const length = Math.min(this.#buffer?.length ?? CHUNK_BYTES, size - this.#offset);
    this.#buffer ??= Buffer.alloc(Math.min(CHUNK_BYTES, Math.max(64 * 1024, length)));
    const got = readSync(fd, this.#buffer, 0, Math.min(length, this.#buffer.length), this.#offset);
    const whole = this.#scanner.scan(this.#buffer, 0, got);
    if (whole === 0) {
      if (got < this.#buffer.length) return 'done'; // the last line is not whole yet
      if (this.#buffer.length >= MOST_LINE_BYTES) {
        this.problem = `a line of more than ${MOST_LINE_BYTES} bytes at byte ${this.#offset}`;
        return 'done';
      }
      this.#buffer = Buffer.alloc(2 * this.#buffer.length);
      return 'more';
    }
    this.#tail = Buffer.from(this.#buffer.subarray(Math.max(0, whole - TAIL_BYTES), whole));
    this.#offset += whole;
    const done = this.#offset >= size || (got < this.#buffer.length && whole < got);
    if (done) this.#buffer = null;
    return done ? 'done' : 'more';
  }
}

interface Seen {
  readonly offset: number;
  readonly ino: number;
  readonly tail: Buffer;
}

/** Whether an open file is not the one that was read so far, or has lost what was read. */
function isOther(fd: number, stat: Stats, { offset, ino, tail }: Seen): boolean {
  if (offset === 0) return false;
  if (stat.ino !== ino || stat.size < offset) return true;
  const now = Buffer.alloc(tail.length);
  const got = readSync(fd, now, 0, now.length, offset - now.length);
  return got !== now.length || !now.equals(tail);
}
