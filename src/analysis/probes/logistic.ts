/**
 * L2-regularized logistic regression as liblinear defines it (Fan et al. 2008; scikit-learn's `LogisticRegression` with
 * `solver='liblinear'`): minimize `|w|^2 / 2 + C sum_i log(1 + exp(-s_i w.x_i))`, where the intercept is one more
 * weight on a feature that is always 1 and is penalized like the others. Several classes: one against the rest, each
 * for itself.
 *
 * Solved by Newton steps, their equations by conjugate gradients (Lin, Weng and Keerthi 2008), to a gradient of 1e-6 of
 * its start, where liblinear stops at about 1e-4. States of a model are strongly correlated, so conjugate gradients are
 * preconditioned by the Hessian of equal curvatures, which all classes share (`equalCurvature`).
 */
import { at, f64At, ConfigError, DataError, maxOf } from '../../core/index.js';
import { equalCurvature, timesRows, timesRowsTransposed, type Features, type Preconditioner } from './rows.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const readF64 = f64At;

/** How logistic regression is fitted. */
export interface LogisticOptions {
  /** Inverse strength of the penalty. */
  readonly C?: number;
  readonly maxSteps?: number;
  /** Stop at this share of the gradient at zero weights. */
  readonly tolerance?: number;
}

/** Logistic regressions of `classes` classes over `width` features, each against all others. */
export interface OneVsRest {
  readonly classes: number;
  readonly width: number;
  /** `[classes, width + 1]`, the intercept last. */
  readonly weights: readonly Float64Array[];
  /** Newton steps, of the class that took most. */
  readonly steps: number;
}

const DEFAULTS = { C: 0.1, maxSteps: 100, tolerance: 1e-6 };

/**
 * Fits one logistic regression for each class against all others, with an L2 penalty.
 *
 * @param labels class of each row, 0 to `classes - 1`
 * @throws DataError if labels do not fit the rows, or some class has no row
 */
export function fitOneVsRest(
  features: Features,
  labels: ArrayLike<number>,
  classes: number,
  options: LogisticOptions = {},
): OneVsRest {
  if (labels.length !== features.rows) {
    throw new DataError(`there are ${features.rows} rows of features but ${labels.length} labels`);
  }
  if (classes < 2) throw new ConfigError(`a probe needs at least two classes, got ${classes}`);
  const counts = new Array<number>(classes).fill(0);
  for (let i = 0; i < labels.length; i++) counts[at(labels, i)] = (counts[at(labels, i)] ?? 0) + 1;
  const empty = counts.findIndex((c) => c === 0);
  if (empty >= 0 || counts.length > classes) {
    throw new DataError(`class ${empty >= 0 ? empty : classes} of ${classes} has no training row; add samples`);
  }
  const chosen = { ...DEFAULTS, ...options };
  // The mean curvature where every row gets the probability that its class has overall.
  const curvature = counts.reduce((sum, n) => sum + (n / labels.length) * (1 - n / labels.length), 0) / classes;
  const precondition = equalCurvature(features, chosen.C * curvature);
  const fits = counts.map((_, k) => {
    const signs = Float64Array.from({ length: labels.length }, (__, i) => (labels[i] === k ? 1 : -1));
    return fitBinary(features, signs, chosen, precondition);
  });
  return {
    classes,
    width: features.width,
    weights: fits.map((f) => f.weights),
    steps: maxOf(fits.map((f) => f.steps)),
  };
}

/** The likeliest class of each row: that with the largest decision value, the first of equals. */
export function predictClasses({ weights }: OneVsRest, features: Features): Int32Array {
  const values = weights.map((w) => timesRows(features, w));
  return Int32Array.from({ length: features.rows }, (_, i) => {
    let [best, top] = [0, -Infinity];
    values.forEach((of, k) => {
      if (readF64(of, i) > top) [best, top] = [k, readF64(of, i)];
    });
    return best;
  });
}

interface Binary {
  readonly weights: Float64Array;
  readonly steps: number;
}

function fitBinary(
  x: Features,
  signs: Float64Array,
  { C, maxSteps, tolerance }: Required<LogisticOptions>,
  precondition: Preconditioner,
): Binary {
  let w: Float64Array = new Float64Array(x.width + 1);
  // The decision values of all rows move along with the weights, so that a shorter step costs no pass over the rows.
  let decisions: Float64Array = new Float64Array(x.rows);
  let here = evaluate(signs, w, decisions, C);
  let gradient = gradientOf(x, w, here);
  const start = norm(gradient);
  for (let step = 0; step < maxSteps; step++) {
    const size = norm(gradient);
    if (size <= tolerance * start) return { weights: w, steps: step };
    // Far from the end a rough direction will do.
    const enough = Math.min(0.1, Math.sqrt(size / start));
    const { direction, moves } = newtonDirection(x, { gradient, ...here }, precondition, enough);
    const slope = dot(gradient, direction);
    const tryStep = (t: number) => {
      const [weights, values] = [moved(w, direction, t), moved(decisions, moves, t)];
      return { weights, values, state: evaluate(signs, weights, values, C) };
    };
    let t = 1;
    let next = tryStep(t);
    while (!(next.state.value <= here.value + 1e-4 * t * slope) && t > 1e-10) {
      t /= 2;
      next = tryStep(t);
    }
    if (!(next.state.value < here.value)) return { weights: w, steps: step };
    [w, decisions, here] = [next.weights, next.values, next.state];
    gradient = gradientOf(x, w, here);
  }
  return { weights: w, steps: maxSteps };
}

interface State {
  readonly value: number;
  /** First derivative of each row's loss by its decision value. */
  readonly pull: Float64Array;
  /** Second derivative of each row's loss by its decision value. */
  readonly curvature: Float64Array;
}

function evaluate(signs: Float64Array, w: Float64Array, decisions: Float64Array, C: number): State {
  const [pull, curvature] = [new Float64Array(decisions.length), new Float64Array(decisions.length)];
  let value = dot(w, w) / 2;
  for (let i = 0; i < decisions.length; i++) {
    const sign = readF64(signs, i);
    const margin = sign * readF64(decisions, i);
    // log(1 + exp(-m)) and its derivative -sigmoid(-m), safe for large |m|.
    const tail = Math.exp(-Math.abs(margin));
    value += C * (Math.max(-margin, 0) + Math.log1p(tail));
    const wrong = margin > 0 ? tail / (1 + tail) : 1 / (1 + tail);
    pull[i] = -C * sign * wrong;
    curvature[i] = C * wrong * (1 - wrong);
  }
  return { value, pull, curvature };
}

function gradientOf(x: Features, w: Float64Array, { pull }: State): Float64Array {
  const gradient = Float64Array.from(w);
  timesRowsTransposed(x, pull, gradient);
  return gradient;
}

/**
 * Solves `(I + X^T diag(curvature) X) d = -gradient` by preconditioned conjugate gradients, to a residual of `enough`
 * times the gradient. `moves` is `X d`, by which the decision values change.
 */
function newtonDirection(
  x: Features,
  { gradient, curvature }: { readonly gradient: Float64Array; readonly curvature: Float64Array },
  precondition: Preconditioner,
  enough: number,
): { direction: Float64Array; moves: Float64Array } {
  const [direction, moves] = [new Float64Array(gradient.length), new Float64Array(x.rows)];
  const r = gradient.map((g) => -g);
  const stop = enough * norm(r);
  let z = precondition(r);
  let p = Float64Array.from(z);
  let rz = dot(r, z);
  for (let k = 0; k < 2 * gradient.length + 10 && norm(r) > stop; k++) {
    const xp = timesRows(x, p);
    const hp = Float64Array.from(p);
    timesRowsTransposed(
      x,
      xp.map((v, i) => v * readF64(curvature, i)),
      hp,
    );
    const alpha = rz / dot(p, hp);
    addTo(direction, p, alpha);
    addTo(moves, xp, alpha);
    addTo(r, hp, -alpha);
    z = precondition(r);
    const next = dot(r, z);
    const beta = next / rz;
    p = p.map((v, j) => readF64(z, j) + beta * v);
    rz = next;
  }
  return { direction, moves };
}

function addTo(into: Float64Array, v: Float64Array, factor: number): void {
  for (let j = 0; j < into.length; j++) into[j] = readF64(into, j) + factor * readF64(v, j);
}

function moved(w: Float64Array, direction: Float64Array, t: number): Float64Array {
  return w.map((v, j) => v + t * readF64(direction, j));
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += readF64(a, i) * readF64(b, i);
  return sum;
}

const norm = (a: Float64Array): number => Math.sqrt(dot(a, a));
