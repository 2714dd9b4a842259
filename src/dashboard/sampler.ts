/** The curve of one metric of a file that is still to be read: all of its points where the file is short, else some. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import type { Column, ColumnData } from './columns.js';
import { MetricScanner } from './metric-scanner.js';

/** Lines that are read of a long file. */
const LINES = 48;
/** Bytes that are read for one line at first, and at most. */
const [FIRST_BYTES, MOST_BYTES] = [16 * 1024, 256 * 1024];
/** Bytes that are read at once of a file of which all is. */
const CHUNK_BYTES = 1 << 20;
/** A line longer than this is none that a run writes. */
const MOST_LINE_BYTES = 16 << 20;

/** Numbers of a line that are no metrics: they say where it lies. */
const PLACES: readonly string[] = ['step', 'tokens', 'time'];

/** What one look at a file has found. */
export interface EarlyCurve {
  /** The points that were found; null where the metric is not there. */
  readonly data: ColumnData | null;
  /** Whether there may be more points than these. */
  readonly sampled: boolean;
}

/**
 * Looks for one metric in a file.
 *
 * @param most how large a file is of which every line is looked at, in bytes; of a larger one 48 lines are
 * @returns null where the file cannot be read
 */
export function earlyCurve(path: string, metric: string, most: number): EarlyCurve | null {
  if (PLACES.includes(metric)) return { data: null, sampled: false };
  let fd;
  try {
    fd = openSync(path, 'r');
  } catch {
    return null;
  }
  try {
    const { size } = fstatSync(fd);
    const whole = size <= most ? allLines(fd, size, metric) : null;
    const data = (whole ?? someLines(fd, size, metric)).data();
    return { data: data.n === 0 ? null : data, sampled: whole === null };
  } catch {
    return null;
  } finally {
    closeSync(fd);
  }
}

let room: Buffer | null = null;

/** Every whole line of a file as it is now; null where one is too long to be a run's. */
function allLines(fd: number, size: number, metric: string): Column | null {
  const scanner = new MetricScanner(metric);
  // Kept, since fresh memory of this size takes as long to be had as to be read.
  let buffer = (room ??= Buffer.alloc(CHUNK_BYTES));
  for (let at = 0; at < size;) {
    const got = readSync(fd, buffer, 0, Math.min(buffer.length, size - at), at);
    const whole = scanner.scan(buffer.subarray(0, got));
    at += whole;
    if (whole > 0) continue;
    if (got < buffer.length) break; // a last line without its end
    if (buffer.length >= MOST_LINE_BYTES) return null;
    buffer = Buffer.alloc(2 * buffer.length);
  }
  return scanner.column;
}

/** Lines at equal distances. */
function someLines(fd: number, size: number, metric: string): Column {
  const scanner = new MetricScanner(metric);
  let buffer = Buffer.alloc(FIRST_BYTES);
  let behind = 0; // no line is read twice
  for (let i = 0; i < LINES; i++) {
    const at = i === LINES - 1 ? -1 : Math.max(behind, Math.floor((size * i) / (LINES - 1)));
    for (;;) {
      const from = at < 0 ? Math.max(0, size - buffer.length) : at;
      const bytes = buffer.subarray(0, readSync(fd, buffer, 0, buffer.length, from));
      const line = lineIn(bytes, from === 0 || from === behind, at < 0);
      if (line !== null && from + line[0] >= behind) {
        scanner.scan(bytes.subarray(line[0], line[1]));
        behind = from + line[1];
      }
      if (line !== null || buffer.length >= MOST_BYTES) break;
      buffer = Buffer.alloc(4 * buffer.length);
    }
  }
  return scanner.column;
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
