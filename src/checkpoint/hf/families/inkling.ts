/**
 * Inkling's text model: positions as a bias that each query computes, short convolutions on keys, values and what
 * attention and MLP give, heads counted by kind of layer, experts whose router scores the shared ones too.
 */
import { at as item, showValue } from '../../../core/index.js';
import {
  expertsOf,
  headCounts,
  headGroups,
  headSizes,
  type ModelConfig,
  type ModelInput,
} from '../../../model/index.js';
import type { Family, HfConfigJson, TensorShapes } from '../family/family.js';
import { optional, type Fields } from '../family/fields.js';
import { matrix, range, rows, stack, whole, type ParameterLayout, type Source } from '../family/layout.js';
import { longestOf } from '../family/rotary.js';
import { decoderLayout, LLAMA_NAMES, readActivation, writeActivation, writeSizes } from './decoder.js';
import { denseLayers, expertLayout, QWEN_EXPERTS, readExperts, writeMlpTypes, type ExpertNames } from './experts.js';

const [FULL, WINDOW] = ['hybrid', 'hybrid_sliding'] as const;

const NAMES: ExpertNames = {
  ...QWEN_EXPERTS,
  correction: 'gate.e_score_correction_bias',
  stacked: { ...QWEN_EXPERTS.stacked, saved: true },
};

/** The types of all layers: `layer_types`, or windows in `local_layer_ids`, or in all layers but every sixth. */
function readTypes(fields: Fields): string[] {
  const depth = fields.count('num_hidden_layers');
  const given = fields.perLayer<string>('layer_types', 'string', depth);
  const local = fields.has('local_layer_ids') ? new Set(fields.list<number>('local_layer_ids', 'number')) : null;
  if (given === null) {
    const windowed = (i: number) => (local === null ? (i + 1) % 6 !== 0 : local.has(i));
    return range(0, depth).map((i) => (windowed(i) ? WINDOW : FULL));
  }
  for (const [i, type] of given.entries())
    if (type !== FULL && type !== WINDOW) fields.refuse(`layer ${i} of type ${type}`);
  return given;
}

/** The layers, heads of windows being counted by fields of their own. */
function readLayers(fields: Fields, types: readonly string[]): string[] {
  const [window, heads, kvHeads, width] = [
    fields.count('sliding_window_size'),
    fields.count('swa_num_attention_heads'),
    fields.count('swa_num_key_value_heads'),
    fields.count('swa_head_dim'),
  ];
  return types.map((type) =>
    type === WINDOW ? `swa:${window}:nope#${heads},${kvHeads};width=${width};bias=${window}` : 'full:nope',
  );
}

/** The widths of dense MLPs and of experts, of which older files call the latter `intermediate_size`. */
function readWidths(fields: Fields): { readonly dense: number; readonly expert: number } {
  const [own, expert] = [fields.count('intermediate_size'), fields.count('moe_intermediate_size')];
  if (!fields.has('dense_intermediate_size')) return { dense: own, expert };
  return { dense: fields.count('dense_intermediate_size'), expert: own };
}

function readInklingExperts(fields: Fields, size: number): ModelInput['experts'] {
  const first = fields.has('dense_mlp_idx') ? fields.count('dense_mlp_idx', 0, 0) : 0;
  const dense = denseLayers(fields, (i) => i < first, { strict: true });
  const [shared, scale] = [fields.count('n_shared_experts'), fields.number('route_scale')];
  fields.unheeded('shared_expert_sink', 'rms_norm_eps_moe_gate');
  const experts = readExperts(fields, {
    count: 'n_routed_experts',
    dense: () => dense,
    more: () => ({ scores: 'sigmoid', correctionBias: true, scale, sharedSize: shared * size, sharedScores: shared }),
  });
  return experts && { ...experts, intermediateSize: size };
}

/** The vocabulary, and rows of the embedding behind the last token that has a logit. */
function readVocabulary(fields: Fields): Pick<ModelConfig, 'vocabSize' | 'extraTokens'> {
  const [rowsOfAll, unpadded] = [fields.count('vocab_size'), fields.count('unpadded_vocab_size', Infinity)];
  const vocabSize = Math.min(rowsOfAll, unpadded);
  return { vocabSize, extraTokens: rowsOfAll - vocabSize };
}

/** Queries of full attention grow where the file says from which position. */
function readGrowth(fields: Fields): ModelInput['queryScaling'] {
  const beta = fields.number('log_scaling_alpha');
  if (!fields.has('log_scaling_n_floor')) return null;
  return { law: 'beyond', beta, length: fields.count('log_scaling_n_floor'), offset: 1, full: true };
}

/** Fields of which the class makes nothing, though it checks them. */
function readUnused(fields: Fields): void {
  fields.count('max_position_embeddings');
  fields.unheeded('chain_hidden_post_norm', 'mtp_hidden_states_first');
  fields.count('num_mtp_layers', 0, 0);
  fields.list<number>('mtp_local_layer_ids', 'number');
  for (const name of ['rope_parameters', 'rope_scaling']) {
    const rope = fields.object(name);
    const type = rope?.value('rope_type') ?? rope?.value('type') ?? 'default';
    if (type !== 'default') fields.refuse(`${name} of type ${showValue(type)}, which its class does not use`);
  }
}

function read(fields: Fields): ModelInput {
  const widths = readWidths(fields);
  const types = readTypes(fields);
  readUnused(fields);
  return {
    ...readVocabulary(fields),
    hiddenSize: fields.count('hidden_size'),
    intermediateSize: widths.dense,
    numHeads: fields.count('num_attention_heads'),
    numKvHeads: fields.count('num_key_value_heads'),
    headDim: fields.count('head_dim'),
    rmsNormEps: fields.positive('rms_norm_eps'),
    // The class ties nothing, whatever the file says.
    tieEmbeddings: false,
    layers: readLayers(fields, types),
    experts: readInklingExperts(fields, widths.expert),
    activation: readActivation(fields),
    embeddingNorm: true,
    qkNorm: 'head',
    attentionScale: 'width',
    positionBias: { width: fields.count('d_rel'), extent: fields.count('rel_extent') },
    queryScaling: readGrowth(fields),
    shortConv: { width: fields.count('conv_kernel_size') },
    mlpFactor: true,
    logitScale: 1 / fields.positive('logits_mup_width_multiplier'),
  };
}

/** The tensors of convolutions, biases and factors of a layer. */
function ownLayout(config: ModelConfig, layer: number, at: string, part: string): ParameterLayout | null {
  const { positionBias, shortConv, hiddenSize: d } = config;
  const { numHeads, numKvHeads, keyDim, valueDim } = headSizes(config, item(config.layers, layer));
  const conv = (module: string, channels: number) =>
    rows(whole(`${at}.${module}.conv1d.weight`, channels, [1, shortConv?.width ?? 1]));
  switch (part) {
    case 'attn.wbias':
      return matrix(whole(`${at}.self_attn.r_proj.weight`, numHeads * (positionBias?.width ?? 0)));
    case 'attn.biasbank':
      return rows(whole(`${at}.self_attn.rel_logits_proj.proj`, positionBias?.width ?? 0));
    case 'attn.keyconv.weight':
      return conv('self_attn.k_sconv', numKvHeads * keyDim);
    case 'attn.valueconv.weight':
      return conv('self_attn.v_sconv', numKvHeads * valueDim);
    case 'attn.outconv.weight':
      return conv('attn_sconv', d);
    case 'mlp.outconv.weight':
      return conv('mlp_sconv', d);
    case 'mlp.factor':
      return rows(whole(`${at}.mlp.${expertsOf(config, layer) === null ? '' : 'gate.'}global_scale`, 1));
    default:
      return null;
  }
}

/** The router's rows, those of the shared experts last, and the shared experts, each a matrix of a stack. */
function sharedLayout(config: ModelConfig, layer: number, at: string, part: string): ParameterLayout | null {
  const experts = expertsOf(config, layer);
  if (experts === null) return null;
  const { count, sharedScores: n, sharedSize } = experts;
  if (n === null) return null;
  const of = (projection: string, size: number) =>
    range(0, n).map((index): Source => ({
      ...whole(`${at}.mlp.shared_experts.${projection}`, size),
      within: { index, count: n },
    }));
  const width = (sharedSize ?? 0) / n;
  switch (part) {
    case 'mlp.wrouter':
      return matrix(whole(`${at}.mlp.gate.weight`, count + n));
    case 'mlp.shared.wgateup':
      return { transposed: true, sources: [...of('gate_proj', width), ...of('up_proj', width)] };
    case 'mlp.shared.wdown': {
      const parts = of('down_proj', config.hiddenSize);
      return stack(n, (index) => matrix(item(parts, index)));
    }
    default:
      return null;
  }
}

function layout(config: ModelConfig, layer: number | null, name: string, shapes: TensorShapes): ParameterLayout | null {
  const { vocabSize: v, extraTokens, hiddenSize: d } = config;
  if (layer === null) {
    if (name === 'embed.norm.weight') return rows(whole('model.embed_tokens.embed_norm.weight', d));
    if (name === 'head.weight')
      return matrix({ ...whole('lm_head.weight', v + extraTokens), take: extraTokens === 0 ? null : range(0, v) });
    return decoderLayout(config, layer, name, LLAMA_NAMES);
  }
  const at = `model.layers.${layer}`;
  return (
    ownLayout(config, layer, at, name) ??
    sharedLayout(config, layer, at, name) ??
    expertLayout(config, layer, name, NAMES, shapes) ??
    // No channels turn.
    decoderLayout({ ...config, ropeDim: 0 }, layer, name, LLAMA_NAMES)
  );
}

/** Heads of full layers and of layers with a window, as far as there are such; those of the model else. */
function writeHeads(config: ModelConfig): HfConfigJson {
  const { layers, positionBias } = config;
  const windowed = layers.find((plan) => (headGroups(plan)[0]?.window ?? null) !== null);
  const full = layers.find((plan) => headGroups(plan)[0]?.window === null);
  const sizesOf = (plan: ModelConfig['layers'][number] | undefined) =>
    plan === undefined
      ? { numHeads: config.numHeads, numKvHeads: config.numKvHeads, width: config.headDim }
      : { ...headCounts(config, plan), width: headSizes(config, plan).keyDim };
  const [own, local] = [sizesOf(full), sizesOf(windowed)];
  return {
    layer_types: layers.map((plan) => (headGroups(plan)[0]?.window === null ? FULL : WINDOW)),
    ...{ num_attention_heads: own.numHeads, num_key_value_heads: own.numKvHeads, head_dim: own.width },
    swa_num_attention_heads: local.numHeads,
    swa_num_key_value_heads: local.numKvHeads,
    swa_head_dim: local.width,
    sliding_window_size: (windowed && headGroups(windowed)[0]?.window) ?? 512,
    d_rel: positionBias?.width ?? 1,
    rel_extent: positionBias?.extent ?? 1,
  };
}

function write(config: ModelConfig): HfConfigJson {
  const { experts, queryScaling, vocabSize, extraTokens } = config;
  const shared = experts?.sharedScores ?? 1;
  return {
    ...writeSizes(config),
    ...writeHeads(config),
    ...writeMlpTypes(config),
    vocab_size: vocabSize + extraTokens,
    unpadded_vocab_size: extraTokens === 0 ? null : vocabSize,
    n_routed_experts: experts?.count ?? 1,
    num_experts_per_tok: experts?.perToken ?? 1,
    moe_intermediate_size: experts?.intermediateSize ?? config.intermediateSize,
    n_shared_experts: shared,
    route_scale: experts?.scale ?? 1,
    hidden_act: writeActivation(config.activation),
    max_position_embeddings: longestOf(config),
    conv_kernel_size: config.shortConv?.width ?? 1,
    log_scaling_n_floor: queryScaling?.length ?? null,
    log_scaling_alpha: queryScaling?.beta ?? 0.1,
    logits_mup_width_multiplier: 1 / config.logitScale,
  };
}

/** Inkling's text model. */
export const inkling: Family = {
  modelTypes: ['inkling_text'],
  architecture: 'InklingForCausalLM',
  takesRopeScaling: false,
  fields: {
    vocab_size: 201_024,
    unpadded_vocab_size: optional(),
    hidden_size: 6144,
    num_hidden_layers: 66,
    num_attention_heads: 64,
    num_key_value_heads: 8,
    head_dim: 128,
    swa_num_attention_heads: 64,
    swa_num_key_value_heads: 16,
    swa_head_dim: 128,
    sliding_window_size: 512,
    d_rel: 16,
    rel_extent: 1024,
    log_scaling_n_floor: optional(),
    log_scaling_alpha: 0.1,
    local_layer_ids: optional(),
    layer_types: optional(),
    max_position_embeddings: 131_072,
    rms_norm_eps: 1e-6,
    conv_kernel_size: 4,
    mlp_layer_types: optional(),
    intermediate_size: 24_576,
    hidden_act: 'silu',
    moe_intermediate_size: 3072,
    n_routed_experts: 256,
    num_experts_per_tok: 6,
    n_shared_experts: 2,
    shared_expert_sink: true,
    route_scale: 8,
    logits_mup_width_multiplier: 24,
    rms_norm_eps_moe_gate: 1e-6,
    num_mtp_layers: optional(),
    chain_hidden_post_norm: false,
    mtp_hidden_states_first: true,
    mtp_local_layer_ids: optional(),
  },
  aliases: {
    embedding_multiplier: 'logits_mup_width_multiplier',
    sliding_window: 'sliding_window_size',
    num_local_experts: 'n_routed_experts',
    sconv_kernel_size: 'conv_kernel_size',
    model_max_length: 'max_position_embeddings',
  },
  read,
  layout,
  // Layers that predict several tokens at once, which Transformers does not load either.
  ignored: (name) => name.startsWith('model.mtp.'),
  write,
};
