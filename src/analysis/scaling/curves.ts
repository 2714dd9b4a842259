/** Curves that a scaling law implies: equal loss, best use of compute, and predictions beyond the data, with bands. */
import { present, ConfigError } from '../../core/index.js';
import { predict, type ScalingParameters } from './law.js';
import { predictionInterval, quantileInterval, type Bootstrap, type Interval } from './uncertainty.js';

/** Training FLOPs per parameter and token: forward and backward products. */
const FLOPS_PER_PARAMETER_TOKEN = 6;

/** The tokens with which size N reaches `y`; null if no amount does. */
export function tokensForLoss({ a, b, c, alpha, beta }: ScalingParameters, y: number, N: number): number | null {
  const left = y - a - b * N ** -alpha;
  return left > 0 && beta > 0 ? (c / left) ** (1 / beta) : null;
}

/** Tokens that a model of one size needs for a loss: `N` parameters. */
export interface IsoLossPoint {
  readonly N: number;
  /** The training tokens that are needed; null where this size never gets there. */
  readonly D: number | null;
  /** Over the laws of a bootstrap; null without one, or if some law never gets there. */
  readonly interval: Interval | null;
}

/** Sizes and tokens of equal loss. */
export function isoLoss(
  law: ScalingParameters,
  y: number,
  sizes: readonly number[],
  resampled?: Bootstrap,
): IsoLossPoint[] {
  return sizes.map((N) => {
    const all = resampled?.laws.map((l) => tokensForLoss(l, y, N)) ?? [];
    const known = all.flatMap((D) => (D === null ? [] : [D]));
    const complete = known.length > 0 && known.length === all.length && resampled !== undefined;
    return {
      N,
      D: tokensForLoss(law, y, N),
      interval: complete ? quantileInterval(known, resampled.coverage) : null,
    };
  });
}

/** The best split of a budget of FLOPs over `N` parameters and `D` tokens, with the law's `y`. */
export interface ComputeOptimum {
  /** Training FLOPs, 6 N D. */
  readonly flops: number;
  readonly N: number;
  readonly D: number;
  readonly y: number;
  /** Over the laws of a bootstrap; null without one. */
  readonly intervals: { readonly N: Interval; readonly D: Interval; readonly y: Interval } | null;
}

/** The best N and D for 6 N D FLOPs (Hoffmann et al. 2022, equation 4): `N = G (C/6)^(beta/(alpha+beta))`. */
function optimumOf(law: ScalingParameters, flops: number): { N: number; D: number; y: number } {
  const { b, c, alpha, beta } = law;
  if (!(alpha > 0 && beta > 0)) {
    throw new ConfigError(`an exponent is zero (alpha ${alpha}, beta ${beta}), so no size is best for a given compute`);
  }
  const budget = flops / FLOPS_PER_PARAMETER_TOKEN;
  const N = ((alpha * b) / (beta * c)) ** (1 / (alpha + beta)) * budget ** (beta / (alpha + beta));
  const D = budget / N;
  return { N, D, y: predict(law, N, D) };
}

/**
 * The best split of each budget of FLOPs over parameters and tokens.
 * @throws ConfigError if an exponent of the law is zero
 */
export function computeOptimal(
  law: ScalingParameters,
  flops: readonly number[],
  resampled?: Bootstrap,
): ComputeOptimum[] {
  return flops.map((budget) => {
    const laws = resampled?.laws.filter((l) => l.alpha > 0 && l.beta > 0).map((l) => optimumOf(l, budget)) ?? [];
    const of = (name: 'N' | 'D' | 'y') =>
      quantileInterval(
        laws.map((o) => o[name]),
        present(resampled).coverage,
      );
    return {
      flops: budget,
      ...optimumOf(law, budget),
      intervals: laws.length === 0 ? null : { N: of('N'), D: of('D'), y: of('y') },
    };
  });
}

/** The law's `y` at `N` parameters and `D` tokens. */
export interface Extrapolation {
  readonly N: number;
  readonly D: number;
  readonly y: number;
  readonly interval: Interval | null;
}

/** Predictions at other sizes and token counts. */
export function extrapolate(
  law: ScalingParameters,
  places: readonly { readonly N: number; readonly D: number }[],
  resampled?: Bootstrap,
): Extrapolation[] {
  return places.map(({ N, D }) => ({
    N,
    D,
    y: predict(law, N, D),
    interval: resampled ? predictionInterval(resampled, N, D) : null,
  }));
}
