/** Families of windows and full attention whose blocks differ from Llama's: OLMo 3, EXAONE 4, Cohere 2, Gemma 3. */
import type { ModelConfig } from '../../../model/index.js';
import type { Family, HfConfigJson } from '../family/family.js';
import { longestOf, readRope, readRopes, ropeFields, ropesFields, writeRope, writeRopes } from '../family/rotary.js';
import {
  attentionLayers,
  decoderLayout,
  layerTypes,
  readActivation,
  readSizes,
  writeActivation,
  writeLayerTypes,
  writeSizes,
} from './decoder.js';

const POST_NAMES = { postnorm1: 'post_attention_layernorm', postnorm2: 'post_feedforward_layernorm' } as const;

const writeCommon = (config: ModelConfig): HfConfigJson => ({
  ...writeSizes(config),
  ...writeLayerTypes(config),
  hidden_act: writeActivation(config.activation),
  max_position_embeddings: longestOf(config),
  rope_parameters: writeRope(config, { theta: config.ropeTheta, scaling: config.ropeScaling }),
});

const biased = (config: ModelConfig): HfConfigJson => ({ attention_bias: config.attentionBias === 'all' });

/** OLMo 3: sliding windows and full attention, norms after the mixer and the MLP. */
export const olmo3: Family = {
  modelTypes: ['olmo3'],
  architecture: 'Olmo3ForCausalLM',
  read: (fields) => {
    const sizes = readSizes(fields, { eps: 1e-5 });
    const theta = 500_000;
    const ropes = ropesFields(readRopes(fields, { full_attention: theta, sliding_attention: theta }), sizes.headDim);
    const types = layerTypes(fields, null, 4);
    return {
      ...sizes,
      ...ropes.fields,
      layers: attentionLayers(fields, types, (_, windowed) => (windowed ? ropes.sliding : 'rope')),
      activation: readActivation(fields),
      attentionBias: fields.flag('attention_bias', false) ? 'all' : 'none',
      qkNorm: 'width',
      block: { norm: 'post' },
    };
  },
  layout: (config, layer, name) => decoderLayout(config, layer, name, POST_NAMES),
  write: (config) => ({ ...writeCommon(config), ...biased(config), rope_parameters: writeRopes(config) }),
};

/** EXAONE 4: sliding windows with rotary positions, full attention without. */
export const exaone4: Family = {
  modelTypes: ['exaone4'],
  architecture: 'Exaone4ForCausalLM',
  read: (fields) => {
    const sizes = readSizes(fields, { kvHeads: 32, eps: 1e-5 });
    const windows = fields.has('sliding_window');
    const depth = fields.count('num_hidden_layers');
    const types =
      windows || fields.has('layer_types')
        ? layerTypes(fields, 'sliding_window_pattern', 4)
        : Array<string>(depth).fill('full_attention');
    return {
      ...sizes,
      ...ropeFields(readRope(fields), sizes.headDim),
      // Where there are windows, full attention has no positions.
      layers: attentionLayers(fields, types, (_, windowed) => (windowed || !windows ? 'rope' : 'nope')),
      activation: readActivation(fields),
      qkNorm: 'head',
      block: { norm: 'post' },
    };
  },
  layout: (config, layer, name) => decoderLayout(config, layer, name, POST_NAMES),
  write: writeCommon,
};

/** Cohere 2: attention and MLP side by side, full attention without positions. */
export const cohere2: Family = {
  modelTypes: ['cohere2'],
  architecture: 'Cohere2ForCausalLM',
  read: (fields) => {
    const sizes = readSizes(fields, { eps: 1e-5, epsName: 'layer_norm_eps', tied: true });
    const types = layerTypes(fields, 'sliding_window_pattern', 4);
    return {
      ...sizes,
      ...ropeFields(readRope(fields), sizes.headDim),
      layers: attentionLayers(fields, types, (_, windowed) => (windowed ? 'rope' : 'nope')),
      activation: readActivation(fields),
      attentionBias: fields.flag('attention_bias', false) ? 'all' : 'none',
      norm: 'layer',
      logitScale: fields.number('logit_scale', 0.0625),
      block: { parallel: true },
    };
  },
  layout: (config, layer, name) => decoderLayout(config, layer, name, { norm1: 'input_layernorm', interleaved: true }),
  write: (config) => ({
    ...writeCommon(config),
    ...biased(config),
    layer_norm_eps: config.rmsNormEps,
    logit_scale: config.logitScale,
  }),
};

/** Gemma 3 (text): five windowed layers to one of full attention, norms on both sides of mixer and MLP. */
export const gemma3: Family = {
  modelTypes: ['gemma3_text'],
  architecture: 'Gemma3ForCausalLM',
  read: (fields) => {
    fields.only('attn_logit_softcapping');
    fields.only('use_bidirectional_attention', false);
    const sizes = readSizes(fields, { kvHeads: 4, headDim: 256, tied: true });
    const bases = { full_attention: 1_000_000, sliding_attention: 10_000 };
    const ropes = ropesFields(readRopes(fields, bases), sizes.headDim);
    const every = fields.has('sliding_window_pattern') ? 'sliding_window_pattern' : '_sliding_window_pattern';
    const types = layerTypes(fields, every, 6);
    return {
      ...sizes,
      ...ropes.fields,
      layers: attentionLayers(fields, types, (_, windowed) => (windowed ? ropes.sliding : 'rope')),
      activation: readActivation(fields, 'hidden_activation', 'gelu_pytorch_tanh'),
      attentionBias: fields.flag('attention_bias', false) ? 'all' : 'none',
      attentionScale: fields.positive('query_pre_attn_scalar', 256) ** -0.5,
      embeddingScale: Math.sqrt(sizes.hiddenSize),
      logitSoftcap: fields.has('final_logit_softcapping') ? fields.positive('final_logit_softcapping') : null,
      normOffset: 1,
      qkNorm: 'head',
      block: { norm: 'both' },
    };
  },
  layout: (config, layer, name) =>
    decoderLayout(config, layer, name, {
      norm1: 'input_layernorm',
      postnorm1: 'post_attention_layernorm',
      norm2: 'pre_feedforward_layernorm',
      postnorm2: 'post_feedforward_layernorm',
    }),
  write: (config) => ({
    ...writeCommon(config),
    ...biased(config),
    hidden_activation: writeActivation(config.activation),
    query_pre_attn_scalar: Math.round((config.attentionScale ?? 1 / Math.sqrt(config.headDim)) ** -2),
    final_logit_softcapping: config.logitSoftcap,
    rope_parameters: writeRopes(config),
  }),
};
