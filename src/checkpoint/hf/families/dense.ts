/** Families with experts in some or all layers: Mellum, Flint. */
import { type ModelConfig, type ModelInput } from '../../../model/index.js';
import type { Family, HfConfigJson } from '../family/family.js';
import { optional, type Fields } from '../family/fields.js';
import { range } from '../family/layout.js';
import {
  longestOf,
  readRope,
  readRopes,
  requireRopes,
  ropeFields,
  ropesFields,
  writeRope,
  writeRopes,
} from '../family/rotary.js';
import {
  attentionLayers,
  COMMON_FIELDS,
  decoderLayout,
  layerTypes,
  LLAMA_NAMES,
  readActivation,
  readSizes,
  writeActivation,
  writeLayerTypes,
  writeSizes,
} from './decoder.js';
import { denseLayers, QWEN_EXPERTS, readExperts, withExperts, writeMlpTypes } from './experts.js';
import { windowOf } from './llama.js';

const writeCommon = (config: ModelConfig): HfConfigJson => ({
  ...writeSizes(config),
  ...writeLayerTypes(config),
  hidden_act: writeActivation(config.activation),
  max_position_embeddings: longestOf(config),
  attention_bias: config.attentionBias === 'all',
});

/** What Mellum takes where `config.json` has no `rope_parameters`. */
const MELLUM_ROPE = {
  full_attention: { rope_type: 'default', rope_theta: 500_000 },
  sliding_attention: { rope_type: 'default', rope_theta: 10_000 },
} as const;

/** The experts of Mellum: in all layers, where the file does not say. */
function mellumExperts(fields: Fields): ModelInput['experts'] {
  const dense = denseLayers(fields, () => false, { strict: true });
  // What predicts several tokens at once is left out, as in Transformers.
  fields.count('num_mtp_layers', 0, 0);
  for (const name of ['mtp_layer_types', 'mtp_mlp_layer_types']) fields.list<string>(name, 'string');
  return readExperts(fields, {
    dense: () => dense,
    more: (own) => ({ normalize: own.flag('norm_topk_prob') }),
  });
}

/** Mellum: Qwen 3 with positions by kind of layer; without `layer_types` no layer has the window of the file. */
const mellumFamily: Family = {
  modelTypes: ['mellum'],
  aliases: { num_local_experts: 'num_experts' },
  takesRopeScaling: false,
  architecture: 'MellumForCausalLM',
  fields: {
    ...COMMON_FIELDS,
    vocab_size: 98_304,
    hidden_size: 2304,
    intermediate_size: 7168,
    num_hidden_layers: 28,
    num_attention_heads: 32,
    num_key_value_heads: 4,
    max_position_embeddings: 131_072,
    attention_bias: false,
    sliding_window: optional(1024),
    moe_intermediate_size: 896,
    num_experts_per_tok: 8,
    num_experts: 64,
    norm_topk_prob: true,
    head_dim: 128,
    layer_types: optional(),
    mlp_layer_types: optional(),
    num_mtp_layers: optional(),
    mtp_layer_types: optional(),
    mtp_mlp_layer_types: optional(),
  },
  read: (fields) => {
    const experts = mellumExperts(fields);
    const sizes = readSizes(fields);
    const types = layerTypes(fields, () => 'full_attention');
    requireRopes(fields, types);
    if (fields.states('rope_scaling')) fields.refuse('rope_scaling, which its class does not take,');
    const bases = { full_attention: 500_000, sliding_attention: 10_000 };
    const ropes = ropesFields(readRopes(fields, bases, null, MELLUM_ROPE), sizes.headDim);
    return {
      ...sizes,
      experts,
      ...ropes.fields,
      layers: attentionLayers(fields, types, (_, windowed) => (windowed ? ropes.sliding : 'rope')),
      block: { norm: 'pre' },
      activation: readActivation(fields),
      attentionBias: fields.flag('attention_bias') ? 'all' : 'none',
      qkNorm: 'head',
    };
  },
  layout: (config, layer, name) => decoderLayout(config, layer, name, LLAMA_NAMES),
  ignored: (name) => name.startsWith('mtp.'),
  write: (config) => ({
    ...writeCommon(config),
    sliding_window: windowOf(config) ?? 1024,
    ...writeMlpTypes(config),
    ...expertSizes(config),
    rope_parameters: writeRopes(config),
  }),
};

/** Sizes of experts as fields of `config.json`, where there are any. */
function expertSizes({ experts }: ModelConfig): HfConfigJson {
  if (experts === null) return {};
  return {
    num_experts: experts.count,
    num_experts_per_tok: experts.perToken,
    moe_intermediate_size: experts.intermediateSize,
    norm_topk_prob: experts.normalize,
  };
}

/** The experts of Flint: in the layers that `mlp_only_layers` does not name. */
function flintExperts(fields: Fields): ModelInput['experts'] {
  const named = fields.has('mlp_only_layers') ? fields.list<number>('mlp_only_layers', 'number') : [0, 1];
  const only = new Set(named);
  const step = fields.count('decoder_sparse_step');
  return readExperts(fields, {
    dense: () => range(0, fields.count('num_hidden_layers')).filter((i) => only.has(i) || (i + 1) % step !== 0),
    more: (own) => ({
      scores: 'sigmoid',
      normalize: own.flag('norm_topk_prob'),
      sharedSize: own.count('shared_expert_intermediate_size', undefined, 0),
    }),
  });
}

/** Flint: QK norm and sinks; windows with rotary positions, full attention without. */
const flintFamily: Family = {
  modelTypes: ['flint'],
  architecture: 'FlintForCausalLM',
  sinksInMaps: true,
  fields: {
    ...COMMON_FIELDS,
    vocab_size: 150_144,
    hidden_size: 2048,
    intermediate_size: 6144,
    num_hidden_layers: 49,
    num_attention_heads: 32,
    num_key_value_heads: 4,
    max_position_embeddings: 262_144,
    sliding_window: 513,
    decoder_sparse_step: 1,
    moe_intermediate_size: 512,
    shared_expert_intermediate_size: 1024,
    num_experts_per_tok: 6,
    num_experts: 256,
    norm_topk_prob: true,
    mlp_only_layers: optional(),
    layer_types: optional(),
    head_dim: 128,
    attention_bias: false,
  },
  read: (fields) => {
    const experts = flintExperts(fields);
    fields.count('sliding_window');
    const sizes = readSizes(fields);
    const depth = fields.count('num_hidden_layers');
    // The window counts the query's own key, as ours do.
    const types = layerTypes(fields, (i) =>
      i < 2 || i % 4 === 1 || i === depth - 1 ? 'full_attention' : 'sliding_attention',
    );
    return {
      ...sizes,
      experts,
      ...ropeFields(readRope(fields), sizes.headDim),
      layers: attentionLayers(fields, types, (_, windowed) => (windowed ? 'rope' : 'nope')),
      activation: readActivation(fields),
      attentionBias: fields.flag('attention_bias') ? 'all' : 'none',
      qkNorm: 'head',
      sinks: true,
    };
  },
  // Files have another name for the sinks than the class, which takes both.
  layout: (config, layer, name, shapes) => {
    const own = shapes(`model.layers.${layer}.self_attn.sinks`) !== undefined;
    return decoderLayout(config, layer, name, { ...LLAMA_NAMES, sinks: own ? 'sinks' : 'softmax_offset' });
  },
  alias: (name) => [name.replace(/\.self_attn\.sinks$/, '.self_attn.softmax_offset')].filter((other) => other !== name),
  write: (config) => ({
    ...writeCommon(config),
    // The class takes no null.
    sliding_window: windowOf(config) ?? 513,
    mlp_only_layers: config.experts === null ? range(0, config.numLayers) : config.experts.dense,
    ...expertSizes(config),
    ...(config.experts === null ? {} : { shared_expert_intermediate_size: config.experts.sharedSize }),
    rope_parameters: writeRope(config, { theta: config.ropeTheta, scaling: config.ropeScaling }),
  }),
};

/** Mellum with its experts. */
export const mellum: Family = withExperts(mellumFamily, QWEN_EXPERTS);

/** Flint with its experts. */
export const flint: Family = withExperts(flintFamily, { ...QWEN_EXPERTS, shared: { module: 'mlp.shared_expert' } });
