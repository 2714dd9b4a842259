/** Rotary positions in primitives. */
import { at } from '../../core/index.js';
import type { Decomposition } from '../ir/rules.js';
import * as L from '../primitives/index.js';
import { angleTable, rotatePairs, sineOf } from './tables.js';

/** The decomposition of the rotary op: tables `[1,T,1,D/2]` computed in float64 and rounded once. */
export const ROTARY_DECOMPOSITIONS: { readonly rotary: Decomposition<'rotary'> } = {
  rotary: ([x], { inverseFrequencies, inverse }) => {
    const T = at(x.shape, 1);
    const shape = [1, T, 1, inverseFrequencies.length];
    const table = (f: (angle: number) => number) =>
      L.constantFrom(x.dtype, shape, angleTable(f, T, 1, inverseFrequencies));
    return [rotatePairs(x, table(Math.cos), table(sineOf(inverse)))];
  },
};
