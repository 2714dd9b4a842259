/** Granite with windows and sinks: a base of its own, or no positions, by layer. */
import type { ModelConfig } from '../../../model/index.js';
import { headGroups } from '../../../model/index.js';
import type { Family, HfConfigJson } from '../family/family.js';
import { optional, type Fields } from '../family/fields.js';
import { longestOf, readRope, ropeFields, writeRope } from '../family/rotary.js';
import {
  attentionLayers,
  COMMON_FIELDS,
  decoderLayout,
  layerTypes,
  LLAMA_NAMES,
  readActivation,
  readSizes,
  writeActivation,
  writeMaskedTypes,
  writeSizes,
} from './decoder.js';
import { biases, readGraniteScales, writeBiases, writeGraniteScales } from './llama.js';

/** The base of each layer's rotary positions, 0 for none; null where all have the model's. */
function layerBases(fields: Fields): number[] | null {
  return fields.perLayer<number>('layer_rope_theta', 'number', fields.count('num_hidden_layers'));
}

/** The bases as fields of `config.json`: a second base is that of local layers. */
function writeBases(config: ModelConfig): HfConfigJson {
  const bases = config.layers.map((plan) => {
    const rope = headGroups(plan)[0]?.rope;
    return rope === false ? 0 : rope === 'local' ? (config.localRope?.theta ?? config.ropeTheta) : config.ropeTheta;
  });
  return bases.every((base) => base === config.ropeTheta) ? {} : { layer_rope_theta: bases };
}

/** Granite with windows: a full layer before each three windowed ones, a sink for every head. */
export const graniteSwa: Family = {
  modelTypes: ['granite_swa'],
  architecture: 'GraniteSWAForCausalLM',
  fields: {
    ...COMMON_FIELDS,
    vocab_size: 100_352,
    hidden_size: 2560,
    intermediate_size: 8192,
    num_hidden_layers: 24,
    num_attention_heads: 20,
    num_key_value_heads: optional(4),
    max_position_embeddings: 8192,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: true,
    attention_bias: false,
    mlp_bias: false,
    embedding_multiplier: 1,
    logits_scaling: 1,
    residual_multiplier: 1,
    attention_multiplier: 1,
    sliding_window: optional(128),
    layer_types: optional(),
    layer_rope_theta: optional(),
  },
  read: (fields) => {
    const sizes = readSizes(fields);
    const rope = readRope(fields);
    const bases = layerBases(fields);
    const [theta = rope.theta, other, ...more] = [...new Set((bases ?? []).filter((base) => base !== 0))];
    if (more.length > 0) fields.refuse(`layer_rope_theta with ${more.length + 2} different bases`);
    const flag = (layer: number): string => {
      const base = bases?.[layer] ?? theta;
      return base === 0 ? 'nope' : base === theta ? 'rope' : 'local';
    };
    const types = layerTypes(fields, (i) => (i % 4 === 0 ? 'full_attention' : 'sliding_attention'));
    return {
      ...sizes,
      ...ropeFields({ ...rope, theta }, sizes.headDim),
      ...(other === undefined ? {} : { localRope: { theta: other, scaling: rope.scaling } }),
      layers: attentionLayers(fields, types, flag),
      activation: readActivation(fields),
      ...biases(fields),
      ...readGraniteScales(fields),
      sinks: true,
    };
  },
  layout: (config, layer, name) => decoderLayout(config, layer, name, LLAMA_NAMES),
  write: (config) => ({
    ...writeSizes(config),
    ...writeMaskedTypes(config, 128),
    ...writeBases(config),
    ...writeBiases(config),
    ...writeGraniteScales(config),
    hidden_act: writeActivation(config.activation),
    max_position_embeddings: longestOf(config),
    rope_parameters: writeRope(config, { theta: config.ropeTheta, scaling: config.ropeScaling }),
  }),
};
