/** Some lines of a large metrics file, from all over it: a first picture of its curves before it is read. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { Column, type ColumnData } from './columns.js';
import { LineScanner, type LineSink } from './line-scanner.js';

/** Lines that are read of a file. */
const LINES = 48;
/** Bytes that are read for one line at first, and at most. */
const [FIRST_BYTES, MOST_BYTES] = [16 * 1024, 256 * 1024];

/** Takes every metric of the lines. */
class AllColumns implements LineSink {
  readonly columns = new Map<string, Column>();
  readonly #list: Column[] = [];
  #last = -Infinity;

  indexOf(name: string): number {
    let column = this.columns.get(name);
    if (column === undefined) this.columns.set(name, (column = new Column()));
    const known = this.#list.indexOf(column);
    return known >= 0 ? known : this.#list.push(column) - 1;
  }

  line(step: number, tokens: number, time: number, indices: Int32Array, values: Float64Array, count: number): void {
    if (step <= this.#last) return; // the same line again, or one of a run that was taken back
    this.#last = step;
    for (let i = 0; i < count; i++) this.#list[indices[i] ?? 0]?.push(step, tokens, time, values[i] ?? 0);
  }
}

/** Reads lines at equal distances; null for a file that cannot be read. */
export function sampleFile(path: string): ReadonlyMap<string, ColumnData> | null {
  let fd;
  try {
    fd = openSync(path, 'r');
  } catch {
    return null;
  }
  try {
    const { size } = fstatSync(fd);
    const sink = new AllColumns();
    const scanner = new LineScanner(sink);
    let buffer = Buffer.alloc(FIRST_BYTES);
    for (let i = 0; i < LINES; i++) {
      const at = i === LINES - 1 ? -1 : Math.floor((size * i) / (LINES - 1));
      for (;;) {
        const from = at < 0 ? Math.max(0, size - buffer.length) : at;
        const bytes = buffer.subarray(0, readSync(fd, buffer, 0, buffer.length, from));
        const line = lineIn(bytes, from === 0, at < 0);
        if (line !== null) scanner.scan(bytes, line[0], line[1]);
        if (line !== null || buffer.length >= MOST_BYTES) break;
        buffer = Buffer.alloc(4 * buffer.length);
      }
    }
    return new Map([...sink.columns].map(([name, column]) => [name, column.data()]));
  } catch {
    return null;
  } finally {
    closeSync(fd);
  }
}

/** From where to where the first or the last whole line lies; null where there is none. */
function lineIn(bytes: Buffer, isBeginning: boolean, isLast: boolean): readonly [number, number] | null {
  if (isLast) {
    const end = bytes.lastIndexOf(0x0a);
    const before = end <= 0 ? -1 : bytes.lastIndexOf(0x0a, end - 1);
    return end > 0 && (before >= 0 || isBeginning) ? [before + 1, end + 1] : null;
  }
  const start = isBeginning ? 0 : bytes.indexOf(0x0a) + 1;
  const end = start === 0 && !isBeginning ? -1 : bytes.indexOf(0x0a, start);
  return end < 0 ? null : [start, end + 1];
}
