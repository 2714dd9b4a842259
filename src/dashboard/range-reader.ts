/** A part of a metrics file, point by point: where it begins is found by halving, and only that part is read. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import type { CurveAxis } from './api.js';
import { Column, type ColumnData } from './columns.js';
import { LineScanner, parsed, type LineSink } from './line-scanner.js';

const CHUNK_BYTES = 1 << 20;
/** Bytes in which the line behind a place is looked for. */
const LOOK_BYTES = 64 * 1024;
/** Bytes of one file that are read for one request. */
const MOST_BYTES = 64 << 20;

/** From where to where, both ends included, in the unit of an axis. */
export interface PlaceRange {
  readonly axis: CurveAxis;
  /** The first place, in steps, tokens or seconds. */
  readonly from: number;
  /** The last place, in the same unit. */
  readonly to: number;
}

/** Keeps the points of some metrics that lie in a range. */
class RangeSink implements LineSink {
  readonly columns = new Map<string, Column>();
  readonly #wanted: ReadonlySet<string>;
  readonly #range: PlaceRange;
  readonly #places: (Column | null)[] = [];
  /** Whether a line behind the range has been seen. */
  isPast = false;

  constructor(metrics: readonly string[], range: PlaceRange) {
    this.#wanted = new Set(metrics);
    this.#range = range;
  }

  indexOf(name: string): number {
    const column = this.#wanted.has(name) ? (this.columns.get(name) ?? new Column()) : null;
    if (column !== null) this.columns.set(name, column);
    return this.#places.push(column) - 1;
  }

  line(step: number, tokens: number, time: number, indices: Int32Array, values: Float64Array, count: number): void {
    const { axis, from, to } = this.#range;
    const place = { step, tokens, time }[axis];
    if (place > to) this.isPast = true;
    if (place < from || place > to) return;
    for (let i = 0; i < count; i++) this.#places[indices[i] ?? 0]?.push(step, tokens, time, values[i] ?? 0);
  }
}

/**
 * Reads the points of metrics that lie in a range, a chunk between two `yield`s.
 *
 * @returns a column for each metric that has points there; null where the file cannot be read, or the range is too much
 * of it
 */
export function* readRange(
  path: string,
  metrics: readonly string[],
  range: PlaceRange,
): Generator<void, ReadonlyMap<string, ColumnData> | null> {
  let fd;
  try {
    fd = openSync(path, 'r');
  } catch {
    return null;
  }
  try {
    const { size } = fstatSync(fd);
    const sink = new RangeSink(metrics, range);
    const scanner = new LineScanner(sink);
    const buffer = Buffer.alloc(CHUNK_BYTES);
    const start = beginning(fd, size, range);
    let at = start;
    while (at < size && !sink.isPast) {
      if (at - start > MOST_BYTES) return null;
      const got = readSync(fd, buffer, 0, CHUNK_BYTES, at);
      const whole = scanner.scan(buffer, 0, got);
      if (whole === 0) break; // a last line without its end, or one that no run writes
      at += whole;
      yield;
    }
    const found = [...sink.columns].map(([name, column]) => [name, column.data()] as const);
    return new Map(found.filter(([, { n }]) => n > 0));
  } catch {
    return null;
  } finally {
    closeSync(fd);
  }
}

/** Where a line begins before which no line lies in the range. */
function beginning(fd: number, size: number, { axis, from }: PlaceRange): number {
  const look = Buffer.alloc(LOOK_BYTES);
  let [low, high] = [0, size];
  while (high - low > 2 * CHUNK_BYTES) {
    const middle = Math.floor((low + high) / 2);
    const text = look.toString('utf8', 0, readSync(fd, look, 0, LOOK_BYTES, middle));
    const start = text.indexOf('\n') + 1;
    const line = parsed(text.slice(start, text.indexOf('\n', start)));
    const place = line?.[axis];
    // Where no line can be seen nothing is known: everything from `low` on is read.
    if (start === 0 || typeof place !== 'number') return low;
    if (place < from) low = middle + Buffer.byteLength(text.slice(0, start));
    else high = middle;
  }
  return low;
}
