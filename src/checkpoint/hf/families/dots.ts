/** Attention with QK norm and windows, and experts by sigmoid behind the first layers: dots.llm1, EXAONE MoE. */
import { type ModelConfig } from '../../../model/index.js';
import type { Family, HfConfigJson } from '../family/family.js';
import { optional, type Fields } from '../family/fields.js';
import { range } from '../family/layout.js';
import { longestOf, readRope, ropeFields, writeRope } from '../family/rotary.js';
import {
  attentionLayers,
  COMMON_FIELDS,
  decoderLayout,
  everyNthFull,
  layerTypes,
  LLAMA_NAMES,
  readActivation,
  readSizes,
  writeActivation,
  writeLayerTypes,
  writeMaskedTypes,
  writeSizes,
} from './decoder.js';
import { denseLayers, QWEN_EXPERTS, readExperts, withExperts, writeMlpTypes } from './experts.js';
import { readSharedExperts, sigmoidRouter, writeSharedExperts } from './latent.js';
import { typesBy, windowOf } from './llama.js';

const writeCommon = (config: ModelConfig): HfConfigJson => ({
  ...writeSizes(config),
  ...writeLayerTypes(config),
  hidden_act: writeActivation(config.activation),
  max_position_embeddings: longestOf(config),
  rope_parameters: writeRope(config, { theta: config.ropeTheta, scaling: config.ropeScaling }),
});

/** The layers before `first_k_dense_replace`, which have no experts. */
const firstDense = (fields: Fields): number[] =>
  range(0, Math.min(fields.count('first_k_dense_replace', undefined, 0), fields.count('num_hidden_layers')));

/** Windows in the layers from `max_window_layers` on. */
const lastSlide = (fields: Fields) => {
  const windows = fields.has('sliding_window');
  return (layer: number) => windows && layer >= fields.count('max_window_layers', undefined, 0);
};

/** dots.llm1: Qwen 3 with the experts of DeepSeek-V3. */
export const dots1: Family = withExperts(
  {
    modelTypes: ['dots1'],
    architecture: 'Dots1ForCausalLM',
    aliases: { num_local_experts: 'n_routed_experts' },
    fields: {
      ...COMMON_FIELDS,
      vocab_size: 152_064,
      hidden_size: 4608,
      intermediate_size: 10_944,
      moe_intermediate_size: 1408,
      num_hidden_layers: 62,
      num_attention_heads: 32,
      num_key_value_heads: optional(32),
      n_shared_experts: optional(),
      n_routed_experts: optional(),
      n_group: optional(1),
      topk_group: optional(1),
      num_experts_per_tok: optional(),
      first_k_dense_replace: optional(0),
      norm_topk_prob: optional(false),
      max_position_embeddings: 2048,
      attention_bias: false,
      routed_scaling_factor: 1,
      sliding_window: optional(4096),
      max_window_layers: optional(62),
      layer_types: optional(),
    },
    read: (fields) => {
      const sizes = readSizes(fields);
      const types = typesBy(lastSlide)(fields);
      fields.without('max_window_layers');
      return {
        ...sizes,
        experts: readSharedExperts(fields, 'n_routed_experts', firstDense(fields), sigmoidRouter),
        ...ropeFields(readRope(fields), sizes.headDim),
        layers: attentionLayers(fields, types, () => 'rope'),
        activation: readActivation(fields),
        attentionBias: fields.flag('attention_bias') ? 'all' : 'none',
        qkNorm: 'head',
      };
    },
    layout: (config, layer, name) => decoderLayout(config, layer, name, LLAMA_NAMES),
    write: (config) => ({
      ...writeCommon(config),
      ...writeMaskedTypes(config, 4096),
      ...writeSharedExperts(config, 'n_routed_experts'),
      first_k_dense_replace: config.experts === null ? config.numLayers : config.experts.dense.length,
      attention_bias: config.attentionBias === 'all',
    }),
  },
  { ...QWEN_EXPERTS, correction: 'gate.e_score_correction_bias', shared: { module: 'mlp.shared_experts' } },
);

/** The layers of EXAONE MoE whose MLP is dense: by `mlp_layer_types`, or the first. */
function exaoneDense(fields: Fields): number[] {
  const first = new Set(firstDense(fields));
  return denseLayers(fields, (i) => first.has(i));
}

/** EXAONE MoE: the attention of EXAONE 4 behind norms, and experts. */
export const exaoneMoe: Family = withExperts(
  {
    modelTypes: ['exaone_moe'],
    architecture: 'ExaoneMoeForCausalLM',
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
      sliding_window: 4096,
      sliding_window_pattern: optional(4),
      layer_types: optional(),
      mlp_layer_types: optional(),
      first_k_dense_replace: 1,
      moe_intermediate_size: 1024,
      num_experts: 64,
      num_experts_per_tok: 8,
      num_shared_experts: 1,
      norm_topk_prob: true,
      routed_scaling_factor: 2.5,
      n_group: 1,
      topk_group: 1,
    },
    read: (fields) => {
      const sizes = readSizes(fields);
      fields.without('sliding_window_pattern');
      const types = layerTypes(
        fields,
        everyNthFull(() => fields.count('sliding_window_pattern')),
      );
      fields.count('sliding_window', undefined, 0);
      return {
        ...sizes,
        experts: readExperts(fields, {
          dense: exaoneDense,
          more: (own) => ({
            ...sigmoidRouter(own),
            normalize: own.flag('norm_topk_prob'),
            scale: own.number('routed_scaling_factor'),
            sharedSize: own.count('num_shared_experts', undefined, 0) * own.count('moe_intermediate_size'),
          }),
        }),
        ...ropeFields(readRope(fields), sizes.headDim),
        layers: attentionLayers(fields, types, (_, windowed) => (windowed ? 'rope' : 'nope')),
        activation: readActivation(fields),
        qkNorm: 'head',
      };
    },
    layout: (config, layer, name) => decoderLayout(config, layer, name, LLAMA_NAMES),
    ignored: (name) => name.startsWith('mtp.'),
    write: (config) => {
      const { n_shared_experts: shared, ...experts } = writeSharedExperts(config, 'num_experts');
      return {
        ...writeCommon(config),
        // The class takes no null.
        sliding_window: windowOf(config) ?? 4096,
        ...writeMlpTypes(config),
        ...experts,
        ...(shared === undefined ? {} : { num_shared_experts: shared }),
      };
    },
  },
  {
    ...QWEN_EXPERTS,
    correction: 'e_score_correction_bias',
    correctionInMemory: 'gate.e_score_correction_bias',
    shared: { module: 'mlp.shared_experts' },
  },
);
