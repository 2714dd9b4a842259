/** Softmax and cross entropy: signatures and type rules. */
import { at, isFloat, type Shape } from '../../core/index.js';
import { arity, axisOf, dtypeError, requireFloat, requireIndex, requireShape, shapeError } from '../ir/checks.js';
import { define } from '../ir/emit.js';
import type { TensorType } from '../ir/types.js';

declare module '../ir/types.js' {
  interface OpSignatures {
    readonly softmax: Signature<{ readonly axis: number }, readonly [Value]>;
    /** logits `[N,V]`, targets i32 `[N]` -> negative log-likelihood `[N]` in nats, log-sum-exp `[N]`. */
    readonly crossEntropy: Signature<
      NoAttrs,
      readonly [logits: Value, targets: Value],
      readonly [loss: Value, lse: Value]
    >;
    /** logits, targets, lse, dloss `[N]`, dlse `[N]` -> dlogits. */
    readonly crossEntropyGrad: Signature<
      NoAttrs,
      readonly [logits: Value, targets: Value, lse: Value, dloss: Value, dlse: Value]
    >;
  }
}

/** Checks logits `[N,V]` and targets i32 `[N]`; gives the shape of what each row has one of. */
function checkLogits(op: string, inputs: readonly TensorType[]): Shape {
  const { dtype, shape } = at(inputs, 0);
  if (!isFloat(dtype)) throw dtypeError(op, inputs, 'logits must be floating-point');
  requireIndex(op, inputs, 1, 'targets');
  if (shape.length !== 2 || shape[1] === 0) throw shapeError(op, inputs, 'logits must be [N,V] with V >= 1');
  requireShape(op, inputs, 1, shape.slice(0, 1), 'targets');
  return shape.slice(0, 1);
}

/** Definitions of softmax, cross entropy and its gradient. */
export const LOSS = {
  softmax: define(
    'softmax',
    (inputs, { axis }) => {
      arity('softmax', inputs, 1);
      requireFloat('softmax', inputs);
      axisOf('softmax', inputs, axis);
      return [at(inputs, 0)];
    },
    { precision: 'f32', locality: 'any', merging: 'fold' },
  ),
  crossEntropy: define(
    'crossEntropy',
    (inputs) => {
      arity('crossEntropy', inputs, 2);
      const row = { dtype: at(inputs, 0).dtype, shape: checkLogits('crossEntropy', inputs) };
      return [row, row];
    },
    { precision: 'f32', locality: 'any', merging: 'fold' },
  ),
  crossEntropyGrad: define(
    'crossEntropyGrad',
    (inputs) => {
      arity('crossEntropyGrad', inputs, 5);
      const rows = checkLogits('crossEntropyGrad', inputs);
      for (const i of [2, 3, 4]) requireShape('crossEntropyGrad', inputs, i, rows, 'lse, dloss and dlse');
      return [at(inputs, 0)];
    },
    { precision: 'f32', locality: 'any', merging: 'fold' },
  ),
};
