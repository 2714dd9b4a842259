/**
 * L2-regularised logistic regression as liblinear defines it (Fan et al. 2008; scikit-learn's `LogisticRegression` with
 * `solver='liblinear'`): minimize `|w|^2 / 2 + C sum_i log(1 + exp(-s_i w.x_i))`, where the intercept is one more
 * weight on a feature that is always 1 and is penalised like the others. Several classes: one against the rest, each
 * for itself.
 *
 * Solved by Newton steps, their equations by conjugate gradients (Lin, Weng and Keerthi 2008), to a gradient of 1e-6 of
 * its start, where liblinear stops at about 1e-4.
 */
import { at, f64At, ConfigError, DataError, maxOf } from '../../core/index.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const readF64 = f64At;

/** Rows of features: feature j of row i is `data[i * width + j]`, with `rows` rows. */
export interface Features {
  readonly data: Float64Array;
  readonly rows: number;
  readonly width: number;
}

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
  const fits = counts.map((_, k) => {
    const signs = Float64Array.from({ length: labels.length }, (__, i) => (labels[i] === k ? 1 : -1));
    return fitBinary(features, signs, { ...DEFAULTS, ...options });
  });
  return {
    classes,
    width: features.width,
    weights: fits.map((f) => f.weights),
    steps: maxOf(fits.map((f) => f.steps)),
  };
}

/** The likeliest class of each row: that with the largest decision value, the first of equals. */
export function predictClasses({ weights, classes, width }: OneVsRest, features: Features): Int32Array {
  return Int32Array.from({ length: features.rows }, (_, i) => {
    let [best, top] = [0, -Infinity];
    for (let k = 0; k < classes; k++) {
      const value = decision(features.data, i * width, at(weights, k), width);
      if (value > top) [best, top] = [k, value];
    }
    return best;
  });
}

function decision(data: Float64Array, start: number, w: Float64Array, width: number): number {
  let sum = readF64(w, width);
  for (let j = 0; j < width; j++) sum += readF64(w, j) * readF64(data, start + j);
  return sum;
}

interface Binary {
  readonly weights: Float64Array;
  readonly steps: number;
}

function fitBinary(x: Features, signs: Float64Array, options: Required<LogisticOptions>): Binary {
  const { C, maxSteps, tolerance } = options;
  let w: Float64Array = new Float64Array(x.width + 1);
  let here = evaluate(x, signs, w, C);
  const stop = tolerance * norm(here.gradient);
  for (let step = 0; step < maxSteps; step++) {
    if (norm(here.gradient) <= stop) return { weights: w, steps: step };
    const direction = newtonDirection(x, here);
    const slope = dot(here.gradient, direction);
    let t = 1;
    let next = evaluate(x, signs, moved(w, direction, t), C);
    while (!(next.value <= here.value + 1e-4 * t * slope) && t > 1e-10) {
      t /= 2;
      next = evaluate(x, signs, moved(w, direction, t), C);
    }
    if (!(next.value < here.value)) return { weights: w, steps: step };
    w = moved(w, direction, t);
    here = next;
  }
  return { weights: w, steps: maxSteps };
}

interface State {
  readonly value: number;
  readonly gradient: Float64Array;
  /** Second derivative of each row's loss. */
  readonly curvature: Float64Array;
}

function evaluate(x: Features, signs: Float64Array, w: Float64Array, C: number): State {
  const gradient = Float64Array.from(w);
  const curvature = new Float64Array(x.rows);
  let value = dot(w, w) / 2;
  for (let i = 0; i < x.rows; i++) {
    const sign = readF64(signs, i);
    const margin = sign * decision(x.data, i * x.width, w, x.width);
    // log(1 + exp(-m)) and its derivative -sigmoid(-m), safe for large |m|.
    const tail = Math.exp(-Math.abs(margin));
    value += C * (Math.max(-margin, 0) + Math.log1p(tail));
    const wrong = margin > 0 ? tail / (1 + tail) : 1 / (1 + tail);
    curvature[i] = C * wrong * (1 - wrong);
    accumulate(gradient, x, i, -C * sign * wrong);
  }
  return { value, gradient, curvature };
}

function accumulate(into: Float64Array, { data, width }: Features, row: number, factor: number): void {
  const start = row * width;
  for (let j = 0; j < width; j++) into[j] = readF64(into, j) + factor * readF64(data, start + j);
  into[width] = readF64(into, width) + factor;
}

/** Solves `(I + X^T diag(curvature) X) d = -gradient` by conjugate gradients. */
function newtonDirection(x: Features, { gradient, curvature }: State): Float64Array {
  const d = new Float64Array(gradient.length);
  const r = gradient.map((g) => -g);
  const p = Float64Array.from(r);
  let rr = dot(r, r);
  const enough = rr * 1e-6;
  for (let k = 0; k < 2 * gradient.length + 10 && rr > enough; k++) {
    const hp = Float64Array.from(p);
    for (let i = 0; i < x.rows; i++) {
      const c = readF64(curvature, i) * decision(x.data, i * x.width, p, x.width);
      if (c !== 0) accumulate(hp, x, i, c);
    }
    const alpha = rr / dot(p, hp);
    for (let j = 0; j < d.length; j++) {
      d[j] = readF64(d, j) + alpha * readF64(p, j);
      r[j] = readF64(r, j) - alpha * readF64(hp, j);
    }
    const next = dot(r, r);
    const beta = next / rr;
    for (let j = 0; j < p.length; j++) p[j] = readF64(r, j) + beta * readF64(p, j);
    rr = next;
  }
  return d;
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
