/**
 * Scaling laws `y = [a +] b N^-alpha + c D^-beta` of a loss in the model's size N and its training tokens D, and their
 * fit: the sum of Huber terms of `ln prediction - ln y` (Hoffmann et al. 2022, section 3.3;
 * thunlp/rethinking-hybrid-attention `src/scaling/fit_scaling.py`), minimized from many starts with analytic gradients.
 */
import { present, at, numberAt, DataError, maxOf, minOf } from '../../core/index.js';
import { gram, type Matrix } from './linear-algebra.js';
import { minimize, type Problem } from './minimize.js';

/** `no_constant` leaves `a` out. */
export const SCALING_FORMS = ['no_constant', 'default'] as const;
/** The form of the law: with or without a constant. */
export type ScalingForm = (typeof SCALING_FORMS)[number];

/** One trained model. */
export interface ScalingPoint {
  /** Name of the model's size; points of one size share `N`. */
  readonly size: string;
  /** Parameters. */
  readonly N: number;
  /** Training tokens. */
  readonly D: number;
  /** What is fitted, positive: a loss in nats, or the logarithm of a perplexity. */
  readonly y: number;
}

/** The parameters of the law `a + b N^-alpha + c D^-beta`, N parameters and D tokens. */
export interface ScalingParameters {
  /** What infinite size and data leave; 0 in the form without it. */
  readonly a: number;
  readonly b: number;
  readonly c: number;
  readonly alpha: number;
  readonly beta: number;
}

/** The names of the law's parameters. */
export const SCALING_PARAMETERS = ['a', 'b', 'c', 'alpha', 'beta'] as const;
/** The name of one of the law's parameters. */
export type ScalingParameterName = (typeof SCALING_PARAMETERS)[number];

/** Parameters of a form, in order. */
export function parametersOf(form: ScalingForm): readonly ScalingParameterName[] {
  return form === 'default' ? SCALING_PARAMETERS : SCALING_PARAMETERS.slice(1);
}

/** Inclusive bounds of the exponents; `null` for none. */
export interface ExponentBounds {
  readonly alpha: readonly [number, number | null];
  readonly beta: readonly [number, number | null];
}

/** Exponents from 0 (the loss never grows with size or data) to 3, far beyond any that has been seen. */
export const FREE_BOUNDS: ExponentBounds = { alpha: [0, 3], beta: [0, 3] };

/** The bounds of the study's script, which keeps alpha within 0.2 to 0.3 by hand in the form without a constant. */
export function publishedBounds(form: ScalingForm): ExponentBounds {
  return form === 'no_constant' ? { alpha: [0.2, 0.3], beta: [0, null] } : { alpha: [0, null], beta: [0, null] };
}

/** How the law is fitted. */
export interface FitOptions {
  readonly form: ScalingForm;
  readonly bounds?: ExponentBounds;
  /** Residuals beyond this count linearly; in units of `ln y`. */
  readonly huberDelta?: number;
  /** Replaces the starts that are spread over the bounds. */
  readonly starts?: readonly ScalingParameters[];
  /** Holds one parameter at a value. */
  readonly hold?: { readonly name: ScalingParameterName; readonly value: number };
}

/** A fitted law. */
export interface ScalingFit {
  readonly form: ScalingForm;
  readonly parameters: ScalingParameters;
  /** The sum (not mean) of Huber terms, as the study's script prints it. */
  readonly objective: number;
  /** The residual of `ln y` beyond which it counts linearly. */
  readonly huberDelta: number;
  readonly bounds: ExponentBounds;
  /** Parameters that ended on a bound. `a` on `lower` means: no constant is called for. */
  readonly onBound: readonly { readonly name: ScalingParameterName; readonly side: 'lower' | 'upper' }[];
  /** The number of starting points that were tried. */
  readonly starts: number;
  /** Share of the starts that ended within 0.1 % of the best objective. */
  readonly agreement: number;
  /** The number of points fitted. */
  readonly points: number;
}

/** The residual of `ln y` beyond which the fit counts linearly, as in the study's script. */
export const HUBER_DELTA = 1e-3;
/** `ln a` stays above `ln(min y)` minus this: a part in 10^9 of the smallest loss is no constant at all. */
const CONSTANT_DEPTH = Math.log(1e9);
/** Share of an objective within which two starts found the same fit. */
const SAME_FIT = 1e-3;

/** The prediction of a law. */
export function predict({ a, b, c, alpha, beta }: ScalingParameters, N: number, D: number): number {
  return a + b * N ** -alpha + c * D ** -beta;
}

/** Sum of Huber terms of a law on points. */
export function objectiveOf(
  parameters: ScalingParameters,
  points: readonly ScalingPoint[],
  huberDelta = HUBER_DELTA,
): number {
  return points.reduce((sum, p) => sum + huber(Math.log(predict(parameters, p.N, p.D)) - Math.log(p.y), huberDelta), 0);
}

function huber(r: number, delta: number): number {
  const size = Math.abs(r);
  return size <= delta ? (size * size) / 2 : delta * (size - delta / 2);
}

/** Points with logarithms taken and their means removed, which makes intercepts and exponents nearly independent. */
interface Centered {
  readonly n: readonly number[];
  readonly d: readonly number[];
  readonly y: readonly number[];
  readonly meanN: number;
  readonly meanD: number;
}

function center(points: readonly ScalingPoint[]): Centered {
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  const [n, d] = [points.map((p) => Math.log(p.N)), points.map((p) => Math.log(p.D))];
  const [meanN, meanD] = [mean(n), mean(d)];
  return {
    n: n.map((v) => v - meanN),
    d: d.map((v) => v - meanD),
    y: points.map((p) => Math.log(p.y)),
    meanN,
    meanD,
  };
}

/** Variables of the search: `[ln b - alpha meanN, ln c - beta meanD, alpha, beta, (ln a)]`. */
function toVariables(p: ScalingParameters, data: Centered, form: ScalingForm): number[] {
  const x = [Math.log(p.b) - p.alpha * data.meanN, Math.log(p.c) - p.beta * data.meanD, p.alpha, p.beta];
  return form === 'default' ? [...x, Math.log(p.a)] : x;
}

function fromVariables(x: readonly number[], data: Centered): ScalingParameters {
  const [b, c, alpha, beta, a] = x as [number, number, number, number, number?];
  return {
    a: a === undefined ? 0 : Math.exp(a),
    b: Math.exp(b + alpha * data.meanN),
    c: Math.exp(c + beta * data.meanD),
    alpha,
    beta,
  };
}

/** Log-prediction of row `i`; its derivatives by the variables go to `gradient`: fits call it too often for lists. */
function logPrediction(x: readonly number[], data: Centered, i: number, gradient: number[]): number {
  const [n, d, a] = [numberAt(data.n, i), numberAt(data.d, i), x[4]];
  const ofN = numberAt(x, 0) - numberAt(x, 2) * n;
  const ofD = numberAt(x, 1) - numberAt(x, 3) * d;
  const constant = a ?? -Infinity;
  const top = Math.max(ofN, ofD, constant);
  const [p, q, r] = [Math.exp(ofN - top), Math.exp(ofD - top), Math.exp(constant - top)];
  const sum = p + q + r;
  gradient[0] = p / sum;
  gradient[1] = q / sum;
  gradient[2] = (-p / sum) * n;
  gradient[3] = (-q / sum) * d;
  if (a !== undefined) gradient[4] = r / sum;
  return top + Math.log(sum);
}

function problemOf(data: Centered, lower: number[], upper: number[], delta: number): Problem {
  const scale = 1 / (delta * data.y.length);
  const own: number[] = [];
  const rows = (x: readonly number[]) =>
    data.y.map((y, i) => {
      const gradient: number[] = [];
      return { residual: logPrediction(x, data, i, gradient) - y, gradient };
    });
  return {
    lower,
    upper,
    evaluate: (x) => {
      const gradient = x.map(() => 0);
      let value = 0;
      for (let i = 0; i < data.y.length; i++) {
        const residual = logPrediction(x, data, i, own) - numberAt(data.y, i);
        value += scale * huber(residual, delta);
        const slope = scale * Math.min(delta, Math.max(-delta, residual));
        for (let k = 0; k < gradient.length; k++) gradient[k] = numberAt(gradient, k) + slope * numberAt(own, k);
      }
      return { value, gradient };
    },
    // Iteratively reweighted least squares: a parabola that touches each Huber term and lies above it.
    curvature: (x) => {
      const all = rows(x);
      const weights = all.map((r) => (scale * delta) / Math.max(delta, Math.abs(r.residual)));
      const jtj = gram(
        all.map((r) => r.gradient),
        weights,
      );
      const ridge = 1e-9 * maxOf(jtj.map((row, k) => at(row, k)));
      return jtj.map((row, k) => row.map((v, j) => (j === k ? v + ridge : v)));
    },
  };
}

/**
 * Fits a law.
 *
 * @throws DataError with fewer than five points, or if a number is not positive
 */
export function fitScaling(points: readonly ScalingPoint[], options: FitOptions): ScalingFit {
  checkPoints(points);
  const { form, huberDelta = HUBER_DELTA, bounds = FREE_BOUNDS, hold } = options;
  const data = center(points);
  const smallest = minOf(data.y);
  const lower = [-Infinity, -Infinity, bounds.alpha[0], bounds.beta[0], smallest - CONSTANT_DEPTH];
  const upper = [Infinity, Infinity, bounds.alpha[1] ?? Infinity, bounds.beta[1] ?? Infinity, smallest];
  const count = form === 'default' ? 5 : 4;
  const problem = held(problemOf(data, lower.slice(0, count), upper.slice(0, count), huberDelta), data, hold);
  const starts = options.starts
    ? options.starts.map((p) => toVariables(p, data, form))
    : spreadStarts(data, bounds, form, hold);
  const ends = starts.map((start) => minimize(problem.problem, problem.shorten(start)));
  const best = ends.reduce((a, b) => (b.value < a.value ? b : a));
  const scale = huberDelta * points.length;
  const near = ends.filter((e) => e.value <= best.value * (1 + SAME_FIT)).length;
  return {
    form,
    parameters: fromVariables(problem.lengthen(best.x), data),
    objective: best.value * scale,
    huberDelta,
    bounds,
    onBound: boundsMet(problem.lengthen(best.x), lower, upper, form, hold?.name),
    starts: starts.length,
    agreement: near / ends.length,
    points: points.length,
  };
}

/** Which variables of a full vector lie on a bound. */
function boundsMet(
  x: readonly number[],
  lower: readonly number[],
  upper: readonly number[],
  form: ScalingForm,
  heldName: ScalingParameterName | undefined,
): ScalingFit['onBound'] {
  const all: readonly ScalingParameterName[] = ['b', 'c', 'alpha', 'beta', 'a'];
  const names = form === 'default' ? all : all.slice(0, 4);
  return names.flatMap((name, i): ScalingFit['onBound'] => {
    if (name === heldName) return [];
    // In exponent units 1e-9 is nothing; the constant is flat long before its bound.
    const slack = name === 'a' ? CONSTANT_DEPTH / 4 : 1e-9;
    const v = at(x, i);
    if (v <= at(lower, i) + slack) return [{ name, side: 'lower' }];
    return name !== 'a' && v >= at(upper, i) - slack ? [{ name, side: 'upper' }] : [];
  });
}

/**
 * Checks that a scaling law can be fitted to points.
 * @throws DataError naming the first thing that is wrong
 */
export function checkPoints(points: readonly ScalingPoint[]): void {
  if (points.length < 5) {
    throw new DataError(`a scaling law needs at least five points, got ${points.length}; add rows`, {
      details: { points: points.length },
    });
  }
  points.forEach((p, i) => {
    for (const [name, value] of [
      ['N', p.N],
      ['D', p.D],
      ['the loss', p.y],
    ] as const) {
      if (value > 0 && Number.isFinite(value)) continue;
      throw new DataError(`row ${i + 1} (${p.size}): ${name} is ${value}, but a scaling law needs positive numbers`, {
        details: { row: i + 1 },
      });
    }
  });
}

interface Held {
  readonly problem: Problem;
  readonly shorten: (x: readonly number[]) => number[];
  readonly lengthen: (x: readonly number[]) => number[];
}

/** The problem with one parameter held. `ln b = x0 + alpha meanN` ties x0 to alpha (and c to beta), by substitution. */
function held(problem: Problem, data: Centered, hold: FitOptions['hold']): Held {
  if (hold === undefined) return { problem, shorten: (x) => [...x], lengthen: (x) => [...x] };
  const index = { b: 0, c: 1, alpha: 2, beta: 3, a: 4 }[hold.name];
  const value = hold.name === 'alpha' || hold.name === 'beta' ? hold.value : Math.log(hold.value);
  /** The variable that the held one moves with, and how fast. */
  const partner = index === 0 ? { at: 2, slope: -data.meanN } : index === 1 ? { at: 3, slope: -data.meanD } : null;
  const lengthen = (x: readonly number[]): number[] => {
    const full = [...x.slice(0, index), value, ...x.slice(index)];
    if (partner !== null) full[index] = value + partner.slope * at(full, partner.at);
    return full;
  };
  const shorten = <T>(x: readonly T[]): T[] => x.filter((_, i) => i !== index);
  const pull = (gradient: readonly number[]): number[] => {
    const full = [...gradient];
    if (partner !== null) {
      full[partner.at] = at(full, partner.at) + partner.slope * at(full, index);
    }
    return shorten(full);
  };
  return {
    shorten,
    lengthen,
    problem: {
      lower: shorten(problem.lower),
      upper: shorten(problem.upper),
      evaluate: (x) => {
        const { value: f, gradient } = problem.evaluate(lengthen(x));
        return { value: f, gradient: pull(gradient) };
      },
      curvature: (x) => {
        const full = present(problem.curvature?.(lengthen(x)));
        return shorten(full.map((row) => pull(row))).map((row, i, all) => {
          if (partner === null) return row;
          const k = partner.at - 1;
          if (i !== k) return row;
          const tied = pull(at(full, index));
          return at(all, i).map((v, j) => v + partner.slope * at(tied, j));
        });
      },
    },
  };
}

const SHARES = [0.2, 0.5, 0.8];
const EXPONENTS = [0.02, 0.08, 0.2, 0.35, 0.55, 0.9];
const CONSTANT_SHARES = [0.05, 0.4, 0.8];

/** Starts that meet the mean point: exponents over the bounds, and the mean loss shared out between the terms. */
function spreadStarts(data: Centered, bounds: ExponentBounds, form: ScalingForm, hold: FitOptions['hold']): number[][] {
  const meanY = data.y.reduce((a, b) => a + b, 0) / data.y.length;
  const smallest = minOf(data.y);
  const within = ([low, high]: readonly [number, number | null]): number[] =>
    high === null || high > 1
      ? EXPONENTS.map((e) => low + e)
      : [0, 0.25, 0.5, 0.75, 1].map((t) => low + t * (high - low));
  const alphas = hold?.name === 'alpha' ? [hold.value] : within(bounds.alpha);
  const betas = hold?.name === 'beta' ? [hold.value] : within(bounds.beta);
  const constants = form === 'default' ? CONSTANT_SHARES : [0];
  return alphas.flatMap((alpha) =>
    betas.flatMap((beta) =>
      SHARES.flatMap((share) =>
        constants.map((constant) => {
          const left = 1 - constant * Math.exp(smallest - meanY);
          const start = [meanY + Math.log(share * left), meanY + Math.log((1 - share) * left), alpha, beta];
          return form === 'default' ? [...start, smallest + Math.log(constant)] : start;
        }),
      ),
    ),
  );
}

/**
 * Derivatives of the log-prediction of each row with respect to ln b, ln c, alpha, beta, (ln a), logarithms centered.
 */
export function sensitivities(fit: Pick<ScalingFit, 'parameters' | 'form'>, points: readonly ScalingPoint[]): Matrix {
  const data = center(points);
  const x = toVariables(fit.parameters, data, fit.form);
  return points.map((_, i) => {
    const gradient: number[] = [];
    logPrediction(x, data, i, gradient);
    return gradient;
  });
}

/** The starts of the study's script: its grid, exponents moved into the bounds, repeats left out. */
export function publishedStarts(form: ScalingForm): ScalingParameters[] {
  const grid =
    form === 'default'
      ? { alpha: [0, 0.5, 1, 1.5, 2], beta: [0, 0.5, 1, 1.5, 2], A: [-1, -0.5, 0, 0.5, 1], BC: [0, 3, 6, 9, 12] }
      : { alpha: [0.1, 0.2, 0.5, 1, 1.5, 2], beta: [0.1, 0.2, 0.5, 0.8, 1, 1.2], A: [-Infinity], BC: [] };
  const bs = form === 'default' ? grid.BC : [0, 1, 2, 4, 6, 8, 10, 12];
  const cs = form === 'default' ? grid.BC : [0, 1, 2, 8, 10, 12];
  const { alpha: bound } = publishedBounds(form);
  const alphas = [...new Set(grid.alpha.map((v) => Math.min(Math.max(v, bound[0]), bound[1] ?? Infinity)))];
  return alphas.flatMap((alpha) =>
    grid.beta.flatMap((beta) =>
      grid.A.flatMap((A) =>
        bs.flatMap((B) => cs.map((C) => ({ a: Math.exp(A), b: Math.exp(B), c: Math.exp(C), alpha, beta }))),
      ),
    ),
  );
}
