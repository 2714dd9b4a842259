/** ModernBERT decoder: LayerNorm on the embedding and none before the first mixer, a dense layer in the head. */
import type { HeadLayer, ModelConfig, ModelInput } from '../../../model/index.js';
import type { Family, HfConfigJson } from '../family/family.js';
import { optional, type Fields } from '../family/fields.js';
import { matrix, rows, whole, type ParameterLayout } from '../family/layout.js';
import { longestOf, readRopes, ropesFields, writeRopes } from '../family/rotary.js';
import {
  decoderLayout,
  layerTypes,
  readActivation,
  writeActivation,
  writeMaskedTypes,
  type DecoderNames,
} from './decoder.js';

const NAMES: DecoderNames = {
  norm1: 'attn_norm',
  norm2: 'mlp_norm',
  finalNorm: 'final_norm',
  attention: 'attn',
  output: 'Wo',
  fusedMlp: { input: 'mlp.Wi', output: 'mlp.Wo' },
};

/** The bases of rotary positions where the file names none. */
const BASES = { full_attention: 160_000, sliding_attention: 10_000 } as const;

/** The window in keys: `sliding_window`, which files of the class hold, or half of `local_attention`. */
function readWindow(fields: Fields): number {
  const half = Math.floor(fields.count('local_attention', 0, 0) / 2);
  if (fields.states('sliding_window')) return fields.count('sliding_window');
  if (half === 0) fields.refuse(`local_attention ${fields.has('local_attention') ? 'below 2' : 'null'} in windows`);
  return Math.max(1, half);
}

function readLayers(fields: Fields, types: readonly string[], local: string): string[] {
  // A window counts where a layer has one.
  fields.without('sliding_window', 'local_attention');
  return types.map((type, i) => {
    if (type === 'sliding_attention') return `swa:${readWindow(fields)}${local === 'rope' ? '' : `:${local}`}`;
    if (type !== 'full_attention') fields.refuse(`layer ${i} of type ${type}`);
    return 'full';
  });
}

/** Refuses positions of other forms than one object a kind of layers, of which the class makes no model. */
function refuseRopes(fields: Fields): void {
  // The class puts it over the positions of both kinds of layers.
  if (fields.has('rope_scaling')) fields.refuse('rope_scaling over positions by layer type');
  for (const [key, value] of Object.entries(fields.object('rope_parameters')?.values ?? {})) {
    if (!Object.keys(BASES).includes(key)) fields.refuse(`rope_parameters.${key}, which is no kind of layers`);
    else if (value === null) fields.refuse(`rope_parameters.${key} null`);
  }
}

function read(fields: Fields): ModelInput {
  const hiddenSize = fields.count('hidden_size');
  const numHeads = fields.count('num_attention_heads');
  const headDim = Math.floor(hiddenSize / numHeads);
  // The class has no such field, and takes its positions by it where a file has one.
  if (fields.has('head_dim') && fields.count('head_dim') !== headDim)
    fields.refuse('a head_dim other than hidden_size / num_attention_heads');
  fields.count('max_position_embeddings');
  refuseRopes(fields);
  const types = layerTypes(fields, (layer) =>
    layer % fields.count('global_attn_every_n_layers', 3) === 0 ? 'full_attention' : 'sliding_attention',
  );
  const ropes = ropesFields(readRopes(fields, BASES, 'local_rope_theta', null, 'global_rope_theta'), headDim);
  const layers = readLayers(fields, types, ropes.sliding);
  return {
    ...ropes.fields,
    ...{ hiddenSize, numHeads, layers },
    vocabSize: fields.count('vocab_size'),
    intermediateSize: fields.count('intermediate_size'),
    norm: 'layer',
    rmsNormEps: fields.positive('norm_eps'),
    normBias: fields.flag('norm_bias'),
    embeddingNorm: true,
    block: layers.map((_, i) => (i === 0 ? { mixerNorm: false } : {})),
    activation: readActivation(fields, 'hidden_activation'),
    attentionBias: fields.flag('attention_bias') ? 'all' : 'none',
    mlpBias: fields.flag('mlp_bias'),
    headLayer: { activation: readPlain(fields), bias: fields.flag('classifier_bias') },
    headBias: fields.flag('decoder_bias'),
    tieEmbeddings: fields.flag('tie_word_embeddings'),
  };
}

/** The activation of the head's own layer. */
function readPlain(fields: Fields): HeadLayer['activation'] {
  const activation = readActivation(fields, 'classifier_activation');
  return activation === 'xielu' ? 'gelu' : activation;
}

function layout(config: ModelConfig, layer: number | null, name: string): ParameterLayout | null {
  const { vocabSize, hiddenSize: d } = config;
  if (layer !== null) return decoderLayout(config, layer, name, NAMES);
  const [, norm, kind] = /^(embed|head)\.norm\.(weight|bias)$/.exec(name) ?? [];
  if (norm !== undefined) return rows(whole(`${norm === 'embed' ? 'model.embeddings' : 'lm_head'}.norm.${kind}`, d));
  switch (name) {
    case 'embed.weight':
      return rows(whole('model.embeddings.tok_embeddings.weight', vocabSize));
    case 'head.dense.weight':
      return matrix(whole('lm_head.dense.weight', d));
    case 'head.dense.bias':
      return rows(whole('lm_head.dense.bias', d));
    case 'head.weight':
      return matrix(whole('decoder.weight', vocabSize));
    case 'head.bias':
      return rows(whole('decoder.bias', vocabSize));
    default:
      return decoderLayout(config, layer, name, NAMES);
  }
}

function write(config: ModelConfig): HfConfigJson {
  const { headLayer } = config;
  const { sliding_window: window, ...types } = writeMaskedTypes(config, 64);
  return {
    // The class takes no null for these two, and its embedding has a row for the second.
    bos_token_id: undefined,
    pad_token_id: Math.min(50_283, config.vocabSize - 1),
    vocab_size: config.vocabSize,
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    num_hidden_layers: config.numLayers,
    num_attention_heads: config.numHeads,
    hidden_activation: writeActivation(config.activation),
    max_position_embeddings: longestOf(config),
    norm_eps: config.rmsNormEps,
    norm_bias: config.normBias,
    attention_bias: config.attentionBias === 'all',
    mlp_bias: config.mlpBias,
    decoder_bias: config.headBias,
    classifier_bias: headLayer?.bias ?? false,
    classifier_activation: writeActivation(headLayer?.activation ?? 'gelu'),
    local_attention: 2 * Number(window),
    sliding_window: window,
    ...types,
    tie_word_embeddings: config.tieEmbeddings,
    rope_parameters: writeRopes(config),
  };
}

/** ModernBERT as a decoder of text, whose head has a layer of its own. */
export const modernBertDecoder: Family = {
  modelTypes: ['modernbert-decoder'],
  architecture: 'ModernBertDecoderForCausalLM',
  takesRopeScaling: false,
  fields: {
    vocab_size: 50_368,
    hidden_size: 768,
    intermediate_size: 1152,
    num_hidden_layers: 22,
    num_attention_heads: 12,
    hidden_activation: 'gelu',
    max_position_embeddings: 8192,
    norm_eps: 1e-5,
    norm_bias: false,
    attention_bias: false,
    mlp_bias: false,
    decoder_bias: true,
    classifier_bias: false,
    classifier_activation: 'gelu',
    local_attention: optional(128),
    layer_types: optional(),
    tie_word_embeddings: true,
    rope_parameters: optional(),
  },
  read,
  layout,
  write,
};
