/** A curve as the page holds it. No DOM. */

/** One metric of one run in buckets: where each begins, the least, largest and mean of its values. */
export interface Curve {
  readonly run: string;
  readonly metric: string;
  readonly perBucket: number;
  /** The place of the last point: the last bucket reaches to it. */
  readonly end: number;
  /** The most buckets that were asked for: a curve of fewer may be had finer. */
  readonly most: number;
  /** Whether these are a few points of a file that is still to be read. */
  readonly sampled: boolean;
  readonly x: Float64Array;
  readonly low: Float32Array;
  readonly high: Float32Array;
  readonly mean: Float32Array;
}
