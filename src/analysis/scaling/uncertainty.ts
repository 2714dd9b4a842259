/**
 * How far a fitted scaling law can be trusted: bootstrap intervals, profile likelihoods, fits without each size, the
 * collinearity of its parameters, and what these amount to in plain warnings.
 */
import { present, at, last, Rng, maxOf, minOf } from '../../core/index.js';
import {
  fitScaling,
  parametersOf,
  predict,
  sensitivities,
  type FitOptions,
  type ScalingFit,
  type ScalingParameterName,
  type ScalingParameters,
  type ScalingPoint,
} from './law.js';
import { gram, symmetricEigenvalues } from './linear-algebra.js';

/** An interval, both ends included. */
export interface Interval {
  /** The lower end. */
  readonly low: number;
  /** The upper end. */
  readonly high: number;
}

/** How the bootstrap is drawn. */
export interface BootstrapOptions {
  /** The number of resamples. */
  readonly resamples?: number;
  /** Share of resamples inside an interval. */
  readonly coverage?: number;
  readonly seed?: number;
}

/** The laws fitted to resamples of the points, and intervals of the parameters. */
export interface Bootstrap {
  /** The number of resamples. */
  readonly resamples: number;
  /** The share of resamples inside an interval, 0 to 1. */
  readonly coverage: number;
  /** One law per resample. */
  readonly laws: readonly ScalingParameters[];
  readonly intervals: Readonly<Record<ScalingParameterName, Interval>>;
}

const COVERAGE = 0.95;
/** 95 % quantile of chi-squared with one degree of freedom. */
const CHI2_95 = 3.841458820694124;

/** The interval that holds the middle `coverage` of `values`, by linear interpolation between order statistics. */
export function quantileInterval(values: readonly number[], coverage: number): Interval {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (q: number): number => {
    const place = q * (sorted.length - 1);
    const [low, high] = [present(sorted[Math.floor(place)]), present(sorted[Math.ceil(place)])];
    return low === high ? low : low + (place - Math.floor(place)) * (high - low);
  };
  return { low: at((1 - coverage) / 2), high: at((1 + coverage) / 2) };
}

/**
 * Percentile bootstrap: rows drawn again within each size, so that every resample has every size. It shows how the fit
 * moves with the scatter of the points, not what sizes beyond the data do.
 */
export function bootstrap(
  points: readonly ScalingPoint[],
  fit: ScalingFit,
  options: FitOptions,
  { resamples = 200, coverage = COVERAGE, seed = 0 }: BootstrapOptions = {},
): Bootstrap {
  const rng = Rng.of(seed, 'scaling', 'bootstrap');
  const bySize = [...groupBySize(points).values()];
  const starts = nearbyStarts(fit);
  const laws = Array.from({ length: resamples }, () => {
    const drawn = bySize.flatMap((own) => own.map(() => at(own, rng.int(own.length))));
    return fitScaling(drawn, { ...options, starts }).parameters;
  });
  const of = (name: ScalingParameterName) =>
    quantileInterval(
      laws.map((law) => law[name]),
      coverage,
    );
  return {
    resamples,
    coverage,
    laws,
    intervals: { a: of('a'), b: of('b'), c: of('c'), alpha: of('alpha'), beta: of('beta') },
  };
}

/** The interval of a law's prediction over a bootstrap. */
export function predictionInterval({ laws, coverage }: Bootstrap, N: number, D: number): Interval {
  return quantileInterval(
    laws.map((law) => predict(law, N, D)),
    coverage,
  );
}

/** The points of each model size. */
export function groupBySize(points: readonly ScalingPoint[]): Map<string, ScalingPoint[]> {
  const groups = new Map<string, ScalingPoint[]>();
  for (const point of points) groups.set(point.size, [...(groups.get(point.size) ?? []), point]);
  return groups;
}

/** The fit itself, and laws with other exponents through about the same points: enough to leave a local minimum. */
function nearbyStarts({ parameters, bounds, form }: ScalingFit): ScalingParameters[] {
  const inside = (v: number, [low, high]: readonly [number, number | null]) =>
    Math.min(Math.max(v, low), high ?? Infinity);
  const base = form === 'default' ? { ...parameters, a: Math.max(parameters.a, 1e-6) } : parameters;
  return [
    [1, 1],
    [0.6, 1.4],
    [1.4, 0.6],
  ].map(([s, t]) => {
    const alpha = inside(base.alpha * present(s), bounds.alpha);
    const beta = inside(base.beta * present(t), bounds.beta);
    // Turned about a middling model of 10^8 parameters and 10^10 tokens.
    return {
      ...base,
      alpha,
      beta,
      b: base.b * 1e8 ** (alpha - base.alpha),
      c: base.c * 1e10 ** (beta - base.beta),
    };
  });
}

/** The profile of one parameter: the best objective with the parameter held at each of some values. */
export interface Profile {
  readonly name: ScalingParameterName;
  /** Values at which the parameter was held, and the best objective with it held. */
  readonly values: readonly number[];
  /** The best objective at each value. */
  readonly objectives: readonly number[];
  /** Where twice the log-likelihood falls by less than 3.84; a null end lies beyond the values that were tried. */
  readonly low: number | null;
  /** The upper end of the profile's interval; null if it is open. */
  readonly high: number | null;
}

/**
 * Profile of a parameter: held at values around the estimate, everything else fitted anew. The likelihood is that of
 * Laplace errors in `ln y` with unknown scale, which a Huber objective with a small delta follows: twice its logarithm
 * is `-2 n ln(objective)`. Points of one training run are not independent, so the interval is rather too narrow.
 */
export function profile(
  points: readonly ScalingPoint[],
  fit: ScalingFit,
  options: FitOptions,
  name: ScalingParameterName,
): Profile {
  const threshold = fit.objective * Math.exp(CHI2_95 / (2 * points.length));
  const best = fit.parameters[name];
  const tried = new Map<number, number>([[best, fit.objective]]);
  const heldAt = (value: number): number => {
    const known = tried.get(value);
    if (known !== undefined) return known;
    const start = { ...fit.parameters, [name]: value };
    const extra = name === 'a' ? [] : [start];
    const spread = fitScaling(points, { ...options, hold: { name, value } });
    const objective = extra.reduce(
      (least, s) => Math.min(least, fitScaling(points, { ...options, starts: [s], hold: { name, value } }).objective),
      spread.objective,
    );
    tried.set(value, objective);
    return objective;
  };
  const end = (direction: -1 | 1): number | null => {
    const { reach, steps } = reachOf(name, fit, direction);
    let inside = best;
    for (let i = 1; i <= steps; i++) {
      const value = reach(i / steps);
      if (heldAt(value) > threshold) return bisect(inside, value, (v) => heldAt(v) > threshold, isScale(name));
      inside = value;
    }
    return null;
  };
  const [low, high] = [end(-1), end(1)];
  const sorted = [...tried].sort((p, q) => p[0] - q[0]);
  return { name, values: sorted.map((p) => p[0]), objectives: sorted.map((p) => p[1]), low, high };
}

const isScale = (name: ScalingParameterName): boolean => name !== 'alpha' && name !== 'beta';

/** Values to try on one side: exponents linearly to their bound (or to 1.5), factors geometrically to 10^6 times. */
function reachOf(name: ScalingParameterName, { parameters, bounds }: ScalingFit, direction: -1 | 1) {
  const best = parameters[name];
  if (name !== 'alpha' && name !== 'beta') {
    return { steps: 12, reach: (t: number) => best * Math.exp(direction * t * Math.log(1e6)) };
  }
  const [low, high] = bounds[name];
  const limit = direction < 0 ? low : Math.max(best, high ?? 1.5);
  return { steps: limit === best ? 0 : 8, reach: (t: number) => best + t * (limit - best) };
}

function bisect(inside: number, outside: number, isOut: (v: number) => boolean, geometric: boolean): number {
  let [a, b] = [inside, outside];
  for (let i = 0; i < 12; i++) {
    const middle = geometric ? Math.sqrt(a * b) : (a + b) / 2;
    if (isOut(middle)) b = middle;
    else a = middle;
  }
  return a;
}

/** The law fitted without one model size, and how well it predicts that size. */
export interface LeftOut {
  readonly size: string;
  readonly parameters: ScalingParameters;
  /** Root mean square of `prediction - y` on the size that was left out. */
  readonly rmse: number;
}

/** The law fitted without each size in turn. Sizes whose absence leaves fewer than five points are passed over. */
export function leaveOneSizeOut(points: readonly ScalingPoint[], options: FitOptions): LeftOut[] {
  return [...groupBySize(points).keys()].flatMap((size) => {
    const [rest, out] = [points.filter((p) => p.size !== size), points.filter((p) => p.size === size)];
    if (rest.length < 5) return [];
    const { parameters } = fitScaling(rest, options);
    const errors = out.map((p) => predict(parameters, p.N, p.D) - p.y);
    return [{ size, parameters, rmse: Math.sqrt(errors.reduce((s, e) => s + e * e, 0) / errors.length) }];
  });
}

/**
 * The condition number of the fit: the ratio of the largest to the smallest singular value of the sensitivities, each
 * scaled to unit length (Belsley, Kuh and Welsch 1980). Above 30 the data hardly tell the parameters apart. Infinite if
 * they cannot.
 */
export function conditionNumber(fit: ScalingFit, points: readonly ScalingPoint[]): number {
  const rows = sensitivities(fit, points);
  // A constant that is not called for has no sensitivity; it is reported as such, not as collinear.
  const kept = fit.onBound.some((b) => b.name === 'a') ? rows.map((row) => row.slice(0, 4)) : rows;
  const norms = (kept[0] ?? []).map((_, k) => Math.sqrt(kept.reduce((s, row) => s + at(row, k) ** 2, 0)));
  const scaled = kept.map((row) => row.map((v, k) => v / at(norms, k)));
  const values = symmetricEigenvalues(gram(scaled));
  const [least, most] = [at(values, 0), last(values)];
  return least <= most * 1e-15 ? Infinity : Math.sqrt(most / least);
}

/** The condition number from which on parameters are called collinear. */
export const COLLINEAR = 30;
/** An interval this much wider than the estimate says little about it. */
const WIDE = 0.5;

/** What a user should know before quoting the numbers; one sentence each. */
export function warningsOf(
  points: readonly ScalingPoint[],
  fit: ScalingFit,
  facts: {
    condition: number;
    bootstrap?: Bootstrap | undefined;
    profiles?: readonly Profile[];
    leftOut?: readonly LeftOut[];
  },
): string[] {
  const { parameters } = fit;
  const show = (v: number) => Number(v.toPrecision(3));
  const warnings: string[] = [];
  for (const { name, side } of fit.onBound) {
    if (name === 'a') warnings.push('the constant a is at zero: these points call for no constant');
    else {
      const which = `${name} sits on its ${side} bound ${show(parameters[name])}`;
      warnings.push(`${which}: the bound decides its value, not the data`);
    }
  }
  const sizes = groupBySize(points).size;
  if (sizes < 3) warnings.push(`${sizes} sizes cannot show a power law in N; train at least three`);
  if (facts.condition > COLLINEAR) {
    warnings.push(
      `exponents are not identified: the condition number is ${show(facts.condition)} (above ${COLLINEAR}), so N and D ` +
        'can stand in for one another',
    );
  }
  // Exponents decide every extrapolation, so each is looked at in three ways that fail for different reasons.
  for (const name of parametersOf(fit.form).filter((n) => n === 'alpha' || n === 'beta')) {
    const interval = facts.bootstrap?.intervals[name];
    if (interval && interval.high - interval.low > WIDE * parameters[name]) {
      warnings.push(
        `${name} is ${show(parameters[name])} but resampled points give ${show(interval.low)} to ${show(interval.high)}`,
      );
    }
    const seen = facts.profiles?.find((p) => p.name === name);
    if (seen && (seen.low === null || seen.high === null) && !fit.onBound.some((b) => b.name === name)) {
      const side = seen.low === null ? 'below' : 'above';
      warnings.push(`the likelihood of ${name} does not fall off ${side} the estimate: the data set no limit there`);
    }
    const others = (facts.leftOut ?? []).map((l) => l.parameters[name]);
    if (others.length > 0 && maxOf(others) - minOf(others) > WIDE * parameters[name]) {
      warnings.push(
        `${name} goes from ${show(minOf(others))} to ${show(maxOf(others))} as sizes are left out one by one`,
      );
    }
  }
  return warnings;
}
