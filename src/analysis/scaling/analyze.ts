/** A whole scaling analysis of a table: fit, hold-out, uncertainty, warnings. */
import { ConfigError } from '../../core/index.js';
import {
  fitScaling,
  FREE_BOUNDS,
  HUBER_DELTA,
  parametersOf,
  predict,
  publishedBounds,
  type ScalingFit,
  type ScalingForm,
  type ScalingPoint,
} from './law.js';
import {
  bootstrap,
  conditionNumber,
  groupBySize,
  leaveOneSizeOut,
  predictionInterval,
  profile,
  warningsOf,
  type Bootstrap,
  type Interval,
  type LeftOut,
  type Profile,
} from './uncertainty.js';

/** How well a law fits some points. */
export interface FitMetrics {
  /** The number of points. */
  readonly points: number;
  /** All of `prediction - y`, in the units of y. */
  readonly r2: number;
  /** The root mean square of the residuals, in the units of y. */
  readonly rmse: number;
  /** The mean absolute residual, in the units of y. */
  readonly mae: number;
}

/** A point of the table with the law's prediction. */
export interface ScalingRow extends ScalingPoint {
  /** The y that the law predicts. */
  readonly predicted: number;
  /** The interval of the prediction over the bootstrap; null without one. */
  readonly interval: Interval | null;
  readonly split: 'train' | 'held-out';
}

/** A fitted scaling law with everything that says how far to trust it. */
export interface ScalingAnalysis {
  readonly format: 1;
  readonly fit: ScalingFit;
  readonly compat: boolean;
  readonly train: FitMetrics;
  readonly heldOut: (FitMetrics & { readonly size: string }) | null;
  /** The condition number of the fit; see `conditionNumber`. */
  readonly condition: number;
  readonly bootstrap: Bootstrap | null;
  readonly profiles: readonly Profile[];
  readonly leaveOneSizeOut: readonly LeftOut[];
  readonly rows: readonly ScalingRow[];
  readonly warnings: readonly string[];
}

/** Which law is fitted, and what is computed beside it. */
export interface ScalingOptions {
  readonly form: ScalingForm;
  /**
   * The study's bounds (alpha within 0.2 to 0.3 without a constant); the optimum within them, not where its script
   * stops.
   */
  readonly compat?: boolean;
  /** Keeps the largest size out of the fit. */
  readonly holdOutLargest?: boolean;
  /** Resamples of the bootstrap; 0 for none. */
  readonly resamples?: number;
  readonly profiles?: boolean;
  readonly seed?: number;
}

/** R^2, root mean square and mean absolute error of a law on points, in the units of y. */
export function metricsOf(parameters: ScalingFit['parameters'], points: readonly ScalingPoint[]): FitMetrics {
  const n = points.length;
  const mean = points.reduce((s, p) => s + p.y, 0) / n;
  const errors = points.map((p) => predict(parameters, p.N, p.D) - p.y);
  const squares = errors.reduce((s, e) => s + e * e, 0);
  const spread = points.reduce((s, p) => s + (p.y - mean) ** 2, 0);
  return {
    points: n,
    r2: 1 - squares / spread,
    rmse: Math.sqrt(squares / n),
    mae: errors.reduce((s, e) => s + Math.abs(e), 0) / n,
  };
}

/**
 * Fits a scaling law and everything that says how far to trust it: bootstrap, profiles, sizes left out.
 *
 * @throws DataError with fewer than five points left to fit or numbers that are not positive
 * @throws ConfigError if the only size is to be held out
 */
export function analyzeScaling(points: readonly ScalingPoint[], options: ScalingOptions): ScalingAnalysis {
  const { form, compat = false, holdOutLargest = false, resamples = 200, profiles: wantProfiles = true } = options;
  const heldSize = holdOutLargest ? largestSize(points) : null;
  const train = points.filter((p) => p.size !== heldSize);
  const held = points.filter((p) => p.size === heldSize);
  const fitOptions = { form, bounds: compat ? publishedBounds(form) : FREE_BOUNDS, huberDelta: HUBER_DELTA };
  const fit = fitScaling(train, fitOptions);
  const condition = conditionNumber(fit, train);
  const resampled = resamples > 0 ? bootstrap(train, fit, fitOptions, { resamples, seed: options.seed ?? 0 }) : null;
  const onBound = new Set(fit.onBound.map((b) => b.name));
  const profiles = wantProfiles
    ? parametersOf(form)
        .filter((name) => !(name === 'a' && onBound.has('a')))
        .map((name) => profile(train, fit, fitOptions, name))
    : [];
  const leftOut = leaveOneSizeOut(train, fitOptions);
  const rowOf = (split: ScalingRow['split']) => (p: ScalingPoint) => ({
    ...p,
    predicted: predict(fit.parameters, p.N, p.D),
    interval: resampled ? predictionInterval(resampled, p.N, p.D) : null,
    split,
  });
  return {
    format: 1,
    fit,
    compat,
    train: metricsOf(fit.parameters, train),
    heldOut: heldSize === null ? null : { size: heldSize, ...metricsOf(fit.parameters, held) },
    condition,
    bootstrap: resampled,
    profiles,
    leaveOneSizeOut: leftOut,
    rows: [...train.map(rowOf('train')), ...held.map(rowOf('held-out'))],
    warnings: warningsOf(train, fit, { condition, bootstrap: resampled ?? undefined, profiles, leftOut }),
  };
}

function largestSize(points: readonly ScalingPoint[]): string {
  if (groupBySize(points).size < 2) {
    throw new ConfigError('holding out the largest size needs at least two sizes; there is one');
  }
  return points.reduce((a, b) => (b.N > a.N ? b : a)).size;
}
