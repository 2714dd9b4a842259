/**
 * Minimizes a smooth function of a few variables within bounds: BFGS on the variables that are free, with a line search
 * for the weak Wolfe conditions by bisection (Lewis and Overton, "Nonsmooth optimization via quasi-Newton methods",
 * 2013), which also gets through the near-kinks of a Huber loss. Steps end at the first bound; a variable leaves its
 * bound again when the gradient points inside. The curvature is started afresh until that gains nothing more.
 *
 * Dense and O(n^3) per step: meant for up to a few dozen variables.
 */
import { present, at, numberAt, ConfigError, maxOf, minOf } from '../../core/index.js';
import { factorize, multiply, solveFactorized, type Matrix } from './linear-algebra.js';

/** The value and the gradient of a function at a point. */
export interface Evaluation {
  /** The function's value. */
  readonly value: number;
  /** The derivative by each variable. */
  readonly gradient: readonly number[];
}

/** A smooth function to be minimized, with bounds on its variables. */
export interface Problem {
  /** Value and gradient at a point within the bounds. */
  evaluate(x: readonly number[]): Evaluation;
  /** A positive definite estimate of the Hessian to start from (default: the identity, scaled). */
  curvature?(x: readonly number[]): Matrix;
  /** Per variable; infinite where there is none. */
  readonly lower: readonly number[];
  /** The largest allowed value of each variable. */
  readonly upper: readonly number[];
}

/** When the search stops. */
export interface MinimizeOptions {
  /**
   * Stop where the largest projected gradient entry is below this; the function should be scaled to vary by about 1.
   */
  readonly gradientTolerance?: number;
  /** Steps in all. */
  readonly maxSteps?: number;
}

/** Where a search ended. */
export interface Minimum {
  /** The variables at the minimum. */
  readonly x: readonly number[];
  /** The function's value there. */
  readonly value: number;
  /** Largest entry of the gradient among variables that could still move that way. */
  readonly projectedGradient: number;
  /** Per variable: on which bound it ended, null for none. */
  readonly onBound: readonly ('lower' | 'upper' | null)[];
  readonly steps: number;
  /** False if the steps ran out; the best point is given all the same. */
  readonly converged: boolean;
}

const ARMIJO = 1e-4;
const WOLFE = 0.9;
const MAX_TRIALS = 60;

/**
 * Minimizes a smooth function within bounds, by a quasi-Newton method.
 *
 * @param start is moved into the bounds first
 * @throws ConfigError if bounds cross or the function is not finite at the start
 */
export function minimize(problem: Problem, start: readonly number[], options: MinimizeOptions = {}): Minimum {
  const { gradientTolerance = 1e-8, maxSteps = 2000 } = options;
  problem.lower.forEach((low, i) => {
    if (!(low <= present(problem.upper[i]))) {
      throw new ConfigError(`bound ${low} of variable ${i} lies above its upper bound ${problem.upper[i]}`);
    }
  });
  let x = start.map((v, i) => clamp(v, present(problem.lower[i]), present(problem.upper[i])));
  let at = problem.evaluate(x);
  if (!Number.isFinite(at.value)) throw new ConfigError(`the function is ${at.value} at the start (${x.join(', ')})`);
  let steps = 0;
  for (;;) {
    const before = at.value;
    const phase = descend(problem, x, at, gradientTolerance, maxSteps - steps);
    ({ x, at } = phase);
    steps += phase.steps;
    const gained = before - at.value > 1e-13 * Math.abs(at.value);
    if (steps >= maxSteps || phase.stationary || !gained) {
      const projected = projectedGradient(problem, x, at);
      const onBound = x.map((v, i) => (v === problem.lower[i] ? 'lower' : v === problem.upper[i] ? 'upper' : null));
      // Where rounding leaves no descent there is nothing more to find, however steep the near-kink beside it.
      return { x, value: at.value, projectedGradient: projected, onBound, steps, converged: steps < maxSteps };
    }
  }
}

function clamp(v: number, low: number, high: number): number {
  return Math.min(Math.max(v, low), high);
}

/** Variables that may move against the gradient without leaving the bounds. */
function freeVariables({ lower, upper }: Problem, x: readonly number[], gradient: readonly number[]): number[] {
  const free: number[] = [];
  for (let i = 0; i < x.length; i++) {
    const [v, g] = [numberAt(x, i), numberAt(gradient, i)];
    const stopped = (v <= numberAt(lower, i) && g >= 0) || (v >= numberAt(upper, i) && g <= 0);
    if (!stopped) free.push(i);
  }
  return free;
}

function projectedGradient(problem: Problem, x: readonly number[], { gradient }: Evaluation): number {
  return Math.max(0, maxOf(freeVariables(problem, x, gradient).map((i) => Math.abs(numberAt(gradient, i)))));
}

interface Phase {
  readonly x: number[];
  readonly at: Evaluation;
  readonly steps: number;
  readonly stationary: boolean;
}

/** BFGS from one start of the curvature until the gradient vanishes or no step descends. */
function descend(problem: Problem, x0: number[], at0: Evaluation, tolerance: number, maxSteps: number): Phase {
  let [x, at] = [x0, at0];
  let curvature = startCurvature(problem, x, at);
  for (let steps = 0; ; steps++) {
    const free = freeVariables(problem, x, at.gradient);
    const stationary = free.every((i) => Math.abs(present(at.gradient[i])) <= tolerance);
    if (stationary || steps >= maxSteps) return { x, at, steps, stationary };
    const direction = feasibleDirection(problem, x, curvature, at.gradient, free);
    const next = search(problem, x, at, direction);
    if (next === null) return { x, at, steps, stationary: false };
    curvature = updated(curvature, minus(next.x, x), minus(next.at.gradient, at.gradient));
    ({ x, at } = next);
  }
}

function startCurvature(problem: Problem, x: readonly number[], { gradient }: Evaluation): Matrix {
  const given = problem.curvature?.(x);
  if (given !== undefined) return given;
  const size = Math.max(1e-8, hypot(gradient));
  return x.map((_, i) => x.map((__, j) => (i === j ? size : 0)));
}

/**
 * A direction that pushes no variable through a bound on which it lies: such variables are held and the rest solved
 * anew.
 */
function feasibleDirection(
  { lower, upper }: Problem,
  x: readonly number[],
  curvature: Matrix,
  gradient: readonly number[],
  free: readonly number[],
): number[] {
  let left = free;
  for (;;) {
    const direction = directionOf(curvature, gradient, left);
    const kept = left.filter((i) => {
      const d = numberAt(direction, i);
      return !(d < 0 && x[i] === lower[i]) && !(d > 0 && x[i] === upper[i]);
    });
    if (kept.length === left.length) return direction;
    left = kept;
  }
}

/**
 * The quasi-Newton direction on the free variables, zero on the others; steepest descent if the curvature is not
 * positive.
 */
function directionOf(curvature: Matrix, gradient: readonly number[], free: readonly number[]): number[] {
  const part = free.map((i) => free.map((j) => numberAt(at(curvature, i), j)));
  const factor = factorize(part);
  const rhs = free.map((i) => -numberAt(gradient, i));
  const inner = factor === null ? rhs : solveFactorized(factor, rhs);
  const direction = gradient.map(() => 0);
  free.forEach((i, k) => (direction[i] = numberAt(inner, k)));
  return direction;
}

/** A point along `direction` within the bounds that satisfies the weak Wolfe conditions, or descends up to a bound. */
function search(
  problem: Problem,
  x: readonly number[],
  at: Evaluation,
  direction: readonly number[],
): { x: number[]; at: Evaluation } | null {
  const slope = inner(at.gradient, direction);
  if (!(slope < 0)) return null;
  const limit = longestStep(problem, x, direction);
  let [low, high, t] = [0, Infinity, Math.min(1, limit)];
  let best: { x: number[]; at: Evaluation } | null = null;
  for (let trial = 0; trial < MAX_TRIALS && t > 0; trial++) {
    const point = stepTo(problem, x, direction, t, t === limit);
    const there = problem.evaluate(point);
    if (!(there.value <= at.value + ARMIJO * t * slope)) {
      high = t;
    } else {
      if (best === null || there.value < best.at.value) best = { x: point, at: there };
      if (inner(there.gradient, direction) >= WOLFE * slope || t === limit) break;
      low = t;
    }
    const next = Number.isFinite(high) ? (low + high) / 2 : Math.min(2 * low, limit);
    if (next === t || (high - low) * maxOf(direction.map(Math.abs)) < 1e-16) break;
    t = next;
  }
  return best !== null && best.at.value < at.value ? best : null;
}

function longestStep({ lower, upper }: Problem, x: readonly number[], direction: readonly number[]): number {
  return minOf(
    direction.map((d, i) => {
      if (d === 0) return Infinity;
      return ((d > 0 ? numberAt(upper, i) : numberAt(lower, i)) - numberAt(x, i)) / d;
    }),
  );
}

/** The point at `t`; at the longest step the variable that stops it lands on its bound exactly. */
function stepTo(problem: Problem, x: readonly number[], direction: readonly number[], t: number, last: boolean) {
  return x.map((v, i) => {
    const d = numberAt(direction, i);
    const [low, high] = [numberAt(problem.lower, i), numberAt(problem.upper, i)];
    const bound = d > 0 ? high : low;
    if (last && d !== 0 && (bound - v) / d <= t) return bound;
    return clamp(v + t * d, low, high);
  });
}

/** The BFGS update; left out where it would lose positive definiteness. */
function updated(curvature: Matrix, s: readonly number[], y: readonly number[]): Matrix {
  const sy = inner(s, y);
  if (!(sy > 1e-12 * hypot(s) * hypot(y))) return curvature;
  const bs = multiply(curvature, s);
  const sbs = inner(s, bs);
  if (!(sbs > 0)) return curvature;
  return curvature.map((row, i) =>
    row.map((v, j) => {
      const old = (numberAt(bs, i) * numberAt(bs, j)) / sbs;
      return v - old + (numberAt(y, i) * numberAt(y, j)) / sy;
    }),
  );
}

/** The length of a vector of parameters: a handful. */
function hypot(vector: readonly number[]): number {
  // eslint-disable-next-line local/no-unbounded-spread -- as many arguments as the law has parameters
  return Math.hypot(...vector);
}

function inner(a: readonly number[], b: readonly number[]): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += numberAt(a, i) * numberAt(b, i);
  return sum;
}

function minus(a: readonly number[], b: readonly number[]): number[] {
  return a.map((v, i) => v - numberAt(b, i));
}
