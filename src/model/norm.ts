/** Norms of the residual stream. */
import { at, got } from '../core/index.js';
import { add, mul, reduceMean, reshape, rmsNorm, sub, type Value } from '../graph/index.js';
import type { ModelConfig } from './config.js';

type NormFields = Pick<ModelConfig, 'norm' | 'rmsNormEps' | 'normOffset'>;

/** What a norm has beside its statistics; null for what it does not have. */
export interface NormParameters {
  /** `[d]`, by which the normalized values are multiplied. */
  readonly gain: Value | null;
  /** `[d]`, which is added then. */
  readonly bias: Value | null;
}

/** The parameters of the norm that is called `name`, where the model has them. */
export function normParameters(config: ModelConfig, params: ReadonlyMap<string, Value>, name: string): NormParameters {
  return {
    gain: config.normWeight ? withOffset(config, got(params, `${name}.weight`)) : null,
    bias: config.normBias ? got(params, `${name}.bias`) : null,
  };
}

/** The gain that a norm's weight stands for. */
export function withOffset({ normOffset }: NormFields, weight: Value): Value {
  return normOffset === 0 ? weight : add(weight, normOffset);
}

const PLAIN: NormParameters = { gain: null, bias: null };

/** The norm over the last axis: RMSNorm, or LayerNorm, which is RMSNorm of the centered values. */
export function normalize({ norm, rmsNormEps }: NormFields, x: Value, { gain, bias }: NormParameters = PLAIN): Value {
  const centered = norm === 'rms' ? x : sub(x, reduceMean(x, [x.shape.length - 1], true));
  const y = rmsNorm(centered, gain, rmsNormEps);
  return bias === null ? y : add(y, bias);
}

/** A norm's output whose gain is folded into the matrices that multiply it. */
export interface GainedNorm {
  /** The norm of the input without the gain that `matrix` applies, `[...,d]`. */
  readonly x: Value;
  /** A matrix `[d, n]` as it multiplies `x`: its rows times the gain. */
  readonly matrix: (w: Value) => Value;
}

/**
 * The norm of `x [..., d]` with its gain `[d]`, for values that only matrices read: `(x ⊙ gain) W = x (gain ⊙ W)`, so
 * that the gain and its gradient cost products of the size of the matrix instead of the tokens. A norm with a bias is
 * computed whole.
 */
export function gainedNorm(fields: NormFields, x: Value, { gain, bias }: NormParameters): GainedNorm {
  if (gain === null || bias !== null) return { x: normalize(fields, x, { gain, bias }), matrix: (w) => w };
  const column = reshape(gain, [at(gain.shape, 0), 1]);
  return { x: normalize(fields, x), matrix: (w) => mul(w, column) };
}

/**
 * `(x + bias) weight` with the learned vectors of that name; x itself where the model's sums have none.
 *
 * @param params parameters by name, as `name` counts them
 */
export function shifted(
  { residualAffine }: Pick<ModelConfig, 'residualAffine'>,
  params: ReadonlyMap<string, Value>,
  x: Value,
  name: string,
): Value {
  return residualAffine ? mul(add(x, got(params, `${name}.bias`)), got(params, `${name}.weight`)) : x;
}

/** `x` times a constant; x itself if that is 1. */
export function scaled(x: Value, factor: number): Value {
  return factor === 1 ? x : mul(x, factor);
}
