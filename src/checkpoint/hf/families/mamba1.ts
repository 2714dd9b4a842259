/** Mamba-1 alone and in hybrids: Mamba, Falcon Mamba, Jamba. */
import type { ModelConfig, ModelInput } from '../../../model/index.js';
import type { Family, HfConfigJson } from '../family/family.js';
import type { Fields } from '../family/fields.js';
import { matrix, range, rows, whole, type ParameterLayout } from '../family/layout.js';
import { decoderLayout, readActivation, readSizes, writeActivation, writeSizes } from './decoder.js';
import { QWEN_EXPERTS, readExperts, withExperts } from './experts.js';
import {
  backboneLayout,
  computedTypes,
  convRows,
  mambaOr,
  plainPositions,
  PRE_FF_NAMES,
  siluOnly,
} from './recurrent.js';

/** Norms of Falcon Mamba and Jamba by the names of ours. */
const NORMS: Readonly<Record<string, string>> = {
  'mamba.dt.norm.weight': 'dt_layernorm',
  'mamba.b.norm.weight': 'b_layernorm',
  'mamba.c.norm.weight': 'c_layernorm',
};

/** The tensors of a Mamba mixer, the same in every family. */
function mambaLayout(config: ModelConfig, at: string, name: string): ParameterLayout | null {
  const section = config.mamba;
  if (section === undefined) return null;
  const { innerSize: I, stateSize: N, rank, convWidth } = section;
  const vector = (tensor: string, size: number) => rows(whole(`${at}.${tensor}`, size));
  switch (name) {
    case 'mamba.win':
      return matrix(whole(`${at}.in_proj.weight`, 2 * I));
    case 'mamba.in.bias':
      return vector('in_proj.bias', 2 * I);
    case 'mamba.conv.weight':
      return rows(convRows(`${at}.conv1d.weight`, I, convWidth));
    case 'mamba.conv.bias':
      return vector('conv1d.bias', I);
    case 'mamba.wx':
      return matrix(whole(`${at}.x_proj.weight`, rank + 2 * N));
    case 'mamba.wdt':
      return matrix(whole(`${at}.dt_proj.weight`, I));
    case 'mamba.dtbias':
      return vector('dt_proj.bias', I);
    case 'mamba.alog':
      return vector('A_log', I);
    case 'mamba.skip':
      return vector('D', I);
    case 'mamba.wout':
      return matrix(whole(`${at}.out_proj.weight`, config.hiddenSize));
    case 'mamba.out.bias':
      return vector('out_proj.bias', config.hiddenSize);
    default: {
      const norm = NORMS[name];
      return norm === undefined ? null : vector(`${norm}.weight`, norm === 'dt_layernorm' ? rank : N);
    }
  }
}

/** The inner width: `intermediate_size`, which files hold though the class has no such field, comes before `expand`. */
function innerSize(fields: Fields): number {
  const byFactor = fields.count('expand') * fields.count('hidden_size');
  return fields.states('intermediate_size') ? fields.count('intermediate_size') : byFactor;
}

/** The rank of the time step: a number, or that which the class computes. */
export const rankOf = (fields: Fields, name: string): number =>
  fields.value(name) === 'auto' ? Math.ceil(fields.count('hidden_size') / 16) : fields.count(name);

/** The fields of Mamba and Falcon Mamba; the rank is under a name that other classes do not heed. */
const FIELDS = {
  vocab_size: 50_280,
  hidden_size: 768,
  state_size: 16,
  num_hidden_layers: 32,
  layer_norm_epsilon: 1e-5,
  expand: 2,
  conv_kernel: 4,
  use_bias: false,
  use_conv_bias: true,
  hidden_act: 'silu',
  time_step_rank: 'auto',
  time_step_scale: 1,
  time_step_init_scheme: 'random',
  rescale_prenorm_residual: false,
  use_mambapy: false,
  use_associative_scan: true,
  tie_word_embeddings: true,
} as const;

function readAlone(fields: Fields, norms: Pick<NonNullable<ModelInput['mamba']>, 'norms' | 'normEps'>): ModelInput {
  siluOnly(fields);
  plainPositions(fields);
  fields.unheeded('time_step_scale', 'time_step_init_scheme', 'use_mambapy', 'use_associative_scan');
  computedTypes(fields, 'layer_types');
  const hiddenSize = fields.count('hidden_size');
  return {
    vocabSize: fields.count('vocab_size'),
    hiddenSize,
    layers: Array<string>(fields.count('num_hidden_layers')).fill('mamba'),
    // There is no attention to have these.
    ...{ numHeads: 1, headDim: hiddenSize },
    rmsNormEps: fields.positive('layer_norm_epsilon'),
    tieEmbeddings: fields.flag('tie_word_embeddings'),
    block: { mlp: false },
    mamba: {
      innerSize: innerSize(fields),
      stateSize: fields.count('state_size'),
      rank: rankOf(fields, 'time_step_rank'),
      convWidth: fields.count('conv_kernel'),
      convBias: fields.flag('use_conv_bias'),
      bias: fields.flag('use_bias'),
      ...norms,
    },
  };
}

const writeAlone = (config: ModelConfig): HfConfigJson => ({
  vocab_size: config.vocabSize,
  hidden_size: config.hiddenSize,
  num_hidden_layers: config.numLayers,
  layer_norm_epsilon: config.rmsNormEps,
  tie_word_embeddings: config.tieEmbeddings,
  state_size: config.mamba?.stateSize,
  intermediate_size: config.mamba?.innerSize,
  time_step_rank: config.mamba?.rank,
  conv_kernel: config.mamba?.convWidth,
  use_conv_bias: config.mamba?.convBias,
  use_bias: config.mamba?.bias,
});

/** Mamba without attention. */
export const mamba: Family = {
  modelTypes: ['mamba'],
  architecture: 'MambaForCausalLM',
  hiddenStates: 'layers',
  fields: FIELDS,
  read: (fields) => readAlone(fields, { norms: 'none' }),
  layout: backboneLayout(mambaLayout),
  write: writeAlone,
};

/** Falcon Mamba: Mamba with norms, without weights, on B, C and what time steps are projected from. */
export const falconMamba: Family = {
  ...mamba,
  modelTypes: ['falcon_mamba'],
  architecture: 'FalconMambaForCausalLM',
  fields: { ...FIELDS, mixer_rms_eps: 1e-6 },
  read: (fields) => readAlone(fields, { norms: 'plain', normEps: fields.positive('mixer_rms_eps') }),
  write: (config) => ({ ...writeAlone(config), mixer_rms_eps: config.mamba?.normEps }),
};

/** Where attention stands: each `period` layers, the one at `offset`. */
function jambaLayers(fields: Fields): string[] {
  const [period, offset] = [fields.count('attn_layer_period'), fields.count('attn_layer_offset', undefined, 0)];
  if (offset >= period) fields.refuse(`attn_layer_offset ${offset} of a period of ${period}`);
  const depth = fields.count('num_hidden_layers');
  return Array.from({ length: depth }, (_, i) => (i % period === offset ? 'full:nope' : 'mamba'));
}

/** Layers of one expert, which is an MLP: all but one in each period. */
function jambaDense(fields: Fields, experts: number): number[] {
  const [period, offset] = [fields.count('expert_layer_period'), fields.count('expert_layer_offset', undefined, 0)];
  if (offset >= period) fields.refuse(`expert_layer_offset ${offset} of a period of ${period}`);
  return range(0, fields.count('num_hidden_layers')).filter((i) => experts <= 1 || i % period !== offset);
}

/** The experts of Jamba, whose weights are left as the softmax over all of them gives them. */
function readJambaExperts(fields: Fields): ModelInput['experts'] {
  const sparse = fields.count('num_experts', undefined, 0) > 1;
  if (!sparse) fields.unheeded('num_experts_per_tok');
  return readExperts(fields, { size: 'intermediate_size', dense: jambaDense, more: () => ({ normalize: false }) });
}

function writeJambaExperts({ experts, numLayers }: ModelConfig): HfConfigJson {
  if (experts === null) return { num_experts: 1, num_experts_per_tok: 1 };
  const [first = 0, second] = range(0, numLayers).filter((i) => !experts.dense.includes(i));
  return {
    num_experts: experts.count,
    num_experts_per_tok: experts.perToken,
    intermediate_size: experts.intermediateSize,
    // One layer with experts leaves the period open.
    expert_layer_period: second === undefined ? Math.max(numLayers, first + 1) : second - first,
    expert_layer_offset: first,
  };
}

/** Jamba: Mamba with a few layers of attention without positions. */
const jambaFamily: Family = {
  modelTypes: ['jamba'],
  architecture: 'JambaForCausalLM',
  aliases: { num_local_experts: 'num_experts' },
  fields: {
    vocab_size: 65_536,
    tie_word_embeddings: false,
    hidden_size: 4096,
    intermediate_size: 14_336,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    hidden_act: 'silu',
    rms_norm_eps: 1e-6,
    max_position_embeddings: 262_144,
    num_experts_per_tok: 2,
    num_experts: 16,
    expert_layer_period: 2,
    expert_layer_offset: 1,
    attn_layer_period: 8,
    attn_layer_offset: 4,
    use_mamba_kernels: true,
    mamba_d_state: 16,
    mamba_d_conv: 4,
    mamba_expand: 2,
    mamba_dt_rank: 'auto',
    mamba_conv_bias: true,
    mamba_proj_bias: false,
    use_mambapy: false,
    use_associative_scan: true,
  },
  read: (fields) => {
    plainPositions(fields);
    computedTypes(fields, 'layer_types', 'layers_block_type');
    fields.unheeded('use_mamba_kernels', 'use_mambapy', 'use_associative_scan');
    const sizes = readSizes(fields);
    const layers = jambaLayers(fields);
    if (layers.includes('mamba')) siluOnly(fields);
    return {
      ...sizes,
      experts: readJambaExperts(fields),
      layers,
      activation: readActivation(fields),
      mamba: {
        innerSize: fields.count('mamba_expand') * sizes.hiddenSize,
        stateSize: fields.count('mamba_d_state'),
        rank: rankOf(fields, 'mamba_dt_rank'),
        convWidth: fields.count('mamba_d_conv'),
        convBias: fields.flag('mamba_conv_bias'),
        bias: fields.flag('mamba_proj_bias'),
        norms: 'weighted',
        normEps: sizes.rmsNormEps,
      },
    };
  },
  layout: mambaOr('mamba.', mambaLayout, (config, layer, name) => decoderLayout(config, layer, name, PRE_FF_NAMES)),
  write: (config) => {
    const attention = config.layers.flatMap((plan, i) => (plan.mixer === 'attention' ? [i] : []));
    const [first = config.numLayers, second = config.numLayers + first] = attention;
    return {
      ...writeSizes(config),
      hidden_act: writeActivation(config.activation),
      ...writeJambaExperts(config),
      // One layer of attention, or none, leaves the period open.
      attn_layer_period: Math.max(second - first, first + 1),
      attn_layer_offset: first,
      mamba_d_state: config.mamba?.stateSize,
      mamba_d_conv: config.mamba?.convWidth,
      mamba_expand: (config.mamba?.innerSize ?? 0) / config.hiddenSize,
      mamba_dt_rank: config.mamba?.rank,
      mamba_conv_bias: config.mamba?.convBias,
      mamba_proj_bias: config.mamba?.bias,
    };
  },
};

/** Jamba with its experts. */
export const jamba: Family = withExperts(jambaFamily, {
  ...QWEN_EXPERTS,
  module: 'feed_forward',
  router: 'router.weight',
});
