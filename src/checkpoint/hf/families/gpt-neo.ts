/** GPT-Neo: learned positions, LayerNorm with biases, full attention and windows in turn, no scale on scores. */
import { headGroups, type ModelConfig } from '../../../model/index.js';
import type { Family } from '../family/family.js';
import { optional, type Fields } from '../family/fields.js';
import { matrix, rows, whole, type ParameterLayout } from '../family/layout.js';
import { readActivation, writeActivation } from './decoder.js';
import { plainPositions } from './recurrent.js';

/** The kinds of all layers from `[[[kind, ...], times], ...]`; null for anything else. */
function expanded(types: unknown): string[] | null {
  if (!Array.isArray(types)) return null;
  const runs = types.map((item: unknown): string[] | null => {
    const pair: readonly unknown[] = Array.isArray(item) ? item : [];
    const [kinds, times] = pair;
    const isList = Array.isArray(kinds) && kinds.every((kind): kind is string => typeof kind === 'string');
    if (!isList || typeof times !== 'number' || !Number.isInteger(times) || times < 0 || times > 1000) return null;
    return Array.from({ length: times }, () => kinds).flat();
  });
  return runs.some((run) => run === null) ? null : runs.flatMap((run) => run ?? []);
}

function readLayers(fields: Fields): string[] {
  const depth = fields.count('num_layers');
  const types = fields.has('attention_types')
    ? expanded(fields.value('attention_types'))
    : expanded([[['global', 'local'], 12]]);
  if (types === null) fields.refuse('attention_types that are no list of kinds and counts');
  // What the class has computed from it stands in its files too, and is taken from there.
  const kinds = fields.states('attention_layers') ? fields.list<string>('attention_layers', 'string') : (types ?? []);
  if (kinds.length !== depth)
    fields.refuse(`attention_types, or attention_layers, of ${kinds.length} layers instead of ${depth}`);
  const window = fields.count('window_size');
  return Array.from({ length: depth }, (_, i) => {
    const kind = kinds[i];
    if (kind !== undefined && kind !== 'global' && kind !== 'local') fields.refuse(`layer ${i} of type ${kind}`);
    return kind === 'local' ? `swa:${window}:nope` : 'full:nope';
  });
}

const NORMS: Readonly<Record<string, string>> = { norm1: 'ln_1', norm2: 'ln_2' };

function layerLayout(
  { hiddenSize: d, intermediateSize: f }: ModelConfig,
  at: string,
  name: string,
): ParameterLayout | null {
  const [, norm = '', kind] = /^(norm[12])\.(weight|bias)$/.exec(name) ?? [];
  if (kind !== undefined) return rows(whole(`${at}.${NORMS[norm]}.${kind}`, d));
  const attention = `${at}.attn.attention`;
  switch (name) {
    case 'attn.wqkv':
      return { transposed: true, sources: ['q', 'k', 'v'].map((part) => whole(`${attention}.${part}_proj.weight`, d)) };
    case 'attn.wo':
      return matrix(whole(`${attention}.out_proj.weight`, d));
    case 'attn.bo':
      return rows(whole(`${attention}.out_proj.bias`, d));
    case 'mlp.wup':
      return matrix(whole(`${at}.mlp.c_fc.weight`, f));
    case 'mlp.bup':
      return rows(whole(`${at}.mlp.c_fc.bias`, f));
    case 'mlp.wdown':
      return matrix(whole(`${at}.mlp.c_proj.weight`, d));
    case 'mlp.bdown':
      return rows(whole(`${at}.mlp.c_proj.bias`, d));
    default:
      return null;
  }
}

function layout(config: ModelConfig, layer: number | null, name: string): ParameterLayout | null {
  const { vocabSize, hiddenSize, learnedPositions } = config;
  if (layer !== null) return layerLayout(config, `transformer.h.${layer}`, name);
  switch (name) {
    case 'embed.weight':
      return rows(whole('transformer.wte.weight', vocabSize));
    case 'embed.positions':
      return rows(whole('transformer.wpe.weight', learnedPositions ?? 0));
    case 'norm.weight':
    case 'norm.bias':
      return rows(whole(`transformer.ln_f.${name.slice('norm.'.length)}`, hiddenSize));
    case 'head.weight':
      return matrix(whole('lm_head.weight', vocabSize));
    default:
      return null;
  }
}

/** GPT-Neo: every size of a layer from one width; the MLP is four times as wide where the file names none. */
export const gptNeo: Family = {
  modelTypes: ['gpt_neo'],
  architecture: 'GPTNeoForCausalLM',
  aliases: { num_attention_heads: 'num_heads', num_hidden_layers: 'num_layers' },
  fields: {
    vocab_size: 50_257,
    max_position_embeddings: 2048,
    hidden_size: 2048,
    num_layers: 24,
    attention_types: optional(),
    num_heads: 16,
    intermediate_size: optional(),
    window_size: 256,
    activation_function: 'gelu_new',
    layer_norm_epsilon: 1e-5,
    tie_word_embeddings: true,
  },
  read: (fields) => {
    plainPositions(fields);
    const hiddenSize = fields.count('hidden_size');
    const numHeads = fields.count('num_heads');
    return {
      vocabSize: fields.count('vocab_size'),
      hiddenSize,
      numHeads,
      intermediateSize: fields.count('intermediate_size', 4 * hiddenSize),
      learnedPositions: fields.count('max_position_embeddings'),
      layers: readLayers(fields),
      norm: 'layer',
      normBias: true,
      rmsNormEps: fields.positive('layer_norm_epsilon'),
      attentionScale: 1,
      attentionBias: 'output',
      activation: readActivation(fields, 'activation_function'),
      mlpGate: false,
      mlpBias: true,
      tieEmbeddings: fields.flag('tie_word_embeddings'),
    };
  },
  layout,
  // Masks, which older versions stored.
  ignored: (name) => /\.attn\.attention\.(bias|masked_bias)$/.test(name),
  write: (config) => {
    const windows = config.layers.map((plan) => headGroups(plan)[0]?.window ?? null);
    const kinds = windows.map((window) => (window === null ? 'global' : 'local'));
    return {
      vocab_size: config.vocabSize,
      max_position_embeddings: config.learnedPositions ?? 2048,
      hidden_size: config.hiddenSize,
      num_layers: config.numLayers,
      num_heads: config.numHeads,
      attention_types: kinds.map((kind) => [[kind], 1]),
      attention_layers: kinds,
      intermediate_size: config.intermediateSize,
      window_size: windows.find((window) => window !== null) ?? 256,
      activation_function: config.activation === 'gelu_tanh' ? 'gelu_new' : writeActivation(config.activation),
      layer_norm_epsilon: config.rmsNormEps,
      tie_word_embeddings: config.tieEmbeddings,
    };
  },
};
