/** Derivatives of layout, reductions and indexing. */
import { at, type Shape } from '../../core/index.js';
import type { DerivativeRule } from '../ir/rules.js';
import type { OpName, Value } from '../ir/types.js';
import { none, unbroadcast, zerosLike } from './differentiate.js';
import * as L from './index.js';

const dot: DerivativeRule<'dot'> = ({ inputs: [a, b], attrs }, [ct]) => {
  const { lhsBatch, rhsBatch, lhsContract, rhsContract } = attrs;
  const free = (v: Value, used: readonly number[]): number[] =>
    v.shape.map((_, i) => i).filter((i) => !used.includes(i));
  const aFree = free(a, [...lhsBatch, ...lhsContract]);
  const bFree = free(b, [...rhsBatch, ...rhsContract]);
  const batch = lhsBatch.map((_, i) => i);
  const ctAFree = aFree.map((_, i) => batch.length + i);
  const ctBFree = bFree.map((_, i) => batch.length + aFree.length + i);
  // The axes that a product leaves, in the order in which it leaves them, as axes of the operand; sorted back by
  // transpose.
  const back = (v: Value, axes: readonly number[]): Value => {
    const permutation = axes.map((_, axis) => axes.indexOf(axis));
    return permutation.every((p, i) => p === i) ? v : L.transpose(v, permutation);
  };
  const contractOf = (own: readonly number[], other: readonly number[], ownOrder: readonly number[]): number[] =>
    ownOrder.map((axis) => at(own, other.indexOf(axis)));
  const bLeft = [...rhsContract].sort((x, y) => x - y);
  const da = L.dot(ct, b, { lhsBatch: batch, rhsBatch, lhsContract: ctBFree, rhsContract: bFree });
  const aLeft = [...lhsContract].sort((x, y) => x - y);
  const db = L.dot(a, ct, { lhsBatch, rhsBatch: batch, lhsContract: aFree, rhsContract: ctAFree });
  return [
    back(da, [...lhsBatch, ...aFree, ...contractOf(lhsContract, rhsContract, bLeft)]),
    back(db, [...rhsBatch, ...contractOf(rhsContract, lhsContract, aLeft), ...bFree]),
  ];
};

const slice: DerivativeRule<'slice'> = ({ inputs: [x], attrs }, [ct]) => {
  const { starts, limits, strides } = attrs;
  let v = ct;
  // A stride: spread the elements apart by zeros, through an extra axis of size `stride`.
  strides.forEach((stride, axis) => {
    if (stride === 1) return;
    const n = at(v.shape, axis);
    const before = v.shape.slice(0, axis);
    const after = v.shape.slice(axis + 1);
    const wide = L.padAxis(L.reshape(v, [...before, n, 1, ...after]), axis + 1, 0, stride - 1);
    v = L.reshape(wide, [...before, n * stride, ...after]);
    v = L.sliceAxis(v, axis, 0, Math.min(at(limits, axis) - at(starts, axis), n * stride));
  });
  const high = x.shape.map((d, i) => d - at(starts, i) - at(v.shape, i));
  return [L.pad(v, starts, high)];
};

/** A reduced value with its reduced axes as axes of size 1, whether it kept them or not. */
const withAxes = (v: Value, axes: readonly number[], keepDims: boolean, shape: Shape): Value => {
  if (keepDims) return v;
  const kept = shape.map((d, i) => (axes.includes(i) ? 1 : d));
  return L.reshape(v, kept);
};

type Structural = keyof typeof L.LAYOUT | keyof typeof L.REDUCE | keyof typeof L.INDEXING;

/** The derivative rules of layout, reductions and indexing. */
export const STRUCTURE_DERIVATIVES: { readonly [K in Structural & OpName]: DerivativeRule<K> } = {
  reshape: ({ inputs: [x] }, [ct]) => [L.reshape(ct, x.shape)],
  transpose: ({ attrs: { permutation } }, [ct]) => {
    const inverse = permutation.map((_, axis) => permutation.indexOf(axis));
    return [L.transpose(ct, inverse)];
  },
  broadcast: ({ inputs: [x] }, [ct]) => [unbroadcast(ct, x.shape)],
  slice,
  pad: ({ inputs: [x], attrs: { low } }, [ct]) => {
    const limits = x.shape.map((d, i) => d + at(low, i));
    return [L.slice(ct, low, limits)];
  },
  concat: ({ inputs, attrs: { axis } }, [ct]) => {
    const sizes = inputs.map((v) => at(v.shape, axis));
    return L.split(ct, axis, sizes);
  },
  split: ({ outputs, attrs: { axis } }, cts) => {
    const parts = outputs.map((v, i) => cts[i] ?? zerosLike(v));
    return [L.concat(parts, axis)];
  },
  dot,
  reduceSum: ({ inputs: [x], attrs: { axes, keepDims } }, [ct]) => [
    L.broadcast(withAxes(ct, axes, keepDims, x.shape), x.shape),
  ],
  // Where several elements are the largest, they share the cotangent evenly.
  reduceMax: ({ inputs: [x], outputs: [y], attrs: { axes, keepDims } }, [ct]) => {
    const mask = L.convert(L.eq(x, withAxes(y, axes, keepDims, x.shape)), x.dtype);
    const share = L.div(withAxes(ct, axes, keepDims, x.shape), L.reduceSum(mask, axes, true));
    return [L.mul(mask, share)];
  },
  argmax: none,
  cumsum: ({ attrs: { axis, reverse, exclusive } }, [ct]) => [L.cumsum(ct, axis, { reverse: !reverse, exclusive })],
  take: ({ inputs: [operand, indices] }, [ct]) => [L.scatterAdd(zerosLike(operand), indices, ct), null],
  scatterAdd: ({ inputs: [, indices] }, [ct]) => [ct, null, L.take(ct, indices)],
};
