/** Llama 4: attention within chunks, layers without positions whose queries grow, experts. */
import { expertsOf, headGroups, type ModelConfig, type ModelInput } from '../../../model/index.js';
import type { Family, HfConfigJson } from '../family/family.js';
import { optional, type Fields } from '../family/fields.js';
import { range, rows, stack, whole, type ParameterLayout } from '../family/layout.js';
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
import { readExperts, withExperts, type ExpertNames } from './experts.js';

const NAMES: DecoderNames = { ...LLAMA_NAMES, mlp: 'feed_forward', turns: 'neighbors' };

const EXPERTS: ExpertNames = {
  module: 'feed_forward',
  router: 'router.weight',
  up: 'up_proj',
  down: 'down_proj',
  stacked: { up: 'experts.gate_up_proj', down: 'experts.down_proj', saved: true },
  shared: { module: 'feed_forward.shared_expert' },
};

/** Layers whose MLP is dense: those outside of `moe_layers`, by default every `interleave_moe_layer_step`th. */
function denseLayers(fields: Fields): number[] {
  const step = fields.count('interleave_moe_layer_step');
  const named = fields.has('moe_layers') ? new Set(fields.list<number>('moe_layers', 'number')) : null;
  return range(0, fields.count('num_hidden_layers')).filter((i) =>
    named === null ? (i + 1) % step !== 0 : !named.has(i),
  );
}

/** Experts that read the token times the sigmoid of their logit, beside a shared one of their width. */
const readLlama4Experts = (fields: Fields): ModelInput['experts'] =>
  readExperts(fields, {
    count: 'num_local_experts',
    size: 'intermediate_size',
    dense: denseLayers,
    more: (own) => ({
      ...{ scores: 'sigmoid', normalize: false, weigh: 'input' },
      sharedSize: own.count('intermediate_size'),
    }),
  });

function writeLlama4Experts(config: ModelConfig): HfConfigJson {
  const { experts, numLayers } = config;
  return {
    moe_layers: range(0, numLayers).filter((i) => expertsOf(config, i) !== null),
    ...(experts === null
      ? {}
      : {
          intermediate_size: experts.intermediateSize,
          num_local_experts: experts.count,
          num_experts_per_tok: experts.perToken,
        }),
  };
}

/** The matrices of the experts lie as ours, `[in, out]`, all of a projection in one tensor. */
function membersLayout(config: ModelConfig, layer: number | null, name: string): ParameterLayout | null {
  const experts = layer === null ? null : expertsOf(config, layer);
  if (experts === null) return null;
  const { count, intermediateSize } = experts;
  const member = (projection: string, size: number) =>
    stack(count, (index) =>
      rows({
        ...whole(`model.layers.${layer}.feed_forward.experts.${projection}`, size),
        within: { index, count },
      }),
    );
  if (name === 'mlp.experts.wgateup') return member('gate_up_proj', config.hiddenSize);
  return name === 'mlp.experts.wdown' ? member('down_proj', intermediateSize) : null;
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

const llama4Family: Family = withExperts(
  {
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
        experts: readLlama4Experts(fields),
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
        ...writeLlama4Experts(config),
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
  },
  EXPERTS,
);

/** Llama 4's text model. */
export const llama4: Family = {
  ...llama4Family,
  layout: (config, layer, name, shapes) =>
    membersLayout(config, layer, name) ?? llama4Family.layout(config, layer, name, shapes),
};
