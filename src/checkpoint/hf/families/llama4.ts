/** Llama 4 without experts: attention within chunks, layers without positions whose queries grow. */
import { headGroups, type ModelConfig } from '../../../model/index.js';
import type { Family } from '../family/family.js';
import { optional, type Fields } from '../family/fields.js';
import { longestOf, readRope, ropeFields, writeRope } from '../family/rotary.js';
import {
  COMMON_FIELDS,
  decoderLayout,
  LLAMA_NAMES,
  readActivation,
  readSizes,
  writeActivation,
  writeSizes,
  type DecoderNames,
} from './decoder.js';

const NAMES: DecoderNames = { ...LLAMA_NAMES, mlp: 'feed_forward', turns: 'neighbors' };

/** Refuses layers of experts: those of `moe_layers`, or where it is missing every `interleave_moe_layer_step`th. */
function withoutExperts(fields: Fields, depth: number): void {
  const step = fields.count('interleave_moe_layer_step');
  const every = Array.from({ length: depth }, (_, i) => i).filter((i) => (i + 1) % step === 0);
  const sparse = fields.has('moe_layers') ? fields.list<number>('moe_layers', 'number') : every;
  if (sparse.some((layer) => layer >= 0 && layer < depth)) fields.refuse('layers of experts (moe_layers)');
  fields.unheeded('intermediate_size', 'num_experts_per_tok', 'num_local_experts');
}

/** Which layers have rotary positions; an empty list is none. */
function rotaryLayers(fields: Fields, depth: number): boolean[] {
  const every = fields.count('no_rope_layer_interval');
  // Of Llama 4, no_rope_layers[i] = 1 means that layer i does use rotary positions.
  const given = fields.list<number>('no_rope_layers', 'number');
  const flags = given.length > 0 ? fields.perLayer<number>('no_rope_layers', 'number', depth) : null;
  return flags?.map((flag) => flag !== 0) ?? Array.from({ length: depth }, (_, i) => (i + 1) % every !== 0);
}

function readLayers(fields: Fields): string[] {
  const depth = fields.count('num_hidden_layers');
  const turns = rotaryLayers(fields, depth);
  const types =
    fields.perLayer<string>('layer_types', 'string', depth) ??
    turns.map((turn) => (turn && fields.has('attention_chunk_size') ? 'chunked_attention' : 'full_attention'));
  fields.without('attention_chunk_size');
  return types.map((type, i) => {
    const suffix = turns[i] === true ? '' : ':nope';
    if (type === 'full_attention') return `full${suffix}`;
    if (type === 'chunked_attention') return `chunk:${fields.count('attention_chunk_size')}${suffix}`;
    fields.refuse(`layer ${i} of type ${type}`);
    return `full${suffix}`;
  });
}

/** Queries of layers without positions, which grow with their position, counted from 1. */
function readQueryScaling(fields: Fields): ModelConfig['queryScaling'] {
  const [beta, length] = [fields.number('attn_scale'), fields.count('floor_scale')];
  if (!fields.flag('attn_temperature_tuning') || beta === 0) return null;
  return { beta, length, offset: 1, nope: true };
}

/** Llama 4's text model, every layer dense. */
export const llama4: Family = {
  modelTypes: ['llama4_text'],
  architecture: 'Llama4ForCausalLM',
  fields: {
    ...COMMON_FIELDS,
    vocab_size: 202_048,
    hidden_size: 5120,
    intermediate_size: 8192,
    intermediate_size_mlp: 16_384,
    num_hidden_layers: 48,
    num_attention_heads: 40,
    num_key_value_heads: 8,
    head_dim: 128,
    max_position_embeddings: 131_072,
    rms_norm_eps: 1e-5,
    num_experts_per_tok: 1,
    num_local_experts: 16,
    moe_layers: optional(),
    interleave_moe_layer_step: 1,
    use_qk_norm: true,
    no_rope_layers: optional(),
    no_rope_layer_interval: 4,
    attention_chunk_size: optional(8192),
    layer_types: optional(),
    attn_temperature_tuning: true,
    floor_scale: 8192,
    attn_scale: 0.1,
    attention_bias: false,
  },
  read: (fields) => {
    const sizes = readSizes(fields);
    withoutExperts(fields, fields.count('num_hidden_layers'));
    const rope = readRope(fields, { theta: 500_000 });
    const normed = fields.flag('use_qk_norm');
    // The norm stands behind the rotary positions: it takes away the factor that comes with them.
    if (normed && (rope.scaling?.type === 'yarn' || rope.scaling?.type === 'longrope'))
      fields.refuse(`rotary positions of type ${rope.scaling.type} beside use_qk_norm`);
    return {
      ...sizes,
      ...ropeFields(rope, sizes.headDim),
      intermediateSize: fields.count('intermediate_size_mlp'),
      layers: readLayers(fields),
      activation: readActivation(fields),
      attentionBias: fields.flag('attention_bias') ? 'all' : 'none',
      qkNorm: normed ? 'rope' : false,
      queryScaling: readQueryScaling(fields),
    };
  },
  layout: (config, layer, name) => decoderLayout(config, layer, name, NAMES),
  write: (config) => {
    const groups = config.layers.map((plan) => headGroups(plan)[0]);
    const chunks = groups.flatMap((group) => group?.chunk ?? []);
    return {
      ...writeSizes(config),
      intermediate_size_mlp: config.intermediateSize,
      hidden_act: writeActivation(config.activation),
      max_position_embeddings: longestOf(config),
      rope_parameters: writeRope(config, { theta: config.ropeTheta, scaling: config.ropeScaling }),
      moe_layers: [],
      no_rope_layers: groups.map((group) => (group?.rope === false ? 0 : 1)),
      layer_types: groups.map((group) => (group?.chunk === undefined ? 'full_attention' : 'chunked_attention')),
      attention_chunk_size: chunks[0] ?? 8192,
      use_qk_norm: config.qkNorm === 'rope',
      attention_bias: config.attentionBias === 'all',
      attn_temperature_tuning: config.queryScaling !== null,
      ...(config.queryScaling === null
        ? {}
        : { attn_scale: config.queryScaling.beta, floor_scale: config.queryScaling.length }),
    };
  },
};
