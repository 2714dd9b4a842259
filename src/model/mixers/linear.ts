/** Products with fused matrices. */
import { at } from '../../core/index.js';
import { add, linear, split, type Value } from '../../graph/index.js';

/**
 * `x [..., in] @ w [in, sum of sizes] + bias [sum of sizes]` in parts of `sizes` columns. Engines that are faster
 * with a product for each part make one of each.
 */
export function linearParts(x: Value, w: Value, sizes: readonly number[], bias: Value | null = null): readonly Value[] {
  const y = linear(x, w);
  return split(bias === null ? y : add(y, bias), x.shape.length - 1, sizes);
}

/** Two parts of `x` along its last axis, of `first` and `second` channels. */
export function twoParts(x: Value, first: number, second: number): readonly [Value, Value] {
  const parts = split(x, x.shape.length - 1, [first, second]);
  return [at(parts, 0), at(parts, 1)];
}

/** `x @ w`, and a bias if there is one. */
export function affine(x: Value, w: Value, bias: Value | null): Value {
  const y = linear(x, w);
  return bias === null ? y : add(y, bias);
}
