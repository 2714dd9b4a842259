/**
 * MiniMax: Lightning attention and softmax attention, norms on the residual stream; experts, or a single one, which is
 * an MLP.
 */
import { at } from '../../../core/index.js';
import type { ModelConfig } from '../../../model/index.js';
import { blockOf, lightningSlopes } from '../../../model/index.js';
import { optional } from '../family/fields.js';
import type { ConstantTensor, Family, StoredValues } from '../family/family.js';
import { matrix, rows, whole, type ParameterLayout } from '../family/layout.js';
import { longestOf, readRope, ropeFields, writeRope } from '../family/rotary.js';
import { COMMON_FIELDS, decoderLayout, LLAMA_NAMES, readSizes, writeActivation, writeSizes } from './decoder.js';
import { expertAliases, expertLayout, MIXTRAL_EXPERTS, readExperts } from './experts.js';
import { headBlocks, hybridTypes, picked, siluOnly, writeHybridTypes } from './recurrent.js';

/** Transformers keeps this for the norm of Lightning heads whatever the epsilon of the other norms is. */
const OUTPUT_EPS = 1e-6;

/** Tokens of a block where the model leaves it open; those of MiniMax. */
const BLOCK = 256;

/** Decays that follow from the configuration. */
const BUFFERS = /\.(slope_rate|query_decay|key_decay|diagonal_decay)$/;
/** The router, which says nothing where there is one expert to choose from. */
const ROUTER = /\.(block_sparse_moe|mlp)\.gate\.weight$/;

function lightningLayout(config: ModelConfig, layer: number, name: string): ParameterLayout | null {
  const { lightning, hiddenSize } = config;
  if (lightning === undefined) return null;
  const { numHeads: H, headDim: D } = lightning;
  const at = `model.layers.${layer}.self_attn`;
  // Head by head: queries, keys, values.
  const part = (index: number) => picked(`${at}.qkv_proj.weight`, 3 * H * D, headBlocks(H, 3 * D, index * D, D));
  switch (name) {
    case 'lightning.wqkv':
      return matrix(part(0), part(1), part(2));
    case 'lightning.norm.weight':
      return rows(whole(`${at}.norm.weight`, H * D));
    case 'lightning.wgate':
      return matrix(whole(`${at}.output_gate.weight`, H * D));
    case 'lightning.wo':
      return matrix(whole(`${at}.out_proj.weight`, hiddenSize));
    default:
      return null;
  }
}

function singleLayout(config: ModelConfig, layer: number, name: string): ParameterLayout | null {
  const { intermediateSize: f, hiddenSize: d } = config;
  const weight = (index: number, size: number) =>
    whole(`model.layers.${layer}.block_sparse_moe.experts.0.w${index}.weight`, size);
  if (name === 'mlp.wgateup') return matrix(weight(1, f), weight(3, f));
  return name === 'mlp.wdown' ? matrix(weight(2, d)) : null;
}

/** The decays that Transformers keeps beside the weights: of a token, and within and around its blocks. */
function decays(config: ModelConfig, layer: number): ConstantTensor[] {
  const { lightning } = config;
  if (lightning === undefined) return [];
  const slopes = lightningSlopes(lightning, layer, config.numLayers);
  const [H, n] = [slopes.length, lightning.chunk ?? BLOCK];
  const tensor = (name: string, shape: number[], value: (slope: number, i: number) => number): ConstantTensor => ({
    name: `model.layers.${layer}.self_attn.${name}`,
    shape,
    fixed: true,
    // Rounded one by one they are no powers of one decay, and Transformers computes with each of them.
    dtype: 'f32',
    values: () => {
      const each = shape.reduce((a, b) => a * b, 1) / H;
      return Float32Array.from({ length: H * each }, (_, i) => value(at(slopes, Math.floor(i / each)), i % each));
    },
  });
  const between = (i: number) => Math.floor(i / n) - (i % n);
  return [
    tensor('slope_rate', [H, 1, 1], (slope) => slope),
    tensor('query_decay', [H, n, 1], (slope, i) => Math.exp(-slope * (i + 1))),
    tensor('key_decay', [H, n, 1], (slope, i) => Math.exp(-slope * (n - i - 1))),
    tensor('diagonal_decay', [1, H, n, n], (slope, i) => (between(i) < 0 ? 0 : Math.exp(-slope * between(i)))),
  ];
}

/** Slopes that differ by less than this, relative to their size, are those of the formula. */
const SAME_SLOPE = 1e-6;

/**
 * Transformers loads the decays that files hold and computes with them. Where the stored slopes are not those of the
 * formula, they are the model's; the other decays are compared with what follows from them.
 */
function storedSlopes(config: ModelConfig, read: StoredValues): { config: ModelConfig; notes: string[] } {
  const { lightning } = config;
  if (lightning === undefined) return { config, notes: [] };
  const types = new Set<string>();
  const rates = config.layers.map((plan, layer) => {
    if (plan.mixer !== 'lightning') return [];
    const found = read(`model.layers.${layer}.self_attn.slope_rate`);
    const formula = lightningSlopes(lightning, layer, config.numLayers);
    if (found === undefined || found.values.length !== formula.length) return [...formula];
    const same = formula.every((slope, h) => Math.abs(at(found.values, h) - slope) <= SAME_SLOPE * slope);
    if (!same) types.add(found.stored);
    return same ? [...formula] : [...found.values];
  });
  if (types.size === 0) return { config, notes: [] };
  const rounded = [...types].filter((type) => type !== 'F32');
  return {
    config: { ...config, lightning: { ...lightning, rates } },
    notes: [
      'the stored slopes of Lightning attention differ from the formula; they are used, as in Transformers' +
        (rounded.length === 0
          ? ''
          : `. They are stored as ${rounded.join(', ')}: Transformers without a cache computes with each of the four stored decays as ` +
            'rounded, Longsight with the slopes, as Transformers with a cache'),
    ],
  };
}

/** The router of a single expert, which says nothing. */
const soleRouter = ({ hiddenSize }: ModelConfig, layer: number): ConstantTensor => ({
  name: `model.layers.${layer}.block_sparse_moe.gate.weight`,
  shape: [1, hiddenSize],
  values: () => new Float32Array(hiddenSize),
  fixed: false,
});

/** MiniMax: Lightning attention with a softmax attention layer after each few. */
export const minimax: Family = {
  modelTypes: ['minimax'],
  architecture: 'MiniMaxForCausalLM',
  aliases: { num_experts: 'num_local_experts' },
  fields: {
    ...COMMON_FIELDS,
    vocab_size: 32_000,
    hidden_size: 4096,
    intermediate_size: 14_336,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    head_dim: optional(),
    max_position_embeddings: 131_072,
    rms_norm_eps: 1e-5,
    sliding_window: optional(),
    num_experts_per_tok: 2,
    num_local_experts: 8,
    layer_types: optional(),
    block_size: 256,
    full_attn_alpha_factor: 1,
    full_attn_beta_factor: 1,
    linear_attn_alpha_factor: 1,
    linear_attn_beta_factor: 1,
    mlp_alpha_factor: 1,
    mlp_beta_factor: 1,
  },
  read: (fields) => {
    siluOnly(fields);
    const count = fields.count('num_local_experts');
    const chosen = fields.count('num_experts_per_tok');
    // One expert is an MLP, whatever its router says.
    if (count === 1 && chosen !== 1) fields.refuse(`num_experts_per_tok ${chosen} of 1 expert`);
    const experts =
      count === 1
        ? null
        : readExperts(fields, { count: 'num_local_experts', size: 'intermediate_size', dense: () => [] });
    fields.only('sliding_window');
    const sizes = readSizes(fields);
    const chunk = fields.count('block_size');
    const takes = chunk <= 1024 && Number.isInteger(Math.log2(chunk));
    if (!takes) fields.refuse(`block_size ${chunk} (powers of two up to 1024 can)`);
    const layers = hybridTypes(fields, 'lightning', (i) => i % 2 === 0);
    const factor = (kind: string) => ({
      norm: 'stream' as const,
      mixerSkip: fields.number(`${kind}_alpha_factor`),
      mixerScale: fields.number(`${kind}_beta_factor`),
      mlpSkip: fields.number('mlp_alpha_factor'),
      mlpScale: fields.number('mlp_beta_factor'),
    });
    const [full, linear] = [factor('full_attn'), factor('linear_attn')];
    return {
      ...sizes,
      experts,
      ...ropeFields(readRope(fields, { theta: 1_000_000 }), sizes.headDim),
      layers,
      block: layers.map((layer) => (layer === 'full' ? full : linear)),
      lightning: {
        numHeads: sizes.numHeads,
        headDim: sizes.headDim,
        slopes: 'power',
        layerFactor: 'minimax',
        activation: 'silu',
        scale: 1,
        norm: 'rms',
        gate: 'full',
        chunk: takes ? chunk : BLOCK,
        normEps: OUTPUT_EPS,
      },
    };
  },
  layout: (config, layer, name, shapes) => {
    const own = expertLayout(config, layer, name, MIXTRAL_EXPERTS, shapes);
    if (layer === null || own !== null) return own ?? decoderLayout(config, layer, name, LLAMA_NAMES);
    if (name.startsWith('lightning.')) return lightningLayout(config, layer, name);
    return name.startsWith('mlp.')
      ? singleLayout(config, layer, name)
      : decoderLayout(config, layer, name, LLAMA_NAMES);
  },
  ignored: (name, config) => BUFFERS.test(name) || (config.experts === null && ROUTER.test(name)),
  alias: (name, config) => {
    if (config.experts !== null) return expertAliases(name, config, MIXTRAL_EXPERTS);
    const at = name.replace(/mlp\.experts\..*$/, 'block_sparse_moe.experts.0.');
    if (name.endsWith('experts.gate_up_proj')) return [`${at}w1.weight`, `${at}w3.weight`];
    return name.endsWith('experts.down_proj') ? [`${at}w2.weight`] : [];
  },
  adopt: storedSlopes,
  constants: (config) =>
    config.layers.flatMap((plan, layer) => [
      ...(config.experts === null ? [soleRouter(config, layer)] : []),
      ...(plan.mixer === 'lightning' ? decays(config, layer) : []),
    ]),
  write: (config) => {
    const kind = (mixer: string) => {
      const layer = config.layers.findIndex((plan) => plan.mixer === mixer);
      return blockOf(config, Math.max(0, layer));
    };
    const [full, linear] = [kind('attention'), kind('lightning')];
    return {
      ...writeSizes(config),
      layer_types: writeHybridTypes(config),
      hidden_act: writeActivation(config.activation),
      max_position_embeddings: longestOf(config),
      ...(config.experts === null ? {} : { intermediate_size: config.experts.intermediateSize }),
      num_local_experts: config.experts?.count ?? 1,
      num_experts_per_tok: config.experts?.perToken ?? 1,
      block_size: config.lightning?.chunk ?? BLOCK,
      full_attn_alpha_factor: full.mixerSkip,
      full_attn_beta_factor: full.mixerScale,
      linear_attn_alpha_factor: linear.mixerSkip,
      linear_attn_beta_factor: linear.mixerScale,
      mlp_alpha_factor: full.mlpSkip,
      mlp_beta_factor: full.mlpScale,
      rope_parameters: writeRope(config, { theta: config.ropeTheta, scaling: config.ropeScaling }),
    };
  },
};
