/** Cohere Compass (text): Cohere 2 with rotary positions, or none, by kind of layer. */
import type { Family } from '../family/family.js';
import { optional } from '../family/fields.js';
import { readKinds, writeKinds } from '../family/kinds.js';
import { longestOf } from '../family/rotary.js';
import {
  attentionLayers,
  decoderLayout,
  layerTypes,
  readActivation,
  readSizes,
  writeActivation,
  writeMaskedTypes,
  writeSizes,
} from './decoder.js';

/** Cohere Compass: the text model of its class with images, whose three-part positions are equal on text. */
export const cohereCompass: Family = {
  modelTypes: ['cohere_compass_text'],
  architecture: 'CohereCompassForCausalLM',
  takesRopeScaling: false,
  fields: {
    hidden_act: 'silu',
    rope_parameters: optional(),
    vocab_size: 256_000,
    hidden_size: 8192,
    intermediate_size: 22_528,
    logit_scale: optional(),
    num_hidden_layers: 40,
    num_attention_heads: 64,
    num_key_value_heads: optional(),
    max_position_embeddings: 8192,
    layer_norm_eps: 1e-5,
    tie_word_embeddings: true,
    attention_bias: false,
    sliding_window: optional(4096),
    layer_types: optional(),
    pooling: optional(),
  },
  read: (fields) => {
    const sizes = readSizes(fields, 'layer_norm_eps');
    const types = layerTypes(fields, () => 'full_attention');
    const ropes = readKinds(fields, types, sizes.headDim);
    // The class asks for a window where no layer has one, and for a text where it pools; neither changes a result.
    fields.count('sliding_window');
    fields.text('pooling', '');
    return {
      ...sizes,
      ...ropes.fields,
      layers: attentionLayers(fields, types, (_, windowed) => ropes.flag(windowed)),
      activation: readActivation(fields),
      attentionBias: fields.flag('attention_bias') ? 'all' : 'none',
      norm: 'layer',
      logitScale: fields.number('logit_scale', 1),
      block: { parallel: true },
    };
  },
  layout: (config, layer, name) => decoderLayout(config, layer, name, { norm1: 'input_layernorm' }),
  write: (config) => ({
    ...writeSizes(config, 'layer_norm_eps'),
    ...writeMaskedTypes(config, 4096),
    hidden_act: writeActivation(config.activation),
    max_position_embeddings: longestOf(config),
    attention_bias: config.attentionBias === 'all',
    logit_scale: config.logitScale,
    rope_parameters: writeKinds(config),
  }),
};
