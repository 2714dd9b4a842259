/** The op function of rotary positions. */
import { ConfigError } from '../../core/index.js';
import { build1 } from '../ir/emit.js';
import type { Value } from '../ir/types.js';
import { ROTARY } from './type.js';

/**
 * `base^(-2m/D)` for `m = 0 .. D/2-1`: the angle in radians that one position adds to channel pair m (Su et al. 2021).
 */
export function rotaryFrequencies(headDim: number, base: number): number[] {
  if (headDim % 2 !== 0) throw new ConfigError(`rotary positions need an even head width, got ${headDim}`);
  return Array.from({ length: headDim / 2 }, (_, m) => Math.pow(base, (-2 * m) / headDim));
}

/** Rotary positions on x `[B,T,H,D]`, half-split layout; `inverse` rotates backwards. */
export function rotary(x: Value, inverseFrequencies: readonly number[], inverse = false): Value {
  return build1(ROTARY.rotary, [x], { inverseFrequencies, inverse });
}
