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

/** A norm's output whose gain is folded into the matrices that multiply it. */
export interface GainedNorm {
  /** The norm of the input without its gain, `[...,d]`. */
  readonly x: Value;
  /** A matrix `[d, n]` with its rows times the gain, as it multiplies `x`. */
  readonly matrix: (w: Value) => Value;
}

/**
 * The norm of `x [..., d]` with its gain `[d]`, for values that only matrices read: `(x ⊙ gain) W = x (gain ⊙ W)`, so
 * that the gain and its gradient cost products of the size of the matrix instead of the tokens.
 */
export function gainedNorm(fields: NormFields, x: Value, gain: Value): GainedNorm {
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
