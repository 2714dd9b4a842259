/** Hybrids whose layers have experts: AFMoE, with windows and NoPE, and Lara Mini, with Gated DeltaNet beside them. */
import { headGroups, type ModelConfig, type ModelInput } from '../../../model/index.js';
import type { Family, HfConfigJson } from '../family/family.js';
import { optional, type Fields } from '../family/fields.js';
import { matrix, range, rows, type ParameterLayout, type Source } from '../family/layout.js';
import { longestOf, readRope, ropeFields, writeRope } from '../family/rotary.js';
import {
  attentionLayers,
  COMMON_FIELDS,
  decoderLayout,
  everyNthFull,
  layerTypes,
  LLAMA_NAMES,
  readActivation,
  readSizes,
  writeActivation,
  writeLayerTypes,
  writeSizes,
  type DecoderNames,
} from './decoder.js';
import { QWEN_EXPERTS, readExperts, withExperts } from './experts.js';
import { readGdn, sharedLayout, widthsOf, writeGdn } from './gdn.js';
import { windowOf } from './llama.js';
import { convRows, picked, siluOnly } from './recurrent.js';

const AFMOE_NAMES: DecoderNames = {
  norm1: 'input_layernorm',
  postnorm1: 'post_attention_layernorm',
  norm2: 'pre_mlp_layernorm',
  postnorm2: 'post_mlp_layernorm',
  gate: 'gate_proj',
};

function readAfmoeExperts(fields: Fields): ModelInput['experts'] {
  const shared = fields.count('num_shared_experts', undefined, 0);
  const depth = fields.count('num_hidden_layers');
  return readExperts(fields, {
    dense: (own) => range(0, Math.min(depth, own.count('num_dense_layers', 0, 0))),
    more: (own) => ({
      ...{ scores: 'sigmoid', correctionBias: true, normalizeEps: 1e-20 },
      scale: own.number('route_scale'),
      sharedSize: shared * own.count('moe_intermediate_size'),
    }),
  });
}

function writeAfmoeExperts({ experts, numLayers }: ModelConfig): HfConfigJson {
  if (experts === null) return { num_dense_layers: numLayers };
  return {
    num_dense_layers: experts.dense.length,
    num_experts: experts.count,
    num_experts_per_tok: experts.perToken,
    moe_intermediate_size: experts.intermediateSize,
    num_shared_experts: (experts.sharedSize ?? 0) / experts.intermediateSize,
    route_scale: experts.scale,
  };
}

/** AFMoE: windows with positions, full attention without, gated attention, norms before and after. */
export const afmoe: Family = withExperts(
  {
    modelTypes: ['afmoe'],
    architecture: 'AfmoeForCausalLM',
    fields: {
      ...COMMON_FIELDS,
      vocab_size: 200_192,
      hidden_size: 2048,
      intermediate_size: 6144,
      moe_intermediate_size: 1408,
      num_hidden_layers: 32,
      num_dense_layers: optional(1),
      num_attention_heads: 16,
      num_key_value_heads: optional(),
      head_dim: optional(128),
      max_position_embeddings: 16_384,
      rms_norm_eps: 1e-5,
      num_experts: optional(64),
      num_experts_per_tok: optional(6),
      num_shared_experts: optional(2),
      route_scale: optional(1),
      global_attn_every_n_layers: optional(4),
      sliding_window: optional(1024),
      layer_types: optional(),
      mup_enabled: optional(false),
      attention_bias: false,
    },
    read: (fields) => {
      const sizes = readSizes(fields);
      const types = layerTypes(
        fields,
        everyNthFull(() => fields.count('global_attn_every_n_layers')),
      );
      fields.without('global_attn_every_n_layers');
      return {
        ...sizes,
        experts: readAfmoeExperts(fields),
        ...ropeFields(readRope(fields), sizes.headDim),
        layers: attentionLayers(fields, types, (_, windowed) => (windowed ? 'rope' : 'nope')),
        activation: readActivation(fields),
        attentionBias: fields.flag('attention_bias') ? 'all' : 'none',
        qkNorm: 'head',
        outputGate: true,
        embeddingScale: fields.flag('mup_enabled', false) ? Math.sqrt(sizes.hiddenSize) : 1,
        block: { norm: 'both' },
      };
    },
    layout: (config, layer, name) => decoderLayout(config, layer, name, AFMOE_NAMES),
    write: (config) => ({
      ...writeSizes(config),
      ...writeLayerTypes(config),
      sliding_window: windowOf(config) ?? 1024,
      ...writeAfmoeExperts(config),
      hidden_act: writeActivation(config.activation),
      max_position_embeddings: longestOf(config),
      attention_bias: config.attentionBias === 'all',
      mup_enabled: config.embeddingScale !== 1,
      rope_parameters: writeRope(config, { theta: config.ropeTheta, scaling: config.ropeScaling }),
    }),
  },
  {
    ...QWEN_EXPERTS,
    router: 'router.gate.weight',
    correction: 'expert_bias',
    shared: { module: 'mlp.shared_experts' },
  },
);

/** The rows of Lara Mini's one projection: queries, keys and values, gates, write strengths, steps. */
function laraLayout(config: ModelConfig, layer: number, name: string): ParameterLayout | null {
  const { gdn } = config;
  if (gdn === undefined) return null;
  const at = `model.layers.${layer}.linear_attn`;
  const { keys, values } = widthsOf(gdn);
  const heads = gdn.numValueHeads;
  const mixed = 2 * keys + values;
  const part = (first: number, size: number, inMemory: string): Source => ({
    ...picked(`${at}.in_proj.weight`, mixed + values + 2 * heads, range(first, size)),
    inMemory: `${at}.in_proj_${inMemory}.weight`,
  });
  switch (name) {
    case 'gdn.wqkv':
      return matrix(part(0, mixed, 'qkv'));
    case 'gdn.wgate':
      return matrix(part(mixed, values, 'z'));
    case 'gdn.wab':
      return matrix(part(mixed + values + heads, heads, 'a'), part(mixed + values, heads, 'b'));
    case 'gdn.conv.weight':
      return rows(convRows(`${at}.conv1d.weight`, mixed, gdn.convWidth));
    default:
      return sharedLayout(config, at, name, 'out_norm', 'out_proj');
  }
}

/** The layers of Lara Mini, in a period of five. */
const LARA_PERIOD = [
  ...['linear_attention', 'sliding_attention', 'linear_attention'],
  ...['full_attention', 'sliding_attention'],
] as const;

function laraLayers(fields: Fields): string[] {
  const types = layerTypes(fields, (i) => LARA_PERIOD[i % LARA_PERIOD.length] ?? 'full_attention');
  const attending = attentionLayers(
    fields,
    types.map((type) => (type === 'linear_attention' ? 'full_attention' : type)),
    (_, windowed) => (windowed ? 'rope' : 'nope'),
  );
  return attending.map((layer, i) => (types[i] === 'linear_attention' ? 'gdn' : layer));
}

/** Lara Mini: Gated DeltaNet, windows with positions and full attention without, experts in every layer. */
export const laraMini: Family = withExperts(
  {
    modelTypes: ['lara_mini'],
    architecture: 'LaraMiniForCausalLM',
    fields: {
      ...COMMON_FIELDS,
      vocab_size: 151_936,
      hidden_size: 1024,
      num_hidden_layers: 34,
      num_attention_heads: 16,
      num_key_value_heads: 4,
      max_position_embeddings: 131_072,
      tie_word_embeddings: true,
      attention_bias: false,
      head_dim: 128,
      linear_conv_kernel_dim: 4,
      linear_key_head_dim: 128,
      linear_value_head_dim: 128,
      linear_num_key_heads: 8,
      linear_num_value_heads: 16,
      moe_intermediate_size: 512,
      shared_expert_intermediate_size: 512,
      num_experts_per_tok: 4,
      num_experts: 128,
      norm_topk_prob: true,
      layer_types: optional(),
      sliding_window: 512,
    },
    read: (fields) => {
      const layers = laraLayers(fields);
      if (layers.includes('gdn')) siluOnly(fields);
      const sizes = readSizes(fields, undefined, fields.count('moe_intermediate_size'));
      return {
        ...sizes,
        experts: readExperts(fields, {
          dense: () => [],
          more: (own) => ({
            normalize: own.flag('norm_topk_prob'),
            sharedSize: own.count('shared_expert_intermediate_size'),
          }),
        }),
        ...ropeFields(readRope(fields), sizes.headDim),
        layers,
        activation: readActivation(fields),
        attentionBias: fields.flag('attention_bias') ? 'all' : 'none',
        qkNorm: 'head',
        gdn: readGdn(fields),
      };
    },
    layout: (config, layer, name) =>
      layer !== null && name.startsWith('gdn.')
        ? laraLayout(config, layer, name)
        : decoderLayout(config, layer, name, LLAMA_NAMES),
    alias: (name) => [name.replace('.linear_attn.norm.', '.linear_attn.out_norm.')].filter((other) => other !== name),
    write: (config) => {
      const { intermediate_size: _, ...sizes } = writeSizes(config);
      return {
        ...sizes,
        ...writeGdn(config),
        layer_types: config.layers.map((plan) =>
          plan.mixer === 'gdn'
            ? 'linear_attention'
            : (headGroups(plan)[0]?.window ?? null) === null
              ? 'full_attention'
              : 'sliding_attention',
        ),
        sliding_window: windowOf(config) ?? 512,
        hidden_act: writeActivation(config.activation),
        attention_bias: config.attentionBias === 'all',
        num_experts: config.experts?.count,
        num_experts_per_tok: config.experts?.perToken,
        moe_intermediate_size: config.experts?.intermediateSize,
        shared_expert_intermediate_size: config.experts?.sharedSize,
        norm_topk_prob: config.experts?.normalize,
        max_position_embeddings: longestOf(config),
        rope_parameters: writeRope(config, { theta: config.ropeTheta, scaling: config.ropeScaling }),
      };
    },
  },
  {
    ...QWEN_EXPERTS,
    stacked: { ...QWEN_EXPERTS.stacked, saved: true },
    shared: { module: 'mlp.shared_expert' },
  },
);
