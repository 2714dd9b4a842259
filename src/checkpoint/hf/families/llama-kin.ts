/** Families like Llama that came later: Ministral, CWM, Seed-OSS, Phi-3, Phi-4 multimodal. */
import type { ModelConfig } from '../../../model/index.js';
import type { Family } from '../family/family.js';
import { optional, type Fields } from '../family/fields.js';
import { longestOf, ropeParameters, writeRope } from '../family/rotary.js';
import { COMMON_FIELDS, layerTypes, writeLayerTypes } from './decoder.js';
import { everywhere, llamaLike, never, typesBy, windowOf } from './llama.js';

/** Ministral: Mistral with windows by layer. */
export const ministral: Family = llamaLike({
  modelTypes: ['ministral'],
  architecture: 'MinistralForCausalLM',
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
    sliding_window: optional(4096),
    layer_types: optional(),
  },
  layerTypes: typesBy(everywhere),
  more: (fields) => {
    for (const name of ['head_dim', 'sliding_window'])
      if (!fields.has(name)) fields.refuse(`no ${name}, without which its class computes nothing`);
    return {};
  },
  write: (config) => ({ ...writeLayerTypes(config), sliding_window: windowOf(config) ?? 4096 }),
});

/** What the class takes where `config.json` has no `rope_parameters`. */
const MINISTRAL3_ROPE = {
  ...{ type: 'yarn', rope_theta: 1_000_000, factor: 16, original_max_position_embeddings: 16_384 },
  ...{ beta_fast: 32, beta_slow: 1, mscale_all_dim: 1, mscale: 1, llama_4_scaling_beta: 0.1 },
} as const;

/** Ministral 3: Mistral whose queries grow with their position. */
export const ministral3: Family = llamaLike({
  modelTypes: ['ministral3'],
  architecture: 'Ministral3ForCausalLM',
  fields: {
    ...COMMON_FIELDS,
    vocab_size: 131_072,
    hidden_size: 4096,
    intermediate_size: 14_336,
    num_hidden_layers: 34,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    head_dim: 128,
    max_position_embeddings: 262_144,
    rms_norm_eps: 1e-5,
    sliding_window: optional(),
  },
  rope: {
    parameters: MINISTRAL3_ROPE,
  },
  layerTypes: typesBy(everywhere),
  more: (fields) => {
    const parameters = ropeParameters(fields) ?? fields.inner('rope_parameters', MINISTRAL3_ROPE);
    // Only types that scale positions have an original length by default.
    const scaled = !['default', undefined].includes(parameters.text('rope_type', parameters.text('type', 'default')));
    const original = 'original_max_position_embeddings';
    const length = fields.states(original)
      ? fields.count(original)
      : parameters.count(original, scaled ? fields.count('max_position_embeddings') : undefined);
    const beta = parameters.number('llama_4_scaling_beta');
    return { queryScaling: beta === 0 ? null : { beta, length } };
  },
  write: (config) => ({
    sliding_window: windowOf(config),
    rope_parameters: {
      ...writeRope(config, { theta: config.ropeTheta, scaling: config.ropeScaling }),
      original_max_position_embeddings: config.queryScaling?.length ?? longestOf(config),
      llama_4_scaling_beta: config.queryScaling?.beta ?? 0,
    },
  }),
});

/** CWM: three windowed layers to one of full attention, the full one first. */
export const cwm: Family = llamaLike({
  modelTypes: ['cwm'],
  architecture: 'CwmForCausalLM',
  headsDivideWidth: true,
  fields: {
    ...COMMON_FIELDS,
    vocab_size: 128_256,
    hidden_size: 6144,
    intermediate_size: 21_504,
    num_hidden_layers: 64,
    num_attention_heads: 48,
    num_key_value_heads: 8,
    max_position_embeddings: 131_072,
    rms_norm_eps: 1e-5,
    mlp_bias: false,
    head_dim: 128,
    sliding_window: 8192,
    layer_types: optional(),
  },
  rope: {
    theta: 1_000_000,
    parameters: {
      ...{ rope_type: 'llama3', rope_theta: 1_000_000, factor: 16, original_max_position_embeddings: 8192 },
      ...{ high_freq_factor: 4, low_freq_factor: 1 },
    },
  },
  layerTypes: (fields) => layerTypes(fields, (i) => (i % 4 === 0 ? 'full_attention' : 'sliding_attention')),
  more: (fields) => ({ mlpBias: fields.flag('mlp_bias') }),
  write: (config) => ({
    ...writeLayerTypes(config),
    // The class takes no null.
    sliding_window: windowOf(config) ?? 8192,
    bos_token_id: undefined,
    mlp_bias: config.mlpBias,
  }),
});

/** Seed-OSS: biases on queries, keys and values, and where asked for on the output projection. */
export const seedOss: Family = llamaLike({
  modelTypes: ['seed_oss'],
  architecture: 'SeedOssForCausalLM',
  fields: {
    ...COMMON_FIELDS,
    vocab_size: 155_136,
    hidden_size: 4096,
    intermediate_size: 27_648,
    num_hidden_layers: 64,
    num_attention_heads: 80,
    num_key_value_heads: optional(8),
    max_position_embeddings: 524_288,
    attention_bias: true,
    attention_out_bias: false,
    mlp_bias: false,
    head_dim: optional(128),
  },
  layerTypes: typesBy(never),
  more: (fields) => {
    const [inputs, output] = [fields.flag('attention_bias'), fields.flag('attention_out_bias')];
    if (output && !inputs) fields.refuse('attention_out_bias true with attention_bias false');
    return { attentionBias: inputs ? (output ? 'all' : 'qkv') : 'none', mlpBias: fields.flag('mlp_bias') };
  },
  write: (config) => ({
    attention_bias: config.attentionBias !== 'none',
    attention_out_bias: config.attentionBias === 'all',
    mlp_bias: config.mlpBias,
  }),
});

/** What Phi-3 and Phi-4 have in common: queries, keys and values in one tensor, gate and up in another, one window. */
const PHI = {
  names: {
    fusedQkv: 'qkv_proj',
    fusedMlp: { input: 'mlp.gate_up_proj', output: 'mlp.down_proj' },
  },
  rope: { fraction: 1 },
  layerTypes: typesBy(everywhere),
  more: (fields: Fields) => {
    fields.count('original_max_position_embeddings');
    const parameters = ropeParameters(fields);
    const type = parameters?.text('rope_type', parameters.text('type', 'default')) ?? 'default';
    if (type !== 'default' && type !== 'longrope')
      fields.refuse(`rotary positions of type ${type}, which its class does not take`);
    return {};
  },
  write: (config: ModelConfig) => ({
    sliding_window: windowOf(config),
    ...(config.ropeScaling?.type === 'longrope'
      ? { original_max_position_embeddings: config.ropeScaling.originalLength }
      : {}),
    rope_parameters: {
      ...writeRope(config, { theta: config.ropeTheta, scaling: config.ropeScaling }),
      partial_rotary_factor: config.ropeDim / config.headDim,
    },
  }),
};

/** Phi-3. */
export const phi3: Family = llamaLike({
  ...PHI,
  modelTypes: ['phi3'],
  architecture: 'Phi3ForCausalLM',
  fields: {
    ...COMMON_FIELDS,
    vocab_size: 32_064,
    hidden_size: 3072,
    intermediate_size: 8192,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: optional(),
    max_position_embeddings: 4096,
    original_max_position_embeddings: 4096,
    rms_norm_eps: 1e-5,
    sliding_window: optional(),
  },
});

/**
 * Phi-4 multimodal: a Phi-3 with parts for images and sounds, which a text does not reach. The class itself has no
 * adapters; files that hold some beside each projection are refused by the names of their tensors.
 */
export const phi4Multimodal: Family = {
  ...llamaLike({
    ...PHI,
    modelTypes: ['phi4_multimodal'],
    architecture: null,
    fields: {
      ...COMMON_FIELDS,
      vocab_size: 200_064,
      hidden_size: 3072,
      intermediate_size: 8192,
      num_hidden_layers: 32,
      num_attention_heads: 32,
      num_key_value_heads: optional(8),
      max_position_embeddings: 131_072,
      original_max_position_embeddings: optional(4096),
      rms_norm_eps: 1e-5,
      sliding_window: optional(),
    },
  }),
  exportedAs: 'phi3',
  ignored: (name) => name.startsWith('model.embed_tokens_extend.'),
};
