/** Mamba-2 alone and in hybrids: Mamba-2, Bamba, Granite 4 hybrids. */
import type { ModelConfig, ModelInput } from '../../../model/index.js';
import { headGroups } from '../../../model/index.js';
import type { Family, HfConfigJson } from '../family/family.js';
import { optional, type Fields } from '../family/fields.js';
import { longestOf, readRope, ropeParameters, ropeFields, writeRope } from '../family/rotary.js';
import { COMMON_FIELDS, decoderLayout, readActivation, readSizes, writeActivation, writeSizes } from './decoder.js';
import { GRANITE_EXPERTS, readExperts, withExperts } from './experts.js';
import { readGraniteScales, writeGraniteScales } from './llama.js';
import { backboneLayout, hybridTypes, mambaLayout, mambaOr, PRE_FF_NAMES, siluOnly } from './recurrent.js';

/** `time_step_limit` without bounds, as Transformers writes it. */
export const NO_LIMIT = [0, { __float__: 'Infinity' }] as const;

/** `time_step_limit`: bounds, infinity as none. */
export function stepLimit(fields: Fields): { dtMin: number; dtMax: number | null } {
  const value = fields.value('time_step_limit');
  const [low, high] = Array.isArray(value) && value.length === 2 ? (value as unknown[]) : [null, null];
  if (typeof low !== 'number') {
    fields.refuse(`time_step_limit ${JSON.stringify(value)}`);
    return { dtMin: 0, dtMax: null };
  }
  return { dtMin: low, dtMax: typeof high === 'number' ? high : null };
}

/** `time_step_limit` of a model with Mamba-2; undefined without. */
export const writeStepLimit = ({ mamba2 }: ModelConfig) =>
  mamba2 === undefined ? undefined : [mamba2.dtMin, mamba2.dtMax ?? NO_LIMIT[1]];

/** Fields of hybrids that say nothing where no layer is Mamba-2. */
const HYBRID_FIELDS = [
  ...['mamba_n_heads', 'mamba_n_groups', 'mamba_d_state', 'mamba_d_head', 'mamba_d_conv', 'mamba_expand'],
  ...['mamba_conv_bias', 'mamba_proj_bias', 'time_step_limit'],
] as const;

/** The version of Transformers from which the gated norm takes its statistics group by group, as mamba_ssm does. */
const GROUPED_NORM = [5, 23] as const;

/**
 * Groups of the gated norm: those of the keys, whatever wrote the file. Transformers before 5.23 normalized the whole
 * width whatever the groups; who wants that says `norm_groups: 1`, a field of Longsight's own.
 */
function normGroups(fields: Fields, numGroups: number): number {
  if (numGroups === 1) return 1;
  if (fields.states('norm_groups')) {
    const asked = fields.count('norm_groups');
    if (asked === 1 || asked === numGroups) return asked;
    fields.refuse(`norm_groups ${asked} (it may be 1 or ${numGroups})`);
  }
  const written = fields.value('transformers_version');
  const version = typeof written === 'string' ? written : '';
  const [major = NaN, minor = NaN] = version.split('.').map(Number);
  const [since, sinceMinor] = GROUPED_NORM;
  if (major < since || (major === since && minor < sinceMinor)) {
    fields.note(
      `saved by Transformers ${version}, which normalized the outputs of Mamba-2 over their whole width; read with a norm ` +
        `over each of ${numGroups} groups, as mamba_ssm and Transformers from ${GROUPED_NORM.join('.')} on compute. ` +
        'Put "norm_groups": 1 into config.json for the whole width',
    );
  }
  return numGroups;
}

/** The fields of hybrids, `mamba_...`. */
function readHybridMamba(fields: Fields, normEps: number): NonNullable<ModelInput['mamba2']> {
  const numHeads = fields.count('mamba_n_heads');
  const inner = fields.count('mamba_expand') * fields.count('hidden_size');
  const headDim = fields.value('mamba_d_head') === 'auto' ? Math.floor(inner / numHeads) : fields.count('mamba_d_head');
  if (numHeads * headDim !== inner) {
    fields.refuse(
      `mamba_n_heads ${numHeads} of ${headDim} channels, which are not mamba_expand times hidden_size, ${inner}`,
    );
  }
  const numGroups = fields.count('mamba_n_groups');
  return {
    numHeads,
    headDim,
    stateSize: fields.count('mamba_d_state'),
    numGroups,
    normGroups: normGroups(fields, numGroups),
    convWidth: fields.count('mamba_d_conv'),
    convBias: fields.flag('mamba_conv_bias', false),
    bias: fields.flag('mamba_proj_bias', false),
    normEps,
    ...stepLimit(fields),
  };
}

function writeHybridMamba(config: ModelConfig): HfConfigJson {
  const { mamba2, hiddenSize } = config;
  return {
    mamba_n_heads: mamba2?.numHeads,
    mamba_d_head: mamba2?.headDim,
    mamba_expand: ((mamba2?.numHeads ?? 0) * (mamba2?.headDim ?? 0)) / hiddenSize,
    mamba_d_state: mamba2?.stateSize,
    mamba_n_groups: mamba2?.numGroups,
    mamba_d_conv: mamba2?.convWidth,
    mamba_conv_bias: mamba2?.convBias,
    mamba_proj_bias: mamba2?.bias,
    mamba_chunk_size: mamba2?.chunk ?? 256,
    time_step_limit: writeStepLimit(config),
  };
}

/** Mamba-2 without attention. */
export const mamba2: Family = {
  modelTypes: ['mamba2'],
  hiddenStates: 'layers',
  architecture: 'Mamba2ForCausalLM',
  fields: {
    num_heads: 128,
    head_dim: 64,
    vocab_size: 32_768,
    hidden_size: 4096,
    state_size: 128,
    num_hidden_layers: 64,
    layer_norm_epsilon: 1e-5,
    expand: 2,
    conv_kernel: 4,
    n_groups: 8,
    use_bias: false,
    use_conv_bias: true,
    hidden_act: 'silu',
    time_step_limit: NO_LIMIT,
    rescale_prenorm_residual: false,
    tie_word_embeddings: false,
  },
  read: (fields) => {
    siluOnly(fields);
    const numGroups = fields.count('n_groups');
    const eps = fields.positive('layer_norm_epsilon');
    if (fields.states('layer_types')) fields.refuse('layer_types in a model without attention');
    const rope = ropeParameters(fields);
    if (rope !== null && rope.text('rope_type', 'default') !== 'default')
      fields.refuse('scaled rotary positions in a model without attention');
    const [numHeads, headDim] = [fields.count('num_heads'), fields.count('head_dim')];
    const inner = fields.count('expand') * fields.count('hidden_size');
    if (numHeads * headDim !== inner) {
      fields.refuse(`num_heads ${numHeads} of ${headDim} channels, which are not expand times hidden_size, ${inner}`);
    }
    return {
      vocabSize: fields.count('vocab_size'),
      hiddenSize: fields.count('hidden_size'),
      layers: Array<string>(fields.count('num_hidden_layers')).fill('mamba2'),
      // There is no attention to have these.
      ...{ numHeads, headDim },
      rmsNormEps: eps,
      tieEmbeddings: fields.flag('tie_word_embeddings'),
      block: { mlp: false },
      mamba2: {
        ...{ numHeads, headDim, numGroups, normGroups: normGroups(fields, numGroups), normEps: eps },
        stateSize: fields.count('state_size'),
        convWidth: fields.count('conv_kernel'),
        convBias: fields.flag('use_conv_bias'),
        bias: fields.flag('use_bias'),
        ...stepLimit(fields),
      },
    };
  },
  layout: backboneLayout(mambaLayout),
  write: (config) => ({
    vocab_size: config.vocabSize,
    hidden_size: config.hiddenSize,
    num_hidden_layers: config.numLayers,
    tie_word_embeddings: config.tieEmbeddings,
    layer_norm_epsilon: config.rmsNormEps,
    num_heads: config.mamba2?.numHeads,
    head_dim: config.mamba2?.headDim,
    expand: innerWidth(config) / config.hiddenSize,
    n_groups: config.mamba2?.numGroups,
    state_size: config.mamba2?.stateSize,
    conv_kernel: config.mamba2?.convWidth,
    use_conv_bias: config.mamba2?.convBias,
    use_bias: config.mamba2?.bias,
    chunk_size: config.mamba2?.chunk ?? 256,
    time_step_limit: writeStepLimit(config),
    // Not read by Transformers; mlx-lm asks for them, and normalizes over the whole width: it refuses models of several
    // groups without them, which it would compute otherwise.
    ...(config.mamba2?.numGroups === 1 ? { intermediate_size: innerWidth(config), time_step_rank: 'auto' } : {}),
  }),
};

const innerWidth = ({ mamba2 }: ModelConfig): number => (mamba2?.numHeads ?? 0) * (mamba2?.headDim ?? 0);

const writeCommon = (config: ModelConfig): HfConfigJson => ({
  ...writeSizes(config),
  ...writeHybridMamba(config),
  hidden_act: writeActivation(config.activation),
  max_position_embeddings: longestOf(config),
  attention_bias: config.attentionBias === 'all',
});

/** Bamba: Mamba-2 with a few layers of attention. */
export const bamba: Family = {
  modelTypes: ['bamba'],
  architecture: 'BambaForCausalLM',
  fields: {
    ...COMMON_FIELDS,
    vocab_size: 128_000,
    hidden_size: 4096,
    intermediate_size: 14_336,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: optional(8),
    rms_norm_eps: 1e-5,
    max_position_embeddings: 262_144,
    attn_layer_indices: optional(),
    mamba_n_heads: optional(128),
    mamba_d_head: optional('auto'),
    mamba_n_groups: optional(1),
    mamba_d_state: optional(256),
    mamba_d_conv: optional(4),
    mamba_expand: optional(2),
    mamba_conv_bias: optional(true),
    mamba_proj_bias: optional(false),
    time_step_limit: optional(NO_LIMIT),
    attention_bias: false,
    mlp_bias: false,
  },
  read: (fields) => {
    siluOnly(fields);
    const sizes = readSizes(fields);
    const indices = new Set(fields.list<number>('attn_layer_indices', 'number'));
    for (const name of ['layer_types', 'layers_block_type'])
      if (fields.states(name)) fields.refuse(`${name}, which its class computes from attn_layer_indices`);
    const depth = fields.count('num_hidden_layers');
    return {
      ...sizes,
      ...ropeFields(readRope(fields, { fraction: 0.5, fixedFraction: true }), sizes.headDim),
      layers: Array.from({ length: depth }, (_, i) => (indices.has(i) ? 'full' : 'mamba2')),
      attentionBias: fields.flag('attention_bias') ? 'all' : 'none',
      mlpBias: fields.flag('mlp_bias'),
      mamba2: readHybridMamba(fields, sizes.rmsNormEps),
    };
  },
  layout: mambaOr('mamba2.', mambaLayout, (config, layer, name) => decoderLayout(config, layer, name, PRE_FF_NAMES)),
  write: (config) => ({
    ...writeCommon(config),
    mlp_bias: config.mlpBias,
    attn_layer_indices: config.layers.flatMap((plan, i) => (plan.mixer === 'attention' ? [i] : [])),
    rope_parameters: {
      ...writeRope(config, { theta: config.ropeTheta, scaling: config.ropeScaling }),
      partial_rotary_factor: config.ropeDim / config.headDim,
    },
  }),
};

/** The experts of Granite 4: beside them stands the MLP of files without, as a shared expert. */
function readGraniteExperts(fields: Fields): ModelInput['experts'] {
  fields.without('num_experts_per_tok');
  if (fields.count('num_local_experts', undefined, 0) === 0) return null;
  return readExperts(fields, {
    count: 'num_local_experts',
    size: 'intermediate_size',
    dense: () => [],
    more: (own) => ({ sharedSize: own.count('shared_intermediate_size') }),
  });
}

const writeGraniteExperts = ({ experts, intermediateSize }: ModelConfig): HfConfigJson =>
  experts === null
    ? { num_local_experts: 0, shared_intermediate_size: intermediateSize }
    : {
        num_local_experts: experts.count,
        num_experts_per_tok: experts.perToken,
        intermediate_size: experts.intermediateSize,
        shared_intermediate_size: experts.sharedSize,
      };

/** Granite 4 hybrids: Mamba-2 with a few layers of attention. */
const graniteFamily: Family = {
  modelTypes: ['granitemoehybrid'],
  aliases: { layers_block_type: 'layer_types' },
  architecture: 'GraniteMoeHybridForCausalLM',
  fields: {
    ...COMMON_FIELDS,
    vocab_size: 32_000,
    hidden_size: 4096,
    intermediate_size: 11_008,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: optional(),
    max_position_embeddings: 2048,
    attention_bias: false,
    embedding_multiplier: optional(1),
    logits_scaling: optional(1),
    residual_multiplier: optional(1),
    attention_multiplier: optional(1),
    num_local_experts: optional(8),
    num_experts_per_tok: optional(2),
    shared_intermediate_size: 1024,
    position_embedding_type: optional(),
    layer_types: optional(),
    mamba_n_heads: optional(128),
    mamba_n_groups: optional(1),
    mamba_d_state: optional(256),
    mamba_d_head: optional('auto'),
    mamba_d_conv: optional(4),
    mamba_expand: optional(2),
    mamba_conv_bias: optional(true),
    mamba_proj_bias: optional(false),
    time_step_limit: optional(NO_LIMIT),
  },
  read: (fields) => {
    const activation = readActivation(fields);
    const turns = fields.text('position_embedding_type', 'nope') === 'rope';
    const layers = hybridTypes(fields, 'mamba2', () => false);
    if (layers.includes('mamba2')) siluOnly(fields);
    else fields.without(...HYBRID_FIELDS);
    const sizes = readSizes(fields);
    return {
      ...sizes,
      intermediateSize: fields.count('shared_intermediate_size'),
      experts: readGraniteExperts(fields),
      ...ropeFields(readRope(fields), sizes.headDim),
      layers: layers.map((layer) => (layer === 'full' && !turns ? 'full:nope' : layer)),
      activation,
      attentionBias: fields.flag('attention_bias') ? 'all' : 'none',
      ...readGraniteScales(fields),
      ...(layers.includes('mamba2') ? { mamba2: readHybridMamba(fields, sizes.rmsNormEps) } : {}),
    };
  },
  layout: mambaOr('mamba2.', mambaLayout, (config, layer, name) =>
    decoderLayout(config, layer, name, {
      norm1: 'input_layernorm',
      norm2: 'post_attention_layernorm',
      fusedMlp: { input: 'shared_mlp.input_linear', output: 'shared_mlp.output_linear' },
    }),
  ),
  write: (config) => ({
    ...writeCommon(config),
    ...writeGraniteScales(config),
    // The names that its published models have, and that other readers know.
    layer_types: config.layers.map((plan) => (plan.mixer === 'attention' ? 'attention' : 'mamba')),
    ...writeGraniteExperts(config),
    position_embedding_type: config.layers.some((plan) => headGroups(plan)[0]?.rope === true) ? 'rope' : 'nope',
    rope_parameters: writeRope(config, { theta: config.ropeTheta, scaling: config.ropeScaling }),
  }),
};

/** Granite 4 hybrids, with experts or without. */
export const graniteHybrid: Family = withExperts(graniteFamily, GRANITE_EXPERTS);
