/** RMS norm (Zhang and Sennrich 2019): signatures and type rules. */
import { at, last } from '../../core/index.js';
import { arity, requireFloat, requireShape, shapeError } from '../ir/checks.js';
import { define } from '../ir/emit.js';

declare module '../ir/types.js' {
  interface OpSignatures {
    /**
     * x, [weight] -> y, rstd: `y = x * rstd * weight`, `rstd = 1 / sqrt(mean(x^2) + epsilon)` over the last axis, kept
     * as size 1.
     */
    readonly rmsNorm: Signature<
      { readonly epsilon: number },
      readonly [x: Value, ...weight: Value[]],
      readonly [y: Value, rstd: Value]
    >;
    /** x, rstd, dy, [weight] -> dx, [dweight]. */
    readonly rmsNormGrad: Signature<
      NoAttrs,
      readonly [x: Value, rstd: Value, dy: Value, ...weight: Value[]],
      readonly [dx: Value, ...dweight: Value[]]
    >;
  }
}

/** Definitions of the norm and its gradient. */
export const NORM = {
  rmsNorm: define(
    'rmsNorm',
    (inputs) => {
      arity('rmsNorm', inputs, 1, 2);
      const dtype = requireFloat('rmsNorm', inputs);
      const { shape } = at(inputs, 0);
      const width = shape[shape.length - 1];
      if (!width) throw shapeError('rmsNorm', inputs, 'x needs a last axis of size >= 1');
      if (inputs.length === 2) requireShape('rmsNorm', inputs, 1, [width], 'weight');
      const rstd = [...shape.slice(0, -1), 1];
      return [
        { dtype, shape },
        { dtype, shape: rstd },
      ];
    },
    { precision: 'activations', locality: 'any', merging: 'fold' },
  ),
  rmsNormGrad: define(
    'rmsNormGrad',
    (inputs) => {
      arity('rmsNormGrad', inputs, 3, 4);
      requireFloat('rmsNormGrad', inputs);
      const x = at(inputs, 0);
      requireShape('rmsNormGrad', inputs, 1, [...x.shape.slice(0, -1), 1], 'rstd');
      requireShape('rmsNormGrad', inputs, 2, x.shape, 'dy');
      if (inputs.length === 3) return [x];
      requireShape('rmsNormGrad', inputs, 3, x.shape.slice(-1), 'weight');
      return [x, last(inputs)];
    },
    { precision: 'f32', locality: 'any', merging: 'fold' },
  ),
};
