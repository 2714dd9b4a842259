/** Rows sent to places and back, as tokens to experts: sums of rows by index, whose derivatives are such sums. */
import { at, sizeOf } from '../../core/index.js';
import { build1, define } from '../ir/emit.js';
import type { Decomposition, DerivativeRule } from '../ir/rules.js';
import type { Value } from '../ir/types.js';
import * as L from '../primitives/index.js';

declare module '../ir/types.js' {
  interface OpSignatures {
    /**
     * operand `[P,n]`, indices i32 `[Q,a]`, inverse i32 `[P,b]` -> `[Q,n]`: row q is the sum of the operand's rows
     * `indices[q,..]`. `inverse` lists, for each row of the operand, the rows of the result that it is added to.
     */
    readonly routeRows: Signature<NoAttrs, readonly [operand: Value, indices: Value, inverse: Value]>;
  }
}

/** The definition of sums of rows by index. */
export const ROUTE = {
  routeRows: define('routeRows', 3, { precision: 'follows', locality: 'any', merging: 'fold' }, (inputs) => {
    const { dtype, shape } = inputs.at(0);
    inputs.slice(0, 1).floatDtype();
    inputs.requireIndex(1, 'indices');
    inputs.requireIndex(2, 'inverse');
    if (shape.length !== 2) throw inputs.shapeError('operand must be [P,n]');
    if (inputs.shape(1).length !== 2) throw inputs.shapeError('indices must be [Q,a]');
    if (inputs.shape(2).length !== 2 || inputs.shape(2)[0] !== shape[0]) {
      throw inputs.shapeError(`inverse must be [${at(shape, 0)},b]`);
    }
    return [{ dtype, shape: [at(inputs.shape(1), 0), at(shape, 1)] }];
  }),
};

/**
 * Sums of rows of `operand [P,n]`: row q of the result `[Q,n]` is the sum of rows `indices[q,..]` (i32 `[Q,a]`).
 *
 * @param inverse the relation the other way, i32 `[P,b]`: the rows of the result that each row of the operand is added
 *   to. The derivative is read through it, so that it needs no scattered additions; rows of the result that it does not
 *   name are taken to have no effect.
 */
export function routeRows(operand: Value, indices: Value, inverse: Value): Value {
  return build1(ROUTE.routeRows, [operand, indices, inverse], {});
}

/** The decomposition of sums of rows by index. */
export const ROUTE_DECOMPOSITIONS: { readonly [K in keyof typeof ROUTE]: Decomposition<K> } = {
  routeRows: ([operand, indices]) => {
    const taken = L.take(operand, indices);
    const width = at(operand.shape, 1);
    const [rows, each] = [at(indices.shape, 0), sizeOf(indices.shape.slice(1))];
    return [each === 1 ? L.reshape(taken, [rows, width]) : L.reduceSum(taken, [1])];
  },
};

/** The derivative rule of sums of rows by index: the same the other way. */
export const ROUTE_DERIVATIVES: { readonly [K in keyof typeof ROUTE]: DerivativeRule<K> } = {
  routeRows: ({ inputs: [, indices, inverse] }, [ct]) => [routeRows(ct, inverse, indices), null, null],
};
