/**
 * Whether float32 explains an error past the tolerance: deep stacks, above all of delta rules, amplify the rounding of
 * float32, so that two right programs are farther apart than any fixed tolerance. Both are compared with float64.
 */
import { at } from '../core/index.js';

/** How far values computed in float32 are from float64, as parts of the largest expected value. */
export interface Float64Distances {
  /** The largest difference of an expected value. */
  readonly expected: number;
  /** The largest difference of a value of ours. */
  readonly ours: number;
}

/** Neither program may be farther from float64 than this many times the other. */
const FLOAT32_FACTOR = 30;

/**
 * Farther than this from float64, as a part of the largest value or of a norm, float32 says nothing about a model.
 * Gradients go through the layers twice, and multiply their errors.
 */
const FLOAT32_LIMITS = { values: 0.1, gradients: 0.5 } as const;

/** One expected quantity, flat, as three programs have it: `exact` is ours in float64. */
export interface Versions {
  readonly name: string;
  readonly expected: ArrayLike<number>;
  /** What our float32 gives, `[elements]`. */
  readonly ours: Float64Array;
  /** What our float64 gives, `[elements]`. */
  readonly exact: Float64Array;
  /** What differences are relative to: the largest expected value. */
  readonly size: number;
  /** What float32 may leave where terms cancel, and one program finds 0, relative to `size` (default: 0). */
  readonly rounding?: number;
}

function distance(a: ArrayLike<number>, { exact, size }: Versions): number {
  let worst = 0;
  exact.forEach((v, i) => {
    const difference = Math.abs((a[i] ?? NaN) - v);
    worst = Number.isNaN(difference) ? Infinity : Math.max(worst, difference);
  });
  return worst === 0 ? 0 : worst / size;
}

/** The verdict on one quantity. */
export interface Float64Verdict extends Float64Distances {
  /** Whether the error is one of float32, not of the model. */
  readonly explained: boolean;
}

/**
 * Judges the `versions` of one kind, by name. Our float32 shows how far rounding alone takes this model from float64:
 * the expected values may be `FLOAT32_FACTOR` times as far and no more, or they are those of another model; nor may
 * ours be that much farther than the expected ones. A single number may be right by chance, so that it is held against
 * the largest distance of its kind. Where terms cancel, one program may be exact and the other leave their `rounding`.
 */
export function judgeByFloat64(
  kind: keyof typeof FLOAT32_LIMITS,
  versions: readonly Versions[],
): ReadonlyMap<string, Float64Verdict> {
  const distances = versions.map((v) => ({ expected: distance(v.expected, v), ours: distance(v.ours, v) }));
  const most = {
    expected: distances.reduce((m, d) => Math.max(m, d.expected), 0),
    ours: distances.reduce((m, d) => Math.max(m, d.ours), 0),
  };
  return new Map(
    versions.map(({ name, exact, rounding = 0 }, i): [string, Float64Verdict] => {
      const { expected, ours } = at(distances, i);
      const noise = exact.length > 1 ? { expected, ours } : most;
      const explained =
        Math.max(expected, ours) <= FLOAT32_LIMITS[kind] &&
        expected <= Math.max(FLOAT32_FACTOR * noise.ours, rounding) &&
        ours <= Math.max(FLOAT32_FACTOR * noise.expected, rounding);
      return [name, { expected, ours, explained }];
    }),
  );
}
