/** A curve as the page holds it. No DOM. */

/** One metric of one run in buckets: where each begins, the least, largest and mean of its values. */
export interface Curve {
  readonly run: string;
  readonly metric: string;
  readonly perBucket: number;
  readonly x: Float64Array;
  readonly low: Float32Array;
  readonly high: Float32Array;
  readonly mean: Float32Array;
}
