/** RecurrentGemma: RG-LRU and windows, as Griffin has them, with the embedding and the norms of Gemma. */
import { fromBf16Bits, toBf16Bits } from '../../../core/index.js';
import { headGroups, PLAIN_ACTIVATIONS, type ModelConfig } from '../../../model/index.js';
import type { Family } from '../family/family.js';
import { optional, type Fields } from '../family/fields.js';
import { matrix, rows, whole, type ParameterLayout } from '../family/layout.js';
import { readRope, ropeFields, writeRope } from '../family/rotary.js';
import { decoderLayout, readActivation, readSizes, writeActivation, writeSizes, type DecoderNames } from './decoder.js';
import { computedTypes, convRows } from './recurrent.js';

const NAMES: DecoderNames = {
  ...{ norm1: 'temporal_pre_norm', norm2: 'channel_pre_norm', finalNorm: 'final_norm' },
  ...{ attention: 'temporal_block', mlp: 'mlp_block' },
};

/** The tensors of a parameter of RG-LRU in the module `at`. */
function rglruLayout(config: ModelConfig, at: string, name: string): ParameterLayout | null {
  const { hiddenSize, rglru } = config;
  if (rglru === undefined) return null;
  const { width, blocks, convWidth } = rglru;
  const blockRows = (tensor: string) => rows(whole(`${at}.rg_lru.${tensor}_weight`, blocks));
  const blockBias = (tensor: string) => rows(whole(`${at}.rg_lru.${tensor}_bias`, blocks));
  switch (name) {
    case 'rglru.win':
      return matrix(whole(`${at}.linear_y.weight`, width), whole(`${at}.linear_x.weight`, width));
    case 'rglru.in.bias':
      return rows(whole(`${at}.linear_y.bias`, width), whole(`${at}.linear_x.bias`, width));
    case 'rglru.conv.weight':
      return rows(convRows(`${at}.conv_1d.weight`, width, convWidth));
    case 'rglru.conv.bias':
      return rows(whole(`${at}.conv_1d.bias`, width));
    case 'rglru.winput':
      return blockRows('input_gate');
    case 'rglru.input.bias':
      return blockBias('input_gate');
    case 'rglru.wdecay':
      return blockRows('recurrent_gate');
    case 'rglru.decay.bias':
      return blockBias('recurrent_gate');
    case 'rglru.decay':
      return rows(whole(`${at}.rg_lru.recurrent_param`, width));
    case 'rglru.wout':
      return matrix(whole(`${at}.linear_out.weight`, hiddenSize));
    case 'rglru.out.bias':
      return rows(whole(`${at}.linear_out.bias`, hiddenSize));
    default:
      return null;
  }
}

/** The patterns of the layers: a list of blocks that repeats, and ends where the layers do. */
function readLayers(fields: Fields): string[] {
  const [types, depth] = [fields.list<string>('block_types', 'string'), fields.count('num_hidden_layers')];
  // The class repeats its list a hundred times.
  if (types.length * 100 < depth) fields.refuse(`block_types of ${types.length} entries for ${depth} layers`);
  const windows = fields.count('attention_window_size');
  return Array.from({ length: depth }, (_, i) =>
    types[i % Math.max(1, types.length)] === 'recurrent' ? 'rglru' : `swa:${windows}`,
  );
}

/** The shortest beginning of a list that repeats to it; the last repeat may be cut short. */
const period = (types: readonly string[]): readonly string[] =>
  types.slice(0, types.findIndex((_, n) => n > 0 && types.every((type, i) => type === types[i % n])) >>> 0);

/** RecurrentGemma: a list of blocks that repeats, biases everywhere but on queries, keys and values. */
export const recurrentGemma: Family = {
  modelTypes: ['recurrent_gemma'],
  architecture: 'RecurrentGemmaForCausalLM',
  aliases: { sliding_window: 'attention_window_size' },
  fields: {
    num_hidden_layers: 26,
    vocab_size: 256_000,
    hidden_size: 2560,
    intermediate_size: 7680,
    num_attention_heads: 10,
    lru_width: optional(),
    attention_window_size: 2048,
    conv1d_width: 4,
    logits_soft_cap: 30,
    rms_norm_eps: 1e-6,
    hidden_activation: 'gelu_pytorch_tanh',
    rope_parameters: optional(),
    block_types: optional(['recurrent', 'recurrent', 'attention']),
    num_key_value_heads: optional(),
    attention_bias: false,
    w_init_variance_scale: 0.01,
    tie_word_embeddings: true,
  },
  read: (fields) => {
    computedTypes(fields, 'layer_types', 'layers_block_type');
    fields.unheeded('w_init_variance_scale');
    const sizes = readSizes(fields);
    const rope = readRope(fields, { fraction: 0.5 });
    if (rope.scaling !== null)
      fields.refuse(`rotary positions of type ${rope.scaling.type}, which its class does not take`);
    const activation = readActivation(fields, 'hidden_activation');
    return {
      ...sizes,
      ...ropeFields(rope, sizes.headDim),
      // The field is twice the width of the MLP.
      intermediateSize: Math.floor(sizes.intermediateSize / 2),
      layers: readLayers(fields),
      activation,
      mlpBias: true,
      attentionBias: fields.flag('attention_bias') ? 'all' : 'output',
      // A buffer of the class in bfloat16.
      embeddingScale: fromBf16Bits(toBf16Bits(Math.sqrt(sizes.hiddenSize))),
      logitSoftcap: fields.positive('logits_soft_cap'),
      normOffset: 1,
      rglru: {
        width: fields.count('lru_width', sizes.hiddenSize),
        blocks: sizes.numHeads,
        convWidth: fields.count('conv1d_width'),
        activation: PLAIN_ACTIVATIONS.find((name) => name === activation) ?? 'gelu_tanh',
      },
    };
  },
  layout: (config, layer, name) =>
    layer !== null && name.startsWith('rglru.')
      ? rglruLayout(config, `model.layers.${layer}.temporal_block`, name)
      : decoderLayout(config, layer, name, NAMES),
  write: (config) => ({
    ...writeSizes(config),
    intermediate_size: 2 * config.intermediateSize,
    rope_parameters: writeRope(config, { theta: config.ropeTheta, scaling: config.ropeScaling }),
    block_types: period(config.layers.map(({ mixer }) => (mixer === 'attention' ? 'attention' : 'recurrent'))),
    attention_window_size: config.layers.flatMap((plan) => headGroups(plan)[0]?.window ?? [])[0] ?? 2048,
    attention_bias: config.attentionBias === 'all',
    hidden_activation: writeActivation(config.activation),
    logits_soft_cap: config.logitSoftcap ?? undefined,
    lru_width: config.rglru?.width,
    conv1d_width: config.rglru?.convWidth,
  }),
};
