/**
 * Reads lines of metrics from bytes without making an object of each: of flat JSON objects whose values are numbers,
 * which is what runs write. A line of any other form is read by `JSON.parse`; one that is no object is counted and
 * passed over.
 */

/** Takes the numbers of a line. */
export interface LineSink {
  /** A place for a metric, from 0; the same for the same name. */
  indexOf(name: string): number;
  /** A line with the numbers of `count` metrics: places in `indices`, numbers in `values`. */
  line(step: number, tokens: number, time: number, indices: Int32Array, values: Float64Array, count: number): void;
}

const [QUOTE, BACKSLASH, COLON, COMMA, OPEN, CLOSE] = [0x22, 0x5c, 0x3a, 0x2c, 0x7b, 0x7d];
const [NEWLINE, MINUS, PLUS, DOT, ZERO, NINE] = [0x0a, 0x2d, 0x2b, 0x2e, 0x30, 0x39];
const [LOWER_E, UPPER_E, LOWER_N] = [0x65, 0x45, 0x6e];
/** Places of the three numbers that say where a line lies. */
const [STEP, TOKENS, TIME] = [-1, -2, -3];
const MOST_ON_LINE = 4096;
/** Powers of ten that are exact. */
const POWERS = Float64Array.from({ length: 23 }, (_, i) => 10 ** i);

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
  #number = 0;
  /** The keys of the line before, in their order: those of this line are most likely the same. */
  readonly #sequence: KnownKey[] = [];
  #turn = 0;

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
      if (!this.#value(bytes)) return false;
      const value = this.#number;
      if (index === STEP) step = value;
      else if (index === TOKENS) tokens = value;
      else if (index === TIME) time = value;
      else if (Number.isFinite(value)) {
        if (count === MOST_ON_LINE) return false;
        this.#indices[count] = index;
        this.#values[count++] = value;
      }
      const after = bytes[this.#at];
      if (after === COMMA) this.#at += 1;
      else if (after !== CLOSE || this.#at !== to - 1) return false;
    }
    if (Number.isNaN(step) || Number.isNaN(tokens)) return false;
    this.#sink.line(step, tokens, Number.isNaN(time) ? 0 : time, this.#indices, this.#values, count);
    return true;
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

  /** The number or null at this place, which is left behind it. Digits beyond those of a float64 are rounded off. */
  #value(bytes: Buffer): boolean {
    let i = this.#at;
    if (bytes[i] === LOWER_N) {
      if (bytes.toString('latin1', i, i + 4) !== 'null') return false;
      this.#at = i + 4;
      this.#number = NaN;
      return true;
    }
    // By hand, since making a text of each number for `Number` takes most of the time that a file takes.
    const negative = bytes[i] === MINUS;
    if (negative) i++;
    const first = i;
    let [mantissa, digits, shift] = [0, 0, 0];
    let byte = bytes[i] ?? 0;
    for (; byte >= ZERO && byte <= NINE; byte = bytes[++i] ?? 0) {
      if (digits < 17) mantissa = mantissa * 10 + (byte - ZERO);
      else shift++;
      if (mantissa > 0) digits++;
    }
    if (i === first) return false;
    if (byte === DOT) {
      for (byte = bytes[++i] ?? 0; byte >= ZERO && byte <= NINE; byte = bytes[++i] ?? 0) {
        if (digits >= 17) continue;
        mantissa = mantissa * 10 + (byte - ZERO);
        if (mantissa > 0) digits++;
        shift--;
      }
    }
    if (byte === LOWER_E || byte === UPPER_E) {
      byte = bytes[++i] ?? 0;
      const down = byte === MINUS;
      if (down || byte === PLUS) byte = bytes[++i] ?? 0;
      let exponent = 0;
      const begin = i;
      for (; byte >= ZERO && byte <= NINE; byte = bytes[++i] ?? 0) exponent = exponent * 10 + (byte - ZERO);
      if (i === begin) return false;
      shift += down ? -exponent : exponent;
    }
    this.#at = i;
    const size = scaled(mantissa, shift);
    this.#number = negative ? -size : size;
    return true;
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

function scaled(mantissa: number, shift: number): number {
  if (shift === 0) return mantissa;
  const power = POWERS[Math.abs(shift)];
  if (power === undefined) return Number(`${mantissa}e${shift}`);
  return shift < 0 ? mantissa / power : mantissa * power;
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
