/** Contractions and reductions: products of matrices, sums, maxima, running sums. */
import { at, formatShape } from '../../core/index.js';
import { build1, define } from '../ir/emit.js';
import type { OpDefinition, Value } from '../ir/types.js';
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

const reduce = <K extends 'reduceSum' | 'reduceMax'>(op: K): OpDefinition<K> =>
  define(op, 1, { precision: 'f32', locality: 'reduction', merging: 'fold' }, (inputs, { axes, keepDims }) => {
    const dtype = inputs.numericDtype();
    const { shape } = inputs.at(0);
    axes.forEach((a) => inputs.requireAxis(a));
    if (new Set(axes).size !== axes.length) throw inputs.shapeError(`axes ${formatShape(axes)} repeat`);
    if (op === 'reduceMax' && axes.some((a) => shape[a] === 0)) throw inputs.shapeError('has no element to take');
    const kept = shape.map((d, i) => (axes.includes(i) ? 1 : d));
    return [{ dtype, shape: keepDims ? kept : kept.filter((_, i) => !axes.includes(i)) }];
  });

/** Definitions of contractions and reductions. */
export const REDUCE = {
  dot: define('dot', 2, { precision: 'bf16', locality: 'any', merging: 'fold' }, (inputs, attrs) => {
    const { lhsBatch, rhsBatch, lhsContract, rhsContract } = attrs;
    const dtype = inputs.floatDtype();
    const [lhs, rhs] = [inputs.shape(0), inputs.shape(1)];
    for (const [l, r, what] of [
      [lhsBatch, rhsBatch, 'batch'],
      [lhsContract, rhsContract, 'contracting'],
    ] as const) {
      if (l.length !== r.length)
        throw inputs.shapeError(`${what} axes ${formatShape(l)} and ${formatShape(r)} differ in number`);
      l.forEach((a, i) => {
        const b = at(r, i);
        if (lhs[a] === undefined || lhs[a] !== rhs[b])
          throw inputs.shapeError(`${what} axes ${a} of lhs (${lhs[a]}) and ${b} of rhs (${rhs[b]}) differ`);
      });
    }
    const usedL = new Set([...lhsBatch, ...lhsContract]);
    const usedR = new Set([...rhsBatch, ...rhsContract]);
    if (usedL.size !== lhsBatch.length + lhsContract.length || usedR.size !== rhsBatch.length + rhsContract.length) {
      throw inputs.shapeError('an axis is used twice');
    }
    const batch = lhsBatch.map((a) => at(lhs, a));
    return [
      { dtype, shape: [...batch, ...lhs.filter((_, a) => !usedL.has(a)), ...rhs.filter((_, a) => !usedR.has(a))] },
    ];
  }),
  reduceSum: reduce('reduceSum'),
  reduceMax: reduce('reduceMax'),
  argmax: define('argmax', 1, { precision: 'f32', locality: 'any', merging: 'fold' }, (inputs, { axis }) => {
    inputs.numericDtype();
    inputs.requireAxis(axis);
    const shape = inputs.shape(0);
    if (shape[axis] === 0) throw inputs.shapeError('has no element to take');
    return [{ dtype: 'i32', shape: shape.filter((_, i) => i !== axis) }];
  }),
  cumsum: define('cumsum', 1, { precision: 'f32', locality: 'any', merging: 'fold' }, (inputs, { axis }) => {
    inputs.numericDtype();
    inputs.requireAxis(axis);
    return [inputs.at(0)];
  }),
};

/** A general dot; result axes: batch, free of `a`, free of `b`. */
export function dot(a: Value, b: Value, dims: DotAttrs): Value {
  return build1(REDUCE.dot, [a, b], dims);
}

/** `a [..., K] @ b [K, N] -> [..., N]`. */
export function linear(a: Value, b: Value): Value {
  return dot(a, b, { lhsBatch: [], rhsBatch: [], lhsContract: [a.shape.length - 1], rhsContract: [0] });
}

/** A product over equal leading axes that contracts axis `left` of a and axis `right` of b, counted from the end. */
function batchedProduct(a: Value, b: Value, left: 1 | 2, right: 1 | 2): Value {
  const batch = a.shape.slice(0, -2).map((_, i) => i);
  const contract = { lhsContract: [a.shape.length - left], rhsContract: [b.shape.length - right] };
  return dot(a, b, { lhsBatch: batch, rhsBatch: batch, ...contract });
}

/** Batched matrix product over equal leading axes: `a [..., M, K] @ b [..., K, N] -> [..., M, N]`. */
export const matmul = (a: Value, b: Value): Value => batchedProduct(a, b, 1, 2);

/** `a [..., M, K] @ b^T` with `b [..., N, K]`, over equal leading axes: `[..., M, N]`. */
export const matmulTransposed = (a: Value, b: Value): Value => batchedProduct(a, b, 1, 1);

/** `a^T @ b` with `a [..., K, M]` and `b [..., K, N]`, over equal leading axes: `[..., M, N]`. */
export const transposedMatmul = (a: Value, b: Value): Value => batchedProduct(a, b, 2, 2);

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
