/** LFM2 and LFM3: gated short convolutions, and a few layers of attention. */
import { blockOf, type ModelConfig } from '../../../model/index.js';
import type { Family, HfConfigJson } from '../family/family.js';
import { optional, type Fields } from '../family/fields.js';
import { matrix, range, rows, whole, type ParameterLayout } from '../family/layout.js';
import {
  longestOf,
  readRope,
  readRopes,
  requireRopes,
  ropeFields,
  ropesFields,
  writeRope,
  writeRopes,
} from '../family/rotary.js';
import { attentionLayers, decoderLayout, layerTypes, readSizes, writeSizes, type DecoderNames } from './decoder.js';
import { readExperts, withExperts, type ExpertNames } from './experts.js';
import { windowOf } from './llama.js';
import { convRows } from './recurrent.js';

const NAMES: DecoderNames = {
  norm1: 'operator_norm',
  norm2: 'ffn_norm',
  finalNorm: 'embedding_norm',
  mlp: 'feed_forward',
  projections: { gate: 'w1', up: 'w3', down: 'w2' },
};

/** The tensors of a gated short convolution: inner gate, outer gate and value are one projection, in this order. */
function convLayout(config: ModelConfig, layer: number, name: string): ParameterLayout | null {
  const { conv, hiddenSize: d } = config;
  if (conv === undefined) return null;
  const at = `model.layers.${layer}.conv`;
  switch (name) {
    case 'conv.win':
      return matrix(whole(`${at}.in_proj.weight`, 3 * d));
    case 'conv.in.bias':
      return rows(whole(`${at}.in_proj.bias`, 3 * d));
    case 'conv.conv.weight':
      return rows(convRows(`${at}.conv.weight`, d, conv.width));
    case 'conv.conv.bias':
      return rows(whole(`${at}.conv.bias`, d));
    case 'conv.wout':
      return matrix(whole(`${at}.out_proj.weight`, d));
    case 'conv.out.bias':
      return rows(whole(`${at}.out_proj.bias`, d));
    default:
      return null;
  }
}

const layoutWith =
  (names: DecoderNames): Family['layout'] =>
  (config, layer, name) =>
    layer !== null && name.startsWith('conv.')
      ? convLayout(config, layer, name)
      : decoderLayout(config, layer, name, names);

/** The section of the convolution, where a layer is one. */
function readConv(fields: Fields, layers: readonly string[]): Pick<ModelConfig, 'conv'> {
  fields.without('conv_L_cache', 'conv_bias');
  if (!layers.includes('conv')) return {};
  return { conv: { width: fields.count('conv_L_cache'), bias: fields.flag('conv_bias') } };
}

const writeConv = ({ conv }: ModelConfig): HfConfigJson => ({
  conv_L_cache: conv?.width,
  conv_bias: conv?.bias,
});

/** The width of the MLP: two thirds of `intermediate_size`, times a factor, rounded up; or as it is. */
function innerWidth(fields: Fields): number {
  const width = fields.count('intermediate_size');
  fields.without('block_ffn_dim_multiplier', 'block_multiple_of');
  if (!fields.flag('block_auto_adjust_ff_dim')) return width;
  const factor = fields.positive('block_ffn_dim_multiplier');
  const multiple = fields.count('block_multiple_of');
  return multiple * Math.ceil(Math.floor(factor * Math.floor((2 * width) / 3)) / multiple);
}

function lfmLayers(fields: Fields, types: readonly string[]): string[] {
  return types.map((type, i) => {
    if (type === 'conv') return type;
    if (type !== 'full_attention') fields.refuse(`layer ${i} of type ${type}`);
    return 'full';
  });
}

const writeLfm2 = (config: ModelConfig): HfConfigJson => ({
  ...writeSizes(config, 'norm_eps'),
  ...writeConv(config),
  layer_types: config.layers.map((plan) => (plan.mixer === 'attention' ? 'full_attention' : 'conv')),
  block_auto_adjust_ff_dim: false,
  // Not read by Transformers; mlx-lm asks for them.
  ...{ block_dim: config.hiddenSize, block_multiple_of: 256, block_ffn_dim_multiplier: 1 },
  max_position_embeddings: longestOf(config),
  rope_parameters: writeRope(config, { theta: config.ropeTheta, scaling: config.ropeScaling }),
});

const LFM_EXPERTS: ExpertNames = {
  module: 'feed_forward',
  router: 'gate.weight',
  correction: 'expert_bias',
  gate: 'w1',
  up: 'w3',
  down: 'w2',
  stacked: { up: 'experts.gate_up_proj', down: 'experts.down_proj', saved: false },
};

function writeLfmExperts({ experts, numLayers }: ModelConfig): HfConfigJson {
  if (experts === null) return { num_dense_layers: numLayers };
  return {
    num_dense_layers: experts.dense.length,
    num_experts: experts.count,
    num_experts_per_tok: experts.perToken,
    moe_intermediate_size: experts.intermediateSize,
    norm_topk_prob: experts.normalize,
    use_expert_bias: experts.correctionBias,
    routed_scaling_factor: experts.scale,
  };
}

/** LFM2: attention where `layer_types` or `full_attn_idxs` say so, gated short convolutions elsewhere. */
export const lfm2: Family = {
  modelTypes: ['lfm2'],
  aliases: { tie_embedding: 'tie_word_embeddings', block_ff_dim: 'intermediate_size' },
  architecture: 'Lfm2ForCausalLM',
  fields: {
    vocab_size: 65_536,
    hidden_size: 2560,
    intermediate_size: 12_288,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    max_position_embeddings: 128_000,
    norm_eps: 1e-5,
    tie_word_embeddings: true,
    rope_parameters: optional(),
    conv_bias: false,
    conv_L_cache: 3,
    block_multiple_of: 256,
    block_ffn_dim_multiplier: 1,
    block_auto_adjust_ff_dim: true,
    full_attn_idxs: optional(),
    layer_types: optional(),
  },
  read: (fields) => {
    const sizes = readSizes(fields, 'norm_eps');
    fields.without('full_attn_idxs');
    const indices = () => (fields.has('full_attn_idxs') ? fields.list<number>('full_attn_idxs', 'number') : null);
    const types = layerTypes(fields, (i) => (indices()?.includes(i) === false ? 'conv' : 'full_attention'));
    const layers = lfmLayers(fields, types);
    return {
      ...sizes,
      intermediateSize: innerWidth(fields),
      ...ropeFields(readRope(fields, { theta: 1_000_000 }), sizes.headDim),
      layers,
      qkNorm: 'head',
      ...readConv(fields, layers),
    };
  },
  layout: layoutWith({ ...NAMES, output: 'out_proj', headNorm: 'layernorm' }),
  write: writeLfm2,
};

/** LFM2 with experts: sigmoid scores, and a correction for the choice. */
export const lfm2Moe: Family = withExperts(
  {
    ...lfm2,
    modelTypes: ['lfm2_moe'],
    aliases: { tie_embedding: 'tie_word_embeddings' },
    architecture: 'Lfm2MoeForCausalLM',
    fields: {
      vocab_size: 65_536,
      hidden_size: 2048,
      intermediate_size: 7168,
      moe_intermediate_size: 1792,
      num_hidden_layers: 32,
      num_attention_heads: 32,
      num_key_value_heads: 8,
      max_position_embeddings: 128_000,
      norm_eps: 1e-5,
      tie_word_embeddings: true,
      rope_parameters: optional(),
      conv_bias: false,
      conv_L_cache: 3,
      num_dense_layers: 2,
      num_experts_per_tok: 4,
      num_experts: 32,
      use_expert_bias: true,
      routed_scaling_factor: 1,
      norm_topk_prob: true,
      layer_types: optional(),
    },
    read: (fields) => {
      const sizes = readSizes(fields, 'norm_eps');
      const layers = lfmLayers(
        fields,
        layerTypes(fields, () => 'none'),
      );
      return {
        ...sizes,
        experts: readExperts(fields, {
          dense: (own) => range(0, Math.min(own.count('num_dense_layers', undefined, 0), layers.length)),
          more: (own) => ({
            ...{ scores: 'sigmoid', normalizeEps: 1e-6, normalize: own.flag('norm_topk_prob') },
            correctionBias: own.flag('use_expert_bias'),
            scale: own.number('routed_scaling_factor'),
          }),
        }),
        ...ropeFields(readRope(fields, { theta: 1_000_000 }), sizes.headDim),
        layers,
        qkNorm: 'head',
        ...readConv(fields, layers),
      };
    },
    write: (config) => {
      const { block_auto_adjust_ff_dim: _, ...common } = writeLfm2(config);
      return { ...common, ...writeLfmExperts(config) };
    },
  },
  LFM_EXPERTS,
);

/** What LFM3 takes where `config.json` has no `rope_parameters`: half of each head turns under full attention. */
const LFM3_ROPE = {
  sliding_attention: { rope_type: 'default', rope_theta: 10_000 },
  full_attention: { rope_type: 'proportional', rope_theta: 1_000_000, partial_rotary_factor: 0.5 },
} as const;

const lfm3Type = (layer: number): string =>
  layer % 4 === 2 ? 'full_attention' : layer % 4 === 0 && layer > 0 ? 'sliding_attention' : 'conv';

const writtenType = (plan: ModelConfig['layers'][number]): string => {
  if (plan.mixer !== 'attention') return 'conv';
  return plan.groups[0]?.window === null ? 'full_attention' : 'sliding_attention';
};

/** LFM3: LFM2 with windows, norms before and after mixer and MLP, a gate a head, positions by kind of attention. */
export const lfm3: Family = {
  modelTypes: ['lfm3'],
  takesRopeScaling: false,
  aliases: { rms_norm_eps: 'norm_eps' },
  architecture: 'Lfm3ForCausalLM',
  fields: {
    vocab_size: 128_000,
    hidden_size: 2048,
    intermediate_size: 7680,
    num_hidden_layers: 24,
    num_attention_heads: 16,
    num_key_value_heads: 4,
    max_position_embeddings: 128_000,
    norm_eps: 1e-5,
    tie_word_embeddings: true,
    rope_parameters: optional(),
    conv_bias: false,
    conv_L_cache: 7,
    layer_types: optional(),
    head_dim: 128,
    sliding_window: optional(256),
    use_sandwich_norm: true,
    use_attention_gate: true,
    attention_bias: false,
  },
  read: (fields) => {
    const sizes = readSizes(fields, 'norm_eps');
    const bases = { full_attention: 1_000_000, sliding_attention: 10_000 };
    const ropes = ropesFields(readRopes(fields, bases, null, LFM3_ROPE), sizes.headDim);
    const types = layerTypes(fields, lfm3Type);
    requireRopes(fields, types);
    const attending = attentionLayers(
      fields,
      types.map((type) => (type === 'conv' ? 'full_attention' : type)),
      (_, windowed) => (windowed ? ropes.sliding : 'rope'),
    );
    const layers = attending.map((layer, i) => (types[i] === 'conv' ? 'conv' : layer));
    return {
      ...sizes,
      ...ropes.fields,
      layers,
      attentionBias: fields.flag('attention_bias') ? 'all' : 'none',
      qkNorm: 'head',
      outputGate: fields.flag('use_attention_gate') ? 'head' : false,
      block: { norm: fields.flag('use_sandwich_norm') ? 'both' : 'pre' },
      ...readConv(fields, layers),
    };
  },
  // Files have another name for the gate than the class, which takes both.
  layout: (config, layer, name, shapes) => {
    const own = shapes(`model.layers.${layer}.self_attn.g_proj.weight`) !== undefined;
    const names = { postnorm1: 'post_operator_norm', postnorm2: 'post_ffn_norm', gate: own ? 'g_proj' : 'gate_proj' };
    return layoutWith({ ...NAMES, ...names })(config, layer, name, shapes);
  },
  alias: (name) => [name.replace('.self_attn.g_proj.', '.self_attn.gate_proj.')].filter((other) => other !== name),
  write: (config) => ({
    ...writeSizes(config, 'norm_eps'),
    ...writeConv(config),
    layer_types: config.layers.map(writtenType),
    sliding_window: windowOf(config),
    max_position_embeddings: longestOf(config),
    rope_parameters: writeRopes(config),
    attention_bias: config.attentionBias === 'all',
    use_attention_gate: config.outputGate === 'head',
    use_sandwich_norm: blockOf(config, 0).norm === 'both',
  }),
};
