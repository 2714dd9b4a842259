/** Products with fused matrices. */
import { add, linear, split, type Value } from '../../graph/index.js';

/**
 * `x [..., in] @ w [in, sum of sizes] + bias [sum of sizes]` in parts of `sizes` columns. Engines that are faster
 * with a product for each part make one of each.
 */
export function linearParts(x: Value, w: Value, sizes: readonly number[], bias: Value | null = null): readonly Value[] {
  const y = linear(x, w);
  return split(bias === null ? y : add(y, bias), x.shape.length - 1, sizes);
}
