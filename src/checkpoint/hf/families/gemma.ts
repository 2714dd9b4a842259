/** Gemma 2 and 3 and VaultGemma: scaled embeddings, norms stored less 1, windows, soft caps. */
import { plainScale, type ModelConfig, type ModelInput } from '../../../model/index.js';
import type { Family, HfConfigJson } from '../family/family.js';
import { optional, type ClassFields, type Fields } from '../family/fields.js';
import { longestOf, readRope, readRopes, ropeFields, ropesFields, writeRope, writeRopes } from '../family/rotary.js';
import {
  attentionLayers,
  decoderLayout,
  everyNthFull,
  layerTypes,
  readActivation,
  readSizes,
  writeActivation,
  writeMaskedTypes,
  writeSizes,
  type DecoderNames,
} from './decoder.js';

/** What all classes have, with the defaults that they share. */
const GEMMA_FIELDS = {
  rms_norm_eps: 1e-6,
  rope_parameters: optional(),
  hidden_size: 2304,
  intermediate_size: 9216,
  num_hidden_layers: 26,
  num_attention_heads: 8,
  num_key_value_heads: 4,
  head_dim: 256,
  hidden_activation: 'gelu_pytorch_tanh',
  tie_word_embeddings: true,
  attention_bias: false,
  query_pre_attn_scalar: 256,
  sliding_window: optional(4096),
  layer_types: optional(),
} as const;

/** Both norms of mixer and MLP. */
const BOTH: DecoderNames = {
  norm1: 'input_layernorm',
  postnorm1: 'post_attention_layernorm',
  norm2: 'pre_feedforward_layernorm',
  postnorm2: 'post_feedforward_layernorm',
};

/** The c of a soft cap, or null. */
const cap = (fields: Fields, name: string): number | null => (fields.has(name) ? fields.positive(name) : null);

/** What all classes say of themselves in the same words, but their layers, positions and norms. */
function readCommon(fields: Fields): Partial<ModelInput> & ReturnType<typeof readSizes> {
  const sizes = readSizes(fields);
  return {
    ...sizes,
    activation: readActivation(fields, 'hidden_activation'),
    attentionBias: fields.flag('attention_bias') ? 'all' : 'none',
    attentionScale: fields.positive('query_pre_attn_scalar') ** -0.5,
    embeddingScale: Math.sqrt(sizes.hiddenSize),
    logitSoftcap: cap(fields, 'final_logit_softcapping'),
    normOffset: 1,
  };
}

const writeCommon = (config: ModelConfig): HfConfigJson => ({
  ...writeSizes(config),
  ...writeMaskedTypes(config, 4096),
  max_position_embeddings: longestOf(config),
  attention_bias: config.attentionBias === 'all',
  hidden_activation: writeActivation(config.activation),
  query_pre_attn_scalar: Math.round(plainScale(config.attentionScale, config.headDim) ** -2),
  final_logit_softcapping: config.logitSoftcap,
});

/** Gemma 3 (text): five windowed layers to one of full attention, norms on both sides of mixer and MLP. */
export const gemma3: Family = {
  modelTypes: ['gemma3_text'],
  architecture: 'Gemma3ForCausalLM',
  headsDivideWidth: true,
  fields: {
    ...GEMMA_FIELDS,
    vocab_size: 262_208,
    max_position_embeddings: 131_072,
    final_logit_softcapping: optional(),
    attn_logit_softcapping: optional(),
    use_bidirectional_attention: optional(false),
  },
  read: (fields) => {
    // The class has this field and caps no scores.
    fields.without('attn_logit_softcapping');
    fields.only('use_bidirectional_attention', false);
    const common = readCommon(fields);
    const bases = { full_attention: 1_000_000, sliding_attention: 10_000 };
    const ropes = ropesFields(readRopes(fields, bases, 'rope_local_base_freq'), common.headDim);
    // `_sliding_window_pattern`, which older versions wrote, is not read.
    const types = layerTypes(
      fields,
      everyNthFull(() => fields.count('sliding_window_pattern', 6)),
    );
    return {
      ...common,
      ...ropes.fields,
      layers: attentionLayers(fields, types, (_, windowed) => (windowed ? ropes.sliding : 'rope')),
      qkNorm: 'head',
      block: { norm: 'both' },
    };
  },
  layout: (config, layer, name) => decoderLayout(config, layer, name, BOTH),
  write: (config) => ({ ...writeCommon(config), rope_parameters: writeRopes(config) }),
};

interface Gemma2Kind {
  readonly modelType: string;
  readonly architecture: string;
  readonly fields: ClassFields;
  readonly names: DecoderNames;
  readonly norm: 'pre' | 'both';
}

/** A class with soft-capped scores, and windows in every other layer from the first on. */
const cappedFamily = ({ modelType, architecture, fields: more, names, norm }: Gemma2Kind): Family => ({
  modelTypes: [modelType],
  architecture,
  headsDivideWidth: true,
  fields: {
    ...GEMMA_FIELDS,
    vocab_size: 256_000,
    max_position_embeddings: 8192,
    final_logit_softcapping: optional(30),
    attn_logit_softcapping: optional(50),
    ...more,
  },
  read: (fields) => {
    fields.only('use_bidirectional_attention', false);
    const common = readCommon(fields);
    const types = layerTypes(
      fields,
      everyNthFull(() => 2),
    );
    return {
      ...common,
      ...ropeFields(readRope(fields), common.headDim),
      layers: attentionLayers(fields, types, () => 'rope'),
      attentionSoftcap: cap(fields, 'attn_logit_softcapping'),
      block: { norm },
    };
  },
  layout: (config, layer, name) => decoderLayout(config, layer, name, names),
  write: (config) => ({
    ...writeCommon(config),
    rope_parameters: writeRope(config, { theta: config.ropeTheta, scaling: config.ropeScaling }),
    attn_logit_softcapping: config.attentionSoftcap,
  }),
});

/** Gemma 2: norms on both sides of mixer and MLP. */
export const gemma2: Family = cappedFamily({
  modelType: 'gemma2',
  architecture: 'Gemma2ForCausalLM',
  fields: { use_bidirectional_attention: optional() },
  names: BOTH,
  norm: 'both',
});

/** VaultGemma: Gemma 2 with norms before mixer and MLP alone. */
export const vaultGemma: Family = cappedFamily({
  modelType: 'vaultgemma',
  architecture: 'VaultGemmaForCausalLM',
  fields: {},
  names: { norm1: 'input_layernorm', norm2: 'pre_feedforward_layernorm' },
  norm: 'pre',
});
