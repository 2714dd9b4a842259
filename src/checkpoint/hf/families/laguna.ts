/** Laguna: heads counted by layer, an output gate by softplus, positions by kind of layer, experts. */
import { headCounts, type ModelConfig, type ModelInput } from '../../../model/index.js';
import type { Family, HfConfigJson } from '../family/family.js';
import { optional, type Fields } from '../family/fields.js';
import { longestOf, readRopes, requireRopes, ropesFields, writeRopes } from '../family/rotary.js';
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
} from './decoder.js';
import { denseLayers, QWEN_EXPERTS, readExperts, withExperts, writeMlpTypes } from './experts.js';
import { windowOf } from './llama.js';

/** What Laguna takes where `config.json` has no `rope_parameters`. */
const ROPE = {
  full_attention: { rope_type: 'default', rope_theta: 500_000, partial_rotary_factor: 0.5 },
  sliding_attention: { rope_type: 'default', rope_theta: 10_000, partial_rotary_factor: 1 },
} as const;

/** The experts: in all layers but the first, where the file does not say. */
function readLagunaExperts(fields: Fields): ModelInput['experts'] {
  const dense = denseLayers(fields, (i) => i === 0);
  fields.only('moe_apply_router_weight_on_input', false);
  const cap = fields.number('moe_router_logit_softcapping');
  return readExperts(fields, {
    dense: () => dense,
    more: (own) => ({
      ...{ scores: 'sigmoid', correctionBias: true },
      scale: own.number('moe_routed_scaling_factor'),
      logitSoftcap: cap > 0 ? cap : null,
      sharedSize: own.count('shared_expert_intermediate_size', undefined, 0),
    }),
  });
}

function writeLagunaExperts(config: ModelConfig): HfConfigJson {
  const { experts } = config;
  return {
    ...writeMlpTypes(config),
    ...(experts === null
      ? {}
      : {
          num_experts: experts.count,
          num_experts_per_tok: experts.perToken,
          moe_intermediate_size: experts.intermediateSize,
          shared_expert_intermediate_size: experts.sharedSize ?? 0,
          moe_routed_scaling_factor: experts.scale,
          moe_router_logit_softcapping: experts.logitSoftcap ?? 0,
        }),
  };
}

/** The gate is one a head where `gating` is true or `per-head`; any other value makes it one a channel. */
function readGate(fields: Fields): 'head' | true {
  const gating = fields.value('gating');
  if (typeof gating !== 'boolean' && typeof gating !== 'string') fields.text('gating');
  return gating === true || gating === 'per-head' ? 'head' : true;
}

/** The query heads of each layer; null where all have `num_attention_heads`, which otherwise no layer heeds. */
function headsByLayer(fields: Fields): number[] | null {
  const depth = fields.count('num_hidden_layers');
  const counts = fields.perLayer<number>('num_attention_heads_per_layer', 'number', depth);
  const wrong = counts?.find((n) => !Number.isSafeInteger(n) || n < 1);
  if (wrong !== undefined) fields.refuse(`num_attention_heads_per_layer ${wrong}`);
  return wrong === undefined ? counts : null;
}

/** `rope_parameters`, with the share of channels that turn also where that is all of them, as the class writes it. */
const writeLagunaRopes = (config: ModelConfig): HfConfigJson =>
  Object.fromEntries(
    Object.entries(writeRopes(config)).map(([kind, rope]) => [kind, { partial_rotary_factor: 1, ...rope }]),
  );

/** Laguna with its experts. Without `layer_types` no layer has the window of the file. */
export const laguna: Family = withExperts(
  {
    modelTypes: ['laguna'],
    architecture: 'LagunaForCausalLM',
    takesRopeScaling: false,
    fields: {
      ...COMMON_FIELDS,
      vocab_size: 100_352,
      hidden_size: 2048,
      intermediate_size: 8192,
      num_hidden_layers: 40,
      num_attention_heads: 48,
      num_key_value_heads: 8,
      max_position_embeddings: 131_072,
      sliding_window: 512,
      moe_intermediate_size: 512,
      shared_expert_intermediate_size: 512,
      num_experts_per_tok: 8,
      num_experts: 256,
      layer_types: optional(),
      head_dim: 128,
      attention_bias: false,
      gating: true,
      num_attention_heads_per_layer: optional(),
      mlp_layer_types: optional(),
      moe_routed_scaling_factor: 1,
      moe_apply_router_weight_on_input: false,
      moe_router_logit_softcapping: 0,
    },
    read: (fields) => {
      const experts = readLagunaExperts(fields);
      const counts = headsByLayer(fields);
      const sizes = readSizes(fields);
      const types = layerTypes(fields, () => 'full_attention');
      requireRopes(fields, types);
      fields.count('sliding_window');
      if (fields.states('rope_scaling')) fields.refuse('rope_scaling, which its class does not take,');
      const bases = { full_attention: 500_000, sliding_attention: 10_000 };
      const ropes = ropesFields(readRopes(fields, bases, null, ROPE, 'rope_theta', 1), sizes.headDim);
      const layers = attentionLayers(fields, types, (_, windowed) => (windowed ? ropes.sliding : 'rope'));
      return {
        ...sizes,
        // No layer heeds the file's number where each has its own: it may be one that fits none.
        numHeads: sizes.numHeads % sizes.numKvHeads === 0 ? sizes.numHeads : (counts?.[0] ?? sizes.numHeads),
        experts,
        ...ropes.fields,
        layers: layers.map((layer, i) => (counts === null ? layer : `${layer}#${counts[i]}`)),
        activation: readActivation(fields),
        attentionBias: fields.flag('attention_bias') ? 'all' : 'none',
        qkNorm: 'head',
        outputGate: readGate(fields),
        outputGateActivation: 'softplus',
        block: { norm: 'pre' },
      };
    },
    layout: (config, layer, name) => decoderLayout(config, layer, name, { ...LLAMA_NAMES, gate: 'g_proj' }),
    alias: (name) => [name.replace('.mlp.shared_experts.', '.mlp.shared_expert.')].filter((other) => other !== name),
    write: (config) => ({
      ...writeSizes(config),
      ...writeLayerTypes(config),
      // The class takes no null.
      sliding_window: windowOf(config) ?? 512,
      num_attention_heads_per_layer: config.layers.map((plan) => headCounts(config, plan).numHeads),
      gating: config.outputGate === 'head' ? true : 'per-element',
      ...writeLagunaExperts(config),
      hidden_act: writeActivation(config.activation),
      max_position_embeddings: longestOf(config),
      attention_bias: config.attentionBias === 'all',
      rope_parameters: writeLagunaRopes(config),
    }),
  },
  {
    ...QWEN_EXPERTS,
    correction: 'experts.e_score_correction_bias',
    correctionInMemory: 'gate.e_score_correction_bias',
    shared: { module: 'mlp.shared_expert' },
  },
);
