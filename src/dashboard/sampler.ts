/** Curves of metrics of a file that is still to be read: all of their points where the file is short, else some. */
import { close, fstat, open, read, readSync } from 'node:fs';
import { promisify } from 'node:util';
import { maxOf } from '../core/index.js';
import type { ColumnData } from './columns.js';
import { MetricScanner } from './metric-scanner.js';

/** Lines that are read of a long file, at most. */
export const MOST_LINES = 48;
/** Bytes that are read for one line at first, and at most. */
const [FIRST_BYTES, MOST_BYTES] = [16 * 1024, 256 * 1024];
/** Bytes that are read at once of a file of which all is. */
const CHUNK_BYTES = 1 << 20;
/** A line longer than this is none that a run writes. */
const MOST_LINE_BYTES = 16 << 20;

/** Numbers of a line that are no metrics: they say where it lies. */
const PLACES: readonly string[] = ['step', 'tokens', 'time'];

/** What one look at a file has found of a metric. */
export interface EarlyCurve {
  /** The points that were found; null where the metric is not there. */
  readonly data: ColumnData | null;
  /** Whether there may be more points than these. */
  readonly sampled: boolean;
}

/** How a file is looked at. */
export interface EarlyLook {
  /** How large a file is of which every line is looked at, in bytes; one of 16 KiB a line always is. */
  readonly whole: number;
  /** Lines that are looked at of a larger one, at least 2. */
  readonly lines: number;
}

// A page that asks for something else does not wait for the disk: places of a long file are read beside other work.
const [openFile, statFile, closeFile, readFile] = [
  promisify(open),
  promisify(fstat),
  promisify(close),
  promisify(read),
];

/**
 * Looks for metrics in a file.
 *
 * @returns what was found, by metric; null where the file cannot be read
 */
export async function earlyCurves(
  path: string,
  metrics: readonly string[],
  { whole, lines }: EarlyLook,
): Promise<ReadonlyMap<string, EarlyCurve> | null> {
  const found = new Map<string, EarlyCurve>(metrics.map((metric) => [metric, { data: null, sampled: false }]));
  const wanted = metrics.filter((metric) => !PLACES.includes(metric));
  if (wanted.length === 0) return found;
  let fd;
  try {
    fd = await openFile(path, 'r');
  } catch {
    return null;
  }
  try {
    const { size } = await statFile(fd);
    let scanners = wanted.map((metric) => new MetricScanner(metric));
    const isWhole = size <= Math.max(whole, lines * FIRST_BYTES) && allLines(fd, size, scanners);
    if (!isWhole) {
      scanners = wanted.map((metric) => new MetricScanner(metric));
      await someLines(fd, { size, lines }, scanners);
    }
    wanted.forEach((metric, i) => {
      const data = scanners[i]?.column.data() ?? null;
      found.set(metric, { data: data?.n === 0 ? null : data, sampled: !isWhole });
    });
    return found;
  } catch {
    return null;
  } finally {
    await closeFile(fd).catch(() => undefined); // it was only read
  }
}

let room: Buffer | null = null;

/** Every whole line of a file as it is now; false where one is too long to be a run's. */
function allLines(fd: number, size: number, scanners: readonly MetricScanner[]): boolean {
  // Kept, since fresh memory of this size takes as long to be had as to be read.
  let buffer = (room ??= Buffer.alloc(CHUNK_BYTES));
  for (let at = 0; at < size;) {
    const got = readSync(fd, buffer, 0, Math.min(buffer.length, size - at), at);
    const bytes = buffer.subarray(0, got);
    const whole = maxOf([0, ...scanners.map((scanner) => scanner.scan(bytes))]);
    at += whole;
    if (whole > 0) continue;
    if (got < buffer.length) break; // a last line without its end
    if (buffer.length >= MOST_LINE_BYTES) return false;
    buffer = Buffer.alloc(2 * buffer.length);
  }
  return true;
}

/** Rooms for the places of a file, those that are not in use. */
const rooms: Buffer[] = [];

/** Lines at equal distances, none of them twice. */
async function someLines(
  fd: number,
  { size, lines }: { readonly size: number; readonly lines: number },
  scanners: readonly MetricScanner[],
): Promise<void> {
  const place = rooms.pop() ?? Buffer.alloc(MOST_LINES * FIRST_BYTES);
  try {
    const windows = await Promise.all(
      Array.from({ length: Math.min(MOST_LINES, lines) }, (_, i) => {
        const buffer = place.subarray(i * FIRST_BYTES, (i + 1) * FIRST_BYTES);
        return windowAt(fd, i === lines - 1 ? null : Math.floor((size * i) / (lines - 1)), { size, buffer });
      }),
    );
    let behind = 0;
    for (let window of windows) {
      let line = lineIn(window);
      for (let length = 4 * FIRST_BYTES; line === null && length <= MOST_BYTES; length *= 4) {
        window = await windowAt(fd, window.isLast ? null : window.from, { size, buffer: Buffer.alloc(length) });
        line = lineIn(window);
      }
      if (line === null || window.from + line[0] < behind) continue;
      for (const scanner of scanners) scanner.scan(window.bytes.subarray(line[0], line[1]));
      behind = window.from + line[1];
    }
  } finally {
    rooms.push(place);
  }
}

/** A part of a file, in which a line is looked for. */
interface Window {
  readonly from: number;
  readonly bytes: Buffer;
  /** Whether the line that is wanted is the last of the file. */
  readonly isLast: boolean;
}

/** Reads the bytes from `at` on, or where that is null the last of the file. */
async function windowAt(
  fd: number,
  at: number | null,
  { size, buffer }: { readonly size: number; readonly buffer: Buffer },
): Promise<Window> {
  const from = at ?? Math.max(0, size - buffer.length);
  const { bytesRead } = await readFile(fd, buffer, 0, buffer.length, from);
  return { from, bytes: buffer.subarray(0, bytesRead), isLast: at === null };
}

/** From where to where the first or the last whole line lies; null where there is none. */
function lineIn({ from, bytes, isLast }: Window): readonly [number, number] | null {
  if (isLast) {
    const end = bytes.lastIndexOf(0x0a);
    const before = end <= 0 ? -1 : bytes.lastIndexOf(0x0a, end - 1);
    return end > 0 && (before >= 0 || from === 0) ? [before + 1, end + 1] : null;
  }
  const start = from === 0 ? 0 : bytes.indexOf(0x0a) + 1;
  const end = start === 0 && from > 0 ? -1 : bytes.indexOf(0x0a, start);
  return end < 0 ? null : [start, end + 1];
}
