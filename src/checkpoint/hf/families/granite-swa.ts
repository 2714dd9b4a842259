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
import { GRANITE_EXPERTS, readExperts, withExperts, type ExpertNames } from './experts.js';
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

/** What files with experts and without say alike. */
function readSwa(fields: Fields) {
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
    ...readGraniteScales(fields),
    sinks: true,
  };
}

const writeSwa = (config: ModelConfig): HfConfigJson => ({
  ...writeSizes(config),
  ...writeMaskedTypes(config, 128),
  ...writeBases(config),
  ...writeBiases(config),
  ...writeGraniteScales(config),
  hidden_act: writeActivation(config.activation),
  max_position_embeddings: longestOf(config),
  rope_parameters: writeRope(config, { theta: config.ropeTheta, scaling: config.ropeScaling }),
});

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
  read: (fields) => ({ ...readSwa(fields), ...biases(fields) }),
  layout: (config, layer, name) => decoderLayout(config, layer, name, LLAMA_NAMES),
  write: writeSwa,
};

/** What files of this class are called as in memory, unlike those of Granite 4 hybrids. */
const SWA_EXPERTS: ExpertNames = {
  ...GRANITE_EXPERTS,
  router: 'router.weight',
  stacked: { up: 'experts.gate_up_proj', down: 'experts.down_proj', saved: true },
};

/** Granite with windows and experts; beside them, a shared one where it has a width. */
export const graniteMoeSwa: Family = withExperts(
  {
    ...graniteSwa,
    modelTypes: ['granitemoe_swa'],
    architecture: 'GraniteMoeSWAForCausalLM',
    fields: {
      ...COMMON_FIELDS,
      vocab_size: 32_000,
      hidden_size: 4096,
      intermediate_size: 11_008,
      num_hidden_layers: 32,
      num_attention_heads: 32,
      num_key_value_heads: optional(),
      max_position_embeddings: 2048,
      attention_bias: false,
      embedding_multiplier: optional(1),
      logits_scaling: optional(1),
      residual_multiplier: optional(1),
      attention_multiplier: optional(1),
      num_local_experts: optional(8),
      num_experts_per_tok: optional(2),
      shared_intermediate_size: 0,
      sliding_window: optional(128),
      layer_types: optional(),
      layer_rope_theta: optional(),
    },
    read: (fields) => {
      const shared = fields.count('shared_intermediate_size', undefined, 0);
      return {
        ...readSwa(fields),
        attentionBias: fields.flag('attention_bias') ? 'all' : 'none',
        experts: readExperts(fields, {
          count: 'num_local_experts',
          size: 'intermediate_size',
          dense: () => [],
          more: () => ({ sharedSize: shared === 0 ? null : shared }),
        }),
      };
    },
    write: (config) => {
      const { mlp_bias: _, ...common } = writeSwa(config);
      return {
        ...common,
        intermediate_size: config.experts?.intermediateSize,
        num_local_experts: config.experts?.count,
        num_experts_per_tok: config.experts?.perToken,
        shared_intermediate_size: config.experts?.sharedSize ?? 0,
      };
    },
  },
  SWA_EXPERTS,
);
