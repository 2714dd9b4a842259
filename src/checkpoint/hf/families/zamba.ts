/** Zamba: Mamba with heads whose layers here and there are fed by one shared block of attention and an MLP. */
import type { ModelConfig, ModelInput } from '../../../model/index.js';
import type { Family, HfConfigJson } from '../family/family.js';
import { optional, type Fields } from '../family/fields.js';
import { matrix, range, rows, stack, whole, type ParameterLayout } from '../family/layout.js';
import { readActivation } from './decoder.js';
import { rankOf } from './mamba1.js';
import { convRows, picked, plainPositions } from './recurrent.js';
import { sharedCopies, sharedLayout, type SharedNames } from './shared.js';
import { computed, sharedBlocks, writeZambaSizes, zambaLayers, zambaLayout, zambaScale } from './zamba2.js';

const NAMES: SharedNames = { module: 'shared_transf', fusedMlp: false };

/** The tensors of a Mamba mixer with heads, in the module `at`. */
function headsLayout(config: ModelConfig, at: string, name: string): ParameterLayout | null {
  const section = config.mamba;
  if (section === undefined) return null;
  const { innerSize: I, numHeads: H, stateSize: N, rank, convWidth } = section;
  const P = I / H;
  // Their projection has a channel of the input beside one of the gate.
  const order = [0, 1].flatMap((part) => range(0, I).map((channel) => 2 * channel + part));
  const member = (tensor: string, count: number, index: number) =>
    matrix({ ...whole(`${at}.${tensor}`, count), within: { index, count: H } });
  const heads = (tensor: string, count: number) =>
    H === 1 ? member(tensor, count, 0) : stack(H, (index) => member(tensor, count, index));
  const perHead = (tensor: string, inner: readonly number[]) => rows(whole(`${at}.${tensor}`, H, inner));
  switch (name) {
    case 'mamba.win':
      return matrix(picked(`${at}.in_proj.weight`, 2 * I, order));
    case 'mamba.in.bias':
      return rows(picked(`${at}.in_proj.bias`, 2 * I, order));
    case 'mamba.conv.weight':
      return rows(convRows(`${at}.conv1d.weight`, I, convWidth));
    case 'mamba.conv.bias':
      return rows(whole(`${at}.conv1d.bias`, I));
    case 'mamba.wx':
      return heads('x_proj_weight', rank + 2 * N);
    case 'mamba.wdt':
      return heads('dt_proj_weight', P);
    case 'mamba.dtbias':
      return perHead('dt_proj_bias', [P]);
    case 'mamba.alog':
      return perHead('A_log', [P, N]);
    case 'mamba.skip':
      return perHead('D', [P]);
    case 'mamba.wout':
      return matrix(whole(`${at}.out_proj.weight`, config.hiddenSize));
    case 'mamba.out.bias':
      return rows(whole(`${at}.out_proj.bias`, config.hiddenSize));
    default:
      return null;
  }
}

/** The layers of the class where the file lists none: the third uses the block, and one in each period behind it. */
function byClass(fields: Fields): boolean[] {
  const [period, offset] = [fields.count('attn_layer_period'), fields.count('attn_layer_offset', undefined, 0)];
  const rest = Math.max(0, fields.count('num_hidden_layers') - 3);
  return [false, false, true, ...range(0, rest).map((i) => i % period === offset)];
}

function read(fields: Fields): ModelInput {
  plainPositions(fields);
  fields.unheeded('use_mamba_kernels', 'use_associative_scan', 'max_position_embeddings');
  // They count where the file lists no layers.
  fields.unheeded('attn_layer_period', 'attn_layer_offset');
  fields.only('hidden_mamba_act', 'silu', 'swish');
  const hiddenSize = fields.count('hidden_size');
  const numHeads = fields.count('num_attention_heads');
  const headDim = fields.count('attention_head_dim', Math.floor((2 * hiddenSize) / numHeads), 0);
  // Null and 0 are what the class computes.
  if (fields.count('attention_hidden_size', 0, 0) !== 0) computed(fields, { attention_hidden_size: 2 * hiddenSize });
  const layers = zambaLayers(fields, 'mamba', 'shared:full:nope+mamba', () => byClass(fields));
  const blocks = sharedBlocks(fields, layers, 1);
  return {
    vocabSize: fields.count('vocab_size'),
    hiddenSize,
    intermediateSize: fields.count('intermediate_size'),
    ...{ numHeads, numKvHeads: fields.count('num_key_value_heads'), layers },
    headDim: headDim === 0 ? Math.floor((2 * hiddenSize) / numHeads) : headDim,
    rmsNormEps: fields.positive('rms_norm_eps'),
    tieEmbeddings: fields.flag('tie_word_embeddings'),
    activation: readActivation(fields),
    attentionScale: zambaScale(headDim === 0 ? Math.floor((2 * hiddenSize) / numHeads) : headDim),
    block: { mlp: false },
    ...(blocks === 0 ? {} : { shared: { blocks } }),
    mamba: {
      innerSize: fields.count('mamba_expand') * hiddenSize,
      numHeads: fields.count('n_mamba_heads'),
      stateSize: fields.count('mamba_d_state'),
      rank: rankOf(fields, 'mamba_dt_rank'),
      convWidth: fields.count('mamba_d_conv'),
      convBias: fields.flag('mamba_conv_bias'),
      bias: fields.flag('mamba_proj_bias'),
    },
  };
}

const write = (config: ModelConfig): HfConfigJson => ({
  ...writeZambaSizes(config),
  n_mamba_heads: config.mamba?.numHeads,
  mamba_expand: (config.mamba?.innerSize ?? 0) / config.hiddenSize,
  mamba_d_state: config.mamba?.stateSize,
  mamba_d_conv: config.mamba?.convWidth,
  mamba_dt_rank: config.mamba?.rank,
  mamba_conv_bias: config.mamba?.convBias,
  mamba_proj_bias: config.mamba?.bias,
});

/** Mamba with heads and one shared block. */
export const zamba: Family = {
  modelTypes: ['zamba'],
  architecture: 'ZambaForCausalLM',
  aliases: { layer_types: 'layers_block_type', head_dim: 'attention_head_dim' },
  fields: {
    vocab_size: 32_000,
    tie_word_embeddings: true,
    hidden_size: 3712,
    attention_hidden_size: optional(),
    intermediate_size: 14_848,
    num_hidden_layers: 76,
    num_attention_heads: 16,
    attention_head_dim: optional(),
    num_key_value_heads: 16,
    n_mamba_heads: 2,
    hidden_act: 'gelu',
    hidden_mamba_act: 'silu',
    rms_norm_eps: 1e-5,
    max_position_embeddings: 4096,
    attn_layer_period: 6,
    attn_layer_offset: 4,
    use_mamba_kernels: true,
    mamba_d_state: 16,
    mamba_d_conv: 4,
    mamba_expand: 2,
    mamba_dt_rank: 'auto',
    use_associative_scan: true,
    mamba_conv_bias: true,
    mamba_proj_bias: false,
    layers_block_type: optional(),
  },
  read,
  layout: (config, layer, name, shapes) =>
    sharedLayout(config, NAMES, layer, name, shapes) ??
    zambaLayout(config, layer, name, (at) => headsLayout(config, at, name)),
  ...sharedCopies(NAMES),
  write,
};
