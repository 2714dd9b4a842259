/**
 * Queries, keys and values of compressed convolutional attention (Figliolia et al. 2025, arXiv 2510.04476; Transformers
 * `ZayaAttention`): queries and keys pass two causal convolutions, first channel by channel, then head by head, and the
 * mean of the two is added to both; half of the values are those of the token before. Queries and keys are normalized,
 * and keys multiplied by a learned number a head.
 *
 * Shape letters: B sequences, T tokens, H query heads, G key/value heads, D width of a head, C = (H + G) D channels.
 */
import { at, dims } from '../core/index.js';
import {
  add,
  causalConv,
  concat,
  constantFrom,
  dot,
  mul,
  reduceMean,
  reshape,
  rmsNorm,
  sliceAxis,
  split,
  transpose,
  type Value,
} from '../graph/index.js';
import type { CcaConfig } from './cca-config.js';
import type { ModelConfig } from './config.js';
import { linearParts } from './mixers/linear.js';
import type { MixerScope } from './mixer.js';
import type { SequenceState, StateAccess } from './mixers/definition.js';
import { ONES, type ParamInit, type ParamRole, type ParamSpec } from './mixers/spec.js';
import type { HeadCounts } from './plan.js';
import { convBiasInit, convInit, matrixInit } from './param-inits.js';

/** The parameters of a layer beside the projections. */
export function ccaParams(
  config: ModelConfig,
  { width, headWidth }: CcaConfig,
  { numHeads, numKvHeads }: HeadCounts,
  spec: (name: string, shape: number[], role: ParamRole, init: ParamInit) => ParamSpec,
): ParamSpec[] {
  const D = config.headDim;
  const heads = numHeads + numKvHeads;
  return [
    spec('conv.weight', [heads * D, width], 'conv', convInit(config, width)),
    spec('conv.bias', [heads * D], 'vector', convBiasInit(config, width)),
    spec('headconv.weight', [heads, D, D * headWidth], 'blocks', matrixInit(config, D * headWidth, false)),
    spec('headconv.bias', [heads * D], 'vector', convBiasInit(config, D * headWidth)),
    spec('kscale', [numKvHeads], 'vector', ONES),
  ];
}

const STATES = { conv: 'qkconv', heads: 'headconv', values: 'values' } as const;

/** What a layer keeps of the tokens before, beside keys and values. */
export function ccaStates(
  { headDim: D }: Pick<ModelConfig, 'headDim'>,
  { width, headWidth }: CcaConfig,
  { numHeads, numKvHeads }: HeadCounts,
): SequenceState[] {
  const channels = (numHeads + numKvHeads) * D;
  const kept = (name: string, tokens: number, size: number): SequenceState[] =>
    tokens === 0 ? [] : [{ name, shape: [tokens, size], exact: false }];
  return [
    ...kept(STATES.conv, width - 1, channels),
    ...kept(STATES.heads, headWidth - 1, channels),
    ...kept(STATES.values, 1, (numKvHeads * D) / 2),
  ];
}

/**
 * `x [B,T,C]` at each of `width` tokens, the last its own, zeros before the first: a list of `[B,T,C]`, the oldest
 * first.
 */
function lastTokens(x: Value, width: number, state: StateAccess, name: string): Value[] {
  if (width === 1) return [x];
  const C = at(x.shape, 2);
  const initialState = state.read(name);
  return Array.from({ length: width }, (_, tap) => {
    const taps = Array.from({ length: C * width }, (_unused, i) => Number(i % width === tap));
    const weight = constantFrom(x.dtype, [C, width], taps);
    const shifted = causalConv(x, weight, { segments: state.segments, initialState });
    if (tap === 0) state.write(name, shifted.state);
    return shifted.out;
  });
}

/** The two convolutions of queries and keys `[B,T,C]`. */
function convolve({ config, param }: MixerScope, { width, headWidth }: CcaConfig, qk: Value, state: StateAccess) {
  const [B, T, C] = dims(qk, 3);
  const D = config.headDim;
  const heads = C / D;
  // Without its bias, so that it gives zeros before the first token; the bias is added to all that the next one reads.
  const initialState = width > 1 ? state.read(STATES.conv) : null;
  const first = causalConv(qk, param('attn.conv.weight'), { segments: state.segments, initialState });
  if (width > 1) state.write(STATES.conv, first.state);
  const bias = reshape(param('attn.conv.bias'), [1, 1, C]);
  const read = lastTokens(first.out, headWidth, state, STATES.heads).map((x) =>
    reshape(add(x, bias), [B, T, heads, D, 1]),
  );
  const windows = reshape(concat(read, 4), [B, T, heads, D * headWidth]);
  // [heads, B, T, D]
  const product = dot(windows, param('attn.headconv.weight'), {
    ...{ lhsBatch: [2], rhsBatch: [0], lhsContract: [3], rhsContract: [2] },
  });
  return add(reshape(transpose(product, [1, 2, 0, 3]), [B, T, C]), reshape(param('attn.headconv.bias'), [1, 1, C]));
}

/** The mean of each query `[B,T,H,D]` and its key `[B,T,G,D]`, and the mean of these over the queries of a key. */
function means(q: Value, k: Value): { readonly q: Value; readonly k: Value } {
  const [B, T, H, D] = dims(q, 4);
  const G = at(k.shape, 2);
  const both = mul(add(reshape(q, [B, T, G, H / G, D]), reshape(k, [B, T, G, 1, D])), 0.5);
  return { q: reshape(both, [B, T, H, D]), k: reduceMean(both, [3]) };
}

/** Added to mean squares of heads: what keeps a head of zeros finite, and is too small to change any other. */
const unitEps = (D: number): number => (1.1920929e-7 * 1.1920929e-7) / D;

/** Queries `[B,T,H,D]`, keys and values `[B,T,G,D]` of the layer's input; positions are not applied. */
export function compressed(
  scope: MixerScope,
  cca: CcaConfig,
  { numHeads: H, numKvHeads: G }: HeadCounts,
  state: StateAccess,
): { readonly q: Value; readonly k: Value; readonly v: Value } {
  const { config, x, param, inputMatrix } = scope;
  const D = config.headDim;
  const [B, T] = dims(x, 3);
  const half = (G * D) / 2;
  const sizes = [H * D, G * D, half, half] as const;
  const [q, k, own, before] = linearParts(x, inputMatrix('attn.wqkv'), sizes, null) as [Value, Value, Value, Value];
  const biases =
    config.attentionBias === 'qkv' || config.attentionBias === 'all' ? split(param('attn.bqkv'), 0, sizes) : null;
  const biased = (part: Value, i: number): Value =>
    biases === null ? part : add(part, reshape(at(biases, i), [1, 1, at(part.shape, 2)]));
  const [queries, keys] = [biased(q, 0), biased(k, 1)];
  const mixed = convolve(scope, cca, state.maskPadding(concat([queries, keys], 2)), state);
  const heads = (part: Value): Value => reshape(part, [B, T, at(part.shape, 2) / D, D]);
  const mean = means(heads(queries), heads(keys));
  const unit = (part: Value): Value => rmsNorm(part, null, unitEps(D));
  const [earlier] = lastTokens(state.maskPadding(before), 2, state, STATES.values) as [Value];
  const normedKeys = unit(add(heads(sliceAxis(mixed, 2, H * D, (H + G) * D)), mean.k));
  return {
    q: unit(add(heads(sliceAxis(mixed, 2, 0, H * D)), mean.q)),
    k: mul(normedKeys, reshape(param('attn.kscale'), [1, 1, G, 1])),
    v: heads(concat([biased(own, 2), biased(earlier, 3)], 2)),
  };
}
