/** Intervals of measured shares. */

/** An interval of real numbers, both ends included. */
export interface Interval {
  /** The lower end. */
  readonly low: number;
  /** The upper end. */
  readonly high: number;
}

/** The standard normal quantile of a two-sided 95 % interval, 1.96. */
export const Z95 = 1.959963984540054;

/**
 * The 95 % interval of a share (Wilson 1927, the score interval without continuity correction). It is never of width
 * zero: 0 of 2 gives 0 to 0.66.
 *
 * @param successes the share times `count`; a sum of scores from 0 to 1 makes an interval that is wide enough, and
 * wider than
 *   needed where scores lie inside of that range
 * @param count independent trials; of none, the interval is 0 to 1
 */
export function wilson(successes: number, count: number): Interval {
  if (count === 0) return { low: 0, high: 1 };
  const p = successes / count;
  const z2 = (Z95 * Z95) / count;
  const middle = (p + z2 / 2) / (1 + z2);
  const half = (Z95 / (1 + z2)) * Math.sqrt((p * (1 - p)) / count + z2 / (4 * count));
  return { low: p === 0 ? 0 : Math.max(0, middle - half), high: p === 1 ? 1 : Math.min(1, middle + half) };
}

/** `0.50 (0.22 to 0.78)`: a share with its interval. */
export function formatShare(successes: number, count: number, digits = 2): string {
  const { low, high } = wilson(successes, count);
  return `${(successes / count).toFixed(digits)} (${low.toFixed(digits)} to ${high.toFixed(digits)})`;
}
