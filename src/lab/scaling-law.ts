/** A fitted scaling law and what is asked of it. */
import {
  analyzeScaling,
  computeOptimal,
  extrapolate,
  isoLoss,
  type ScalingAnalysis,
  type ScalingOptions,
  type ScalingPoint,
} from '../analysis/index.js';

/** How a law is fitted, and what is read off its curves. */
export interface ScalingLawOptions extends ScalingOptions {
  /** Parameters N and tokens D to predict the loss at. */
  readonly at?: readonly { readonly N: number; readonly D: number }[] | undefined;
  /** Training budgets in FLOPs (6 N D) to find the best N and D for. */
  readonly flops?: readonly number[] | undefined;
  /** The loss for which the tokens are wanted that each size of the points needs. */
  readonly iso?: number | undefined;
}

/** What was asked of a law; a list is empty where nothing was. */
export interface ScalingCurves {
  readonly at: ReturnType<typeof extrapolate>;
  readonly computeOptimal: ReturnType<typeof computeOptimal>;
  readonly isoLoss: ReturnType<typeof isoLoss>;
}

/**
 * Fits a scaling law to points and reads off its curves, with intervals where the fit has a bootstrap.
 *
 * @throws DataError with fewer than five points left to fit or numbers that are not positive
 * @throws ConfigError if the only size is to be held out
 */
export function fitScalingLaw(
  points: readonly ScalingPoint[],
  { at, flops, iso, ...options }: ScalingLawOptions,
): { readonly result: ScalingAnalysis; readonly curves: ScalingCurves } {
  const result = analyzeScaling(points, options);
  const { parameters } = result.fit;
  const bands = result.bootstrap ?? undefined;
  const sizes = [...new Set(points.map((p) => p.N))];
  const curves = {
    at: at === undefined ? [] : extrapolate(parameters, at, bands),
    computeOptimal: flops === undefined ? [] : computeOptimal(parameters, flops, bands),
    isoLoss: iso === undefined ? [] : isoLoss(parameters, iso, sizes, bands),
  };
  return { result, curves };
}
