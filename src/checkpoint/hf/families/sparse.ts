/** Attention with experts, differing from Llama in a few fields: Mixtral, Qwen 2 and 3 MoE, OLMoE, gpt-oss. */
import { expertsOf, type ModelConfig } from '../../../model/index.js';
import type { Family, TensorShapes } from '../family/family.js';
import { optional, type Fields } from '../family/fields.js';
import { range, rows, stack, whole, type ParameterLayout } from '../family/layout.js';
import { COMMON_FIELDS, writeLayerTypes, writeMaskedTypes } from './decoder.js';
import {
  MIXTRAL_EXPERTS,
  qwenDense,
  QWEN_EXPERTS,
  readExperts,
  writeQwenExperts,
  type ExpertNames,
} from './experts.js';
import { QWEN_SHARED } from './gdn.js';
import { everywhere, llamaLike, never, typesBy, windowOf, windowsIfUsed } from './llama.js';

/** Mixtral: Mistral with experts in every layer. */
export const mixtral: Family = {
  ...llamaLike({
    modelTypes: ['mixtral'],
    architecture: 'MixtralForCausalLM',
    fields: {
      ...COMMON_FIELDS,
      vocab_size: 32_000,
      hidden_size: 4096,
      intermediate_size: 14_336,
      num_hidden_layers: 32,
      num_attention_heads: 32,
      num_key_value_heads: 8,
      head_dim: optional(),
      max_position_embeddings: 131_072,
      rms_norm_eps: 1e-5,
      sliding_window: optional(),
      num_experts_per_tok: 2,
      num_local_experts: 8,
    },
    rope: { theta: 1_000_000 },
    layerTypes: typesBy(everywhere),
    experts: MIXTRAL_EXPERTS,
    more: (fields) => ({
      experts: readExperts(fields, { count: 'num_local_experts', size: 'intermediate_size', dense: () => [] }),
    }),
    write: (config) => ({
      sliding_window: windowOf(config),
      intermediate_size: config.experts?.intermediateSize,
      num_local_experts: config.experts?.count,
      num_experts_per_tok: config.experts?.perToken,
    }),
  }),
  aliases: { num_experts: 'num_local_experts' },
};

/** Qwen 3 MoE: Qwen 3 with experts. */
export const qwen3Moe: Family = {
  ...llamaLike({
    modelTypes: ['qwen3_moe'],
    architecture: 'Qwen3MoeForCausalLM',
    fields: {
      ...COMMON_FIELDS,
      vocab_size: 151_936,
      hidden_size: 2048,
      intermediate_size: 6144,
      num_hidden_layers: 24,
      num_attention_heads: 32,
      num_key_value_heads: 4,
      max_position_embeddings: 32_768,
      attention_bias: false,
      use_sliding_window: false,
      sliding_window: optional(4096),
      decoder_sparse_step: 1,
      moe_intermediate_size: 768,
      num_experts_per_tok: 8,
      num_experts: 128,
      norm_topk_prob: false,
      mlp_only_layers: optional(),
    },
    layerTypes: typesBy((fields) => {
      const windows = windowsIfUsed(fields) && fields.has('sliding_window');
      return () => windows;
    }),
    experts: QWEN_EXPERTS,
    more: (fields) => ({
      qkNorm: 'head',
      attentionBias: fields.flag('attention_bias') ? 'all' : 'none',
      experts: readExperts(fields, {
        dense: qwenDense,
        more: (own) => ({ normalize: own.flag('norm_topk_prob') }),
      }),
    }),
    write: (config) => ({
      use_sliding_window: windowOf(config) !== null,
      sliding_window: windowOf(config),
      attention_bias: config.attentionBias === 'all',
      ...writeQwenExperts(config),
    }),
  }),
  aliases: { num_local_experts: 'num_experts' },
};

/** Windows in every second layer up to `max_window_layers`, where `use_sliding_window` is true. */
const everySecond = (fields: Fields) => {
  const uses = windowsIfUsed(fields);
  const before = fields.count('max_window_layers', undefined, 0);
  return (layer: number) => uses && layer % 2 === 0 && layer < before;
};

/** Qwen 2 MoE: Qwen 2 with experts, and a shared one behind a gate. */
export const qwen2Moe: Family = llamaLike({
  modelTypes: ['qwen2_moe'],
  architecture: 'Qwen2MoeForCausalLM',
  fields: {
    ...COMMON_FIELDS,
    vocab_size: 151_936,
    hidden_size: 2048,
    intermediate_size: 5632,
    num_hidden_layers: 24,
    num_attention_heads: 16,
    num_key_value_heads: optional(16),
    max_position_embeddings: 32_768,
    use_sliding_window: false,
    sliding_window: optional(4096),
    max_window_layers: 28,
    decoder_sparse_step: 1,
    moe_intermediate_size: 1408,
    shared_expert_intermediate_size: 5632,
    num_experts_per_tok: 4,
    num_experts: 60,
    norm_topk_prob: false,
    mlp_only_layers: optional(),
    qkv_bias: true,
    layer_types: optional(),
  },
  layerTypes: typesBy(everySecond),
  windows: windowsIfUsed,
  experts: QWEN_SHARED,
  more: (fields) => ({
    attentionBias: fields.flag('qkv_bias') ? 'qkv' : 'none',
    experts: readExperts(fields, {
      dense: qwenDense,
      more: (own) => ({
        normalize: own.flag('norm_topk_prob'),
        sharedSize: own.count('shared_expert_intermediate_size', undefined, 0),
        sharedGate: true,
      }),
    }),
  }),
  write: (config) => ({
    ...writeLayerTypes(config),
    // The class has no window as 0.
    sliding_window: windowOf(config) ?? 0,
    use_sliding_window: windowOf(config) !== null,
    qkv_bias: config.attentionBias === 'qkv',
    ...writeQwenExperts(config),
  }),
});

/** OLMoE: experts in every layer, queries and keys normed over their whole width. */
export const olmoe: Family = {
  ...llamaLike({
    modelTypes: ['olmoe'],
    architecture: 'OlmoeForCausalLM',
    fields: {
      ...COMMON_FIELDS,
      vocab_size: 50_304,
      hidden_size: 2048,
      intermediate_size: 2048,
      num_hidden_layers: 16,
      num_attention_heads: 16,
      num_key_value_heads: optional(),
      max_position_embeddings: 4096,
      rms_norm_eps: 1e-5,
      attention_bias: false,
      clip_qkv: optional(),
      num_experts_per_tok: 8,
      num_experts: 64,
      norm_topk_prob: false,
    },
    layerTypes: typesBy(never),
    experts: QWEN_EXPERTS,
    more: (fields) => {
      fields.only('clip_qkv');
      return {
        qkNorm: 'width',
        attentionBias: fields.flag('attention_bias') ? 'all' : 'none',
        experts: readExperts(fields, {
          size: 'intermediate_size',
          dense: () => [],
          more: (own) => ({ normalize: own.flag('norm_topk_prob') }),
        }),
      };
    },
    write: (config) => ({
      attention_bias: config.attentionBias === 'all',
      intermediate_size: config.experts?.intermediateSize,
      num_experts: config.experts?.count,
      num_experts_per_tok: config.experts?.perToken,
      norm_topk_prob: config.experts?.normalize,
    }),
  }),
  aliases: { num_local_experts: 'num_experts' },
};

const GPT_OSS_EXPERTS: ExpertNames = {
  ...QWEN_EXPERTS,
  router: 'router.weight',
  routerBias: 'router.bias',
};

/** Columns of gpt-oss's first projection: gate and up take turns. */
const gatesFirst = (size: number): number[] => [0, 1].flatMap((k) => range(0, size).map((i) => 2 * i + k));

/** The matrices of gpt-oss's experts lie as ours, `[in, out]`, and have biases. */
function ossLayout(config: ModelConfig, layer: number | null, name: string): ParameterLayout | null {
  const experts = layer === null ? null : expertsOf(config, layer);
  if (experts === null) return null;
  const { count, intermediateSize: F } = experts;
  const at = `model.layers.${layer}.mlp.experts`;
  const d = config.hiddenSize;
  const member = (tensor: string, size: number, columns?: readonly number[]) =>
    stack(count, (index) => ({
      ...rows({ ...whole(`${at}.${tensor}`, size), within: { index, count } }),
      ...(columns === undefined ? {} : { columns }),
    }));
  const biases = (tensor: string, size: number, take: readonly number[] | null) =>
    stack(count, (index) => rows({ tensor: `${at}.${tensor}`, rows: size, take, within: { index, count } }));
  switch (name) {
    case 'mlp.experts.wgateup':
      return member('gate_up_proj', d, gatesFirst(F));
    case 'mlp.experts.wdown':
      return member('down_proj', F);
    case 'mlp.experts.bgateup':
      return biases('gate_up_proj_bias', 2 * F, gatesFirst(F));
    case 'mlp.experts.bdown':
      return biases('down_proj_bias', d, null);
    default:
      return null;
  }
}

/** What positions are where the file of gpt-oss names none. */
const OSS_ROPE = {
  rope_type: 'yarn',
  factor: 32,
  beta_fast: 32,
  beta_slow: 1,
  truncate: false,
  original_max_position_embeddings: 4096,
};

const ossFamily: Family = llamaLike({
  modelTypes: ['gpt_oss'],
  architecture: 'GptOssForCausalLM',
  fields: {
    ...COMMON_FIELDS,
    vocab_size: 201_088,
    hidden_size: 2880,
    intermediate_size: 2880,
    num_hidden_layers: 36,
    num_attention_heads: 64,
    num_key_value_heads: 8,
    head_dim: 64,
    max_position_embeddings: 131_072,
    rms_norm_eps: 1e-5,
    sliding_window: optional(128),
    layer_types: optional(),
    attention_bias: true,
    num_local_experts: 128,
    num_experts_per_tok: 4,
    swiglu_alpha: 1.702,
    swiglu_limit: 7,
  },
  rope: { theta: 150_000, parameters: OSS_ROPE },
  layerTypes: typesBy(() => (i) => i % 2 === 0),
  experts: GPT_OSS_EXPERTS,
  more: (fields) => ({
    sinks: true,
    attentionBias: fields.flag('attention_bias') ? 'all' : 'none',
    experts: readExperts(fields, {
      count: 'num_local_experts',
      size: 'intermediate_size',
      dense: () => [],
      more: (own) => ({
        ...{ routerBias: true, bias: true },
        clamped: { alpha: own.positive('swiglu_alpha'), limit: own.positive('swiglu_limit') },
      }),
    }),
  }),
  write: (config) => ({
    ...writeMaskedTypes(config, 128),
    attention_bias: config.attentionBias === 'all',
    intermediate_size: config.experts?.intermediateSize,
    num_local_experts: config.experts?.count,
    num_experts_per_tok: config.experts?.perToken,
    swiglu_alpha: config.experts?.clamped?.alpha,
    swiglu_limit: config.experts?.clamped?.limit,
  }),
});

/** gpt-oss: windows with sinks, experts with biases and clamped gates. */
export const gptOss: Family = {
  ...ossFamily,
  aliases: { num_experts: 'num_local_experts' },
  sinksInMaps: true,
  layout: (config: ModelConfig, layer: number | null, name: string, shapes: TensorShapes) =>
    ossLayout(config, layer, name) ?? ossFamily.layout(config, layer, name, shapes),
  alias: (name, config) => (name.includes('.mlp.experts.') ? [] : (ossFamily.alias?.(name, config) ?? [])),
};
