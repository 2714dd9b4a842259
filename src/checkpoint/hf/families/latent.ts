/** What families of latent attention share: the widths in `config.json`, and the tensors of its parameters. */
import type { ModelConfig, ModelInput } from '../../../model/index.js';
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
import { headBlocks, picked } from './recurrent.js';

/** The classes leave the epsilon of the norms of latents at this, whatever that of the others is. */
const LATENT_EPS = 1e-6;

/** Fields of latent attention, with the defaults that the classes share. */
export const LATENT_FIELDS = {
  num_key_value_heads: optional(),
  kv_lora_rank: 512,
  qk_rope_head_dim: 64,
  qk_nope_head_dim: 128,
  v_head_dim: optional(128),
  attention_bias: false,
} as const;

/** Fields of experts that a model without them has as well: their kinds of values are checked. */
function unusedExperts(fields: Fields): void {
  for (const name of ['n_group', 'topk_group', 'num_experts_per_tok']) fields.count(name, 1, 0);
  fields.unheeded('n_shared_experts', 'moe_intermediate_size', 'routed_scaling_factor', 'norm_topk_prob');
}

type Experts = NonNullable<ModelInput['experts']>;

/** What DeepSeek-V3's router makes of the logits: sigmoids, and a choice by groups and a stored correction. */
export function sigmoidRouter(fields: Fields): Partial<Experts> {
  const [count, perToken] = [fields.count('n_group'), fields.count('topk_group')];
  return {
    ...{ scores: 'sigmoid', correctionBias: true },
    normalize: fields.has('norm_topk_prob') && fields.flag('norm_topk_prob'),
    normalizeEps: 1e-20,
    groups: count === 1 && perToken === 1 ? null : { count, perToken, best: 2 },
  };
}

/**
 * The experts of the layers that are not `dense`, with a shared expert as wide as `n_shared_experts` of them; null
 * where every layer is dense.
 *
 * @param countField the field of the number of experts
 * @param router what the class's router does
 */
export function readSharedExperts(
  fields: Fields,
  countField: string,
  dense: readonly number[],
  router: (fields: Fields) => Partial<Experts>,
): ModelInput['experts'] {
  if (dense.length >= fields.count('num_hidden_layers')) {
    unusedExperts(fields);
    fields.unheeded(countField);
    return null;
  }
  const intermediateSize = fields.count('moe_intermediate_size');
  for (const name of ['num_experts_per_tok', 'n_shared_experts', countField])
    if (!fields.has(name)) fields.refuse(`no ${name}, without which its class computes nothing`);
  const shared = fields.count('n_shared_experts', 0, 0);
  return {
    count: fields.count(countField, 1),
    perToken: fields.count('num_experts_per_tok', 1),
    intermediateSize,
    sharedSize: shared === 0 ? null : shared * intermediateSize,
    scale: fields.number('routed_scaling_factor'),
    ...router(fields),
    dense: [...dense],
  };
}

/** Experts as fields of `config.json`; `countField` is that of their number. A model without has none of them. */
export function writeSharedExperts({ experts }: ModelConfig, countField: string): HfConfigJson {
  if (experts === null) return {};
  const { count, perToken, intermediateSize, sharedSize, scale, normalize, groups } = experts;
  return {
    [countField]: count,
    num_experts_per_tok: perToken,
    moe_intermediate_size: intermediateSize,
    n_shared_experts: Math.round((sharedSize ?? 0) / intermediateSize),
    routed_scaling_factor: scale,
    norm_topk_prob: normalize,
    n_group: groups?.count ?? 1,
    topk_group: groups?.perToken ?? 1,
  };
}

/** The widths of latent attention that `config.json` gives, and its biases. */
export function readLatent(
  fields: Fields,
): Pick<ModelInput, 'attentionBias'> & { readonly mla: NonNullable<ModelConfig['mla']> } {
  const numHeads = fields.count('num_attention_heads');
  if (fields.count('num_key_value_heads', numHeads) !== numHeads)
    fields.refuse('num_key_value_heads other than num_attention_heads, with which its class computes nothing');
  return {
    attentionBias: fields.flag('attention_bias') ? 'all' : 'none',
    mla: {
      queryRank: fields.has('q_lora_rank') ? fields.count('q_lora_rank') : null,
      latentRank: fields.count('kv_lora_rank'),
      nopeDim: fields.count('qk_nope_head_dim'),
      ropeDim: fields.count('qk_rope_head_dim'),
      valueDim: fields.count('v_head_dim'),
      normEps: LATENT_EPS,
    },
  };
}

/** The widths of latent attention as fields of `config.json`. */
export function writeLatent({ mla, numHeads, attentionBias }: ModelConfig): HfConfigJson {
  return {
    num_key_value_heads: numHeads,
    q_lora_rank: mla?.queryRank ?? null,
    kv_lora_rank: mla?.latentRank,
    qk_nope_head_dim: mla?.nopeDim,
    qk_rope_head_dim: mla?.ropeDim,
    v_head_dim: mla?.valueDim,
    attention_bias: attentionBias === 'all',
  };
}

/**
 * The tensors of a parameter of latent attention in the module `at`; `turns` says which rotary channels of theirs turn
 * with one another.
 */
export function latentLayout(
  config: ModelConfig,
  at: string,
  name: string,
  turns: RotaryPairs,
): ParameterLayout | null {
  const { mla, numHeads: H, hiddenSize: d } = config;
  if (mla === undefined) return null;
  const { queryRank: Q, latentRank: C, nopeDim: N, ropeDim: R, valueDim: V } = mla;
  const turning = headChannels({ headDim: R, ropeDim: R }, turns);
  /** Rows of `count` blocks of which the first `first` rows stay in their places, and those behind them turn. */
  const turned = (tensor: string, count: number, first: number): Source => ({
    tensor: `${at}.${tensor}`,
    rows: count * (first + R),
    take: headRows(count, [...range(0, first), ...turning.map((c) => first + c)]),
  });
  const ofValues = (first: number, size: number) =>
    picked(`${at}.kv_b_proj.weight`, H * (N + V), headBlocks(H, N + V, first, size));
  switch (name) {
    case 'mla.wq':
      return matrix(turned('q_proj.weight', H, N));
    case 'mla.wqup':
      return matrix(turned('q_b_proj.weight', H, N));
    case 'mla.wkvdown':
      return matrix(turned('kv_a_proj_with_mqa.weight', 1, C));
    case 'mla.bkvdown':
      return rows(turned('kv_a_proj_with_mqa.bias', 1, C));
    case 'mla.kvnorm.weight':
      return rows(whole(`${at}.kv_a_layernorm.weight`, C));
    case 'mla.wkup':
      return matrix(ofValues(0, N));
    case 'mla.wvup':
      return matrix(ofValues(N, V));
    case 'mla.wo':
      return matrix(whole(`${at}.o_proj.weight`, d));
    case 'mla.bo':
      return rows(whole(`${at}.o_proj.bias`, d));
    default:
      return Q === null ? null : queryLatents(at, name, Q);
  }
}

/** The tensors of the latents of queries, `Q` wide. */
function queryLatents(at: string, name: string, Q: number): ParameterLayout | null {
  switch (name) {
    case 'mla.wqdown':
      return matrix(whole(`${at}.q_a_proj.weight`, Q));
    case 'mla.bqdown':
      return rows(whole(`${at}.q_a_proj.bias`, Q));
    case 'mla.qnorm.weight':
      return rows(whole(`${at}.q_a_layernorm.weight`, Q));
    default:
      return null;
  }
}
