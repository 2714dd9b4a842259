/** What models of attention and gated MLPs share: fields, layer types, tensor names. */
import { at as item } from '../../../core/index.js';
import { headGroups, headSizes, withMlpWidth, type ModelConfig } from '../../../model/index.js';
import type { HfConfigJson } from '../family/family.js';
import { optional, type Fields } from '../family/fields.js';
import {
  headChannels,
  headRows,
  matrix,
  range,
  rows,
  whole,
  type ParameterLayout,
  type RotaryPairs,
  type Source,
} from '../family/layout.js';

const ACTIVATIONS: Readonly<Record<string, ModelConfig['activation']>> = {
  silu: 'silu',
  swish: 'silu',
  gelu: 'gelu',
  gelu_new: 'gelu_tanh',
  gelu_fast: 'gelu_tanh',
  gelu_pytorch_tanh: 'gelu_tanh',
  relu: 'relu',
  relu2: 'relu2',
};

/**
 * The activation that a field of `config.json` names; one that is not supported is refused. Only classes that make an
 * activation of their own, which learns, have more.
 */
export function readActivation(
  fields: Fields,
  name = 'hidden_act',
  more: readonly ModelConfig['activation'][] = [],
): ModelConfig['activation'] {
  const text = fields.text(name);
  const found = more.find((activation) => activation === text) ?? ACTIVATIONS[text];
  if (found === undefined) fields.refuse(`${name} ${text}`);
  return found ?? 'silu';
}

/** The name of an activation in `config.json`. */
export const writeActivation = (activation: ModelConfig['activation']): string =>
  activation === 'gelu_tanh' ? 'gelu_pytorch_tanh' : activation;

/** Defaults that most classes of decoders share. */
export const COMMON_FIELDS = {
  hidden_act: 'silu',
  rms_norm_eps: 1e-6,
  tie_word_embeddings: false,
  rope_parameters: optional(),
} as const;

/** The sizes of a decoder that every family's `config.json` has. */
export interface Sizes {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly numHeads: number;
  readonly numKvHeads: number;
  readonly headDim: number;
  /** The epsilon of the norms, added to a mean square. */
  readonly rmsNormEps: number;
  readonly tieEmbeddings: boolean;
}

/**
 * Reads the sizes of a decoder from `config.json`.
 *
 * @param epsName the name of the norms' epsilon
 * @param intermediateSize the inner width of the MLP, of classes that have no field for it
 */
export function readSizes(fields: Fields, epsName = 'rms_norm_eps', intermediateSize?: number): Sizes {
  const numHeads = fields.count('num_attention_heads');
  const hiddenSize = fields.count('hidden_size');
  // Read only where positions are scaled, but never refused.
  if (fields.knows('max_position_embeddings')) fields.count('max_position_embeddings');
  return {
    vocabSize: fields.count('vocab_size'),
    hiddenSize,
    intermediateSize: intermediateSize ?? fields.count('intermediate_size'),
    numHeads,
    numKvHeads: fields.count('num_key_value_heads', numHeads),
    headDim: fields.count('head_dim', Math.floor(hiddenSize / numHeads)),
    rmsNormEps: fields.positive(epsName),
    tieEmbeddings: fields.flag('tie_word_embeddings'),
  };
}

/** The sizes of a decoder as fields of `config.json`; `epsName` is the name of the norms' epsilon. */
export function writeSizes(config: ModelConfig, epsName = 'rms_norm_eps'): HfConfigJson {
  return {
    vocab_size: config.vocabSize,
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    num_hidden_layers: config.numLayers,
    num_attention_heads: config.numHeads,
    num_key_value_heads: config.numKvHeads,
    head_dim: config.headDim,
    [epsName]: config.rmsNormEps,
    tie_word_embeddings: config.tieEmbeddings,
  };
}

/**
 * The pattern of layers of `full_attention` and `sliding_attention`; `flag` may give the positions of single layers.
 */
export function attentionLayers(
  fields: Fields,
  types: readonly string[],
  flag: (layer: number, windowed: boolean) => string,
): string[] {
  // A window counts where a layer has one.
  fields.without('sliding_window');
  return types.map((type, i) => {
    const windowed = type === 'sliding_attention';
    const at = flag(i, windowed);
    const suffix = at === 'rope' ? '' : `:${at}`;
    if (type === 'full_attention') return `full${suffix}`;
    if (windowed) return `swa:${fields.count('sliding_window')}${suffix}`;
    fields.refuse(`layer ${i} of type ${type}`);
    return `full${suffix}`;
  });
}

/** Names that older versions gave layer types. */
const LEGACY_TYPES: Readonly<Record<string, string>> = { attention: 'full_attention', mamba: 'linear_attention' };

/** The type of each layer: `layer_types`, or where it is missing or null, one by layer. */
export function layerTypes(fields: Fields, otherwise: (layer: number) => string): string[] {
  const depth = fields.count('num_hidden_layers');
  const given = fields.perLayer<string>('layer_types', 'string', depth);
  const computed = () => Array.from({ length: depth }, (_, i) => otherwise(i));
  if (given === null) return computed();
  const types = given.map((type) => LEGACY_TYPES[type] ?? type);
  if (fields.knows('layer_types')) return types;
  // Classes without this field do not look at it.
  if (JSON.stringify(types) !== JSON.stringify(computed()))
    fields.refuse('layer_types, which its class does not take, other than what it does');
  return computed();
}

/** Windows in all layers but every nth. */
export const everyNthFull =
  (n: () => number) =>
  (layer: number): string =>
    (layer + 1) % n() === 0 ? 'full_attention' : 'sliding_attention';

/**
 * Types and the one window of a model's layers, if each has one head group; windows that differ show only the first.
 */
export function writeLayerTypes(config: ModelConfig): HfConfigJson {
  const windows = config.layers.map((plan) => headGroups(plan)[0]?.window ?? null);
  return {
    layer_types: windows.map((w) => (w === null ? 'full_attention' : 'sliding_attention')),
    sliding_window: windows.find((w) => w !== null) ?? null,
  };
}

/**
 * The same for classes that make the mask of windows even where no layer has one, and so ask for a window.
 *
 * @param unused the window, in keys, that is written where no layer has one
 */
export function writeMaskedTypes(config: ModelConfig, unused: number): HfConfigJson {
  const { sliding_window: window, ...types } = writeLayerTypes(config);
  return { ...types, sliding_window: window ?? unused };
}

/** How a family calls its tensors, and where it differs from Llama. */
export interface DecoderNames {
  readonly norm1?: string;
  readonly norm2?: string;
  readonly postnorm1?: string;
  readonly postnorm2?: string;
  readonly finalNorm?: string;
  /** The module of attention (default: `self_attn`). */
  readonly attention?: string;
  /** The module of the MLP (default: `mlp`). */
  readonly mlp?: string;
  /** The projections of the MLP within that module (default: `gate_proj`, `up_proj`, `down_proj`). */
  readonly projections?: { readonly gate?: string; readonly up?: string; readonly down?: string };
  /** Gate and up in one tensor, gate first. */
  readonly fusedMlp?: { readonly input: string; readonly output: string };
  /** Queries, keys and values in one tensor, in this order. */
  readonly fusedQkv?: string;
  /** The output projection of attention (default: `o_proj`). */
  readonly output?: string;
  /** What norms of queries and keys are called behind `q_` and `k_` (default: `norm`). */
  readonly headNorm?: string;
  /**
   * How rotary positions turn: channels (m, m + D/2) of a head (the default), neighboring channels, or the former
   * `backward`.
   */
  readonly turns?: RotaryPairs;
  /** The sinks of the heads (default: `sinks`). */
  readonly sinks?: string;
  /** The projection of the output gate, where it is one of its own. */
  readonly gate?: string;
  /** The query projection holds each head's queries, then its output gate. */
  readonly gatedQueries?: boolean;
}

/** The names of Llama's two norms of a block. */
export const LLAMA_NAMES = { norm1: 'input_layernorm', norm2: 'post_attention_layernorm' } as const;

/** The tensors of a parameter of attention, MLP, norms, embedding or head. */
export function decoderLayout(
  config: ModelConfig,
  layer: number | null,
  name: string,
  names: DecoderNames,
): ParameterLayout | null {
  const { vocabSize: v, extraTokens, hiddenSize: d } = config;
  if (layer === null) {
    if (name === 'embed.weight') return rows(whole('model.embed_tokens.weight', v + extraTokens));
    if (name === 'head.weight') return matrix(whole('lm_head.weight', v));
    const [, kind] = /^norm\.(weight|bias)$/.exec(name) ?? [];
    return kind === undefined ? null : rows(whole(`model.${names.finalNorm ?? 'norm'}.${kind}`, d));
  }
  const at = `model.layers.${layer}`;
  const [, norm, kind] = /^((?:post)?norm[12])\.(weight|bias)$/.exec(name) ?? [];
  if (norm !== undefined) {
    const own = names[norm as 'norm1' | 'norm2' | 'postnorm1' | 'postnorm2'];
    return own === undefined ? null : rows(whole(`${at}.${own}.${kind}`, d));
  }
  return name.startsWith('mlp.')
    ? mlpLayout(`${at}.`, name, names, d, withMlpWidth(config, layer).intermediateSize)
    : attentionLayout(config, layer, `${at}.${names.attention ?? 'self_attn'}`, name, names);
}

const MLP_PROJECTIONS = { gate: 'gate_proj', up: 'up_proj', down: 'down_proj' } as const;

function mlpLayout(at: string, name: string, names: DecoderNames, d: number, f: number): ParameterLayout | null {
  const { mlp = 'mlp', fusedMlp } = names;
  const { gate, up, down } = { ...MLP_PROJECTIONS, ...names.projections };
  const of = (kind: 'weight' | 'bias'): { in: [Source] | [Source, Source]; out: [Source] } =>
    fusedMlp
      ? { in: [whole(`${at}${fusedMlp.input}.${kind}`, 2 * f)], out: [whole(`${at}${fusedMlp.output}.${kind}`, d)] }
      : {
          in: [whole(`${at}${mlp}.${gate}.${kind}`, f), whole(`${at}${mlp}.${up}.${kind}`, f)],
          out: [whole(`${at}${mlp}.${down}.${kind}`, d)],
        };
  switch (name) {
    case 'mlp.wgateup':
      return matrix(...of('weight').in);
    case 'mlp.wdown':
      return matrix(...of('weight').out);
    case 'mlp.wup':
      return matrix(whole(`${at}${mlp}.${up}.weight`, f));
    case 'mlp.bup':
      return rows(whole(`${at}${mlp}.${up}.bias`, f));
    case 'mlp.bgateup':
      return rows(...of('bias').in);
    case 'mlp.bdown':
      return rows(...of('bias').out);
    case 'mlp.alphap':
      return rows(whole(`${at}${mlp}.act_fn.alpha_p`, 1));
    case 'mlp.alphan':
      return rows(whole(`${at}${mlp}.act_fn.alpha_n`, 1));
    default:
      return null;
  }
}

/** Channels of a layer's heads that turn; `:local` layers may have their own. */
export function layerRopeDim({ layers, localRope, ropeDim }: ModelConfig, layer: number): number {
  const local = headGroups(item(layers, layer))[0]?.rope === 'local';
  return (local ? localRope?.ropeDim : undefined) ?? ropeDim;
}

function attentionLayout(
  config: ModelConfig,
  layer: number,
  at: string,
  name: string,
  names: DecoderNames,
): ParameterLayout | null {
  const { turns = 'halves', gatedQueries = false, fusedQkv, gate } = names;
  const { output = 'o_proj', headNorm: qkNorm = 'norm', sinks = 'sinks' } = names;
  const plan = item(config.layers, layer);
  const { numHeads: H, numKvHeads: G, keyDim: D, valueDim: E } = headSizes(config, plan);
  const turning = layerRopeDim(config, layer);
  const channels = headChannels({ headDim: D, ropeDim: turning }, turns);
  // With an output gate, `q_proj` holds each head's query and then its gate, 2 D rows a head; the gate is taken below.
  // Such classes have values as wide as their keys.
  const query = (kind: string): Source => ({
    tensor: `${at}.q_proj.${kind}`,
    rows: (gatedQueries ? 2 : 1) * H * D,
    take: headRows(H, channels, gatedQueries ? 2 * D : D),
  });
  const projections = (kind: string): Source[] => {
    if (plan.mixer === 'attention' && plan.keysOf !== undefined) return [query(kind)];
    const keys = { tensor: `${at}.k_proj.${kind}`, rows: G * D, take: headRows(G, channels) };
    if (plan.mixer === 'attention' && plan.valuesAreKeys === true) return [query(kind), keys];
    return [query(kind), keys, whole(`${at}.v_proj.${kind}`, G * E)];
  };
  const fused = (tensor: string): Source => {
    const [queries, keys] = [headRows(H, channels) ?? range(0, H * D), headRows(G, channels) ?? range(0, G * D)];
    const take = [...queries, ...keys.map((row) => H * D + row), ...range((H + G) * D, G * D)];
    return { tensor: `${at}.${tensor}.weight`, rows: (H + 2 * G) * D, take };
  };
  const headNorm = (which: 'q' | 'k', heads: number): ParameterLayout => {
    const n = config.qkNorm === 'width' ? heads : 1;
    return rows({ tensor: `${at}.${which}_${qkNorm}.weight`, rows: n * D, take: headRows(n, channels) });
  };
  switch (name) {
    case 'attn.wqkv':
      return fusedQkv === undefined ? { transposed: true, sources: projections('weight') } : matrix(fused(fusedQkv));
    case 'attn.bqkv':
      return { transposed: false, sources: projections('bias') };
    case 'attn.wgate':
      if (gate !== undefined) return matrix(whole(`${at}.${gate}.weight`, config.outputGate === 'head' ? H : H * E));
      return gatedQueries ? matrix({ ...query('weight'), take: headRows(H, range(D, D), 2 * D) }) : null;
    case 'attn.wo':
      return matrix(whole(`${at}.${output}.weight`, config.hiddenSize));
    case 'attn.bo':
      return rows(whole(`${at}.${output}.bias`, config.hiddenSize));
    case 'attn.sinks':
      return rows(whole(`${at}.${sinks}`, H));
    case 'attn.qnorm.weight':
      return headNorm('q', H);
    case 'attn.knorm.weight':
      return headNorm('k', G);
    default:
      return null;
  }
}
