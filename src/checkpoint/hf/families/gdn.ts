/** Hybrids of Gated DeltaNet and attention: Qwen3-Next, OLMo-Hybrid. */
import { present } from '../../../core/index.js';
import type { ModelConfig, ModelInput } from '../../../model/index.js';
import { blockOf, headGroups } from '../../../model/index.js';
import type { Family, HfConfigJson, TensorShapes } from '../family/family.js';
import { optional, type Fields } from '../family/fields.js';
import { matrix, rows, whole, type ParameterLayout, type Source } from '../family/layout.js';
import { longestOf, readRope, ropeParameters, ropeFields, writeRope } from '../family/rotary.js';
import { COMMON_FIELDS, decoderLayout, LLAMA_NAMES, readSizes, writeActivation, writeSizes } from './decoder.js';
import { qwenDense, QWEN_EXPERTS, readExperts, withExperts, writeQwenExperts, type ExpertNames } from './experts.js';
import { convRows, headBlocks, hybridTypes, picked, siluOnly, writeHybridTypes } from './recurrent.js';

/** What a class makes of the sizes of Gated DeltaNet that are null. */
interface NullSizes {
  readonly heads: number;
  readonly keyDim: (keyHeads: number) => number;
}

/** Sizes of Gated DeltaNet in `config.json`. */
export function readGdn(fields: Fields, otherwise?: NullSizes): NonNullable<ModelInput['gdn']> {
  const numHeads = fields.count('linear_num_key_heads', otherwise?.heads);
  const keyDim = fields.count('linear_key_head_dim', otherwise?.keyDim(numHeads));
  return {
    numHeads,
    numValueHeads: fields.count('linear_num_value_heads', otherwise?.heads),
    keyDim,
    valueDim: fields.count('linear_value_head_dim', 2 * keyDim),
    convWidth: fields.count('linear_conv_kernel_dim'),
  };
}

/** Sizes of Gated DeltaNet as fields of `config.json`. */
export function writeGdn({ gdn }: ModelConfig): HfConfigJson {
  return {
    linear_num_key_heads: gdn?.numHeads,
    linear_num_value_heads: gdn?.numValueHeads,
    linear_key_head_dim: gdn?.keyDim,
    linear_value_head_dim: gdn?.valueDim,
    linear_conv_kernel_dim: gdn?.convWidth,
  };
}

/** Fields of hybrids of Gated DeltaNet and attention. */
export const writeCommon = (config: ModelConfig): HfConfigJson => ({
  ...writeSizes(config),
  ...writeGdn(config),
  layer_types: writeHybridTypes(config),
  hidden_act: writeActivation(config.activation),
  max_position_embeddings: longestOf(config),
});

/** Widths of queries or keys, and of values, over all heads. */
export const widthsOf = (gdn: NonNullable<ModelConfig['gdn']>) => ({
  keys: gdn.numHeads * gdn.keyDim,
  values: gdn.numValueHeads * gdn.valueDim,
});

/** What all families of Gated DeltaNet call alike; `norm` and `out` name the output norm and projection. */
export function sharedLayout(
  config: ModelConfig,
  at: string,
  name: string,
  norm: string,
  out: string,
): ParameterLayout | null {
  const { gdn, hiddenSize } = config;
  if (gdn === undefined) return null;
  switch (name) {
    case 'gdn.dtbias':
      return rows(whole(`${at}.dt_bias`, gdn.numValueHeads));
    case 'gdn.alog':
      return rows(whole(`${at}.A_log`, gdn.numValueHeads));
    case 'gdn.norm.weight':
      return rows(whole(`${at}.${norm}.weight`, gdn.valueDim));
    case 'gdn.wo':
      return matrix(whole(`${at}.${out}.weight`, hiddenSize));
    default:
      return null;
  }
}

function nextLayout(config: ModelConfig, layer: number, name: string): ParameterLayout | null {
  const { gdn } = config;
  if (gdn === undefined) return null;
  const at = `model.layers.${layer}.linear_attn`;
  const { keys, values } = widthsOf(gdn);
  const { numHeads: H, numValueHeads, keyDim: K, valueDim: V } = gdn;
  // Key head by key head: its queries, its keys, values of its value heads, gates of its value heads.
  const perKey = numValueHeads / H;
  const [stride, block] = [2 * K + 2 * perKey * V, perKey * V];
  const part = (first: number, size: number): Source =>
    picked(`${at}.in_proj_qkvz.weight`, 2 * keys + 2 * values, headBlocks(H, stride, first, size));
  const rates = (first: number): Source =>
    picked(`${at}.in_proj_ba.weight`, 2 * numValueHeads, headBlocks(H, 2 * perKey, first, perKey));
  switch (name) {
    case 'gdn.wqkv':
      return matrix(part(0, K), part(K, K), part(2 * K, block));
    case 'gdn.wgate':
      return matrix(part(2 * K + block, block));
    case 'gdn.wab':
      return matrix(rates(perKey), rates(0));
    case 'gdn.conv.weight':
      return rows(convRows(`${at}.conv1d.weight`, 2 * keys + values, gdn.convWidth));
    default:
      return sharedLayout(config, at, name, 'norm', 'out_proj');
  }
}

/**
 * What Qwen's hybrids share: Gated DeltaNet with a full layer in every so many, gated queries, norms that are stored
 * less 1, and a quarter of each head rotated (`Qwen3NextConfig` and `Qwen3_5TextConfig` of Transformers 5.24).
 *
 * @param intermediateSize the inner width of MLPs, of classes whose MLPs all have experts
 * @throws ConfigError for an activation other than SiLU, or biases in attention
 */
export function readQwenHybrid(fields: Fields, intermediateSize?: number): ModelInput {
  siluOnly(fields);
  fields.only('attention_bias', false);
  const sizes = readSizes(fields, undefined, intermediateSize);
  return {
    ...sizes,
    ...ropeFields(readRope(fields, { fraction: 0.25 }), sizes.headDim),
    layers: hybridTypes(fields, 'gdn', (i) => (i + 1) % fields.count('full_attention_interval', 4) === 0),
    normOffset: 1,
    qkNorm: 'head',
    outputGate: true,
    gdn: readGdn(fields),
  };
}

/** The shared expert of Qwen's hybrids, behind a gate. */
export const QWEN_SHARED: ExpertNames = {
  ...QWEN_EXPERTS,
  shared: { module: 'mlp.shared_expert', gate: 'shared_expert_gate.weight' },
};

/** Qwen3-Next: three layers of Gated DeltaNet to one of gated attention. */
const nextFamily: Family = {
  modelTypes: ['qwen3_next'],
  architecture: 'Qwen3NextForCausalLM',
  fields: {
    ...COMMON_FIELDS,
    vocab_size: 151_936,
    hidden_size: 2048,
    intermediate_size: 5632,
    num_hidden_layers: 48,
    num_attention_heads: 16,
    num_key_value_heads: 2,
    max_position_embeddings: 32_768,
    attention_bias: false,
    head_dim: 256,
    linear_conv_kernel_dim: 4,
    linear_key_head_dim: 128,
    linear_value_head_dim: 128,
    linear_num_key_heads: 16,
    linear_num_value_heads: 32,
    decoder_sparse_step: 1,
    moe_intermediate_size: 512,
    shared_expert_intermediate_size: 512,
    num_experts_per_tok: 10,
    num_experts: 512,
    norm_topk_prob: true,
    mlp_only_layers: optional(),
    layer_types: optional(),
  },
  read: (fields) => ({
    ...readQwenHybrid(fields),
    experts: readExperts(fields, {
      dense: qwenDense,
      more: (own) => ({
        normalize: own.flag('norm_topk_prob'),
        sharedSize: own.count('shared_expert_intermediate_size', undefined, 0),
        sharedGate: true,
      }),
    }),
  }),
  layout: (config, layer, name) =>
    layer !== null && name.startsWith('gdn.')
      ? nextLayout(config, layer, name)
      : decoderLayout(config, layer, name, { ...LLAMA_NAMES, gatedQueries: true }),
  // Transformers leaves out what predicts several tokens at once.
  ignored: (name) => name.startsWith('mtp.'),
  write: (config) => ({
    ...writeCommon(config),
    ...writeQwenExperts(config),
    rope_parameters: {
      ...writeRope(config, { theta: config.ropeTheta, scaling: config.ropeScaling }),
      partial_rotary_factor: config.ropeDim / config.headDim,
    },
  }),
};

/** Qwen3-Next with its experts. */
export const qwen3Next: Family = withExperts(nextFamily, QWEN_SHARED);

/** Transformers keeps this whatever the epsilon of the other norms is. */
const OLMO_OUTPUT_EPS = 1e-5;

function olmoLayout(config: ModelConfig, layer: number, name: string, shapes: TensorShapes): ParameterLayout | null {
  const { gdn } = config;
  if (gdn === undefined) return null;
  const at = `model.layers.${layer}.linear_attn`;
  const { keys, values } = widthsOf(gdn);
  const H = gdn.numValueHeads;
  switch (name) {
    case 'gdn.wqkv':
      return matrix(
        whole(`${at}.q_proj.weight`, keys),
        whole(`${at}.k_proj.weight`, keys),
        whole(`${at}.v_proj.weight`, values),
      );
    case 'gdn.wgate':
      return matrix(whole(`${at}.g_proj.weight`, values));
    case 'gdn.wab':
      return matrix(whole(`${at}.a_proj.weight`, H), whole(`${at}.b_proj.weight`, H));
    case 'gdn.conv.weight': {
      const names = ['q', 'k', 'v'].map((p) => `${at}.${p}_conv1d.weight`);
      const natural = [keys, keys, values];
      // Transformers 5 saves the three cut into equal parts, wherever queries, keys and values begin.
      const found = names.map((tensor) => shapes(tensor)?.[0] ?? 0);
      const total = (sizes: readonly number[]) => sizes.reduce((a, b) => a + b, 0);
      const sizes = total(found) === total(natural) ? found : natural;
      const part = (i: number) => convRows(present(names[i]), present(sizes[i]), gdn.convWidth);
      return rows(part(0), part(1), part(2));
    }
    default:
      return sharedLayout(config, at, name, 'o_norm', 'o_proj');
  }
}

/**
 * The norms of OLMo-Hybrid under the names of its files; Transformers saves some of attention layers under those of
 * others.
 */
const OLMO_NORMS: Readonly<Record<string, readonly [string, ...string[]]>> = {
  'norm1.weight': ['attention_layer_norm', 'input_layernorm'],
  'norm2.weight': ['feedforward_layer_norm', 'post_attention_layernorm'],
  'postnorm1.weight': ['post_attention_layernorm', 'feedforward_layer_norm'],
  'postnorm2.weight': ['post_feedforward_layernorm'],
};

/** OLMo-Hybrid: three layers of Gated DeltaNet to one of attention. */
export const olmoHybrid: Family = {
  modelTypes: ['olmo_hybrid'],
  architecture: 'OlmoHybridForCausalLM',
  fields: {
    ...COMMON_FIELDS,
    vocab_size: 100_352,
    hidden_size: 3840,
    intermediate_size: 11_008,
    num_hidden_layers: 32,
    num_attention_heads: 30,
    num_key_value_heads: optional(),
    max_position_embeddings: 65_536,
    attention_bias: false,
    layer_types: optional(),
    linear_num_key_heads: optional(),
    linear_num_value_heads: optional(),
    linear_key_head_dim: optional(),
    linear_value_head_dim: optional(),
    linear_conv_kernel_dim: 4,
    linear_allow_neg_eigval: true,
  },
  read: (fields) => {
    siluOnly(fields);
    const sizes = readSizes(fields);
    const depth = fields.count('num_hidden_layers');
    const layers = hybridTypes(fields, 'gdn', (i) => i % 4 === 3 || (depth < 4 && i === depth - 1));
    if (new Set(layers).size === 1)
      fields.refuse(`layers of type ${layers[0] === 'full' ? 'full_attention' : 'linear_attention'} alone`);
    // A base of null, not a missing one, leaves queries and keys unturned.
    const turns = ropeParameters(fields)?.values['rope_theta'] !== null;
    return {
      ...sizes,
      ...(turns ? ropeFields(readRope(fields), sizes.headDim) : {}),
      layers: layers.map((layer) => (layer === 'full' && !turns ? 'full:nope' : layer)),
      attentionBias: fields.flag('attention_bias') ? 'all' : 'none',
      qkNorm: 'width',
      block: layers.map((layer) => ({ norm: layer === 'full' ? 'post' : 'pre' })),
      gdn: {
        ...readGdn(fields, {
          heads: sizes.numHeads,
          keyDim: (heads) => Math.floor((0.75 * sizes.hiddenSize) / heads),
        }),
        allowNegEigval: fields.flag('linear_allow_neg_eigval'),
        normEps: OLMO_OUTPUT_EPS,
      },
    };
  },
  layout: (config, layer, name, shapes) => {
    const candidates = layer === null ? undefined : OLMO_NORMS[name];
    if (candidates !== undefined) {
      const of = (text: string) => `model.layers.${layer}.${text}.weight`;
      const found = candidates.find((text) => shapes(of(text)) !== undefined) ?? candidates[0];
      return rows(whole(of(found), config.hiddenSize));
    }
    return layer !== null && name.startsWith('gdn.')
      ? olmoLayout(config, layer, name, shapes)
      : decoderLayout(config, layer, name, {});
  },
  alias: (name, config) => {
    const layer = Number(/layers\.(\d+)\./.exec(name)?.[1] ?? -1);
    if (name.endsWith('linear_attn.conv1d.weight')) {
      return ['q', 'k', 'v'].map((p) => name.replace('conv1d', `${p}_conv1d`));
    }
    const pre = layer >= 0 && blockOf(config, layer).norm === 'pre';
    const other = name.replace(
      pre ? 'input_layernorm' : 'post_attention_layernorm',
      pre ? 'attention_layer_norm' : 'feedforward_layer_norm',
    );
    return [other === name ? name.replace('post_attention_layernorm', 'feedforward_layer_norm') : other];
  },
  write: (config) => ({
    ...writeCommon(config),
    attention_bias: config.attentionBias === 'all',
    linear_allow_neg_eigval: config.gdn?.allowNegEigval,
    rope_parameters: config.layers.some((plan) => headGroups(plan)[0]?.rope === false)
      ? { rope_type: 'default', rope_theta: null }
      : writeRope(config, { theta: config.ropeTheta, scaling: config.ropeScaling }),
  }),
};
