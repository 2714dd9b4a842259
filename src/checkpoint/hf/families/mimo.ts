/** MiMo V2 Flash: value heads of their own width, twice the key/value heads and sinks in windows, experts. */
import { headCounts, headGroups, type ModelConfig } from '../../../model/index.js';
import type { Family, HfConfigJson } from '../family/family.js';
import { optional, type Fields } from '../family/fields.js';
import { longestOf, readRopes, requireRopes, ropesFields, shareOfChannels, writeRopes } from '../family/rotary.js';
import {
  attentionLayers,
  COMMON_FIELDS,
  decoderLayout,
  layerTypes,
  LLAMA_NAMES,
  readActivation,
  readSizes,
  writeActivation,
  writeMaskedTypes,
  writeSizes,
} from './decoder.js';
import { denseLayers, QWEN_EXPERTS, readExperts, withExperts, writeMlpTypes } from './experts.js';
import { sigmoidRouter } from './latent.js';

/** The share of channels that turns where the file does not say. */
const SHARE = 0.334;
/** What the class takes where `config.json` has no `rope_parameters`. */
const ROPE = {
  full_attention: { rope_type: 'default', rope_theta: 5_000_000, partial_rotary_factor: SHARE },
  sliding_attention: { rope_type: 'default', rope_theta: 10_000, partial_rotary_factor: SHARE },
} as const;

/** Full attention in the first layer and every sixth. */
const typeOf = (layer: number): string =>
  layer === 0 || (layer + 1) % 6 === 0 ? 'full_attention' : 'sliding_attention';

/** The window in keys, the query's own included; `sliding_window_size` of published files leaves that out. */
function readWindow(fields: Fields): number {
  const window = fields.count('sliding_window');
  return fields.has('sliding_window_size') ? fields.count('sliding_window_size', undefined, 0) + 1 : window;
}

function readLayers(fields: Fields, types: readonly string[], local: string): string[] {
  const [heads, kvHeads, window] = [
    fields.count('num_attention_heads'),
    fields.count('num_key_value_heads'),
    readWindow(fields),
  ];
  const sinks = types.includes('sliding_attention');
  const plain = attentionLayers(fields, types, (_, windowed) => (windowed ? local : 'rope'));
  return plain.map((layer, i) =>
    types[i] === 'sliding_attention'
      ? `${layer.replace(/^swa:\d+/, `swa:${window}`)}#${heads},${2 * kvHeads}`
      : `${layer}${sinks ? ';sinks=no' : ''}`,
  );
}

/** The experts: in all layers but the first, where the file does not say. */
const readMimoExperts = (fields: Fields) => {
  const dense = denseLayers(fields, (i) => i === 0);
  return readExperts(fields, {
    count: 'n_routed_experts',
    dense: () => dense,
    more: (own) => ({
      ...sigmoidRouter(own),
      normalize: own.flag('norm_topk_prob'),
      scale: own.number('routed_scaling_factor', 1),
    }),
  });
};

function writeMimoExperts(config: ModelConfig): HfConfigJson {
  const { experts } = config;
  return {
    ...writeMlpTypes(config),
    ...(experts === null
      ? {}
      : {
          n_routed_experts: experts.count,
          num_experts_per_tok: experts.perToken,
          moe_intermediate_size: experts.intermediateSize,
          routed_scaling_factor: experts.scale,
          norm_topk_prob: experts.normalize,
          n_group: experts.groups?.count ?? 1,
          topk_group: experts.groups?.perToken ?? 1,
        }),
  };
}

/** `rope_parameters`, with the class's own share where as many channels turn by it, and also where all do. */
function writeMimoRopes(config: ModelConfig): HfConfigJson {
  const { headDim, ropeDim, localRope } = config;
  const shareOf = (dim: number) => (Math.floor(headDim * SHARE) === dim ? SHARE : shareOfChannels(dim, headDim));
  const ropes = writeRopes(config);
  return {
    full_attention: { ...ropes.full_attention, partial_rotary_factor: shareOf(ropeDim) },
    sliding_attention: { ...ropes.sliding_attention, partial_rotary_factor: shareOf(localRope?.ropeDim ?? ropeDim) },
  };
}

const family: Family = {
  modelTypes: ['mimo_v2_flash'],
  architecture: 'MiMoV2FlashForCausalLM',
  takesRopeScaling: false,
  sinksInMaps: true,
  aliases: { num_local_experts: 'n_routed_experts' },
  fields: {
    ...COMMON_FIELDS,
    vocab_size: 152_576,
    hidden_size: 4096,
    intermediate_size: 16_384,
    num_hidden_layers: 48,
    num_attention_heads: 64,
    num_key_value_heads: 4,
    max_position_embeddings: 131_072,
    rms_norm_eps: 1e-5,
    attention_bias: false,
    moe_intermediate_size: 2048,
    num_experts_per_tok: 8,
    n_routed_experts: 256,
    routed_scaling_factor: optional(1),
    n_group: 1,
    topk_group: 1,
    norm_topk_prob: true,
    head_dim: 192,
    v_head_dim: 128,
    sliding_window: 129,
    layer_types: optional(),
    mlp_layer_types: optional(),
    attention_value_scale: optional(0.707),
  },
  read: (fields) => {
    const sizes = readSizes(fields);
    const types = layerTypes(fields, typeOf);
    requireRopes(fields, types);
    if (fields.states('rope_scaling')) fields.refuse('rope_scaling, which its class does not take,');
    const bases = { full_attention: 5_000_000, sliding_attention: 10_000 };
    const ropes = ropesFields(readRopes(fields, bases, null, ROPE, null, SHARE), sizes.headDim);
    return {
      ...sizes,
      ...ropes.fields,
      valueDim: fields.count('v_head_dim'),
      valueScale: fields.number('attention_value_scale', 1),
      sinks: types.includes('sliding_attention'),
      layers: readLayers(fields, types, ropes.sliding),
      experts: readMimoExperts(fields),
      activation: readActivation(fields),
      attentionBias: fields.flag('attention_bias') ? 'qkv' : 'none',
      block: { norm: 'pre' },
    };
  },
  layout: (config, layer, name) => decoderLayout(config, layer, name, { ...LLAMA_NAMES, sinks: 'attention_sink_bias' }),
  // Layers that predict further tokens, which the class leaves out too.
  ignored: (name) => name.startsWith('model.mtp.'),
  alias: (name) => [name.replace(/\.self_attn\.sinks$/, '.self_attn.attention_sink_bias')].filter((n) => n !== name),
  write: (config) => ({
    ...writeSizes(config),
    ...writeMaskedTypes(config, 129),
    num_key_value_heads: fullKvHeads(config),
    v_head_dim: config.valueDim ?? config.headDim,
    attention_value_scale: config.valueScale,
    ...writeMimoExperts(config),
    hidden_act: writeActivation(config.activation),
    max_position_embeddings: longestOf(config),
    attention_bias: config.attentionBias === 'qkv',
    rope_parameters: writeMimoRopes(config),
  }),
};

/** The key/value heads of layers of full attention, of which those with windows have twice as many. */
function fullKvHeads(config: ModelConfig): number {
  const windowed = config.layers.find((plan) => headGroups(plan)[0]?.window !== null);
  const full = config.layers.find((plan) => headGroups(plan)[0]?.window === null);
  if (full === undefined && windowed !== undefined) return Math.max(1, headCounts(config, windowed).numKvHeads / 2);
  return full === undefined ? config.numKvHeads : headCounts(config, full).numKvHeads;
}

/** MiMo V2 Flash with its experts. */
export const mimoV2Flash: Family = withExperts(family, {
  ...QWEN_EXPERTS,
  correction: 'gate.e_score_correction_bias',
});
