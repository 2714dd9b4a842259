/** Rotary positions of tokens that do not start at 0: those of a chunk in the middle of a sequence. */
import * as L from './lib.js';
import type { Value } from './types.js';

/** Rows of the table of small angles; large ones go in steps of it. */
const STRIDE = 256;

/**
 * Rotary positions, half-split, on x `[B,T,H,D]` by `positions` (i32 `[B,T]`, each in `0 .. limit - 1`): what `rotary` does for
 * positions that are known only when the graph runs.
 *
 * cos and sin come from two small tables computed in float64 (multiples of 256, and what is left) and the addition theorem,
 * so that a float32 graph is as exact at position 100,000 as at 1.
 */
export function rotaryAt(x: Value, inverseFrequencies: readonly number[], positions: Value, limit: number): Value {
  const half = inverseFrequencies.length;
  const [B, T] = x.shape as [number, number, number, number];
  L.expectShape(positions, [B, T], 'rotaryAt: positions');
  const table = (rows: number, stride: number, f: (angle: number) => number): Value => {
    const values = new Float64Array(rows * half);
    values.forEach((_, i) => {
      values[i] = f(Math.floor(i / half) * stride * (inverseFrequencies[i % half] as number));
    });
    return L.constantFrom(x.dtype, [rows, half], values);
  };
  // Integer division truncates, which is the floor here.
  const coarse = L.div(positions, STRIDE);
  const fine = L.sub(positions, L.mul(coarse, STRIDE));
  const large = Math.max(1, Math.ceil(limit / STRIDE));
  const pick = (rows: number, stride: number, f: (angle: number) => number, at: Value): Value =>
    L.reshape(L.take(table(rows, stride, f), at), [B, T, 1, half]);
  const [cosA, sinA] = [pick(large, STRIDE, Math.cos, coarse), pick(large, STRIDE, Math.sin, coarse)];
  const [cosB, sinB] = [pick(STRIDE, 1, Math.cos, fine), pick(STRIDE, 1, Math.sin, fine)];
  const cos = L.sub(L.mul(cosA, cosB), L.mul(sinA, sinB));
  const sin = L.add(L.mul(sinA, cosB), L.mul(cosA, sinB));
  const [a, b] = L.split(x, 3, [half, half]) as [Value, Value];
  return L.concat([L.sub(L.mul(a, cos), L.mul(b, sin)), L.add(L.mul(b, cos), L.mul(a, sin))], 3);
}
