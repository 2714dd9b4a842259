/** Kimi Linear: Kimi Delta Attention, and latent attention without positions; experts behind the first layers. */
import { type ModelConfig } from '../../../model/index.js';
import type { Family } from '../family/family.js';
import { optional, type Fields } from '../family/fields.js';
import { matrix, rows, whole, type ParameterLayout } from '../family/layout.js';
import { longestOf } from '../family/rotary.js';
import { COMMON_FIELDS, decoderLayout, LLAMA_NAMES, readSizes, writeActivation, writeSizes } from './decoder.js';
import { denseLayers, type ExpertNames, MIXTRAL_EXPERTS, withExperts, writeMlpTypes } from './experts.js';
import {
  LATENT_FIELDS,
  latentLayout,
  readLatent,
  readSharedExperts,
  sigmoidRouter,
  writeLatent,
  writeSharedExperts,
} from './latent.js';
import { convRows, hybridTypes, plainPositions, siluOnly } from './recurrent.js';

/** The names of the three convolutions in files; in memory they are one. */
const CONVOLUTIONS = ['q_conv1d', 'k_conv1d', 'v_conv1d'] as const;

/** The module of experts in files. */
const MOE = 'block_sparse_moe';

/** The tensors of a parameter of Kimi Delta Attention in the module `at`. */
function kdaLayout({ kda, hiddenSize }: ModelConfig, at: string, name: string): ParameterLayout | null {
  if (kda === undefined || kda.rank === null) return null;
  const { numHeads: H, keyDim: K, valueDim: V, rank, convWidth } = kda;
  const convolution = (tensor: string, channels: number) => convRows(`${at}.${tensor}.weight`, channels, convWidth);
  const projection = (tensor: string, size: number) => matrix(whole(`${at}.${tensor}.weight`, size));
  switch (name) {
    case 'kda.wqkv':
      return matrix(
        whole(`${at}.q_proj.weight`, H * K),
        whole(`${at}.k_proj.weight`, H * K),
        whole(`${at}.v_proj.weight`, H * V),
      );
    case 'kda.conv.weight':
      return { transposed: false, sources: CONVOLUTIONS.map((tensor) => convolution(tensor, H * K)) };
    case 'kda.wdecaydown':
      return projection('f_a_proj', rank);
    case 'kda.wdecayup':
      return projection('f_b_proj', H * K);
    case 'kda.dtbias':
      return rows(whole(`${at}.dt_bias`, H * K));
    case 'kda.alog':
      return rows(whole(`${at}.A_log`, 1, [1, H, 1]));
    case 'kda.wbeta':
      return projection('b_proj', H);
    case 'kda.norm.weight':
      return rows(whole(`${at}.o_norm.weight`, V));
    case 'kda.wgatedown':
      return projection('g_a_proj', rank);
    case 'kda.wgateup':
      return projection('g_b_proj', H * V);
    case 'kda.wo':
      return projection('o_proj', hiddenSize);
    default:
      return null;
  }
}

/** Which layers are full attention: published configurations list them in `linear_attn_config`, counted from 1. */
function fullLayers(fields: Fields, linear: Fields | null): (layer: number) => boolean {
  if (linear === null || !linear.states('full_attn_layers') || !linear.states('kda_layers'))
    return (layer) => layer > 0 && layer % 4 === 0;
  const depth = fields.count('num_hidden_layers');
  const of = (name: string) => new Set(linear.list<number>(name, 'number'));
  const [full, kda] = [of('full_attn_layers'), of('kda_layers')];
  if (fields.has('layer_types')) return () => false; // which come before these lists
  const all = [...full, ...kda];
  const numbered = all.every((n) => Number.isInteger(n) && n >= 1 && n <= depth);
  if (!numbered || new Set(all).size !== depth || all.length !== depth)
    fields.refuse(`linear_attn_config whose lists do not name each of the ${depth} layers once, counted from 1`);
  return (layer) => full.has(layer + 1);
}

/** The layers whose MLP is dense: by `mlp_layer_types`, or those before `first_k_dense_replace`. */
function kimiDense(fields: Fields): number[] {
  const first = fields.states('first_k_dense_replace') ? fields.count('first_k_dense_replace', undefined, 0) : 1;
  return denseLayers(fields, (i) => i < first, { strict: true });
}

const EXPERTS: ExpertNames = {
  ...MIXTRAL_EXPERTS,
  correction: 'gate.e_score_correction_bias',
  shared: {
    module: `${MOE}.shared_experts`,
    projections: { gate: 'gate_proj', up: 'up_proj', down: 'down_proj' },
  },
};

function readKda(fields: Fields, linear: Fields | null) {
  const of = (name: string, within: string) =>
    linear?.states(within) === true ? linear.count(within) : fields.count(name);
  const width = of('linear_head_dim', 'head_dim');
  return {
    numHeads: of('linear_num_heads', 'num_heads'),
    ...{ keyDim: width, valueDim: width, rank: width },
    convWidth: of('linear_conv_kernel_dim', 'short_conv_kernel_size'),
  };
}

/** Hybrids of Kimi Delta Attention and latent attention. Its head is never tied, whatever the file says. */
export const kimiLinear: Family = withExperts(
  {
    modelTypes: ['kimi_linear'],
    architecture: 'KimiLinearForCausalLM',
    aliases: {
      model_max_length: 'max_position_embeddings',
      moe_renormalize: 'norm_topk_prob',
      num_expert_group: 'n_group',
      num_experts: 'num_local_experts',
      num_experts_per_token: 'num_experts_per_tok',
      num_shared_experts: 'n_shared_experts',
    },
    fields: {
      hidden_act: COMMON_FIELDS.hidden_act,
      tie_word_embeddings: COMMON_FIELDS.tie_word_embeddings,
      ...LATENT_FIELDS,
      vocab_size: 163_840,
      hidden_size: 2304,
      intermediate_size: 9216,
      num_hidden_layers: 27,
      num_attention_heads: 32,
      num_key_value_heads: optional(32),
      q_lora_rank: optional(),
      rms_norm_eps: 1e-5,
      max_position_embeddings: 1_048_576,
      layer_types: optional(),
      mlp_layer_types: optional(),
      linear_head_dim: 128,
      linear_num_heads: 32,
      linear_conv_kernel_dim: 4,
      num_local_experts: 256,
      n_shared_experts: 1,
      moe_intermediate_size: 1024,
      routed_scaling_factor: 2.446,
      n_group: 1,
      topk_group: optional(1),
      num_experts_per_tok: optional(8),
      norm_topk_prob: true,
    },
    read: (fields) => {
      siluOnly(fields);
      plainPositions(fields);
      const linear = fields.object('linear_attn_config');
      if (linear === null && fields.states('linear_attn_config')) fields.refuse('linear_attn_config null');
      const types = hybridTypes(fields, 'kda', fullLayers(fields, linear));
      const { mla, ...latent } = readLatent(fields);
      return {
        ...readSizes(fields),
        tieEmbeddings: false,
        ...latent,
        mla,
        headDim: mla.nopeDim + mla.ropeDim,
        layers: types.map((type) => (type === 'full' ? 'mla:nope' : type)),
        kda: readKda(fields, linear),
        experts: readSharedExperts(fields, 'num_local_experts', kimiDense(fields), sigmoidRouter),
      };
    },
    layout: (config, layer, name, shapes) => {
      const at = `model.layers.${layer}.self_attn`;
      // Transformers calls dense MLPs like experts where it saves them, unlike published files.
      const renamed = shapes(`model.layers.${layer}.${MOE}.gate_proj.weight`) !== undefined;
      if (layer !== null && name.startsWith('kda.')) return kdaLayout(config, at, name);
      return layer !== null && name.startsWith('mla.')
        ? latentLayout(config, at, name, 'halves')
        : decoderLayout(config, layer, name, { ...LLAMA_NAMES, mlp: renamed ? MOE : 'mlp' });
    },
    alias: (name) => {
      const [, at] = /^(.*self_attn\.)conv1d\.weight$/.exec(name) ?? [];
      if (at !== undefined) return CONVOLUTIONS.map((tensor) => `${at}${tensor}.weight`);
      if (name.includes('.mlp.')) return [name.replace('.mlp.', `.${MOE}.`)];
      return name.includes('.forget_gate.') ? [name.replace('.forget_gate.', '.')] : [];
    },
    write: (config) => ({
      ...writeSizes(config),
      ...writeLatent(config),
      head_dim: config.mla?.ropeDim,
      hidden_act: writeActivation(config.activation),
      max_position_embeddings: longestOf(config),
      layer_types: config.layers.map(({ mixer }) => (mixer === 'mla' ? 'full_attention' : 'linear_attention')),
      ...writeMlpTypes(config),
      ...writeSharedExperts(config, 'num_local_experts'),
      linear_head_dim: config.kda?.keyDim,
      linear_num_heads: config.kda?.numHeads,
      linear_conv_kernel_dim: config.kda?.convWidth,
    }),
  },
  EXPERTS,
);
