/** Rows by index. Indices are i32 and must be in range: engines do not check them. */
import { at } from '../../core/index.js';
import { arity, dtypeError, requireIndex, requireShape, shapeError } from '../ir/checks.js';
import { build1, define } from '../ir/emit.js';
import type { TypeRule, Value } from '../ir/types.js';

declare module '../ir/types.js' {
  interface OpSignatures {
    /** `out[i.., rest..] = operand[indices[i..], rest..]`. */
    readonly take: Signature<NoAttrs, readonly [operand: Value, indices: Value]>;
    /** `operand` with `updates[i.., rest..]` added at `[indices[i..], rest..]`; repeats add up. */
    readonly scatterAdd: Signature<NoAttrs, readonly [operand: Value, indices: Value, updates: Value]>;
  }
}

const takeType: TypeRule<'take'> = (inputs) => {
  arity('take', inputs, 2);
  requireIndex('take', inputs, 1, 'indices');
  const [operand, indices] = [at(inputs, 0), at(inputs, 1)];
  if (operand.shape.length < 1) throw shapeError('take', inputs, 'operand needs an axis');
  return [{ dtype: operand.dtype, shape: [...indices.shape, ...operand.shape.slice(1)] }];
};

const scatterAddType: TypeRule<'scatterAdd'> = (inputs) => {
  arity('scatterAdd', inputs, 3);
  const [operand, indices, updates] = [at(inputs, 0), at(inputs, 1), at(inputs, 2)];
  requireIndex('scatterAdd', inputs, 1, 'indices');
  if (operand.dtype !== updates.dtype) throw dtypeError('scatterAdd', inputs, 'operand and updates differ in dtype');
  if (operand.shape.length < 1) throw shapeError('scatterAdd', inputs, 'operand needs an axis');
  requireShape('scatterAdd', inputs, 2, [...indices.shape, ...operand.shape.slice(1)], 'updates');
  return [operand];
};

/** Definitions of the ops that index rows. */
export const INDEXING = {
  take: define('take', takeType, { precision: 'lookup', locality: 'any', merging: 'fold' }),
  scatterAdd: define('scatterAdd', scatterAddType, { precision: 'f32', locality: 'any', merging: 'fold' }),
};

/** Rows of `operand` (axis 0) by `indices`. */
export function take(operand: Value, indices: Value): Value {
  return build1(INDEXING.take, [operand, indices], {});
}

/** `operand` with rows `updates` added at `indices` (i32, in range); repeated indices add up. */
export function scatterAdd(operand: Value, indices: Value, updates: Value): Value {
  return build1(INDEXING.scatterAdd, [operand, indices, updates], {});
}
