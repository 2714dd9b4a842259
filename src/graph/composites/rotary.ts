/** Rotary positions (Su et al. 2021): the one place that says what a position does to channels. */
import { ConfigError, at, dims } from '../../core/index.js';
import { build1, define } from '../ir/emit.js';
import type { Decomposition, DerivativeRule } from '../ir/rules.js';
import type { Value } from '../ir/types.js';
import * as L from '../primitives/index.js';

/** Half-split rotary embedding: channel `m` is rotated with channel `m + D/2` by `position * inverseFrequencies[m]`. */
export interface RotaryAttrs {
  /** Radians that one position adds to each of the D/2 pairs of channels. */
  readonly inverseFrequencies: readonly number[];
  /** Rotate backwards (the derivative). */
  readonly inverse: boolean;
}

declare module '../ir/types.js' {
  interface OpSignatures {
    /** x `[B,T,H,D]` -> the same, position = index along T. */
    readonly rotary: Signature<RotaryAttrs, readonly [Value]>;
  }
}

/** The definition of the rotary op. */
export const ROTARY = {
  rotary: define('rotary', 1, { precision: 'follows', locality: 'any', merging: 'fold' }, (inputs, attrs) => {
    const pairs = attrs.inverseFrequencies.length;
    inputs.floatDtype();
    const shape = inputs.shape(0);
    if (shape.length !== 4) throw inputs.shapeError('x must be [B,T,H,D]');
    if (shape[3] !== 2 * pairs) throw inputs.shapeError(`D must be twice the number of frequencies (${pairs})`);
    return [inputs.at(0)];
  }),
};

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

/** The derivative rule of the rotary op. */
export const ROTARY_DERIVATIVES: { readonly rotary: DerivativeRule<'rotary'> } = {
  rotary: ({ attrs: { inverseFrequencies, inverse } }, [ct]) => [rotary(ct, inverseFrequencies, !inverse)],
};

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
    // Rows by a flat list: mixed precision takes what is looked up by token for activations, which these are not.
    return L.reshape(L.take(table, L.reshape(at, [B * T])), [B, T, 1, half]);
  };
  const [cosA, sinA] = [pick(large, STRIDE, Math.cos, coarse), pick(large, STRIDE, Math.sin, coarse)];
  const [cosB, sinB] = [pick(STRIDE, 1, Math.cos, fine), pick(STRIDE, 1, Math.sin, fine)];
  const cos = L.sub(L.mul(cosA, cosB), L.mul(sinA, sinB));
  return rotatePairs(x, cos, L.add(L.mul(sinA, cosB), L.mul(cosA, sinB)));
}
