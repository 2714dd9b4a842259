/** Phi-3.5-MoE: Mixtral with LayerNorm, and a choice of experts by SparseMixer. */
import { optional } from '../family/fields.js';
import type { Family } from '../family/family.js';
import { rows, whole } from '../family/layout.js';
import { ropeParameters } from '../family/rotary.js';
import { COMMON_FIELDS } from './decoder.js';
import { MIXTRAL_EXPERTS, readExperts } from './experts.js';
import { everywhere, llamaLike, typesBy, windowOf } from './llama.js';

const family = llamaLike({
  modelTypes: ['phimoe'],
  architecture: 'PhimoeForCausalLM',
  fields: {
    ...COMMON_FIELDS,
    vocab_size: 32_064,
    hidden_size: 4096,
    intermediate_size: 6400,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    max_position_embeddings: 131_072,
    rms_norm_eps: 1e-5,
    sliding_window: optional(),
    num_experts_per_tok: 2,
    num_local_experts: 16,
    router_jitter_noise: 0.01,
    input_jitter_noise: 0,
    attention_bias: false,
    lm_head_bias: false,
  },
  rope: { theta: 1_000_000 },
  layerTypes: typesBy(everywhere),
  experts: { ...MIXTRAL_EXPERTS, routerInMemory: 'router.weight' },
  more: (fields) => {
    const scaled = ropeParameters(fields);
    // The class asks for two factors of its own, and scales by the length of each text.
    if (scaled !== null && scaled.text('rope_type', scaled.text('type', 'default')) !== 'default')
      fields.refuse('scaled rotary positions');
    // Noise on inputs is for training; the class chooses two experts, whatever the file says.
    fields.unheeded('input_jitter_noise', 'num_experts_per_tok');
    const own = readExperts(fields, { count: 'num_local_experts', size: 'intermediate_size', dense: () => [] });
    return {
      attentionBias: fields.flag('attention_bias') ? 'all' : 'none',
      norm: 'layer',
      normBias: true,
      headBias: fields.flag('lm_head_bias'),
      experts: own && {
        ...own,
        ...{ perToken: 2, scores: 'sparsemixer', jitter: fields.number('router_jitter_noise'), normalize: false },
      },
    };
  },
  write: (config) => ({
    sliding_window: windowOf(config),
    intermediate_size: config.experts?.intermediateSize,
    num_local_experts: config.experts?.count,
    num_experts_per_tok: config.experts?.perToken,
    router_jitter_noise: config.experts?.jitter,
    attention_bias: config.attentionBias === 'all',
    lm_head_bias: config.headBias,
  }),
});

/** Phi-3.5-MoE. */
export const phimoe: Family = {
  ...family,
  layout: (config, layer, name, shapes) =>
    layer === null && name === 'head.bias'
      ? rows(whole('lm_head.bias', config.vocabSize))
      : family.layout(config, layer, name, shapes),
};
