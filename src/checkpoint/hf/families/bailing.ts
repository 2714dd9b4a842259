/** Ling 3: Kimi Delta Attention with bounded decays, and latent attention with a gate a head; experts by groups. */
import { type ModelConfig, type ModelInput } from '../../../model/index.js';
import type { Family, HfConfigJson } from '../family/family.js';
import { optional, type Fields } from '../family/fields.js';
import { matrix, rows, whole, type ParameterLayout } from '../family/layout.js';
import { longestOf, readRope, writeRope } from '../family/rotary.js';
import { decoderLayout, LLAMA_NAMES, readSizes, writeActivation, writeSizes } from './decoder.js';
import { readScale, writeScale } from './deepseek.js';
import { denseLayers, type ExpertNames, QWEN_EXPERTS, withExperts, writeMlpTypes } from './experts.js';
import {
  latentLayout,
  readLatent,
  readSharedExperts,
  sigmoidRouter,
  writeLatent,
  writeSharedExperts,
} from './latent.js';
import { convRows, hybridTypes, siluOnly } from './recurrent.js';

const CONVOLUTIONS = ['q_conv1d', 'k_conv1d', 'v_conv1d'] as const;

const EXPERTS: ExpertNames = {
  ...QWEN_EXPERTS,
  correction: 'gate.expert_bias',
  correctionInMemory: 'gate.e_score_correction_bias',
  shared: { module: 'mlp.shared_experts' },
};

/** The tensors of a parameter of Kimi Delta Attention in the module `at`. */
function kdaLayout({ kda, hiddenSize }: ModelConfig, at: string, name: string): ParameterLayout | null {
  if (kda?.rank !== null) return null;
  const { numHeads: H, keyDim: K, valueDim: V, convWidth } = kda;
  const part = (tensor: string, size: number) => whole(`${at}.${tensor}.weight`, size);
  const of = (tensor: string, size: number) => matrix(part(tensor, size));
  switch (name) {
    case 'kda.wqkv':
      return matrix(part('q_proj', H * K), part('k_proj', H * K), part('v_proj', H * V));
    case 'kda.conv.weight':
      return {
        transposed: false,
        sources: CONVOLUTIONS.map((tensor) => convRows(`${at}.${tensor}.weight`, H * K, convWidth)),
      };
    case 'kda.wdecay':
      return of('f_proj', H * K);
    case 'kda.dtbias':
      return rows(whole(`${at}.dt_bias`, H * K));
    case 'kda.alog':
      return rows(whole(`${at}.A_log`, H));
    case 'kda.wbeta':
      return of('b_proj', H);
    case 'kda.norm.weight':
      return rows(whole(`${at}.o_norm.weight`, V));
    case 'kda.wgate':
      return of('g_proj', H * V);
    case 'kda.wo':
      return of('dense', hiddenSize);
    default:
      return null;
  }
}

/** The layers whose MLP is dense: by `mlp_layer_types`, or those before `first_k_dense_replace`. */
function bailingDense(fields: Fields): number[] {
  const first = fields.count('first_k_dense_replace', undefined, 0);
  return denseLayers(fields, (i) => i < first, { strict: true });
}

function readKda(fields: Fields): NonNullable<ModelInput['kda']> {
  // Files hold what the class computes of other fields, which counts.
  const of = (name: string, byClass: string) => fields.count(name, fields.count(byClass));
  const width = of('linear_head_dim', 'head_dim');
  const bound = fields.number('kda_lower_bound');
  const bounded = fields.flag('kda_safe_gate');
  if (bounded && bound >= 0) fields.refuse(`kda_lower_bound ${bound}, above which decays are none`);
  return {
    numHeads: of('linear_num_heads', 'num_attention_heads'),
    ...{
      keyDim: width,
      valueDim: width,
      rank: null,
      convWidth: of('linear_conv_kernel_dim', 'short_conv_kernel_size'),
    },
    lowerBound: bounded && bound < 0 ? bound : null,
  };
}

function read(fields: Fields): ModelInput {
  siluOnly(fields);
  // The base counts where `rope_parameters` have none.
  fields.unheeded('num_mtp_layers', 'mtp_loss_scaling_factor', 'rope_theta');
  const period = fields.count('layer_group_size');
  const types = hybridTypes(fields, 'kda', (layer) => (layer + 1) % period === 0);
  const { mla, ...latent } = readLatent(fields);
  const { theta, scaling } = readRope(fields, { theta: 6_000_000 });
  return {
    ...readSizes(fields),
    tieEmbeddings: false,
    ...latent,
    mla,
    headDim: mla.nopeDim + mla.ropeDim,
    ropeTheta: theta,
    ropeScaling: scaling,
    attentionScale: readScale(fields, { mla }),
    outputGate: 'head',
    layers: types.map((type) => (type === 'full' ? 'mla' : type)),
    kda: readKda(fields),
    experts: readSharedExperts(fields, 'num_local_experts', bailingDense(fields), sigmoidRouter),
  };
}

function layout(config: ModelConfig, layer: number | null, name: string): ParameterLayout | null {
  if (name === 'embed.weight') return rows(whole('model.word_embeddings.weight', config.vocabSize));
  const at = `model.layers.${layer}.attention`;
  if (layer !== null && name.startsWith('kda.')) return kdaLayout(config, at, name);
  if (layer === null || !name.startsWith('mla.')) return decoderLayout(config, layer, name, LLAMA_NAMES);
  if (name === 'mla.wgate') return matrix(whole(`${at}.g_proj.weight`, config.numHeads));
  const own = latentLayout(config, at, name, 'neighbors');
  const sources = own?.sources.map((source) => ({ ...source, tensor: source.tensor.replace(/\.o_proj\./, '.dense.') }));
  return own && { ...own, sources: sources ?? [] };
}

/** The names in files of a tensor that is called `name` in memory. */
function alias(name: string): readonly string[] {
  if (name === 'model.embed_tokens.weight') return ['model.word_embeddings.weight'];
  const [, at, own] = /^(model\.layers\.\d+\.)self_attn\.(.*)$/.exec(name) ?? [];
  if (at === undefined || own === undefined) return [];
  if (own === 'conv1d.weight') return CONVOLUTIONS.map((tensor) => `${at}attention.${tensor}.weight`);
  return [`${at}attention.${own.replace('forget_gate.', '').replace(/^o_proj\./, 'dense.')}`];
}

function write(config: ModelConfig): HfConfigJson {
  const { kda, mla, ropeTheta: theta, ropeScaling: scaling } = config;
  const width = mla?.ropeDim ?? config.headDim;
  return {
    ...writeSizes(config),
    ...writeLatent(config),
    head_dim: width,
    hidden_act: writeActivation(config.activation),
    max_position_embeddings: longestOf(config),
    layer_types: config.layers.map(({ mixer }) => (mixer === 'mla' ? 'full_attention' : 'linear_attention')),
    ...writeMlpTypes(config),
    ...writeSharedExperts(config, 'num_local_experts'),
    linear_head_dim: kda?.keyDim,
    linear_num_heads: kda?.numHeads,
    linear_conv_kernel_dim: kda?.convWidth,
    kda_safe_gate: kda !== undefined && kda.lowerBound !== null,
    ...(kda?.lowerBound == null ? {} : { kda_lower_bound: kda.lowerBound }),
    // Layers without positions leave open how wide scaled ones would be.
    ...(mla && {
      rope_parameters: {
        ...writeRope({ ...config, headDim: width, ropeDim: width }, { theta, scaling }),
        ...writeScale(config),
      },
    }),
  };
}

/** Hybrids of Kimi Delta Attention and gated latent attention; as in Kimi Linear, the head is never tied. */
export const bailingHybrid: Family = withExperts(
  {
    modelTypes: ['bailing_hybrid'],
    architecture: 'BailingHybridForCausalLM',
    aliases: {
      model_max_length: 'max_position_embeddings',
      moe_renormalize: 'norm_topk_prob',
      num_expert_group: 'n_group',
      num_experts: 'num_local_experts',
      num_experts_per_token: 'num_experts_per_tok',
      num_shared_experts: 'n_shared_experts',
      num_nextn_predict_layers: 'num_mtp_layers',
    },
    fields: {
      vocab_size: 157_184,
      hidden_size: 2560,
      intermediate_size: 6144,
      moe_intermediate_size: 768,
      num_hidden_layers: 42,
      num_attention_heads: 32,
      num_key_value_heads: optional(32),
      n_shared_experts: 1,
      routed_scaling_factor: 2.5,
      kv_lora_rank: 512,
      q_lora_rank: optional(),
      qk_rope_head_dim: 64,
      v_head_dim: 128,
      qk_nope_head_dim: 128,
      n_group: 8,
      topk_group: 4,
      num_experts_per_tok: 8,
      first_k_dense_replace: 2,
      norm_topk_prob: true,
      hidden_act: 'silu',
      max_position_embeddings: 262_144,
      rms_norm_eps: 1e-6,
      tie_word_embeddings: false,
      rope_parameters: optional(),
      attention_bias: false,
      num_mtp_layers: 1,
      num_local_experts: 512,
      rope_theta: 6_000_000,
      head_dim: 128,
      short_conv_kernel_size: 4,
      layer_group_size: 6,
      kda_safe_gate: true,
      kda_lower_bound: -5,
      layer_types: optional(),
      mlp_layer_types: optional(),
      mtp_loss_scaling_factor: 0,
    },
    read,
    layout: (config, layer, name) => layout(config, layer, name),
    alias,
    // Modules that predict further tokens are stored as layers behind the last.
    ignored: (name, { numLayers }) => Number(/^model\.layers\.(\d+)\./.exec(name)?.[1] ?? -1) >= numLayers,
    write,
  },
  EXPERTS,
);
