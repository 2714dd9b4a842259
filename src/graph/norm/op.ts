/** The op function of RMS norm. */
import { build } from '../ir/emit.js';
import type { Value } from '../ir/types.js';
import { NORM } from './type.js';

/** RMS norm over the last axis, `x / sqrt(mean(x^2) + epsilon) * weight`: x `[..., D]`, weight `[D]` or null for 1. */
export function rmsNorm(x: Value, weight: Value | null, epsilon: number): Value {
  return build(NORM.rmsNorm, weight ? [x, weight] : [x], { epsilon })[0];
}
