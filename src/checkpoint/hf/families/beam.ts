/** Beam: residuals weighted by depth, gated attention, windows with positions and full attention without, experts. */
import { type ModelInput } from '../../../model/index.js';
import type { Family } from '../family/family.js';
import { optional, type Fields } from '../family/fields.js';
import { readKinds, writeKinds } from '../family/kinds.js';
import { range, rows, whole } from '../family/layout.js';
import { longestOf } from '../family/rotary.js';
import {
  attentionLayers,
  COMMON_FIELDS,
  decoderLayout,
  everyNthFull,
  layerTypes,
  readActivation,
  readSizes,
  writeActivation,
  writeLayerTypes,
  writeSizes,
  type DecoderNames,
} from './decoder.js';
import { denseLayers, QWEN_EXPERTS, readExperts, withExperts, writeMlpTypes } from './experts.js';
import { sigmoidRouter, writeSharedExperts } from './latent.js';
import { windowOf } from './llama.js';

const NAMES: DecoderNames = {
  norm1: 'input_layernorm',
  postnorm1: 'post_attention_layernorm',
  norm2: 'pre_feedforward_layernorm',
  postnorm2: 'post_feedforward_layernorm',
  gate: 'gate_proj',
};

/** Positions where the file has no `rope_parameters`: windows turn, full attention does not. */
const ROPES = { sliding_attention: { rope_type: 'default', rope_theta: 10_000 }, full_attention: null } as const;

/** Queries of layers without positions, by the class's own numbers. */
const QUERY_SCALING = { law: 'power', beta: 0.1, length: 2048, offset: 1, nope: true } as const;

/** The factors where the `n`-th sum of the residual stream is formed: what is added weighs 1/n of the squares. */
const depthFactors = (n: number) => ({ scale: 1 / Math.sqrt(n), skip: Math.sqrt((n - 1) / n) });

function depthBlocks(layers: number): ModelInput['block'] {
  return range(0, layers).map((layer) => {
    const [mixer, mlp] = [depthFactors(2 * layer + 2), depthFactors(2 * layer + 3)];
    return {
      norm: 'both',
      ...{ mixerScale: mixer.scale, mixerSkip: mixer.skip, mlpScale: mlp.scale, mlpSkip: mlp.skip },
    };
  });
}

function readLayerTypes(fields: Fields): string[] {
  const sixth = everyNthFull(() => 6);
  const last = fields.count('num_hidden_layers') - 1;
  return layerTypes(fields, (i) => (i === last ? 'full_attention' : sixth(i)));
}

/** Beam with its experts. */
export const beam: Family = withExperts(
  {
    modelTypes: ['beam'],
    architecture: 'BeamForCausalLM',
    takesRopeScaling: false,
    fields: {
      ...COMMON_FIELDS,
      vocab_size: 151_936,
      hidden_size: 5120,
      intermediate_size: 20_480,
      num_hidden_layers: 52,
      num_attention_heads: 48,
      num_key_value_heads: 8,
      head_dim: 128,
      max_position_embeddings: 8192,
      attention_bias: false,
      sliding_window: optional(512),
      moe_intermediate_size: 2560,
      num_experts_per_tok: 8,
      num_experts: 256,
      norm_topk_prob: true,
      layer_types: optional(),
      mlp_layer_types: optional(),
      n_group: optional(8),
      topk_group: optional(4),
      routed_scaling_factor: 2.5,
      final_logit_softcapping: optional(30),
    },
    read: (fields) => {
      const sizes = readSizes(fields);
      const types = readLayerTypes(fields);
      const ropes = readKinds(fields, types, sizes.headDim, ROPES);
      return {
        ...sizes,
        experts: readExperts(fields, {
          dense: (own) => denseLayers(own, (i) => i < 3),
          more: (own) => ({
            ...sigmoidRouter(own),
            normalize: own.flag('norm_topk_prob'),
            scale: own.number('routed_scaling_factor'),
          }),
        }),
        ...ropes.fields,
        layers: attentionLayers(fields, types, (_, windowed) => ropes.flag(windowed)),
        block: depthBlocks(types.length),
        activation: readActivation(fields),
        attentionBias: fields.flag('attention_bias') ? 'all' : 'none',
        qkNorm: 'head',
        queryScaling: QUERY_SCALING,
        outputGate: true,
        outputGateBias: true,
        logitSoftcap: fields.has('final_logit_softcapping') ? fields.positive('final_logit_softcapping') : null,
      };
    },
    layout: (config, layer, name) =>
      layer !== null && name === 'attn.bgate'
        ? rows(whole(`model.layers.${layer}.self_attn.gate_bias`, config.numHeads))
        : decoderLayout(config, layer, name, NAMES),
    write: (config) => {
      const { n_shared_experts: _, ...experts } = writeSharedExperts(config, 'num_experts');
      return {
        ...writeSizes(config),
        ...writeLayerTypes(config),
        sliding_window: windowOf(config) ?? 512,
        ...writeMlpTypes(config),
        ...experts,
        hidden_act: writeActivation(config.activation),
        max_position_embeddings: longestOf(config),
        attention_bias: config.attentionBias === 'all',
        final_logit_softcapping: config.logitSoftcap,
        rope_parameters: writeKinds(config),
      };
    },
  },
  { ...QWEN_EXPERTS, correction: 'gate.e_score_correction_bias' },
);
