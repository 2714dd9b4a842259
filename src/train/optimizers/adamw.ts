/**
 * AdamW (Loshchilov and Hutter 2019, algorithm 2) and clipping by global norm (Pascanu et al. 2013), as graph values.
 *
 * With t the step from 1, g the clipped gradient:
 *   m <- beta1 m + (1 - beta1) g; v <- beta2 v + (1 - beta2) g^2
 *   p <- p - lr ( m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps) + weightDecay p )
 * The decay is decoupled from the moments and applies to matrices (`decays` of src/model/spec.ts). What depends on t
 * alone is worked out on the host in float64 and comes in as scalars.
 */
import { at, present, sizeOf, tensorFrom, type DType, type HostTensor } from '../../core/index.js';
import {
  add,
  barrier,
  concat,
  div,
  input,
  max,
  mul,
  reduceSum,
  reshape,
  scalar,
  split,
  sqrt,
  sub,
  type Value,
} from '../../graph/index.js';
import { decays } from '../../model/index.js';
import type { AdamWConfig, OptimizerDefinition, UpdatedGroup, UpdateGroup, UpdateScope } from './definition.js';

/** What changes from step to step; scalars, with both bias corrections moved out of the tensors. */
interface AdamWScalars<T> {
  /** lr sqrt(1 - beta2^t) / (1 - beta1^t) */
  readonly stepSize: T;
  /** eps sqrt(1 - beta2^t) */
  readonly epsilon: T;
  /** 1 - lr weightDecay */
  readonly keep: T;
}

const SCALAR_NAMES = ['stepSize', 'epsilon', 'keep'] as const;

/** The scalars of optimizer step `t` (from 1) at learning rate `lr`. */
export function adamwScalars(config: AdamWConfig, lr: number, t: number): AdamWScalars<number> {
  const root = Math.sqrt(1 - config.beta2 ** t);
  return {
    stepSize: (lr * root) / (1 - config.beta1 ** t),
    epsilon: config.eps * root,
    keep: 1 - lr * config.weightDecay,
  };
}

/** Graph inputs for the scalars, named as they are. */
export function scalarInputs(dtype: DType): AdamWScalars<Value> {
  return Object.fromEntries(SCALAR_NAMES.map((n) => [n, input(n, dtype, [])])) as unknown as AdamWScalars<Value>;
}

/** Host tensors for `scalarInputs`. */
export function scalarTensors(
  dtype: DType,
  scalars: AdamWScalars<number>,
): Record<keyof AdamWScalars<number>, HostTensor> {
  const of = (name: keyof AdamWScalars<number>) => tensorFrom(dtype, [], [scalars[name]]);
  return { stepSize: of('stepSize'), epsilon: of('epsilon'), keep: of('keep') };
}

/** The global L2 norm of gradients, a scalar, with their squares. */
export function globalNorm(gradients: readonly Value[]): { norm: Value; squares: Value[] } {
  const squares = gradients.map((g) => mul(g, g));
  if (squares.length === 1) return { norm: sqrt(reduceSum(at(squares, 0))), squares };
  // Rows of each on its own, then what is left of all of them together: two small kernels for each of many tensors add
  // up on a GPU.
  const rows = squares.map((s) => {
    const sums = s.shape.length < 2 ? s : reduceSum(s, [s.shape.length - 1]);
    return reshape(sums, [sizeOf(sums.shape)]);
  });
  const [all] = barrier([concat(rows, 0)]) as [Value];
  return { norm: sqrt(reduceSum(all)), squares };
}

/** The factor that brings gradients of global norm `norm` to at most `clipNorm`; null for none. */
export function clipFactor(norm: Value, clipNorm: number): Value | null {
  return clipNorm === 0 ? null : div(scalar(clipNorm, norm.dtype), max(norm, clipNorm));
}

/**
 * The moments after a step, and the step itself, `stepSize * m' / (sqrt(v') + epsilon)`, without decay. All of one
 * shape.
 *
 * @param clip factor on the gradient, or null
 */
export function adamwMoments(
  config: AdamWConfig,
  { gradient, square, m, v, clip }: { gradient: Value; square: Value; m: Value; v: Value; clip: Value | null },
  scalars: AdamWScalars<Value>,
): { m: Value; v: Value; step: Value } {
  const { beta1, beta2 } = config;
  const share1 = clip === null ? 1 - beta1 : mul(clip, 1 - beta1);
  const share2 = clip === null ? 1 - beta2 : mul(mul(clip, clip), 1 - beta2);
  const newM = add(mul(m, beta1), mul(gradient, share1));
  const newV = add(mul(v, beta2), mul(square, share2));
  const denominator = add(sqrt(newV), scalars.epsilon);
  return { m: newM, v: newV, step: mul(div(newM, denominator), scalars.stepSize) };
}

/** A parameter after a step; weight decay applies if it `decays`. */
export function applyStep(parameter: Value, step: Value, scalars: AdamWScalars<Value>, decays: boolean): Value {
  const kept = decays ? mul(parameter, scalars.keep) : parameter;
  return sub(kept, step);
}

function updateGroup(group: UpdateGroup, { config, clip, scalar }: UpdateScope): UpdatedGroup {
  const { specs, parameters, gradient, square } = group;
  const scalars = { stepSize: scalar('stepSize'), epsilon: scalar('epsilon'), keep: scalar('keep') };
  const [before, squares] = [present(group.moments.m), present(group.moments.v)];
  const { m, v, step } = adamwMoments(config, { gradient, square, m: before, v: squares, clip }, scalars);
  const parts =
    parameters.length === 1
      ? [step]
      : split(
          step,
          0,
          parameters.map((p) => sizeOf(p.shape)),
        );
  const next = parameters.map((p, i) => applyStep(p, reshape(at(parts, i), p.shape), scalars, decays(at(specs, i))));
  return { parameters: next, moments: { m, v } };
}

/** AdamW, for every parameter. */
export const adamw: OptimizerDefinition = {
  summary: 'AdamW, with decoupled weight decay (Loshchilov and Hutter 2019)',
  takes: () => true,
  moments: ['m', 'v'],
  elementwise: true,
  scalars: SCALAR_NAMES,
  scalarsAt: (config, lr, t) => ({ ...adamwScalars(config, lr, t) }),
  update: (groups, scope) => groups.map((group) => updateGroup(group, scope)),
};
