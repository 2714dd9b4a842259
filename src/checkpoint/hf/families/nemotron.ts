/** Nemotron-H: layers of one block each: Mamba-2, attention without positions, an MLP, or experts. */
import { expertsOf, type LayerPlan, type ModelConfig, type ModelInput } from '../../../model/index.js';
import type { Family, HfConfigJson, TensorShapes } from '../family/family.js';
import { optional, type Fields } from '../family/fields.js';
import { matrix, rows, whole, type ParameterLayout } from '../family/layout.js';
import { decoderLayout, readActivation, readSizes, writeActivation } from './decoder.js';
import { expertAliases, expertLayout, type ExpertNames } from './experts.js';
import { NO_LIMIT } from './mamba.js';
import { mambaLayout, plainPositions } from './recurrent.js';

/** The blocks by their letters in `hybrid_override_pattern`. */
const LETTERS: Readonly<Record<string, string>> = {
  M: 'linear_attention',
  '*': 'full_attention',
  '-': 'mlp',
  E: 'moe',
};

/** The layer of a pattern for each type of block, in new and old spellings. */
const LAYERS: Readonly<Record<string, string>> = {
  linear_attention: 'mamba2',
  mamba: 'mamba2',
  full_attention: 'full:nope',
  attention: 'full:nope',
  mlp: 'mlp',
  moe: 'mlp',
};

/** What the class takes where neither a list nor a pattern says. */
const DEFAULT_TYPES = ['linear_attention', 'moe', 'full_attention', 'mlp'];

/** The type of each block: `layers_block_type`, or the letters of older files. */
function blockTypes(fields: Fields): string[] {
  const letters = fields.states('hybrid_override_pattern') ? [...fields.text('hybrid_override_pattern')] : null;
  if (fields.has('layers_block_type')) return fields.list<string>('layers_block_type', 'string');
  return letters === null ? DEFAULT_TYPES : letters.map((letter) => LETTERS[letter] ?? letter);
}

function readLayers(fields: Fields, types: readonly string[]): string[] {
  return types.map((type, i) => {
    const layer = LAYERS[type];
    if (layer === undefined) fields.refuse(`layer ${i} of type ${type}`);
    return layer ?? 'mlp';
  });
}

/** Fields of what is refused by layers, or that the class does not look at. */
const UNREAD = [
  ...['n_shared_experts', 'moe_shared_expert_overlap', 'num_nextn_predict_layers', 'attention_bias'],
  ...['mamba_proj_bias', 'sliding_window', 'expand', 'time_step_limit', 'use_mamba_kernels', 'mamba_ssm_cache_dtype'],
  ...['rescale_prenorm_residual', 'hidden_dropout', 'max_position_embeddings'],
] as const;

/** Fields of experts, where no layer has any. */
const EXPERT_FIELDS = [
  ...['n_routed_experts', 'moe_intermediate_size', 'moe_shared_expert_intermediate_size', 'num_experts_per_tok'],
  ...['routed_scaling_factor', 'n_group', 'topk_group', 'norm_topk_prob'],
] as const;

const EXPERTS: ExpertNames = {
  module: 'mixer',
  router: 'gate.weight',
  correction: 'gate.e_score_correction_bias',
  up: 'up_proj',
  down: 'down_proj',
  stacked: { up: 'experts.up_proj', down: 'experts.down_proj', saved: false },
  shared: { module: 'mixer.shared_experts' },
  latent: { input: 'fc1_latent_proj', output: 'fc2_latent_proj' },
};

function readNemotronExperts(fields: Fields, types: readonly string[]): ModelInput['experts'] {
  const latent = fields.has('moe_latent_size') ? fields.count('moe_latent_size') : null;
  if (!types.includes('moe')) {
    fields.unheeded(...EXPERT_FIELDS);
    return null;
  }
  const [groups, perToken] = [fields.count('n_group'), fields.count('topk_group')];
  return {
    count: fields.count('n_routed_experts'),
    perToken: fields.count('num_experts_per_tok'),
    intermediateSize: fields.count('moe_intermediate_size'),
    ...{ scores: 'sigmoid', correctionBias: true, normalize: fields.flag('norm_topk_prob') },
    scale: fields.number('routed_scaling_factor'),
    groups: groups === 1 && perToken === 1 ? null : { count: groups, perToken },
    sharedSize: fields.count('moe_shared_expert_intermediate_size'),
    latentSize: latent,
    dense: types.flatMap((type, i) => (type === 'moe' ? [] : [i])),
  };
}

const writeNemotronExperts = ({ experts }: ModelConfig): HfConfigJson =>
  experts === null
    ? {}
    : {
        n_routed_experts: experts.count,
        num_experts_per_tok: experts.perToken,
        moe_intermediate_size: experts.intermediateSize,
        norm_topk_prob: experts.normalize,
        routed_scaling_factor: experts.scale,
        n_group: experts.groups?.count ?? 1,
        topk_group: experts.groups?.perToken ?? 1,
        moe_shared_expert_intermediate_size: experts.sharedSize,
        moe_latent_size: experts.latentSize,
      };

/** Fields of Mamba-2. */
const MAMBA_FIELDS = [
  ...['mamba_num_heads', 'mamba_head_dim', 'ssm_state_size', 'n_groups', 'conv_kernel', 'use_conv_bias', 'use_bias'],
  ...['time_step_min', 'mamba_hidden_act'],
] as const;

/** The bounds of the time step: the class has `time_step_min` for the lower one, and none above. */
function readMamba(fields: Fields, normEps: number) {
  const numGroups = fields.count('n_groups');
  return {
    numHeads: fields.count('mamba_num_heads'),
    headDim: fields.count('mamba_head_dim'),
    stateSize: fields.count('ssm_state_size'),
    numGroups,
    normGroups: numGroups,
    convWidth: fields.count('conv_kernel'),
    convBias: fields.flag('use_conv_bias'),
    bias: fields.flag('use_bias'),
    dtMin: fields.number('time_step_min'),
    normEps,
  };
}

/** Tensors as they are called in memory, in the stack `model`, under their names in files. */
const inBackbone = (layout: ParameterLayout, layer: number): ParameterLayout => ({
  ...layout,
  sources: layout.sources.map((s) => ({
    ...s,
    tensor: s.tensor.replace(`model.layers.${layer}.`, `backbone.layers.${layer}.`),
  })),
});

function layout(config: ModelConfig, layer: number | null, name: string, shapes: TensorShapes): ParameterLayout | null {
  const { hiddenSize: d, intermediateSize: f, vocabSize } = config;
  if (layer === null) {
    if (name === 'embed.weight') return rows(whole('backbone.embeddings.weight', vocabSize));
    if (name === 'head.weight') return matrix(whole('lm_head.weight', vocabSize));
    return name === 'norm.weight' ? rows(whole('backbone.norm_f.weight', d)) : null;
  }
  const at = `backbone.layers.${layer}`;
  const stored: TensorShapes = (tensor) => shapes(tensor.replace(/^model\./, 'backbone.'));
  const experts = expertLayout(config, layer, name, EXPERTS, stored);
  if (experts !== null) return inBackbone(experts, layer);
  switch (name) {
    case 'norm1.weight':
    case 'norm2.weight':
      return rows(whole(`${at}.norm.weight`, d));
    case 'mlp.wup':
      return matrix(whole(`${at}.mixer.up_proj.weight`, f));
    case 'mlp.wdown':
      return matrix(whole(`${at}.mixer.down_proj.weight`, d));
    case 'mlp.bup':
      return rows(whole(`${at}.mixer.up_proj.bias`, f));
    case 'mlp.bdown':
      return rows(whole(`${at}.mixer.down_proj.bias`, d));
    default: {
      if (name.startsWith('mamba2.')) return mambaLayout(config, `${at}.mixer`, name);
      const plain = decoderLayout(config, layer, name, {});
      const renamed = (tensor: string) => tensor.replace(`model.layers.${layer}.self_attn.`, `${at}.mixer.`);
      return plain && { ...plain, sources: plain.sources.map((s) => ({ ...s, tensor: renamed(s.tensor) })) };
    }
  }
}

const TYPE_OF: { readonly [M in LayerPlan['mixer']]?: string } = {
  none: 'mlp',
  attention: 'full_attention',
  mamba2: 'linear_attention',
};

function write(config: ModelConfig): HfConfigJson {
  const { mamba2 } = config;
  return {
    vocab_size: config.vocabSize,
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    num_attention_heads: config.numHeads,
    num_key_value_heads: config.numKvHeads,
    head_dim: config.headDim,
    layer_norm_epsilon: config.rmsNormEps,
    tie_word_embeddings: false,
    layers_block_type: config.layers.map((plan, i) =>
      plan.mixer === 'none' && expertsOf(config, i) !== null ? 'moe' : (TYPE_OF[plan.mixer] ?? plan.mixer),
    ),
    ...writeNemotronExperts(config),
    mlp_hidden_act: writeActivation(config.activation),
    mlp_bias: config.mlpBias,
    mamba_num_heads: mamba2?.numHeads,
    mamba_head_dim: mamba2?.headDim,
    ssm_state_size: mamba2?.stateSize,
    n_groups: mamba2?.numGroups,
    conv_kernel: mamba2?.convWidth,
    use_conv_bias: mamba2?.convBias,
    use_bias: mamba2?.bias,
    time_step_min: mamba2?.dtMin,
    chunk_size: mamba2?.chunk ?? 128,
  };
}

/** Nemotron-H: one block a layer. Its head is never tied, whatever `tie_word_embeddings` says. */
export const nemotronH: Family = {
  modelTypes: ['nemotron_h'],
  architecture: 'NemotronHForCausalLM',
  aliases: {
    layer_types: 'layers_block_type',
    mamba_n_groups: 'n_groups',
    mamba_d_conv: 'conv_kernel',
    mamba_expand: 'expand',
    mamba_dt_min: 'time_step_min',
    mamba_dt_limit: 'time_step_limit',
    mamba_conv_bias: 'use_conv_bias',
  },
  fields: {
    vocab_size: 131_072,
    hidden_size: 4096,
    layers_block_type: optional(),
    tie_word_embeddings: false,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    head_dim: 128,
    max_position_embeddings: 4096,
    attention_bias: false,
    sliding_window: optional(),
    intermediate_size: 21_504,
    mlp_hidden_act: 'relu2',
    mlp_bias: false,
    use_mamba_kernels: true,
    ssm_state_size: 128,
    mamba_num_heads: 128,
    mamba_head_dim: 64,
    mamba_hidden_act: 'silu',
    n_groups: 8,
    conv_kernel: 4,
    expand: 2,
    time_step_min: 0.001,
    time_step_limit: NO_LIMIT,
    use_conv_bias: true,
    mamba_proj_bias: false,
    mamba_ssm_cache_dtype: 'float32',
    n_routed_experts: 8,
    n_shared_experts: 1,
    moe_intermediate_size: 7688,
    moe_shared_expert_intermediate_size: 7688,
    moe_latent_size: optional(),
    moe_shared_expert_overlap: true,
    num_experts_per_tok: 2,
    routed_scaling_factor: 1,
    n_group: 1,
    topk_group: 1,
    norm_topk_prob: true,
    num_nextn_predict_layers: 0,
    mtp_layers_block_type: optional(),
    use_bias: false,
    layer_norm_epsilon: 1e-5,
    hidden_dropout: 0,
    rescale_prenorm_residual: true,
  },
  read: (fields) => {
    fields.unheeded(...UNREAD);
    fields.list('mtp_layers_block_type', 'string');
    plainPositions(fields);
    const types = blockTypes(fields);
    const layers = readLayers(fields, types);
    const recurrent = layers.includes('mamba2');
    if (recurrent) fields.only('mamba_hidden_act', 'silu', 'swish');
    // The sizes of a mixer that no layer is.
    else fields.without(...MAMBA_FIELDS);
    const sizes = readSizes(fields, 'layer_norm_epsilon');
    return {
      ...sizes,
      tieEmbeddings: false,
      experts: readNemotronExperts(fields, types),
      layers,
      block: { mlp: false },
      activation: readActivation(fields, 'mlp_hidden_act'),
      mlpGate: false,
      mlpBias: fields.flag('mlp_bias'),
      ...(recurrent ? { mamba2: readMamba(fields, sizes.rmsNormEps) } : {}),
    };
  },
  layout,
  ignored: (name) => /(^|\.)mtp\./.test(name),
  // In memory the stack is `model`, in files `backbone`.
  alias: (name, config) =>
    [name, ...expertAliases(name, config, EXPERTS)].map((other) => other.replace(/^model\./, 'backbone.')),
  write,
};
