/** Norms of the residual stream. */
import { at } from '../core/index.js';
import { add, linear, mul, reduceMean, reshape, rmsNorm, sub, type Value } from '../graph/index.js';
import type { ModelConfig } from './config.js';

type NormFields = Pick<ModelConfig, 'norm' | 'rmsNormEps' | 'normOffset'>;

/** The gain that a norm's weight stands for. */
export function withOffset({ normOffset }: NormFields, weight: Value): Value {
  return normOffset === 0 ? weight : add(weight, normOffset);
}

/** The norm over the last axis without its gain: RMSNorm, or LayerNorm, which is RMSNorm of the centered values. */
export function normalize({ norm, rmsNormEps }: NormFields, x: Value, gain: Value | null = null): Value {
  const centered = norm === 'rms' ? x : sub(x, reduceMean(x, [x.shape.length - 1], true));
  return rmsNorm(centered, gain, rmsNormEps);
}

/**
 * Where the gain of a norm goes, as `(x ⊙ gain) W = x (gain ⊙ W)`: into the matrices that read the norm, so that the
 * gain and its gradient cost products of the size of the matrix instead of the tokens (training), or to the tokens
 * themselves (few of them).
 */
export type Gains = 'matrices' | 'tokens';

/** A norm's output whose gain may be folded into the matrices that multiply it. */
export interface GainedNorm {
  /** The norm of the input, `[...,d]`, with the gain left out where it is folded into matrices. */
  readonly x: Value;
  /** A matrix `[d, n]` as it multiplies `x`. */
  readonly matrix: (w: Value) => Value;
}

/** The norm of `x [..., d]` with its gain `[d]`, for values that only matrices read. */
export function gainedNorm(fields: NormFields, x: Value, gain: Value, gains: Gains): GainedNorm {
  if (gains === 'tokens') return { x: normalize(fields, x, gain), matrix: (w) => w };
  const column = reshape(gain, [at(gain.shape, 0), 1]);
  return { x: normalize(fields, x), matrix: (w) => mul(w, column) };
}

/** `x` times a constant; x itself if that is 1. */
export function scaled(x: Value, factor: number): Value {
  return factor === 1 ? x : mul(x, factor);
}

/** `x @ w`, and a bias if there is one. */
export function affine(x: Value, w: Value, bias: Value | null): Value {
  const y = linear(x, w);
  return bias === null ? y : add(y, bias);
}
