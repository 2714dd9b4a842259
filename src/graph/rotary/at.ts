/** Rotary positions of tokens that do not start at 0: those of a chunk in the middle of a sequence. */
import { dims } from '../../core/index.js';
import type { Value } from '../ir/types.js';
import * as L from '../primitives/index.js';
import { angleTable, rotatePairs } from './tables.js';

/** Rows of the table of small angles; large ones go in steps of it. */
const STRIDE = 256;

/**
 * Rotary positions, half-split, on x `[B,T,H,D]` by `positions` (i32 `[B,T]`, each in `0 .. limit - 1`): what `rotary`
 * does for positions that are known only when the graph runs.
 *
 * cos and sin come from two small tables computed in float64 (multiples of 256, and what is left) and the addition
 * theorem, so that a float32 graph is as exact at position 100,000 as at 1.
 */
export function rotaryAt(x: Value, inverseFrequencies: readonly number[], positions: Value, limit: number): Value {
  const half = inverseFrequencies.length;
  const [B, T] = dims(x, 2);
  L.expectShape(positions, [B, T], 'rotaryAt: positions');
  // Integer division truncates, which is the floor here.
  const coarse = L.div(positions, STRIDE);
  const fine = L.sub(positions, L.mul(coarse, STRIDE));
  const large = Math.max(1, Math.ceil(limit / STRIDE));
  const pick = (rows: number, stride: number, f: (angle: number) => number, at: Value): Value => {
    const table = L.constantFrom(x.dtype, [rows, half], angleTable(f, rows, stride, inverseFrequencies));
    return L.reshape(L.take(table, at), [B, T, 1, half]);
  };
  const [cosA, sinA] = [pick(large, STRIDE, Math.cos, coarse), pick(large, STRIDE, Math.sin, coarse)];
  const [cosB, sinB] = [pick(STRIDE, 1, Math.cos, fine), pick(STRIDE, 1, Math.sin, fine)];
  const cos = L.sub(L.mul(cosA, cosB), L.mul(sinA, sinB));
  return rotatePairs(x, cos, L.add(L.mul(sinA, cosB), L.mul(cosA, sinB)));
}
