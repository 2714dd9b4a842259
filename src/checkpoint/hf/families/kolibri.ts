/** Kolibri 1: norms before and after, windows with positions and full attention without, experts in every layer. */
import type { ModelConfig, ModelInput } from '../../../model/index.js';
import type { Family, HfConfigJson } from '../family/family.js';
import { optional, type Fields } from '../family/fields.js';
import { rows, whole } from '../family/layout.js';
import { longestOf, readRope, ropeFields, writeRope } from '../family/rotary.js';
import {
  attentionLayers,
  COMMON_FIELDS,
  decoderLayout,
  everyNthFull,
  layerTypes,
  readActivation,
  readSizes,
  writeActivation,
  writeLayerTypes,
  writeSizes,
  type DecoderNames,
} from './decoder.js';
import { QWEN_EXPERTS, readExperts, withExperts } from './experts.js';
import { windowOf } from './llama.js';

const NAMES: DecoderNames = {
  norm1: 'input_layernorm',
  postnorm1: 'post_attn_norm',
  norm2: 'post_attention_layernorm',
  postnorm2: 'post_ffn_norm',
};

/** The router chooses by logits and a correction, and weighs by their sigmoids. */
const readKolibriExperts = (fields: Fields): ModelInput['experts'] =>
  readExperts(fields, {
    dense: () => [],
    more: (own) => ({
      ...{ scores: 'sigmoid', correctionBias: true, correctionOf: 'logits' },
      normalize: own.flag('norm_topk_prob'),
      sharedSize: own.count('shared_expert_intermediate_size', undefined, 0),
    }),
  });

const writeKolibriExperts = ({ experts }: ModelConfig): HfConfigJson => ({
  num_experts: experts?.count,
  num_experts_per_tok: experts?.perToken,
  moe_intermediate_size: experts?.intermediateSize,
  shared_expert_intermediate_size: experts?.sharedSize ?? 0,
  norm_topk_prob: experts?.normalize,
});

const plain: Family = {
  modelTypes: ['kolibri1'],
  architecture: 'Kolibri1ForCausalLM',
  aliases: { num_local_experts: 'num_experts' },
  fields: {
    ...COMMON_FIELDS,
    vocab_size: 128_000,
    hidden_size: 2560,
    num_hidden_layers: 50,
    num_attention_heads: 48,
    num_key_value_heads: 4,
    max_position_embeddings: 262_144,
    sliding_window: optional(513),
    moe_intermediate_size: 512,
    num_experts_per_tok: 6,
    num_experts: 384,
    norm_topk_prob: false,
    head_dim: 128,
    shared_expert_intermediate_size: 512,
    layer_types: optional(),
  },
  read: (fields) => {
    const sizes = readSizes(fields, undefined, fields.count('moe_intermediate_size'));
    // The window counts the query's own key, as ours do.
    const types = layerTypes(
      fields,
      everyNthFull(() => 5),
    );
    // Without a window the class computes nothing.
    fields.count('sliding_window');
    return {
      ...sizes,
      experts: readKolibriExperts(fields),
      ...ropeFields(readRope(fields), sizes.headDim),
      layers: attentionLayers(fields, types, (_, windowed) => (windowed ? 'rope' : 'nope')),
      activation: readActivation(fields),
      qkNorm: 'head',
      block: { norm: 'both' },
    };
  },
  layout: (config, layer, name) => decoderLayout(config, layer, name, NAMES),
  alias: (name) =>
    [
      name.replace('.post_self_attn_layernorm.', '.post_attn_norm.').replace('.post_mlp_layernorm.', '.post_ffn_norm.'),
    ].filter((other) => other !== name),
  write: (config) => {
    const { intermediate_size: _, ...sizes } = writeSizes(config);
    return {
      ...sizes,
      ...writeLayerTypes(config),
      sliding_window: windowOf(config) ?? 513,
      ...writeKolibriExperts(config),
      hidden_act: writeActivation(config.activation),
      max_position_embeddings: longestOf(config),
      rope_parameters: writeRope(config, { theta: config.ropeTheta, scaling: config.ropeScaling }),
    };
  },
};

const sparse = withExperts(plain, { ...QWEN_EXPERTS, shared: { module: 'mlp.shared_experts' } });

/** Kolibri 1 with its experts, whose correction files keep outside of the module of the MLP. */
export const kolibri1: Family = {
  ...sparse,
  layout: (config, layer, name, shapes) =>
    layer !== null && name === 'mlp.correction'
      ? rows(whole(`model.layers.${layer}.moe.router.expert_bias`, config.experts?.count ?? 0))
      : sparse.layout(config, layer, name, shapes),
};
