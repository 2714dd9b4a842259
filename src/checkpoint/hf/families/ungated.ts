/** Families like Llama whose MLP has no gate: Arcee, StarCoder 2, nanochat, Apertus. */
import type { ModelConfig } from '../../../model/index.js';
import type { ConstantTensor, Family } from '../family/family.js';
import { optional, type Fields } from '../family/fields.js';
import { readRope } from '../family/rotary.js';
import { COMMON_FIELDS } from './decoder.js';
import { biases, everywhere, llamaLike, never, typesBy, windowOf, writeBiases } from './llama.js';

/** Arcee: Llama with an MLP of one projection, without a gate. */
export const arcee: Family = llamaLike({
  modelTypes: ['arcee'],
  architecture: 'ArceeForCausalLM',
  headsDivideWidth: true,
  fields: {
    ...COMMON_FIELDS,
    vocab_size: 32_000,
    hidden_size: 2560,
    intermediate_size: 18_432,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: optional(),
    hidden_act: 'relu2',
    max_position_embeddings: 4096,
    rms_norm_eps: 1e-5,
    attention_bias: false,
    mlp_bias: false,
    head_dim: optional(),
  },
  layerTypes: typesBy(never),
  more: (fields) => ({ ...biases(fields), mlpGate: false }),
  write: writeBiases,
});

/** StarCoder 2: LayerNorms with biases, one window for all layers. */
export const starcoder2: Family = llamaLike({
  modelTypes: ['starcoder2'],
  architecture: 'Starcoder2ForCausalLM',
  fields: {
    vocab_size: 49_152,
    hidden_size: 3072,
    intermediate_size: 12_288,
    num_hidden_layers: 30,
    num_attention_heads: 24,
    num_key_value_heads: 2,
    hidden_act: 'gelu_pytorch_tanh',
    max_position_embeddings: 4096,
    norm_epsilon: 1e-5,
    rope_parameters: optional(),
    sliding_window: optional(),
    use_bias: true,
    tie_word_embeddings: true,
  },
  eps: 'norm_epsilon',
  names: { projections: { up: 'c_fc', down: 'c_proj' } },
  layerTypes: typesBy(everywhere),
  more: (fields) => {
    const biased = fields.flag('use_bias');
    return { norm: 'layer', normBias: true, attentionBias: biased ? 'all' : 'none', mlpBias: biased, mlpGate: false };
  },
  write: (config) => ({ sliding_window: windowOf(config), use_bias: config.attentionBias === 'all' }),
});

/** A norm behind the rotary positions takes away the factor that YaRN and LongRoPE put on what they turn. */
function refuseScaledTurns(fields: Fields): void {
  const { scaling } = readRope(fields);
  if ((scaling?.type === 'yarn' || scaling?.type === 'longrope') && scaling.attentionFactor !== 1)
    fields.refuse(`rotary positions of type ${scaling.type} whose factor meets a norm`);
}

/**
 * nanochat: norms without weights, one of them on the embedding, and rotary positions that turn the other way (the
 * halves of each head change places). It normalizes queries and keys behind the positions: without weights that is the
 * same.
 */
export const nanochat: Family = llamaLike({
  modelTypes: ['nanochat'],
  architecture: 'NanoChatForCausalLM',
  fields: {
    vocab_size: 50_304,
    hidden_size: 768,
    intermediate_size: 8192,
    num_hidden_layers: 12,
    num_attention_heads: 6,
    num_key_value_heads: optional(),
    max_position_embeddings: 2048,
    hidden_act: 'relu2',
    rms_norm_eps: 1e-6,
    rope_parameters: optional(),
    final_logit_softcapping: optional(15),
    attention_bias: false,
    tie_word_embeddings: false,
  },
  names: { projections: { up: 'fc1', down: 'fc2' }, turns: 'backward' },
  layerTypes: typesBy(never),
  more: (fields) => {
    refuseScaledTurns(fields);
    return {
      normWeight: false,
      embeddingNorm: true,
      qkNorm: 'head',
      mlpGate: false,
      attentionBias: fields.flag('attention_bias') ? 'all' : 'none',
      logitSoftcap: fields.has('final_logit_softcapping') ? fields.positive('final_logit_softcapping') : null,
    };
  },
  write: (config) => ({
    attention_bias: config.attentionBias === 'all',
    final_logit_softcapping: config.logitSoftcap,
  }),
});

/** Buffers of xIELU that files hold and Transformers computes with. */
const xieluBuffers = ({ numLayers, activation }: ModelConfig): ConstantTensor[] =>
  activation !== 'xielu'
    ? []
    : Array.from({ length: numLayers }, (_, layer) => `model.layers.${layer}.mlp.act_fn`).flatMap((at) => [
        { name: `${at}.beta`, shape: [], values: () => Float32Array.of(0.5), fixed: true },
        // Made in bfloat16, and written in any type.
        { name: `${at}.eps`, shape: [], values: () => Float32Array.of(-1e-6), fixed: true, relative: 2 ** -7 },
      ]);

/** Apertus: Llama with QK norm and xIELU, which learns two slopes a layer. */
export const apertus: Family = {
  ...llamaLike({
    modelTypes: ['apertus'],
    architecture: 'ApertusForCausalLM',
    fields: {
      vocab_size: 131_072,
      hidden_size: 4096,
      intermediate_size: 14_336,
      num_hidden_layers: 32,
      num_attention_heads: 32,
      num_key_value_heads: optional(),
      hidden_act: 'xielu',
      max_position_embeddings: 65_536,
      rms_norm_eps: 1e-5,
      tie_word_embeddings: false,
      rope_parameters: optional(),
      attention_bias: false,
    },
    names: { norm1: 'attention_layernorm', norm2: 'feedforward_layernorm' },
    activations: ['xielu'],
    rope: {
      theta: 12_000_000,
      parameters: {
        ...{ rope_type: 'llama3', rope_theta: 12_000_000, factor: 8, original_max_position_embeddings: 8192 },
        ...{ low_freq_factor: 1, high_freq_factor: 4 },
      },
    },
    layerTypes: typesBy(never),
    more: (fields) => ({
      qkNorm: 'head',
      mlpGate: false,
      attentionBias: fields.flag('attention_bias') ? 'all' : 'none',
    }),
    write: (config) => ({ attention_bias: config.attentionBias === 'all' }),
  }),
  constants: xieluBuffers,
};
