/** Cohere Compass (text): Cohere 2 with rotary positions, or none, by kind of layer. */
import type { ModelConfig } from '../../../model/index.js';
import type { Family } from '../family/family.js';
import { optional, type Fields } from '../family/fields.js';
import { longestOf, readRopes, ropesFields, writeRopes, type RopeKind } from '../family/rotary.js';
import {
  attentionLayers,
  decoderLayout,
  layerTypes,
  readActivation,
  readSizes,
  writeActivation,
  writeMaskedTypes,
  writeSizes,
} from './decoder.js';

const KINDS: readonly RopeKind[] = ['full_attention', 'sliding_attention'];

/** Kinds of layers that have rotary positions; a kind that is null in the file has none. */
function turningKinds(fields: Fields, types: readonly string[]): ReadonlySet<RopeKind> {
  const given = fields.object('rope_parameters');
  if (fields.states('rope_scaling')) fields.refuse('rope_scaling, which its class does not take');
  const used = KINDS.filter((kind) => types.includes(kind));
  for (const kind of used) {
    if (given?.states(kind) !== true) fields.refuse(`rope_parameters without ${kind}`);
    else if (given.has(kind) && given.object(kind)?.has('rope_theta') !== true)
      fields.refuse(`rope_parameters without a rope_theta of ${kind}`);
  }
  return new Set(used.filter((kind) => given?.has(kind) === true));
}

/** Cohere Compass: the text model of its class with images, whose three-part positions are equal on text. */
export const cohereCompass: Family = {
  modelTypes: ['cohere_compass_text'],
  architecture: 'CohereCompassForCausalLM',
  takesRopeScaling: false,
  fields: {
    hidden_act: 'silu',
    rope_parameters: optional(),
    vocab_size: 256_000,
    hidden_size: 8192,
    intermediate_size: 22_528,
    logit_scale: optional(),
    num_hidden_layers: 40,
    num_attention_heads: 64,
    num_key_value_heads: optional(),
    max_position_embeddings: 8192,
    layer_norm_eps: 1e-5,
    tie_word_embeddings: true,
    attention_bias: false,
    sliding_window: optional(4096),
    layer_types: optional(),
    pooling: optional(),
  },
  read: (fields) => {
    const sizes = readSizes(fields, 'layer_norm_eps');
    const types = layerTypes(fields, () => 'full_attention');
    const turning = turningKinds(fields, types);
    const both = readRopes(fields, { full_attention: 10_000, sliding_attention: 10_000 }, null, null, null);
    // Where one kind has no positions, those of the other are the model's.
    const [only] = turning.size === 1 ? [...turning] : [];
    const ropes = ropesFields(
      only === undefined ? both : { full_attention: both[only], sliding_attention: both[only] },
      sizes.headDim,
    );
    // The class asks for a window where no layer has one, and for a text where it pools; neither changes a result.
    fields.count('sliding_window');
    fields.text('pooling', '');
    return {
      ...sizes,
      ...ropes.fields,
      layers: attentionLayers(fields, types, (_, windowed) => {
        if (!turning.has(windowed ? 'sliding_attention' : 'full_attention')) return 'nope';
        return windowed ? ropes.sliding : 'rope';
      }),
      activation: readActivation(fields),
      attentionBias: fields.flag('attention_bias') ? 'all' : 'none',
      norm: 'layer',
      logitScale: fields.number('logit_scale', 1),
      block: { parallel: true },
    };
  },
  layout: (config, layer, name) => decoderLayout(config, layer, name, { norm1: 'input_layernorm' }),
  write: (config) => ({
    ...writeSizes(config, 'layer_norm_eps'),
    ...writeMaskedTypes(config, 4096),
    hidden_act: writeActivation(config.activation),
    max_position_embeddings: longestOf(config),
    attention_bias: config.attentionBias === 'all',
    logit_scale: config.logitScale,
    rope_parameters: writeKinds(config),
  }),
};

/** `rope_parameters` by kind of layer, null for a kind whose layers have no positions. */
function writeKinds(config: ModelConfig): Record<string, unknown> {
  const groups = config.layers.flatMap((plan) => (plan.mixer === 'attention' ? plan.groups.slice(0, 1) : []));
  const still = (windowed: boolean) => {
    const own = groups.filter(({ window }) => (window !== null) === windowed);
    return own.length > 0 && own.every(({ rope }) => rope === false);
  };
  const ropes = writeRopes(config);
  return {
    full_attention: still(false) ? null : ropes['full_attention'],
    sliding_attention: still(true) ? null : ropes['sliding_attention'],
  };
}
