/** Mamba-2 alone and in hybrids: Mamba-2, Bamba, Granite 4 hybrids without experts. */
import type { ModelConfig, ModelInput } from '../../../model/index.js';
import { headGroups } from '../../../model/index.js';
import type { Family, HfConfigJson } from '../family/family.js';
import type { Fields } from '../family/fields.js';
import { matrix, rows, whole } from '../family/layout.js';
import { longestOf, readRope, ropeFields, writeRope } from '../family/rotary.js';
import { decoderLayout, readActivation, readSizes, writeActivation, writeSizes } from './decoder.js';
import { readGraniteScales, writeGraniteScales } from './llama.js';
import { hybridTypes, mambaLayout, siluOnly, writeHybridTypes } from './recurrent.js';

/** `time_step_limit`: bounds, infinity as none. */
function stepLimit(fields: Fields): { dtMin: number; dtMax: number | null } {
  const value = fields.values['time_step_limit'];
  const [low, high] = Array.isArray(value) ? (value as unknown[]) : [0, null];
  return { dtMin: typeof low === 'number' ? low : 0, dtMax: typeof high === 'number' ? high : null };
}

const writeStepLimit = ({ mamba2 }: ModelConfig) => [mamba2?.dtMin, mamba2?.dtMax ?? { __float__: 'Infinity' }];

/** The version of Transformers from which the gated norm takes its statistics group by group, as mamba_ssm does. */
const GROUPED_NORM = [5, 23];

/**
 * Groups of the gated norm. Older versions of Transformers normalized the whole width whatever the groups, so that
 * models saved by them, by the version in their configuration, mean that.
 */
function normGroups(fields: Fields, numGroups: number): number {
  if (numGroups === 1) return 1;
  const version = fields.text('transformers_version', GROUPED_NORM.join('.'));
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [since, sinceMinor] = GROUPED_NORM as [number, number];
  if (major > since || (major === since && minor >= sinceMinor)) return numGroups;
  fields.note(
    `saved by Transformers ${version}, which normalises the outputs of Mamba-2 over their whole width; mamba_ssm, and Transformers ` +
      `from ${GROUPED_NORM.join('.')} on, over each of ${numGroups} groups. Change transformers_version in config.json for these`,
  );
  return 1;
}

/** The version that a model's norm needs, where there are groups to tell. */
const writeVersion = ({ mamba2 }: ModelConfig): HfConfigJson =>
  mamba2 === undefined || mamba2.numGroups === 1
    ? {}
    : { transformers_version: mamba2.normGroups === 1 ? '5.22.0' : `${GROUPED_NORM.join('.')}.0` };

/** The fields of hybrids, `mamba_...`. */
function readHybridMamba(fields: Fields, normEps: number): NonNullable<ModelInput['mamba2']> {
  const numHeads = fields.count('mamba_n_heads', 128);
  const inner = fields.count('mamba_expand', 2) * fields.count('hidden_size');
  const numGroups = fields.count('mamba_n_groups', 1);
  return {
    numHeads,
    headDim:
      fields.values['mamba_d_head'] === 'auto' ? inner / numHeads : fields.count('mamba_d_head', inner / numHeads),
    stateSize: fields.count('mamba_d_state', 256),
    numGroups,
    normGroups: normGroups(fields, numGroups),
    convWidth: fields.count('mamba_d_conv', 4),
    convBias: fields.flag('mamba_conv_bias', true),
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
    ...writeVersion(config),
  };
}

/** Mamba-2 without attention. */
export const mamba2: Family = {
  modelTypes: ['mamba2'],
  hiddenStates: 'layers',
  architecture: 'Mamba2ForCausalLM',
  read: (fields) => {
    siluOnly(fields);
    const numGroups = fields.count('n_groups', 8);
    const eps = fields.positive('layer_norm_epsilon', 1e-5);
    const [numHeads, headDim] = [fields.count('num_heads', 128), fields.count('head_dim', 64)];
    return {
      vocabSize: fields.count('vocab_size'),
      hiddenSize: fields.count('hidden_size'),
      layers: Array<string>(fields.count('num_hidden_layers')).fill('mamba2'),
      // There is no attention to have these.
      ...{ numHeads, headDim },
      rmsNormEps: eps,
      tieEmbeddings: fields.flag('tie_word_embeddings', false),
      block: { mlp: false },
      mamba2: {
        ...{ numHeads, headDim, numGroups, normGroups: normGroups(fields, numGroups), normEps: eps },
        stateSize: fields.count('state_size', 128),
        convWidth: fields.count('conv_kernel', 4),
        convBias: fields.flag('use_conv_bias', true),
        bias: fields.flag('use_bias', false),
        ...stepLimit(fields),
      },
    };
  },
  layout: (config, layer, name) => {
    const { vocabSize, hiddenSize } = config;
    if (layer !== null) {
      const at = `backbone.layers.${layer}`;
      return name === 'norm1.weight'
        ? rows(whole(`${at}.norm.weight`, hiddenSize))
        : mambaLayout(config, `${at}.mixer`, name);
    }
    if (name === 'embed.weight') return rows(whole('backbone.embeddings.weight', vocabSize));
    if (name === 'head.weight') return matrix(whole('lm_head.weight', vocabSize));
    return name === 'norm.weight' ? rows(whole('backbone.norm_f.weight', hiddenSize)) : null;
  },
  write: (config) => ({
    vocab_size: config.vocabSize,
    hidden_size: config.hiddenSize,
    num_hidden_layers: config.numLayers,
    tie_word_embeddings: config.tieEmbeddings,
    layer_norm_epsilon: config.rmsNormEps,
    num_heads: config.mamba2?.numHeads,
    head_dim: config.mamba2?.headDim,
    expand: ((config.mamba2?.numHeads ?? 0) * (config.mamba2?.headDim ?? 0)) / config.hiddenSize,
    n_groups: config.mamba2?.numGroups,
    state_size: config.mamba2?.stateSize,
    conv_kernel: config.mamba2?.convWidth,
    use_conv_bias: config.mamba2?.convBias,
    use_bias: config.mamba2?.bias,
    chunk_size: config.mamba2?.chunk ?? 256,
    time_step_limit: writeStepLimit(config),
    ...writeVersion(config),
  }),
};

const mambaOr =
  (other: Family['layout']): Family['layout'] =>
  (config, layer, name, shapes) =>
    layer !== null && name.startsWith('mamba2.')
      ? mambaLayout(config, `model.layers.${layer}.mamba`, name)
      : other(config, layer, name, shapes);

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
  read: (fields) => {
    siluOnly(fields);
    const sizes = readSizes(fields, { kvHeads: 8, eps: 1e-5 });
    const attending = fields.values['attn_layer_indices'];
    const indices = new Set(Array.isArray(attending) ? (attending as unknown[]) : []);
    const depth = fields.count('num_hidden_layers');
    return {
      ...sizes,
      ...ropeFields(readRope(fields, 10_000, 0.5), sizes.headDim),
      layers: Array.from({ length: depth }, (_, i) => (indices.has(i) ? 'full' : 'mamba2')),
      attentionBias: fields.flag('attention_bias', false) ? 'all' : 'none',
      mlpBias: fields.flag('mlp_bias', false),
      mamba2: readHybridMamba(fields, sizes.rmsNormEps),
    };
  },
  layout: mambaOr((config, layer, name) =>
    decoderLayout(config, layer, name, {
      norm1: 'input_layernorm',
      norm2: 'pre_ff_layernorm',
      finalNorm: 'final_layernorm',
      mlp: 'feed_forward',
    }),
  ),
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

/** Granite 4 hybrids without experts: Mamba-2 with a few layers of attention. */
export const graniteHybrid: Family = {
  modelTypes: ['granitemoehybrid'],
  architecture: 'GraniteMoeHybridForCausalLM',
  read: (fields) => {
    const activation = readActivation(fields);
    const experts = fields.count('num_local_experts', 8, 0);
    if (experts > 0) fields.refuse(`experts (num_local_experts ${experts})`);
    const turns = fields.text('position_embedding_type', 'nope') === 'rope';
    const layers = hybridTypes(fields, 'mamba2', () => false);
    if (layers.includes('mamba2')) siluOnly(fields);
    const sizes = readSizes(fields);
    return {
      ...sizes,
      intermediateSize: fields.count('shared_intermediate_size', 1024),
      ...ropeFields(readRope(fields), sizes.headDim),
      layers: layers.map((layer) => (layer === 'full' && !turns ? 'full:nope' : layer)),
      activation,
      attentionBias: fields.flag('attention_bias', false) ? 'all' : 'none',
      ...readGraniteScales(fields),
      ...(layers.includes('mamba2') ? { mamba2: readHybridMamba(fields, sizes.rmsNormEps) } : {}),
    };
  },
  layout: mambaOr((config, layer, name) =>
    decoderLayout(config, layer, name, {
      norm1: 'input_layernorm',
      norm2: 'post_attention_layernorm',
      fusedMlp: { input: 'shared_mlp.input_linear', output: 'shared_mlp.output_linear' },
    }),
  ),
  write: (config) => ({
    ...writeCommon(config),
    ...writeGraniteScales(config),
    layer_types: writeHybridTypes(config),
    num_local_experts: 0,
    shared_intermediate_size: config.intermediateSize,
    position_embedding_type: config.layers.some((plan) => headGroups(plan)[0]?.rope === true) ? 'rope' : null,
    rope_parameters: writeRope(config, { theta: config.ropeTheta, scaling: config.ropeScaling }),
  }),
};
