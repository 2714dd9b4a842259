/**
 * Reads lines of metrics from bytes without making an object of each: of flat JSON objects whose values are numbers,
 * which is what runs write. A line of any other form is read by `JSON.parse`; one that is no object is counted and
 * passed over. Of a key that a line has twice the last value counts, as with `JSON.parse`.
 */
import { NumberReader } from './number-reader.js';

/** Takes the numbers of a line. */
export interface LineSink {
  /** A place for a metric, from 0; the same for the same name. */
  indexOf(name: string): number;
  /** A line with the numbers of `count` metrics: places in `indices`, numbers in `values`. */
  line(step: number, tokens: number, time: number, indices: Int32Array, values: Float64Array, count: number): void;
}

const [QUOTE, BACKSLASH, COLON, COMMA, OPEN, CLOSE] = [0x22, 0x5c, 0x3a, 0x2c, 0x7b, 0x7d];
const NEWLINE = 0x0a;
/** Places of the three numbers that say where a line lies. */
const [STEP, TOKENS, TIME] = [-1, -2, -3];
const MOST_ON_LINE = 4096;

interface KnownKey {
  readonly bytes: Buffer;
  readonly index: number;
  next: KnownKey | null;
}

/** Reads whole lines; keeps what it has learned of names. */
export class LineScanner {
  readonly #sink: LineSink;
  readonly #keys = new Map<number, KnownKey>();
  readonly #indices = new Int32Array(MOST_ON_LINE);
  readonly #values = new Float64Array(MOST_ON_LINE);
  /** Lines that were no measurement. */
  bad = 0;
  #at = 0;
  readonly #reader = new NumberReader();
  /** The keys of the line before, in their order: those of this line are most likely the same. */
  readonly #sequence: KnownKey[] = [];
  #turn = 0;
  /** So many of those, from the first on, are known to be different. */
  #distinct = 0;

  constructor(sink: LineSink) {
    this.#sink = sink;
  }

  /** Reads the whole lines of `bytes` from `start` up to `end`; returns where the first that is not whole begins. */
  scan(bytes: Buffer, start: number, end: number): number {
    let from = start;
    while (from < end) {
      const to = bytes.indexOf(NEWLINE, from);
      if (to < 0 || to >= end) break;
      if (to > from && !this.#flat(bytes, from, to)) this.#anyForm(bytes.toString('utf8', from, to));
      from = to + 1;
    }
    return from;
  }

  /** A flat object of numbers and nulls without spaces; false for any other line. */
  #flat(bytes: Buffer, from: number, to: number): boolean {
    if (bytes[from] !== OPEN || bytes[to - 1] !== CLOSE) return false;
    let [step, tokens, time, count] = [NaN, NaN, 0, 0];
    this.#at = from + 1;
    this.#turn = 0;
    while (this.#at < to - 1) {
      const index = this.#key(bytes, to);
      if (index === null || bytes[this.#at] !== COLON) return false;
      this.#at += 1;
      if (!this.#reader.read(bytes, this.#at)) return false;
      this.#at = this.#reader.at;
      const value = this.#reader.number;
      if (index === STEP) step = value;
      else if (index === TOKENS) tokens = value;
      else if (index === TIME) time = value;
      else if (Number.isFinite(value)) {
        if (count === MOST_ON_LINE) return false;
        this.#indices[count] = index;
        this.#values[count++] = value;
      }
      const after = bytes[this.#at];
      if (after === COMMA && this.#at < to - 2) this.#at += 1;
      else if (after !== CLOSE || this.#at !== to - 1) return false;
    }
    if (Number.isNaN(step) || Number.isNaN(tokens) || !this.#areDistinct(this.#turn)) return false;
    this.#sink.line(step, tokens, Number.isNaN(time) ? 0 : time, this.#indices, this.#values, count);
    return true;
  }

  /** Whether the first `count` keys, those of a line, are all different. */
  #areDistinct(count: number): boolean {
    if (count <= this.#distinct) return true;
    const keys = new Set(this.#sequence.slice(0, count));
    if (keys.size === count) this.#distinct = count;
    return keys.size === count;
  }

  /** The key at this place, which is left behind it; null for one with escapes. */
  #key(bytes: Buffer, to: number): number | null {
    if (bytes[this.#at] !== QUOTE) return null;
    const start = this.#at + 1;
    const turn = this.#turn++;
    const expected = this.#sequence[turn];
    if (
      expected !== undefined &&
      bytes[start + expected.bytes.length] === QUOTE &&
      same(expected.bytes, bytes, start)
    ) {
      this.#at = start + expected.bytes.length + 1;
      return expected.index;
    }
    this.#distinct = Math.min(this.#distinct, turn);
    let hash = 0;
    let i = start;
    for (; i < to; i++) {
      const byte = bytes[i] ?? 0;
      if (byte === QUOTE) break;
      if (byte === BACKSLASH) return null;
      hash = (Math.imul(hash, 31) + byte) | 0;
    }
    if (i === to) return null;
    this.#at = i + 1;
    for (let known = this.#keys.get(hash) ?? null; known !== null; known = known.next) {
      if (known.bytes.length !== i - start || !same(known.bytes, bytes, start)) continue;
      this.#sequence[turn] = known;
      return known.index;
    }
    const name = bytes.toString('utf8', start, i);
    const added = { bytes: Buffer.from(bytes.subarray(start, i)), index: this.#place(name), next: null };
    const known = { ...added, next: this.#keys.get(hash) ?? null };
    this.#keys.set(hash, known);
    this.#sequence[turn] = known;
    return added.index;
  }

  #place(name: string): number {
    return name === 'step' ? STEP : name === 'tokens' ? TOKENS : name === 'time' ? TIME : this.#sink.indexOf(name);
  }

  #anyForm(text: string): void {
    const line = parsed(text);
    if (line === null) {
      this.bad += 1;
      return;
    }
    const { step, tokens, time, ...metrics } = line;
    if (typeof step !== 'number' || typeof tokens !== 'number') {
      this.bad += 1;
      return;
    }
    let count = 0;
    for (const [name, value] of Object.entries(metrics)) {
      if (typeof value !== 'number' || !Number.isFinite(value) || count === MOST_ON_LINE) continue;
      this.#indices[count] = this.#sink.indexOf(name);
      this.#values[count++] = value;
    }
    this.#sink.line(step, tokens, typeof time === 'number' ? time : 0, this.#indices, this.#values, count);
  }
}

function same(known: Buffer, bytes: Buffer, start: number): boolean {
  for (let i = 0; i < known.length; i++) if (known[i] !== bytes[start + i]) return false;
  return true;
}

/** A line as an object; null for what is none. */
export function parsed(text: string): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : null;
  } catch {
    return null;
  }
}
