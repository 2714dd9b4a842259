/** Llama and the families that differ from it in a few fields: Mistral, Qwen 2 and 3, SmolLM3, Granite, MiniCPM. */
import type { ModelConfig, ModelInput } from '../../../model/index.js';
import { blockOf, headGroups, plainScale } from '../../../model/index.js';
import type { Family, HfConfigJson } from '../family/family.js';
import { optional, type ClassFields, type Fields } from '../family/fields.js';
import { longestOf, readRope, ropeFields, writeRope, type RopeDefaults } from '../family/rotary.js';
import { withExperts, type ExpertNames } from './experts.js';
import {
  attentionLayers,
  COMMON_FIELDS,
  decoderLayout,
  layerTypes,
  LLAMA_NAMES,
  readActivation,
  readSizes,
  writeActivation,
  writeLayerTypes,
  writeSizes,
  type DecoderNames,
} from './decoder.js';

interface LlamaKind {
  readonly modelTypes: readonly string[];
  readonly architecture: string | null;
  readonly fields: ClassFields;
  /** Rotary positions where `config.json` names none. */
  readonly rope?: RopeDefaults;
  /** The name of the norms' epsilon (default: `rms_norm_eps`). */
  readonly eps?: string;
  /** Activations of the class beside those that all have. */
  readonly activations?: readonly ModelConfig['activation'][];
  /** What the tensors of its experts are called, where it has experts. */
  readonly experts?: ExpertNames;
  /** Where tensors have other names than Llama's. */
  readonly names?: DecoderNames;
  readonly layerTypes: (fields: Fields) => readonly string[];
  /** Whether the class refuses a hidden width that is no multiple of its heads (default: false). */
  readonly headsDivideWidth?: boolean;
  /** Whether the class takes its windows from `sliding_window`; where not, layers of that type are refused. */
  readonly windows?: (fields: Fields) => boolean;
  readonly nope?: (fields: Fields) => readonly boolean[];
  readonly more?: (fields: Fields) => Partial<ModelInput>;
  readonly write?: (config: ModelConfig) => HfConfigJson;
}

/** A family that differs from Llama in a few fields. */
export function llamaLike(kind: LlamaKind): Family {
  const { modelTypes, architecture, fields: classFields, nope, more, write } = kind;
  const family: Family = {
    modelTypes,
    fields: classFields,
    architecture,
    headsDivideWidth: kind.headsDivideWidth === true,
    read: (fields) => {
      const sizes = readSizes(fields, kind.eps);
      const without = nope?.(fields);
      const types = kind.layerTypes(fields);
      if (kind.windows?.(fields) === false && types.includes('sliding_attention'))
        fields.refuse('layers of type sliding_attention with use_sliding_window false');
      return {
        ...sizes,
        ...ropeFields(readRope(fields, kind.rope), sizes.headDim),
        layers: attentionLayers(fields, types, (i) => (without?.[i] === true ? 'nope' : 'rope')),
        activation: readActivation(fields, 'hidden_act', kind.activations),
        ...more?.(fields),
      };
    },
    layout: (config, layer, name) => decoderLayout(config, layer, name, { ...LLAMA_NAMES, ...kind.names }),
    ...(write === undefined
      ? {}
      : {
          write: (config) => ({
            ...writeSizes(config, kind.eps),
            hidden_act: writeActivation(config.activation),
            max_position_embeddings: longestOf(config),
            rope_parameters: writeRope(config, { theta: config.ropeTheta, scaling: config.ropeScaling }),
            ...write(config),
          }),
        }),
  };
  return kind.experts === undefined ? family : withExperts(family, kind.experts);
}

/** Biases of attention and of the MLP, each on all of its projections. */
export const biases = (fields: Fields): Partial<ModelInput> => ({
  attentionBias: fields.flag('attention_bias') ? 'all' : 'none',
  mlpBias: fields.flag('mlp_bias'),
});

/** The first window of a model. */
export const windowOf = (config: ModelConfig): number | null =>
  config.layers.flatMap((plan) => headGroups(plan)[0]?.window ?? [])[0] ?? null;

/** Biases as fields of `config.json`. */
export const writeBiases = ({ attentionBias, mlpBias }: ModelConfig): HfConfigJson => ({
  attention_bias: attentionBias === 'all',
  mlp_bias: mlpBias,
});

/** `layer_types`, or one type by layer. */
export const typesBy = (slides: (fields: Fields) => (layer: number) => boolean) => (fields: Fields) => {
  const windowed = slides(fields);
  return layerTypes(fields, (i) => (windowed(i) ? 'sliding_attention' : 'full_attention'));
};

/** No layer has a window. */
export const never = () => () => false;
/** All layers have the window, if there is one. */
export const everywhere = (fields: Fields) => {
  const windows = fields.has('sliding_window');
  return () => windows;
};
const deepLayers = (fields: Fields) => {
  const uses = fields.flag('use_sliding_window') && fields.has('sliding_window');
  const from = fields.count('max_window_layers', undefined, 0);
  return (layer: number) => uses && layer >= from;
};

/** Classes whose windows count only where `use_sliding_window` is true. */
export const windowsIfUsed = (fields: Fields): boolean => fields.flag('use_sliding_window');

function smolNope(fields: Fields): boolean[] {
  const depth = fields.count('num_hidden_layers');
  const every = fields.count('no_rope_layer_interval');
  const given = fields.perLayer<number>('no_rope_layers', 'number', depth);
  // Of SmolLM3, no_rope_layers[i] = 1 means that layer i does use rotary positions.
  return given?.map((flag) => flag === 0) ?? Array.from({ length: depth }, (_, i) => (i + 1) % every === 0);
}

const smolSlides = (fields: Fields) => {
  const nope = smolNope(fields);
  const uses = fields.flag('use_sliding_window') && fields.has('sliding_window');
  return (layer: number) => uses && nope[layer] === true;
};

/** Granite's four factors; logits are divided by theirs. */
export function readGraniteScales(fields: Fields): Partial<ModelInput> {
  const residual = fields.number('residual_multiplier');
  return {
    embeddingScale: fields.number('embedding_multiplier'),
    logitScale: 1 / fields.positive('logits_scaling'),
    attentionScale: fields.positive('attention_multiplier'),
    block: { mixerScale: residual, mlpScale: residual },
  };
}

/** Granite's four multipliers as fields of `config.json`. */
export function writeGraniteScales(config: ModelConfig): HfConfigJson {
  return {
    embedding_multiplier: config.embeddingScale,
    logits_scaling: 1 / config.logitScale,
    attention_multiplier: plainScale(config.attentionScale, config.headDim),
    residual_multiplier: blockOf(config, 0).mixerScale,
  };
}

/** Llama, and the families that differ from it in a few fields. */
export const LLAMA_FAMILIES: readonly Family[] = [
  llamaLike({
    modelTypes: ['llama'],
    architecture: 'LlamaForCausalLM',
    headsDivideWidth: true,
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
      mlp_bias: false,
      head_dim: optional(),
    },
    layerTypes: typesBy(never),
    more: biases,
    write: writeBiases,
  }),
  llamaLike({
    modelTypes: ['qwen3'],
    architecture: 'Qwen3ForCausalLM',
    fields: {
      ...COMMON_FIELDS,
      vocab_size: 151_936,
      hidden_size: 4096,
      intermediate_size: 22_016,
      num_hidden_layers: 32,
      num_attention_heads: 32,
      num_key_value_heads: optional(32),
      head_dim: 128,
      max_position_embeddings: 32_768,
      attention_bias: false,
      use_sliding_window: false,
      sliding_window: optional(4096),
      max_window_layers: 28,
      layer_types: optional(),
    },
    layerTypes: typesBy(deepLayers),
    windows: windowsIfUsed,
    more: (fields) => ({ qkNorm: 'head', attentionBias: fields.flag('attention_bias') ? 'all' : 'none' }),
    write: (config) => ({
      ...writeLayerTypes(config),
      use_sliding_window: windowOf(config) !== null,
      attention_bias: config.attentionBias === 'all',
    }),
  }),
  llamaLike({
    modelTypes: ['smollm3'],
    architecture: 'SmolLM3ForCausalLM',
    fields: {
      ...COMMON_FIELDS,
      vocab_size: 128_256,
      hidden_size: 2048,
      intermediate_size: 11_008,
      num_hidden_layers: 36,
      num_attention_heads: 16,
      num_key_value_heads: optional(4),
      max_position_embeddings: 32_768,
      use_sliding_window: false,
      sliding_window: optional(),
      no_rope_layers: optional(),
      no_rope_layer_interval: 4,
      layer_types: optional(),
      attention_bias: false,
      mlp_bias: false,
      tie_word_embeddings: true,
    },
    layerTypes: typesBy(smolSlides),
    rope: { theta: 2_000_000 },
    nope: smolNope,
    more: biases,
    write: (config) => ({
      ...writeLayerTypes(config),
      use_sliding_window: windowOf(config) !== null,
      no_rope_layers: config.layers.map((plan) => (headGroups(plan)[0]?.rope === false ? 0 : 1)),
      // Transformers would otherwise look for the token 128,004 in smaller vocabularies.
      pad_token_id: null,
      ...writeBiases(config),
    }),
  }),
  llamaLike({
    modelTypes: ['mistral'],
    architecture: 'MistralForCausalLM',
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
    },
    layerTypes: typesBy(everywhere),
    write: (config) => ({ sliding_window: windowOf(config) }),
  }),
  llamaLike({
    modelTypes: ['qwen2'],
    architecture: 'Qwen2ForCausalLM',
    fields: {
      ...COMMON_FIELDS,
      vocab_size: 151_936,
      hidden_size: 4096,
      intermediate_size: 22_016,
      num_hidden_layers: 32,
      num_attention_heads: 32,
      num_key_value_heads: optional(32),
      max_position_embeddings: 32_768,
      use_sliding_window: false,
      sliding_window: optional(4096),
      max_window_layers: 28,
      layer_types: optional(),
    },
    layerTypes: typesBy(deepLayers),
    windows: windowsIfUsed,
    more: () => ({ attentionBias: 'qkv' }),
    write: (config) => ({
      ...writeLayerTypes(config),
      use_sliding_window: windowOf(config) !== null,
    }),
  }),
  llamaLike({
    modelTypes: ['granite'],
    architecture: 'GraniteForCausalLM',
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
      mlp_bias: false,
      embedding_multiplier: 1,
      logits_scaling: 1,
      residual_multiplier: 1,
      attention_multiplier: 1,
    },
    layerTypes: typesBy(never),
    more: (fields) => ({ ...biases(fields), ...readGraniteScales(fields) }),
    write: (config) => ({ ...writeBiases(config), ...writeGraniteScales(config) }),
  }),
  llamaLike({
    // Not a class of Transformers itself: the factors of MiniCPM (arXiv 2404.06395), tensors as of Llama.
    modelTypes: ['minicpm'],
    architecture: null,
    fields: {
      ...COMMON_FIELDS,
      tie_word_embeddings: true,
      num_key_value_heads: optional(),
      max_position_embeddings: 2048,
      attention_bias: false,
      scale_emb: 1,
      scale_depth: 1,
      dim_model_base: 1,
    },
    layerTypes: typesBy(never),
    more: (fields) => {
      const depth = fields.positive('scale_depth') / Math.sqrt(fields.count('num_hidden_layers'));
      return {
        attentionBias: fields.flag('attention_bias') ? 'all' : 'none',
        embeddingScale: fields.positive('scale_emb'),
        logitScale: fields.positive('dim_model_base') / fields.count('hidden_size'),
        block: { mixerScale: depth, mlpScale: depth },
      };
    },
  }),
];
