/** SwiGLU (Shazeer 2020): signatures and type rules. */
import { at } from '../../core/index.js';
import { arity, requireFloat, requireShape } from '../ir/checks.js';
import { define } from '../ir/emit.js';

declare module '../ir/types.js' {
  interface OpSignatures {
    /** gate, up -> `gate * sigmoid(gate) * up`. */
    readonly swiglu: Signature<NoAttrs, readonly [gate: Value, up: Value]>;
    /** gate, up, dy -> dgate, dup. */
    readonly swigluGrad: Signature<
      NoAttrs,
      readonly [gate: Value, up: Value, dy: Value],
      readonly [dgate: Value, dup: Value]
    >;
  }
}

/** Definitions of SwiGLU and its gradient. */
export const GATE = {
  swiglu: define(
    'swiglu',
    (inputs) => {
      arity('swiglu', inputs, 2);
      requireFloat('swiglu', inputs);
      requireShape('swiglu', inputs, 1, at(inputs, 0).shape, 'up');
      return [at(inputs, 0)];
    },
    { precision: 'follows', locality: 'any', merging: 'fold' },
  ),
  swigluGrad: define(
    'swigluGrad',
    (inputs) => {
      arity('swigluGrad', inputs, 3);
      requireFloat('swigluGrad', inputs);
      for (const i of [1, 2]) requireShape('swigluGrad', inputs, i, at(inputs, 0).shape, 'up and dy');
      return [at(inputs, 0), at(inputs, 1)];
    },
    { precision: 'f32', locality: 'any', merging: 'fold' },
  ),
};
