/** Contractions and reductions: products of matrices, sums, maxima, running sums. */
import { at, formatShape } from '../../core/index.js';
import { arity, axisOf, dtypeError, requireFloat, shapeError } from '../ir/checks.js';
import { build1, define } from '../ir/emit.js';
import type { OpDefinition, TypeRule, Value } from '../ir/types.js';
import { mul } from './elementwise.js';

/** Dimension numbers of a general dot. Result axes: batch axes, then the free axes of lhs, then those of rhs. */
export interface DotAttrs {
  /** Batch axes of the left operand. */
  readonly lhsBatch: readonly number[];
  /** Batch axes of the right operand, in the same order. */
  readonly rhsBatch: readonly number[];
  /** Axes of the left operand that are summed over. */
  readonly lhsContract: readonly number[];
  /** Axes of the right operand that are summed over, in the same order. */
  readonly rhsContract: readonly number[];
}

/** Axes to reduce, and whether each stays as an axis of size 1. */
export interface ReduceAttrs {
  /** The axes that are reduced, rising. */
  readonly axes: readonly number[];
  readonly keepDims: boolean;
}

/** The axis of a running sum, its direction, and whether an element itself is left out of its sum. */
export interface CumsumAttrs {
  readonly axis: number;
  readonly reverse: boolean;
  readonly exclusive: boolean;
}

declare module '../ir/types.js' {
  interface OpSignatures {
    readonly dot: Signature<DotAttrs, readonly [Value, Value]>;
    readonly reduceSum: Signature<ReduceAttrs, readonly [Value]>;
    readonly reduceMax: Signature<ReduceAttrs, readonly [Value]>;
    /** Index (i32) of the first largest element. */
    readonly argmax: Signature<{ readonly axis: number }, readonly [Value]>;
    readonly cumsum: Signature<CumsumAttrs, readonly [Value]>;
  }
}

const reduce =
  <K extends 'reduceSum' | 'reduceMax'>(op: K): OpDefinition<K>['infer'] =>
  (inputs, { axes, keepDims }: ReduceAttrs) => {
    arity(op, inputs, 1);
    const { dtype, shape } = at(inputs, 0);
    if (dtype === 'bool') throw dtypeError(op, inputs, 'needs numbers');
    axes.forEach((a) => axisOf(op, inputs, a));
    if (new Set(axes).size !== axes.length) throw shapeError(op, inputs, `axes ${formatShape(axes)} repeat`);
    if (op === 'reduceMax' && axes.some((a) => shape[a] === 0)) throw shapeError(op, inputs, 'has no element to take');
    const kept = shape.map((d, i) => (axes.includes(i) ? 1 : d));
    return [{ dtype, shape: keepDims ? kept : kept.filter((_, i) => !axes.includes(i)) }];
  };

const dotType: TypeRule<'dot'> = (inputs, { lhsBatch, rhsBatch, lhsContract, rhsContract }) => {
  arity('dot', inputs, 2);
  const dtype = requireFloat('dot', inputs);
  const [lhs, rhs] = [at(inputs, 0).shape, at(inputs, 1).shape];
  const pairs: [readonly number[], readonly number[], string][] = [
    [lhsBatch, rhsBatch, 'batch'],
    [lhsContract, rhsContract, 'contracting'],
  ];
  for (const [l, r, what] of pairs) {
    if (l.length !== r.length)
      throw shapeError('dot', inputs, `${what} axes ${formatShape(l)} and ${formatShape(r)} differ in number`);
    l.forEach((a, i) => {
      if (lhs[a] === undefined || lhs[a] !== rhs[at(r, i)]) {
        throw shapeError(
          'dot',
          inputs,
          `${what} axes ${a} of lhs (${lhs[a]}) and ${r[i]} of rhs (${rhs[at(r, i)]}) differ`,
        );
      }
    });
  }
  const usedL = new Set([...lhsBatch, ...lhsContract]);
  const usedR = new Set([...rhsBatch, ...rhsContract]);
  if (usedL.size !== lhsBatch.length + lhsContract.length || usedR.size !== rhsBatch.length + rhsContract.length) {
    throw shapeError('dot', inputs, 'an axis is used twice');
  }
  const shape = [
    ...lhsBatch.map((a) => at(lhs, a)),
    ...lhs.filter((_, a) => !usedL.has(a)),
    ...rhs.filter((_, a) => !usedR.has(a)),
  ];
  return [{ dtype, shape }];
};

const argmaxType: TypeRule<'argmax'> = (inputs, { axis }) => {
  arity('argmax', inputs, 1);
  const { dtype, shape } = at(inputs, 0);
  if (dtype === 'bool') throw dtypeError('argmax', inputs, 'needs numbers');
  axisOf('argmax', inputs, axis);
  if (shape[axis] === 0) throw shapeError('argmax', inputs, 'has no element to take');
  return [{ dtype: 'i32', shape: shape.filter((_, i) => i !== axis) }];
};

const cumsumType: TypeRule<'cumsum'> = (inputs, { axis }) => {
  arity('cumsum', inputs, 1);
  if (at(inputs, 0).dtype === 'bool') throw dtypeError('cumsum', inputs, 'needs numbers');
  axisOf('cumsum', inputs, axis);
  return [at(inputs, 0)];
};

/** Definitions of contractions and reductions. */
export const REDUCE = {
  dot: define('dot', dotType, { precision: 'bf16', locality: 'any', merging: 'fold' }),
  reduceSum: define('reduceSum', reduce('reduceSum'), { precision: 'f32', locality: 'reduction', merging: 'fold' }),
  reduceMax: define('reduceMax', reduce('reduceMax'), { precision: 'f32', locality: 'reduction', merging: 'fold' }),
  argmax: define('argmax', argmaxType, { precision: 'f32', locality: 'any', merging: 'fold' }),
  cumsum: define('cumsum', cumsumType, { precision: 'f32', locality: 'any', merging: 'fold' }),
};

/** A general dot; result axes: batch, free of `a`, free of `b`. */
export function dot(a: Value, b: Value, dims: DotAttrs): Value {
  return build1(REDUCE.dot, [a, b], dims);
}

/** `a [..., K] @ b [K, N] -> [..., N]`. */
export function linear(a: Value, b: Value): Value {
  return dot(a, b, { lhsBatch: [], rhsBatch: [], lhsContract: [a.shape.length - 1], rhsContract: [0] });
}

/** Batched matrix product over equal leading axes: `a [..., M, K] @ b [..., K, N] -> [..., M, N]`. */
export function matmul(a: Value, b: Value): Value {
  const batch = a.shape.slice(0, -2).map((_, i) => i);
  return dot(a, b, {
    lhsBatch: batch,
    rhsBatch: batch,
    lhsContract: [a.shape.length - 1],
    rhsContract: [b.shape.length - 2],
  });
}

/** `a [..., M, K] @ b^T` with `b [..., N, K]`, over equal leading axes: `[..., M, N]`. */
export function matmulTransposed(a: Value, b: Value): Value {
  const batch = a.shape.slice(0, -2).map((_, i) => i);
  const last = a.shape.length - 1;
  return dot(a, b, { lhsBatch: batch, rhsBatch: batch, lhsContract: [last], rhsContract: [last] });
}

/** `a^T @ b` with `a [..., K, M]` and `b [..., K, N]`, over equal leading axes: `[..., M, N]`. */
export function transposedMatmul(a: Value, b: Value): Value {
  const batch = a.shape.slice(0, -2).map((_, i) => i);
  const rows = a.shape.length - 2;
  return dot(a, b, { lhsBatch: batch, rhsBatch: batch, lhsContract: [rows], rhsContract: [rows] });
}

const allAxes = (x: Value): number[] => x.shape.map((_, i) => i);

/** Sum over `axes` (default all). */
export function reduceSum(x: Value, axes: readonly number[] = allAxes(x), keepDims = false): Value {
  return build1(REDUCE.reduceSum, [x], { axes, keepDims });
}

/** The largest element over some axes (default: all); `keepDims` keeps each as an axis of size 1. */
export function reduceMax(x: Value, axes: readonly number[] = allAxes(x), keepDims = false): Value {
  return build1(REDUCE.reduceMax, [x], { axes, keepDims });
}

/** Arithmetic mean over `axes` (default all). */
export function reduceMean(x: Value, axes: readonly number[] = allAxes(x), keepDims = false): Value {
  const count = axes.reduce((n, a) => n * at(x.shape, a), 1);
  return mul(reduceSum(x, axes, keepDims), 1 / count);
}

/** The index of the largest element along an axis, i32; of equal ones the first. */
export function argmax(x: Value, axis: number): Value {
  return build1(REDUCE.argmax, [x], { axis });
}

/** Running sum along `axis`; `exclusive` leaves the element itself out; `reverse` runs from the end. */
export function cumsum(x: Value, axis: number, options: { reverse?: boolean; exclusive?: boolean } = {}): Value {
  return build1(REDUCE.cumsum, [x], { axis, reverse: options.reverse ?? false, exclusive: options.exclusive ?? false });
}
