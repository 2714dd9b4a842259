/** The residual block around a mixer: norm, mixer, norm, SwiGLU. One definition for whole sequences and for steps. */
import { add, linear, mul, reshape, rmsNorm, swiglu, type Value } from '../graph/index.js';
import type { ModelConfig } from './config.js';
import { linearParts } from './linear.js';
import type { MixerScope, TokenPositions } from './mixer.js';

/**
 * Where the gain of a norm goes, as `(x ⊙ gain) W = x (gain ⊙ W)`: into the matrices that read the norm, so that the gain and
 * its gradient cost products of the size of the matrix instead of the tokens (training), or to the tokens themselves (few of them).
 */
export type Gains = 'matrices' | 'tokens';

export interface GainedNorm {
  readonly x: Value;
  /** A matrix `[d, n]` as it multiplies `x`. */
  readonly matrix: (w: Value) => Value;
}

/** RMSNorm of `x [..., d]` with its gain `[d]`. */
export function gainedNorm(x: Value, gain: Value, eps: number, gains: Gains): GainedNorm {
  if (gains === 'tokens') return { x: rmsNorm(x, gain, eps), matrix: (w) => w };
  const column = reshape(gain, [gain.shape[0] as number, 1]);
  return { x: rmsNorm(x, null, eps), matrix: (w) => mul(w, column) };
}

/** The parameters of one layer by the end of their names, such as `attn.wqkv`. */
export function layerParameters(params: ReadonlyMap<string, Value>, layer: number): Map<string, Value> {
  const prefix = `layers.${layer}.`;
  const own = [...params].filter(([name]) => name.startsWith(prefix));
  return new Map(own.map(([name, value]) => [name.slice(prefix.length), value]));
}

export interface BlockInputs {
  readonly config: ModelConfig;
  /** The residual stream, `[B,T,d]`. */
  readonly x: Value;
  /** Of this layer, by the end of their names. */
  readonly params: ReadonlyMap<string, Value>;
  readonly splitProjections: boolean;
  readonly gains: Gains;
  readonly positions: TokenPositions | null;
}

/** The block around `mix`: the residual stream after it, and what the mixer returned. */
export function buildBlock<M extends { readonly out: Value }>(
  { config, x, params, splitProjections, gains, positions }: BlockInputs,
  mix: (scope: MixerScope) => M,
): { readonly out: Value; readonly mixed: M } {
  const { rmsNormEps: eps, intermediateSize: f } = config;
  const param = (name: string) => params.get(name) as Value;
  const outer = gainedNorm(x, param('norm1.weight'), eps, gains);
  const inputMatrix = (name: string) => outer.matrix(param(name));
  const mixed = mix({ config, x: outer.x, inputMatrix, param, splitProjections, positions });
  const middle = add(x, mixed.out);
  const inner = gainedNorm(middle, param('norm2.weight'), eps, gains);
  const [gate, up] = linearParts(inner.x, inner.matrix(param('mlp.wgateup')), [f, f], splitProjections) as [
    Value,
    Value,
  ];
  return { out: add(middle, linear(swiglu(gate, up), param('mlp.wdown'))), mixed };
}
