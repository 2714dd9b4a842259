/** The derivative of rotary positions: the rotation backwards. */
import type { DerivativeRule } from '../ir/rules.js';
import { rotary } from './op.js';

/** The derivative rule of the rotary op. */
export const ROTARY_DERIVATIVES: { readonly rotary: DerivativeRule<'rotary'> } = {
  rotary: ({ attrs: { inverseFrequencies, inverse } }, [ct]) => [rotary(ct, inverseFrequencies, !inverse)],
};
