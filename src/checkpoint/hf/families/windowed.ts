/** Families whose blocks differ from Llama's: OLMo 2 and 3, EXAONE 4, Cohere 2. */
import type { ModelConfig } from '../../../model/index.js';
import type { Family, HfConfigJson } from '../family/family.js';
import { longestOf, readRope, readRopes, ropeFields, ropesFields, writeRope, writeRopes } from '../family/rotary.js';
import { optional } from '../family/fields.js';
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
  writeMaskedTypes,
  writeSizes,
} from './decoder.js';

const POST_NAMES = { postnorm1: 'post_attention_layernorm', postnorm2: 'post_feedforward_layernorm' } as const;

const writePlain = (config: ModelConfig): HfConfigJson => ({
  ...writeSizes(config),
  hidden_act: writeActivation(config.activation),
  max_position_embeddings: longestOf(config),
  rope_parameters: writeRope(config, { theta: config.ropeTheta, scaling: config.ropeScaling }),
});

const writeCommon = (config: ModelConfig): HfConfigJson => ({ ...writePlain(config), ...writeLayerTypes(config) });

const biased = (config: ModelConfig): HfConfigJson => ({ attention_bias: config.attentionBias === 'all' });

/** OLMo 3: sliding windows and full attention, norms after the mixer and the MLP. */
export const olmo3: Family = {
  modelTypes: ['olmo3'],
  architecture: 'Olmo3ForCausalLM',
  fields: {
    ...COMMON_FIELDS,
    vocab_size: 50_304,
    hidden_size: 4096,
    intermediate_size: 11_008,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: optional(),
    max_position_embeddings: 2048,
    attention_bias: false,
    rms_norm_eps: 1e-5,
    sliding_window: optional(4096),
    layer_types: optional(),
  },
  read: (fields) => {
    const sizes = readSizes(fields);
    const theta = 500_000;
    const ropes = ropesFields(
      readRopes(fields, { full_attention: theta, sliding_attention: theta }, null),
      sizes.headDim,
    );
    const types = layerTypes(
      fields,
      everyNthFull(() => 4),
    );
    return {
      ...sizes,
      ...ropes.fields,
      layers: attentionLayers(fields, types, (_, windowed) => (windowed ? ropes.sliding : 'rope')),
      activation: readActivation(fields),
      attentionBias: fields.flag('attention_bias') ? 'all' : 'none',
      qkNorm: 'width',
      block: { norm: 'post' },
    };
  },
  layout: (config, layer, name) => decoderLayout(config, layer, name, POST_NAMES),
  write: (config) => ({
    ...writePlain(config),
    ...writeMaskedTypes(config, 4096),
    ...biased(config),
    rope_parameters: writeRopes(config),
  }),
};

/** OLMo 2: OLMo 3 without windows. */
export const olmo2: Family = {
  modelTypes: ['olmo2'],
  architecture: 'Olmo2ForCausalLM',
  fields: {
    ...COMMON_FIELDS,
    vocab_size: 50_304,
    hidden_size: 4096,
    intermediate_size: 11_008,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: optional(),
    max_position_embeddings: 2048,
    attention_bias: false,
    rms_norm_eps: 1e-5,
  },
  read: (fields) => {
    const sizes = readSizes(fields);
    return {
      ...sizes,
      ...ropeFields(readRope(fields), sizes.headDim),
      layers: attentionLayers(
        fields,
        layerTypes(fields, () => 'full_attention'),
        () => 'rope',
      ),
      activation: readActivation(fields),
      attentionBias: fields.flag('attention_bias') ? 'all' : 'none',
      qkNorm: 'width',
      block: { norm: 'post' },
    };
  },
  layout: (config, layer, name) => decoderLayout(config, layer, name, POST_NAMES),
  write: (config) => ({ ...writePlain(config), ...biased(config) }),
};

/** EXAONE 4: sliding windows with rotary positions, full attention without. */
export const exaone4: Family = {
  modelTypes: ['exaone4'],
  architecture: 'Exaone4ForCausalLM',
  fields: {
    ...COMMON_FIELDS,
    vocab_size: 102_400,
    hidden_size: 4096,
    intermediate_size: 16_384,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: 32,
    max_position_embeddings: 2048,
    rms_norm_eps: 1e-5,
    sliding_window: optional(4096),
    sliding_window_pattern: optional(4),
    layer_types: optional(),
  },
  read: (fields) => {
    const sizes = readSizes(fields);
    const windows = fields.has('sliding_window');
    if (!windows && !fields.has('layer_types')) fields.refuse('sliding_window null without layer_types');
    fields.without('sliding_window_pattern');
    const every = () => (windows ? fields.count('sliding_window_pattern') : 1);
    const types = layerTypes(fields, everyNthFull(every));
    return {
      ...sizes,
      ...ropeFields(readRope(fields), sizes.headDim),
      // Where there are windows, full attention has no positions.
      layers: attentionLayers(fields, types, (_, windowed) => (windowed || !windows ? 'rope' : 'nope')),
      activation: readActivation(fields),
      qkNorm: 'head',
      block: { norm: 'post' },
    };
  },
  layout: (config, layer, name) => decoderLayout(config, layer, name, POST_NAMES),
  write: writeCommon,
};

/** Cohere 2: attention and MLP side by side, full attention without positions. */
export const cohere2: Family = {
  modelTypes: ['cohere2'],
  architecture: 'Cohere2ForCausalLM',
  fields: {
    hidden_act: 'silu',
    rope_parameters: optional(),
    vocab_size: 256_000,
    hidden_size: 8192,
    intermediate_size: 22_528,
    logit_scale: 0.0625,
    num_hidden_layers: 40,
    num_attention_heads: 64,
    num_key_value_heads: optional(),
    max_position_embeddings: 8192,
    layer_norm_eps: 1e-5,
    tie_word_embeddings: true,
    attention_bias: false,
    sliding_window: optional(4096),
    layer_types: optional(),
  },
  read: (fields) => {
    const sizes = readSizes(fields, 'layer_norm_eps');
    const types = layerTypes(
      fields,
      everyNthFull(() => fields.count('sliding_window_pattern', 4)),
    );
    return {
      ...sizes,
      ...ropeFields(readRope(fields), sizes.headDim),
      layers: attentionLayers(fields, types, (_, windowed) => (windowed ? 'rope' : 'nope')),
      activation: readActivation(fields),
      attentionBias: fields.flag('attention_bias') ? 'all' : 'none',
      norm: 'layer',
      logitScale: fields.number('logit_scale'),
      block: { parallel: true },
    };
  },
  layout: (config, layer, name) => decoderLayout(config, layer, name, { norm1: 'input_layernorm', turns: 'neighbors' }),
  write: (config) => ({
    ...writePlain(config),
    ...writeMaskedTypes(config, 4096),
    ...biased(config),
    layer_norm_eps: config.rmsNormEps,
    logit_scale: config.logitScale,
  }),
};
