/** Phi-3.5-MoE: Mixtral with LayerNorm, and a choice of experts by SparseMixer. */
import type { ModelConfig, ModelInput } from '../../../model/index.js';
import { optional, type Fields } from '../family/fields.js';
import type { Family } from '../family/family.js';
import { rows, whole } from '../family/layout.js';
import { ropeParameters, writeRope } from '../family/rotary.js';
import { COMMON_FIELDS } from './decoder.js';
import { MIXTRAL_EXPERTS, readExperts } from './experts.js';
import { everywhere, llamaLike, typesBy, windowOf } from './llama.js';

/**
 * Scaled positions as the class computes them: by `short_factor` whatever the length of a text, times `short_mscale` or
 * `long_mscale` in place of the factor that follows from lengths.
 */
function readScaling(fields: Fields): Partial<ModelInput> {
  const scaled = ropeParameters(fields);
  const type = scaled?.text('rope_type', scaled.text('type', 'default')) ?? 'default';
  if (scaled === null || type === 'default') return {};
  const lacking = ['short_mscale', 'long_mscale', 'original_max_position_embeddings'].find((name) => !scaled.has(name));
  if (type !== 'longrope' || lacking !== undefined) {
    fields.refuse(type === 'longrope' ? `longrope without ${lacking}` : `rotary positions of type ${type}`);
    return {};
  }
  const [own, long] = [scaled.positive('short_mscale'), scaled.positive('long_mscale')];
  if (own !== long) fields.refuse('long_mscale other than short_mscale');
  const short = scaled.list<number>('short_factor', 'number');
  const originalLength = scaled.count('original_max_position_embeddings');
  return { ropeScaling: { type, short, long: short, factor: 1, originalLength, attentionFactor: own } };
}

function writeScaled(config: ModelConfig): Record<string, unknown> {
  const { ropeTheta: theta, ropeScaling: scaling } = config;
  const written = writeRope(config, { theta, scaling });
  if (scaling?.type !== 'longrope') return written;
  const factor = scaling.attentionFactor ?? 1;
  return { ...written, short_mscale: factor, long_mscale: factor };
}

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
    // Noise on inputs is for training; the class chooses two experts, whatever the file says.
    fields.unheeded('input_jitter_noise', 'num_experts_per_tok');
    const own = readExperts(fields, { count: 'num_local_experts', size: 'intermediate_size', dense: () => [] });
    return {
      ...readScaling(fields),
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
    rope_parameters: writeScaled(config),
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
