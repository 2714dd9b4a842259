/**
 * Gemma 4 (text): full attention with wider heads than windows, values normed, keys and values of earlier layers in the
 * last ones, an input for each layer, and a factor on each; experts beside the MLPs.
 */
import { at as item } from '../../../core/index.js';
import { blockOf, headGroups, headSizes, type ModelConfig, type ModelInput } from '../../../model/index.js';
import type { Family, HfConfigJson } from '../family/family.js';
import { optional, type ClassFields, type Fields } from '../family/fields.js';
import { matrix, rows, stack, whole, type ParameterLayout } from '../family/layout.js';
import { longestOf, readRopes, requireRopes, ropeFields, writeRopes, type HfRope } from '../family/rotary.js';
import {
  attentionLayers,
  decoderLayout,
  everyNthFull,
  layerTypes,
  readActivation,
  readSizes,
  writeActivation,
  writeMaskedTypes,
  writeSizes,
  type DecoderNames,
} from './decoder.js';

const NAMES: DecoderNames = {
  norm1: 'input_layernorm',
  postnorm1: 'post_attention_layernorm',
  norm2: 'pre_feedforward_layernorm',
  postnorm2: 'post_feedforward_layernorm',
};

const ROPE = {
  sliding_attention: { rope_type: 'default', rope_theta: 10_000 },
  full_attention: { rope_type: 'proportional', partial_rotary_factor: 0.25, rope_theta: 1_000_000 },
} as const;

/** Heads of full attention. */
interface FullHeads {
  readonly headDim: number;
  readonly numKvHeads: number;
}

/** The types of layers, the last of which is full attention whatever the file says. */
function readTypes(fields: Fields): string[] {
  const types = layerTypes(
    fields,
    everyNthFull(() => 6),
  );
  return types.map((type, i) => (i === types.length - 1 ? 'full_attention' : type));
}

/** The heads of full attention: of `per_layer_config`, or where it is missing of fields of older files. */
function readFullHeads(fields: Fields, types: readonly string[]): FullHeads {
  const plain = { headDim: fields.count('head_dim'), numKvHeads: fields.count('num_key_value_heads') };
  if (!fields.states('per_layer_config')) {
    const sameKeys = fields.flag('attention_k_eq_v') && fields.has('num_global_key_value_heads');
    return {
      headDim: fields.count('global_head_dim', 512),
      numKvHeads: sameKeys ? fields.count('num_global_key_value_heads') : plain.numKvHeads,
    };
  }
  fields.without('global_head_dim', 'num_global_key_value_heads');
  const given = fields.object('per_layer_config');
  const own = (layer: number): FullHeads => {
    const one = given?.object(String(layer)) ?? null;
    for (const name of Object.keys(one?.values ?? {}))
      if (!['head_dim', 'num_key_value_heads'].includes(name)) fields.refuse(`per_layer_config.${layer}.${name}`);
    return {
      headDim: one?.has('head_dim') === true ? one.count('head_dim') : plain.headDim,
      numKvHeads: one?.has('num_key_value_heads') === true ? one.count('num_key_value_heads') : plain.numKvHeads,
    };
  };
  const outside = Object.keys(given?.values ?? {}).find((key) => types[Number(key)] === undefined);
  if (outside !== undefined) fields.refuse(`per_layer_config of ${outside}, which is no layer`);
  const of = (kind: string) => types.flatMap((type, i) => (type === kind ? [JSON.stringify(own(i))] : []));
  const [full, windows] = [new Set(of('full_attention')), new Set(of('sliding_attention'))];
  windows.add(JSON.stringify(plain));
  if (full.size > 1 || windows.size > 1) fields.refuse('per_layer_config that differs between layers of one type');
  return own(types.length - 1);
}

/** For each layer the earlier one whose keys and values it takes, or null: the last of its type that has its own. */
function readSources(fields: Fields, types: readonly string[]): (number | null)[] {
  const shared = fields.count('num_kv_shared_layers', undefined, 0);
  const first = types.length - shared;
  const own = types.slice(0, Math.max(0, first));
  if (shared > 0 && types.some((type) => !own.includes(type))) {
    fields.refuse(`num_kv_shared_layers ${shared}, which leaves a type of layers without keys of its own`);
    return types.map(() => null);
  }
  return types.map((type, i) => (i < first ? null : own.lastIndexOf(type)));
}

function readLayers(fields: Fields, types: readonly string[], full: FullHeads): string[] {
  const heads = fields.count('num_attention_heads');
  const [width, kvHeads] = [fields.count('head_dim'), fields.count('num_key_value_heads')];
  const sources = readSources(fields, types);
  const sameKeys = fields.flag('attention_k_eq_v');
  const plain = attentionLayers(fields, types, (_, windowed) => (windowed ? 'local' : 'rope'));
  return plain.map((layer, i) => {
    const windowed = types[i] === 'sliding_attention';
    const source = sources[i] ?? null;
    return [
      `${layer}#${heads},${windowed ? kvHeads : full.numKvHeads}`,
      windowed ? `;width=${width}` : '',
      source === null ? (sameKeys && !windowed ? ';values=keys' : '') : `;keys=${source}`,
    ].join('');
  });
}

/** MLPs of layers that take keys of others are twice as wide, where the file says so. */
function readBlocks(fields: Fields, types: readonly string[]): ModelInput['block'] {
  const double = fields.flag('use_double_wide_mlp');
  const wide = { norm: 'both', mlpWidth: 2 * fields.count('intermediate_size') } as const;
  const sources = readSources(fields, types);
  return sources.map((source) => (double && source !== null ? wide : { norm: 'both' as const }));
}

/** Widths of the inputs of layers; their table must have a row for each token. */
function readInputs(fields: Fields): number | null {
  const width = fields.count('hidden_size_per_layer_input', undefined, 0);
  const rowsOf = fields.count('vocab_size_per_layer_input', undefined, 0);
  const shared = fields.count('num_kv_shared_layers', undefined, 0);
  // The class takes the inputs of the layers that share keys, and raises where there are none.
  if (width === 0 && shared > 0) fields.refuse(`num_kv_shared_layers ${shared} beside hidden_size_per_layer_input 0`);
  if (width === 0) return null;
  if (rowsOf !== fields.count('vocab_size'))
    fields.refuse(`vocab_size_per_layer_input ${rowsOf} other than vocab_size`);
  return width;
}

/** The experts beside each MLP, where the file has them. */
function readGemmaExperts(fields: Fields): ModelInput['experts'] {
  const names = ['num_experts', 'top_k_experts', 'moe_intermediate_size'];
  const [count = 0, perToken = 0, intermediateSize = 0] = names.map((name) => fields.count(name, 0, 0));
  if (!fields.flag('enable_moe_block')) return null;
  for (const name of names)
    if (fields.count(name, 0, 0) === 0) fields.refuse(`enable_moe_block with ${name} ${fields.has(name) ? 0 : 'null'}`);
  const sizes = { count: Math.max(1, count), perToken: Math.max(1, perToken) };
  return {
    ...{ ...sizes, intermediateSize: Math.max(1, intermediateSize) },
    ...{ besideMlp: true, routerNorm: true, weightScale: true },
  };
}

/** The tensors of a layer's experts, their router and their norms, in the layer `at`. */
function expertsLayout({ experts, hiddenSize: d }: ModelConfig, at: string, name: string): ParameterLayout | null {
  if (experts === null) return null;
  const { count: E, intermediateSize: F } = experts;
  const members = (tensor: string, size: number) =>
    stack(E, (index) => matrix({ ...whole(`${at}.experts.${tensor}`, size), within: { index, count: E } }));
  switch (name) {
    case 'mlp.wrouter':
      return matrix(whole(`${at}.router.proj.weight`, E));
    case 'mlp.routerscale':
      return rows(whole(`${at}.router.scale`, d));
    case 'mlp.weightscale':
      return rows(whole(`${at}.router.per_expert_scale`, E));
    case 'mlp.experts.wgateup':
      return members('gate_up_proj', 2 * F);
    case 'mlp.experts.wdown':
      return members('down_proj', d);
    case 'norm3.weight':
      return rows(whole(`${at}.pre_feedforward_layernorm_2.weight`, d));
    case 'postmlp.weight':
      return rows(whole(`${at}.post_feedforward_layernorm_1.weight`, d));
    case 'postnorm3.weight':
      return rows(whole(`${at}.post_feedforward_layernorm_2.weight`, d));
    default:
      return null;
  }
}

function layout(config: ModelConfig, layer: number | null, name: string): ParameterLayout | null {
  const { layerInputs: P, hiddenSize: d, numLayers, vocabSize } = config;
  const inputs = P ?? 0;
  if (layer === null) {
    if (name === 'embed.layers.weight') return rows(whole('model.embed_tokens_per_layer.weight', vocabSize));
    if (name === 'embed.layers.project')
      return matrix(whole('model.per_layer_model_projection.weight', numLayers * inputs));
    if (name === 'embed.layers.norm.weight') return rows(whole('model.per_layer_projection_norm.weight', inputs));
    return decoderLayout(config, layer, name, NAMES);
  }
  const at = `model.layers.${layer}`;
  switch (name) {
    case 'scale':
      return rows(whole(`${at}.layer_scalar`, 1));
    case 'input.wgate':
      return matrix(whole(`${at}.per_layer_input_gate.weight`, inputs));
    case 'input.wout':
      return matrix(whole(`${at}.per_layer_projection.weight`, d));
    case 'input.norm.weight':
      return rows(whole(`${at}.post_per_layer_input_norm.weight`, d));
    default:
      return expertsLayout(config, at, name) ?? decoderLayout(config, layer, name, NAMES);
  }
}

/** Tensors of keys and values of layers that take those of another, which files hold and no class computes with. */
function unusedKeys(name: string, { layers }: ModelConfig): boolean {
  const [, layer] = /^model\.layers\.(\d+)\.self_attn\.(?:k_proj|v_proj|k_norm|v_norm)\./.exec(name) ?? [];
  const plan = layer === undefined ? undefined : layers[Number(layer)];
  return plan?.mixer === 'attention' && plan.keysOf !== undefined;
}

function write(config: ModelConfig): HfConfigJson {
  const { layers, layerInputs, vocabSize } = config;
  const windowed = layers.find((plan) => headGroups(plan)[0]?.window !== null);
  const full = headSizes(config, item(layers, layers.length - 1));
  const windows = windowed === undefined ? full : headSizes(config, windowed);
  const taking = layers.map((plan) => plan.mixer === 'attention' && plan.keysOf !== undefined);
  const kvHeads = full.numKvHeads === windows.numKvHeads ? {} : { num_key_value_heads: full.numKvHeads };
  const heads = { head_dim: full.keyDim, ...kvHeads };
  const isFull = (i: number) => headGroups(item(layers, i))[0]?.window === null;
  return {
    ...writeSizes(config),
    ...writeMaskedTypes(config, 512),
    head_dim: windows.keyDim,
    num_key_value_heads: windows.numKvHeads,
    per_layer_config: Object.fromEntries(layers.flatMap((_, i) => (isFull(i) ? [[String(i), heads]] : []))),
    attention_k_eq_v: layers.some((plan) => plan.mixer === 'attention' && plan.valuesAreKeys === true),
    num_kv_shared_layers: taking.filter(Boolean).length,
    use_double_wide_mlp: layers.some((_, i) => blockOf(config, i).mlpWidth !== undefined),
    hidden_size_per_layer_input: layerInputs ?? 0,
    vocab_size_per_layer_input: vocabSize,
    max_position_embeddings: longestOf(config),
    attention_bias: config.attentionBias === 'all',
    hidden_activation: writeActivation(config.activation),
    final_logit_softcapping: config.logitSoftcap,
    rope_parameters: writeRopes({ ...config, headDim: config.ropeDim, localRope: withoutWidth(config) }),
  };
}

/** Positions of windows, all of whose channels turn. */
function withoutWidth({ localRope }: ModelConfig): ModelConfig['localRope'] {
  return localRope && { theta: localRope.theta, scaling: localRope.scaling };
}

/** Fields of both classes, with the defaults that they share. */
const FIELDS = {
  vocab_size: 262_144,
  hidden_size: 2304,
  intermediate_size: 9216,
  num_hidden_layers: 30,
  num_attention_heads: 8,
  num_key_value_heads: 4,
  head_dim: 256,
  hidden_activation: 'gelu_pytorch_tanh',
  rms_norm_eps: 1e-6,
  tie_word_embeddings: true,
  rope_parameters: optional(),
  attention_bias: false,
  layer_types: optional(),
  final_logit_softcapping: optional(),
  attention_k_eq_v: false,
  num_kv_shared_layers: 0,
  use_double_wide_mlp: false,
} as const;

const gemma4Family = (modelType: string, architecture: string, more: ClassFields): Family => ({
  modelTypes: [modelType],
  architecture,
  takesRopeScaling: false,
  fields: { ...FIELDS, ...more },
  read: (fields) => {
    // Vision is for tokens of images, which a text has none of.
    fields.only('use_bidirectional_attention', 'vision');
    if (fields.has('attention_chunk_size')) fields.refuse('attention_chunk_size, which its class refuses');
    const sizes = readSizes(fields);
    const types = readTypes(fields);
    const full = readFullHeads(fields, types);
    if (types.includes('sliding_attention') && sizes.headDim > full.headDim)
      fields.refuse(`head_dim ${sizes.headDim} of windows above the ${full.headDim} of full attention`);
    requireRopes(fields, types);
    if (fields.states('rope_scaling')) fields.refuse('rope_scaling, which its class does not take,');
    const bases = { full_attention: 1_000_000, sliding_attention: 10_000 };
    const ropes = readRopes(fields, bases, null, ROPE, null);
    const window: HfRope = ropes.sliding_attention;
    return {
      ...sizes,
      headDim: full.headDim,
      numKvHeads: full.numKvHeads,
      ...ropeFields(ropes.full_attention, full.headDim),
      localRope: types.includes('sliding_attention')
        ? { theta: window.theta, scaling: window.scaling, ropeDim: Math.min(sizes.headDim, full.headDim) }
        : null,
      layers: readLayers(fields, types, full),
      activation: readActivation(fields, 'hidden_activation'),
      attentionBias: fields.flag('attention_bias') ? 'all' : 'none',
      attentionScale: 1,
      embeddingScale: Math.sqrt(sizes.hiddenSize),
      logitSoftcap: fields.has('final_logit_softcapping') ? fields.positive('final_logit_softcapping') : null,
      qkNorm: 'head',
      valueNorm: true,
      layerInputs: fields.knows('hidden_size_per_layer_input') ? readInputs(fields) : null,
      layerScale: true,
      block: readBlocks(fields, types),
      experts: fields.knows('enable_moe_block') ? readGemmaExperts(fields) : null,
    };
  },
  layout,
  ignored: unusedKeys,
  write: (config) => {
    const { experts } = config;
    const { hidden_size_per_layer_input: inputs, vocab_size_per_layer_input: table, ...json } = write(config);
    const per = { hidden_size_per_layer_input: inputs, vocab_size_per_layer_input: table };
    const moe =
      experts === null
        ? {}
        : {
            ...{ enable_moe_block: true, num_experts: experts.count, top_k_experts: experts.perToken },
            moe_intermediate_size: experts.intermediateSize,
          };
    return { ...json, ...('hidden_size_per_layer_input' in more ? { ...per, ...moe } : {}) };
  },
});

/** Gemma 4. */
export const gemma4: Family = gemma4Family('gemma4_text', 'Gemma4ForCausalLM', {
  max_position_embeddings: 131_072,
  sliding_window: 512,
  use_bidirectional_attention: optional(),
  vocab_size_per_layer_input: 262_144,
  hidden_size_per_layer_input: 256,
  enable_moe_block: false,
  num_experts: optional(),
  top_k_experts: optional(),
  moe_intermediate_size: optional(),
});

/** Gemma 4 without encoders of its own for images and sounds: its text part has no inputs of layers and no experts. */
export const gemma4Unified: Family = gemma4Family('gemma4_unified_text', 'Gemma4UnifiedForCausalLM', {
  max_position_embeddings: 262_144,
  sliding_window: 1024,
  use_bidirectional_attention: optional('vision'),
});
