/**
 * Functions over lists of any length. Spreading a list into arguments (`Math.max(...list)`) overflows the stack from
 * about 120,000 elements on, so these take the list itself.
 */

/**
 * The largest value: -Infinity for an empty list, NaN if any value is NaN. Unlike `Math.max(...values)` it takes lists
 * of any length.
 */
export function maxOf(values: Iterable<number>): number {
  let largest = -Infinity;
  for (const value of values) largest = Math.max(largest, value);
  return largest;
}

/**
 * The smallest value: Infinity for an empty list, NaN if any value is NaN. Unlike `Math.min(...values)` it takes lists
 * of any length.
 */
export function minOf(values: Iterable<number>): number {
  let smallest = Infinity;
  for (const value of values) smallest = Math.min(smallest, value);
  return smallest;
}

/** The greatest common divisor of two whole numbers of at least 0. */
export function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}

/** The mean of numbers, each counted once; NaN for none. */
export function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Adds values at the end of a list in place. Unlike `list.push(...values)` it takes any number of them. */
export function append<T>(list: T[], values: Iterable<T>): void {
  for (const value of values) list.push(value);
}

/** Token ids of several lists, concatenated: i32 [sum of lengths]. */
export function concatIds(...parts: readonly ArrayLike<number>[]): Int32Array {
  const whole = new Int32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
