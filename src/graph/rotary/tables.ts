/**
 * Tables of rotary angles and the rotation by them: the one place that says what a rotary position does to channels.
 */
import { at } from '../../core/index.js';
import type { Value } from '../ir/types.js';
import * as L from '../primitives/index.js';

/** `f(position * inverseFrequencies[m])` for positions `0, stride, 2 stride, ...`: `[rows * D/2]` in float64. */
export function angleTable(
  f: (angle: number) => number,
  rows: number,
  stride: number,
  inverseFrequencies: readonly number[],
): Float64Array {
  const half = inverseFrequencies.length;
  const values = new Float64Array(rows * half);
  for (let r = 0; r < rows; r++) {
    for (let m = 0; m < half; m++) values[r * half + m] = f(r * stride * at(inverseFrequencies, m));
  }
  return values;
}

/** The sine of a rotation forwards, or backwards. */
export const sineOf = (inverse: boolean): ((angle: number) => number) =>
  inverse ? (x: number): number => -Math.sin(x) : Math.sin;

/** x `[B,T,H,D]` rotated in its pairs of channels `m` and `m + D/2` by angles whose cos and sin are `[1|B,T,1,D/2]`. */
export function rotatePairs(x: Value, cos: Value, sin: Value): Value {
  const half = at(cos.shape, 3);
  const [a, b] = L.split(x, 3, [half, half]);
  return L.concat([L.sub(L.mul(a, cos), L.mul(b, sin)), L.add(L.mul(b, cos), L.mul(a, sin))], 3);
}
