/** Llama and the families that differ from it in a few fields: Mistral, Qwen 2 and 3, SmolLM3, Granite, MiniCPM. */
import type { ModelConfig, ModelInput } from '../../../model/index.js';
import { blockOf, headGroups } from '../../../model/index.js';
import type { Family, HfConfigJson } from '../family/family.js';
import type { Fields } from '../family/fields.js';
import { longestOf, readRope, ropeFields, writeRope } from '../family/rotary.js';
import {
  attentionLayers,
  decoderLayout,
  LLAMA_NAMES,
  readActivation,
  readSizes,
  writeActivation,
  writeLayerTypes,
  writeSizes,
  type DecoderDefaults,
} from './decoder.js';

interface LlamaKind {
  readonly modelTypes: readonly string[];
  readonly architecture: string | null;
  readonly defaults?: DecoderDefaults & { readonly theta?: number };
  readonly layerTypes: (fields: Fields) => readonly string[];
  readonly nope?: (fields: Fields) => readonly boolean[];
  readonly more?: (fields: Fields) => Partial<ModelInput>;
  readonly write?: (config: ModelConfig) => HfConfigJson;
}

function llamaLike({ modelTypes, architecture, defaults = {}, layerTypes, nope, more, write }: LlamaKind): Family {
  return {
    modelTypes,
    architecture,
    read: (fields) => {
      const sizes = readSizes(fields, defaults);
      const without = nope?.(fields);
      return {
        ...sizes,
        ...ropeFields(readRope(fields, defaults.theta), sizes.headDim),
        layers: attentionLayers(fields, layerTypes(fields), (i) => (without?.[i] === true ? 'nope' : 'rope')),
        activation: readActivation(fields),
        ...more?.(fields),
      };
    },
    layout: (config, layer, name) => decoderLayout(config, layer, name, LLAMA_NAMES),
    ...(write === undefined
      ? {}
      : {
          write: (config) => ({
            ...writeSizes(config),
            hidden_act: writeActivation(config.activation),
            max_position_embeddings: longestOf(config),
            rope_parameters: writeRope(config, { theta: config.ropeTheta, scaling: config.ropeScaling }),
            ...write(config),
          }),
        }),
  };
}

const biases = (fields: Fields): Partial<ModelInput> => ({
  attentionBias: fields.flag('attention_bias', false) ? 'all' : 'none',
  mlpBias: fields.flag('mlp_bias', false),
});

/** The first window of a model. */
const windowOf = (config: ModelConfig): number | null =>
  config.layers.flatMap((plan) => headGroups(plan)[0]?.window ?? [])[0] ?? null;

const writeBiases = ({ attentionBias, mlpBias }: ModelConfig): HfConfigJson => ({
  attention_bias: attentionBias === 'all',
  mlp_bias: mlpBias,
});

/** `layer_types`, or one type by layer. */
const typesBy = (slides: (fields: Fields) => (layer: number) => boolean) => (fields: Fields) => {
  const depth = fields.count('num_hidden_layers');
  const given = fields.perLayer<string>('layer_types', 'string', depth);
  if (given !== null) return given;
  const windowed = slides(fields);
  return Array.from({ length: depth }, (_, i) => (windowed(i) ? 'sliding_attention' : 'full_attention'));
};

const never = () => () => false;
const everywhere = (fields: Fields) => () => fields.has('sliding_window');
const deepLayers = (fields: Fields) => {
  const uses = fields.has('sliding_window') && fields.flag('use_sliding_window', false);
  const from = fields.count('max_window_layers', 28, 0);
  return (layer: number) => uses && layer >= from;
};

function smolNope(fields: Fields): boolean[] {
  const depth = fields.count('num_hidden_layers');
  const every = fields.count('no_rope_layer_interval', 4);
  const given = fields.perLayer<number>('no_rope_layers', 'number', depth);
  // Of SmolLM3, no_rope_layers[i] = 1 means that layer i does use rotary positions.
  return given?.map((flag) => flag === 0) ?? Array.from({ length: depth }, (_, i) => (i + 1) % every === 0);
}

const smolSlides = (fields: Fields) => {
  const nope = smolNope(fields);
  const uses = fields.has('sliding_window') && fields.flag('use_sliding_window', false);
  return (layer: number) => uses && nope[layer] === true;
};

/** Granite's four factors; logits are divided by theirs. */
export function readGraniteScales(fields: Fields): Partial<ModelInput> {
  const residual = fields.number('residual_multiplier', 1);
  return {
    embeddingScale: fields.number('embedding_multiplier', 1),
    logitScale: 1 / fields.positive('logits_scaling', 1),
    attentionScale: fields.positive('attention_multiplier', 1),
    block: { mixerScale: residual, mlpScale: residual },
  };
}

/** Granite's four multipliers as fields of `config.json`. */
export function writeGraniteScales(config: ModelConfig): HfConfigJson {
  return {
    embedding_multiplier: config.embeddingScale,
    logits_scaling: 1 / config.logitScale,
    attention_multiplier: config.attentionScale ?? 1 / Math.sqrt(config.headDim),
    residual_multiplier: blockOf(config, 0).mixerScale,
  };
}

/** Llama, and the families that differ from it in a few fields. */
export const LLAMA_FAMILIES: readonly Family[] = [
  llamaLike({
    modelTypes: ['llama'],
    architecture: 'LlamaForCausalLM',
    layerTypes: typesBy(never),
    more: biases,
    write: writeBiases,
  }),
  llamaLike({
    modelTypes: ['qwen3'],
    architecture: 'Qwen3ForCausalLM',
    defaults: { kvHeads: 32, headDim: 128 },
    layerTypes: typesBy(deepLayers),
    more: (fields) => ({ qkNorm: 'head', attentionBias: fields.flag('attention_bias', false) ? 'all' : 'none' }),
    write: (config) => ({
      ...writeLayerTypes(config),
      use_sliding_window: windowOf(config) !== null,
      attention_bias: config.attentionBias === 'all',
    }),
  }),
  llamaLike({
    modelTypes: ['smollm3'],
    architecture: 'SmolLM3ForCausalLM',
    defaults: { kvHeads: 4, theta: 2_000_000 },
    layerTypes: typesBy(smolSlides),
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
    defaults: { kvHeads: 8 },
    layerTypes: typesBy(everywhere),
    write: (config) => ({ sliding_window: windowOf(config) }),
  }),
  llamaLike({
    modelTypes: ['qwen2'],
    architecture: 'Qwen2ForCausalLM',
    defaults: { kvHeads: 32 },
    layerTypes: typesBy(deepLayers),
    more: () => ({ attentionBias: 'qkv' }),
    write: (config) => ({
      ...writeLayerTypes(config),
      use_sliding_window: windowOf(config) !== null,
    }),
  }),
  llamaLike({
    modelTypes: ['granite'],
    architecture: 'GraniteForCausalLM',
    layerTypes: typesBy(never),
    more: (fields) => ({ ...biases(fields), ...readGraniteScales(fields) }),
    write: (config) => ({ ...writeBiases(config), ...writeGraniteScales(config) }),
  }),
  llamaLike({
    // Not a class of Transformers itself: the factors of MiniCPM (arXiv 2404.06395), tensors as of Llama.
    modelTypes: ['minicpm'],
    architecture: null,
    defaults: { tied: true },
    layerTypes: typesBy(never),
    more: (fields) => {
      const depth = fields.positive('scale_depth', 1) / Math.sqrt(fields.count('num_hidden_layers'));
      return {
        attentionBias: fields.flag('attention_bias', false) ? 'all' : 'none',
        embeddingScale: fields.positive('scale_emb', 1),
        logitScale: fields.positive('dim_model_base', 1) / fields.count('hidden_size'),
        block: { mixerScale: depth, mlpScale: depth },
      };
    },
  }),
];
