/** Rows by index. Indices are i32 and must be in range: engines do not check them. */
import { build1, define } from '../ir/emit.js';
import type { Value } from '../ir/types.js';

declare module '../ir/types.js' {
  interface OpSignatures {
    /** `out[i.., rest..] = operand[indices[i..], rest..]`. */
    readonly take: Signature<NoAttrs, readonly [operand: Value, indices: Value]>;
    /** `operand` with `updates[i.., rest..]` added at `[indices[i..], rest..]`; repeats add up. */
    readonly scatterAdd: Signature<NoAttrs, readonly [operand: Value, indices: Value, updates: Value]>;
  }
}

/** Definitions of the ops that index rows. */
export const INDEXING = {
  take: define('take', 2, { precision: 'lookup', locality: 'any', merging: 'fold' }, (inputs) => {
    inputs.requireIndex(1, 'indices');
    const { dtype, shape } = inputs.at(0);
    if (shape.length < 1) throw inputs.shapeError('operand needs an axis');
    return [{ dtype, shape: [...inputs.shape(1), ...shape.slice(1)] }];
  }),
  scatterAdd: define('scatterAdd', 3, { precision: 'f32', locality: 'any', merging: 'fold' }, (inputs) => {
    const operand = inputs.at(0);
    inputs.requireIndex(1, 'indices');
    if (operand.dtype !== inputs.at(2).dtype) throw inputs.dtypeError('operand and updates differ in dtype');
    if (operand.shape.length < 1) throw inputs.shapeError('operand needs an axis');
    inputs.requireShape(2, [...inputs.shape(1), ...operand.shape.slice(1)], 'updates');
    return [operand];
  }),
};

/** Rows of `operand` (axis 0) by `indices`. */
export function take(operand: Value, indices: Value): Value {
  return build1(INDEXING.take, [operand, indices], {});
}

/** `operand` with rows `updates` added at `indices` (i32, in range); repeated indices add up. */
export function scatterAdd(operand: Value, indices: Value, updates: Value): Value {
  return build1(INDEXING.scatterAdd, [operand, indices, updates], {});
}
