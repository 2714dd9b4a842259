/** Rotary positions (Su et al. 2021): signature and type rule. */
import { at } from '../../core/index.js';
import { arity, requireFloat, shapeError } from '../ir/checks.js';
import { define } from '../ir/emit.js';

/** Half-split rotary embedding: channel `m` is rotated with channel `m + D/2` by `position * inverseFrequencies[m]`. */
export interface RotaryAttrs {
  /** Radians that one position adds to each of the D/2 pairs of channels. */
  readonly inverseFrequencies: readonly number[];
  /** Rotate backwards (the derivative). */
  readonly inverse: boolean;
}

declare module '../ir/types.js' {
  interface OpSignatures {
    /** x `[B,T,H,D]` -> the same, position = index along T. */
    readonly rotary: Signature<RotaryAttrs, readonly [Value]>;
  }
}

/** The definition of the rotary op. */
export const ROTARY = {
  rotary: define(
    'rotary',
    (inputs, { inverseFrequencies }) => {
      arity('rotary', inputs, 1);
      requireFloat('rotary', inputs);
      const { shape } = at(inputs, 0);
      if (shape.length !== 4) throw shapeError('rotary', inputs, 'x must be [B,T,H,D]');
      if (shape[3] !== 2 * inverseFrequencies.length) {
        throw shapeError('rotary', inputs, `D must be twice the number of frequencies (${inverseFrequencies.length})`);
      }
      return [at(inputs, 0)];
    },
    { precision: 'follows', locality: 'any', merging: 'fold' },
  ),
};
