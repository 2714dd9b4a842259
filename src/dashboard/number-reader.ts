/** Reads numbers of JSON from bytes, without making a text of each. */
const [MINUS, PLUS, DOT, ZERO, NINE] = [0x2d, 0x2b, 0x2e, 0x30, 0x39];
const [LOWER_E, UPPER_E, LOWER_N] = [0x65, 0x45, 0x6e];
/** Powers of ten that are exact. */
const POWERS = Float64Array.from({ length: 23 }, (_, i) => 10 ** i);

/** Reads one number at a time. */
export class NumberReader {
  /** The place behind what was read last. */
  at = 0;
  /** What was read last; NaN for null. */
  number = 0;

  /** Reads the number or null at a place; false for none. Digits beyond those of a float64 are rounded off. */
  read(bytes: Buffer, from: number): boolean {
    let i = from;
    if (bytes[i] === LOWER_N) {
      if (bytes.toString('latin1', i, i + 4) !== 'null') return false;
      this.at = i + 4;
      this.number = NaN;
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
    if (i === first || (i > first + 1 && bytes[first] === ZERO)) return false;
    if (byte === DOT) {
      const begin = i + 1;
      for (byte = bytes[++i] ?? 0; byte >= ZERO && byte <= NINE; byte = bytes[++i] ?? 0) {
        if (digits >= 17) continue;
        mantissa = mantissa * 10 + (byte - ZERO);
        if (mantissa > 0) digits++;
        shift--;
      }
      if (i === begin) return false;
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
    this.at = i;
    const size = scaled(mantissa, shift);
    this.number = negative ? -size : size;
    return true;
  }
}

function scaled(mantissa: number, shift: number): number {
  if (shift === 0) return mantissa;
  const power = POWERS[Math.abs(shift)];
  if (power === undefined) return Number(`${mantissa}e${shift}`);
  return shift < 0 ? mantissa / power : mantissa * power;
}
