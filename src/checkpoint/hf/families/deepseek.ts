/** DeepSeek-V3 and V2: latent attention, and experts behind the first layers. */
import type { ModelConfig, ModelInput } from '../../../model/index.js';
import type { Family, HfConfigJson } from '../family/family.js';
import { optional, type Fields } from '../family/fields.js';
import { range, type RotaryPairs } from '../family/layout.js';
import { longestOf, readRope, ropeParameters, writeRope } from '../family/rotary.js';
import {
  COMMON_FIELDS,
  decoderLayout,
  LLAMA_NAMES,
  readActivation,
  readSizes,
  writeActivation,
  writeSizes,
} from './decoder.js';
import { QWEN_EXPERTS, withExperts, type ExpertNames } from './experts.js';
import {
  LATENT_FIELDS,
  latentLayout,
  readLatent,
  readSharedExperts,
  sigmoidRouter,
  writeLatent,
  writeSharedExperts,
} from './latent.js';

/** Fields of experts, with the defaults of V3. */
const EXPERT_FIELDS = {
  ...{ n_routed_experts: 256, n_shared_experts: 1, moe_intermediate_size: 2048, routed_scaling_factor: 2.5 },
  ...{
    n_group: optional(8),
    topk_group: optional(4),
    num_experts_per_tok: optional(8),
    norm_topk_prob: optional(true),
  },
} as const;

/** The layers before `first_k_dense_replace`, which have no experts. */
const denseLayers = (fields: Fields): number[] =>
  range(0, Math.min(fields.count('first_k_dense_replace', undefined, 0), fields.count('num_hidden_layers')));

const EXPERTS: ExpertNames = {
  ...QWEN_EXPERTS,
  correction: 'gate.e_score_correction_bias',
  shared: { module: 'mlp.shared_experts' },
};

/** The experts of the last layers as `config.json` says them; those of the first ones are dense. */
function writeExperts(config: ModelConfig): HfConfigJson {
  const { experts, numLayers } = config;
  return {
    ...writeSharedExperts(config, 'n_routed_experts'),
    first_k_dense_replace: experts === null ? numLayers : experts.dense.length,
  };
}

/** What DeepSeek-V2's router makes of the logits: a softmax, and a choice by the best expert of each group. */
function softmaxRouter(fields: Fields): Partial<NonNullable<ModelInput['experts']>> {
  const method = fields.has('topk_method') ? fields.text('topk_method') : null;
  if (method !== 'greedy' && method !== 'group_limited_greedy') fields.refuse(`topk_method ${method}`);
  const grouped = method === 'group_limited_greedy';
  // The class does not divide by the sum of weights, whatever norm_topk_prob says.
  fields.unheeded('norm_topk_prob');
  const [count, perToken] = ['n_group', 'topk_group'].map((name) => fields.count(name, grouped ? undefined : 1, 0));
  return {
    ...{ scores: 'softmax', normalize: false },
    groups: grouped ? { count: count ?? 1, perToken: perToken ?? 1, best: 1 } : null,
  };
}

/** What YaRN adds to the logarithm of lengths, as the classes have it. */
const mscale = (factor: number, scale: number): number => (factor <= 1 ? 1 : 0.1 * scale * Math.log(factor) + 1);

const scaledBy = ({ mla }: Pick<ModelConfig, 'mla'>, factor: number): number =>
  (1 / Math.sqrt((mla?.nopeDim ?? 0) + (mla?.ropeDim ?? 0))) * factor * factor;

/** The factor on scores: `mscale_all_dim` of scaled positions is in it, squared; null for the plain one. */
export function readScale(fields: Fields, config: Pick<ModelConfig, 'mla'>): number | null {
  const parameters = ropeParameters(fields);
  if (parameters === null) return null;
  const all = parameters.has('mscale_all_dim') ? parameters.number('mscale_all_dim') : 0;
  const scaled = parameters.text('rope_type', parameters.text('type', 'default')) !== 'default';
  if (!scaled || all === 0) return null;
  return scaledBy(config, mscale(parameters.positive('factor'), all));
}

/** The `mscale_all_dim` that gives the model's factor on scores; empty where it needs none, or there is none. */
export function writeScale(config: ModelConfig): HfConfigJson {
  const { attentionScale, ropeScaling: scaling } = config;
  if (
    attentionScale === null ||
    attentionScale === 'width' ||
    scaling === null ||
    !('factor' in scaling) ||
    scaling.factor <= 1
  )
    return {};
  const exact = (Math.sqrt(attentionScale / scaledBy(config, 1)) - 1) / (0.1 * Math.log(scaling.factor));
  // The number that was read has few digits, and gives the factor bit for bit.
  const short = Number(exact.toPrecision(12));
  const same = scaledBy(config, mscale(scaling.factor, short)) === attentionScale;
  return { mscale_all_dim: same ? short : exact };
}

/** One of the two classes. */
interface DeepseekKind extends Pick<Family, 'modelTypes' | 'fields' | 'aliases'> {
  readonly architecture: string;
  /** Whether the class passes over `head_dim`, where others take rotary positions of that width. */
  readonly ownHeadDim: boolean;
  /** Whether the class refuses a hidden width that is no multiple of its heads (default: false). */
  readonly headsDivideWidth?: boolean;
  readonly turns: (fields: Fields) => RotaryPairs;
  readonly mlpBias: (fields: Fields) => boolean;
  readonly router: (fields: Fields) => Partial<NonNullable<ModelInput['experts']>>;
  readonly write: (config: ModelConfig) => HfConfigJson;
}

function deepseek(kind: DeepseekKind): Family {
  const { modelTypes, architecture, fields: classFields, aliases } = kind;
  const turning = (turns: RotaryPairs): Family =>
    withExperts(
      {
        modelTypes,
        architecture,
        ...(aliases === undefined ? {} : { aliases }),
        fields: classFields,
        headsDivideWidth: kind.headsDivideWidth === true,
        variant: (fields) => turning(kind.turns(fields)),
        read: (fields) => {
          const latent = readLatent(fields);
          const { nopeDim, ropeDim } = latent.mla;
          if (!kind.ownHeadDim && fields.count('head_dim', ropeDim) !== ropeDim)
            fields.refuse('head_dim other than qk_rope_head_dim, with which its class computes nothing');
          if (ropeDim % 2 !== 0) fields.refuse(`qk_rope_head_dim ${ropeDim}, which is odd`);
          const { theta, scaling } = readRope(fields);
          return {
            ...readSizes(fields),
            ...latent,
            headDim: nopeDim + ropeDim,
            ropeTheta: theta,
            ropeScaling: scaling,
            attentionScale: readScale(fields, latent),
            layers: `${fields.count('num_hidden_layers')}*mla`,
            activation: readActivation(fields),
            mlpBias: kind.mlpBias(fields),
            experts: readSharedExperts(fields, 'n_routed_experts', denseLayers(fields), kind.router),
          };
        },
        layout: (config, layer, name) =>
          layer !== null && name.startsWith('mla.')
            ? latentLayout(config, `model.layers.${layer}.self_attn`, name, turns)
            : decoderLayout(config, layer, name, LLAMA_NAMES),
        // Modules that predict further tokens are stored as layers behind the last.
        ignored: (name, { numLayers }) => Number(/^model\.layers\.(\d+)\./.exec(name)?.[1] ?? -1) >= numLayers,
        write: (config) => {
          const { ropeTheta: theta, ropeScaling: scaling, mla } = config;
          const width = mla?.ropeDim ?? config.headDim;
          return {
            ...writeSizes(config),
            ...writeLatent(config),
            head_dim: width,
            hidden_act: writeActivation(config.activation),
            max_position_embeddings: longestOf(config),
            rope_parameters: {
              ...writeRope({ ...config, headDim: width, ropeDim: width }, { theta, scaling }),
              ...writeScale(config),
            },
            ...writeExperts(config),
            ...kind.write(config),
          };
        },
      },
      EXPERTS,
    );
  return turning('neighbors');
}

/** DeepSeek-V3. */
export const deepseekV3 = deepseek({
  modelTypes: ['deepseek_v3'],
  architecture: 'DeepseekV3ForCausalLM',
  aliases: { num_local_experts: 'n_routed_experts', num_nextn_predict_layers: 'num_mtp_layers' },
  fields: {
    ...COMMON_FIELDS,
    ...LATENT_FIELDS,
    ...EXPERT_FIELDS,
    vocab_size: 129_280,
    hidden_size: 7168,
    intermediate_size: 18_432,
    num_hidden_layers: 61,
    num_attention_heads: 128,
    num_key_value_heads: optional(128),
    q_lora_rank: optional(1536),
    first_k_dense_replace: optional(3),
    max_position_embeddings: 4096,
    rope_interleave: optional(true),
    num_mtp_layers: 1,
  },
  ownHeadDim: false,
  turns: (fields) => (fields.has('rope_interleave') && fields.flag('rope_interleave') ? 'neighbors' : 'halves'),
  mlpBias: (fields) => {
    fields.unheeded('num_mtp_layers');
    return false;
  },
  router: sigmoidRouter,
  write: () => ({ rope_interleave: true }),
});

/** DeepSeek-V2. */
export const deepseekV2 = deepseek({
  modelTypes: ['deepseek_v2'],
  architecture: 'DeepseekV2ForCausalLM',
  aliases: { num_experts: 'n_routed_experts' },
  fields: {
    ...COMMON_FIELDS,
    ...LATENT_FIELDS,
    ...EXPERT_FIELDS,
    vocab_size: 102_400,
    hidden_size: 4096,
    intermediate_size: 11_008,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    q_lora_rank: optional(1536),
    v_head_dim: 128,
    first_k_dense_replace: 0,
    max_position_embeddings: 2048,
    mlp_bias: false,
    head_dim: optional(),
    n_routed_experts: 64,
    n_shared_experts: 2,
    moe_intermediate_size: 1407,
    routed_scaling_factor: 1,
    n_group: optional(),
    topk_group: optional(),
    topk_method: optional('greedy'),
    num_experts_per_tok: optional(),
    norm_topk_prob: optional(false),
  },
  ownHeadDim: true,
  headsDivideWidth: true,
  turns: () => 'neighbors',
  mlpBias: (fields) => {
    fields.unheeded('topk_method', 'head_dim');
    return fields.flag('mlp_bias');
  },
  router: softmaxRouter,
  write: ({ mlpBias, experts }) => ({
    mlp_bias: mlpBias,
    ...(experts === null ? {} : { topk_method: experts.groups === null ? 'greedy' : 'group_limited_greedy' }),
  }),
});
