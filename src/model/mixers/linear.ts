/** Products with fused matrices. */
import { add, linear, split, type Value } from '../../graph/index.js';

/**
 * `x [..., in] @ w [in, sum of sizes] + bias [sum of sizes]` in parts of `sizes` columns: one product that is then
 * split, or (`apart`) one product per part.
 */
export function linearParts(
  x: Value,
  w: Value,
  sizes: readonly number[],
  apart: boolean,
  bias: Value | null = null,
): readonly Value[] {
  const plus = (y: Value, b: Value | null | undefined) => (b ? add(y, b) : y);
  if (!apart) return split(plus(linear(x, w), bias), x.shape.length - 1, sizes);
  const biases = bias === null ? [] : split(bias, 0, sizes);
  return split(w, 1, sizes).map((part, i) => plus(linear(x, part), biases[i]));
}
