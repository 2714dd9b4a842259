/** Falcon-H1: attention and Mamba-2 side by side in every layer, with factors on what goes in and out of each (muP). */
import { blockOf, plainScale, type ModelConfig, type ModelInput } from '../../../model/index.js';
import type { Family, HfConfigJson } from '../family/family.js';
import { optional, type Fields } from '../family/fields.js';
import { longestOf, readRope, ropeFields, writeRope } from '../family/rotary.js';
import { COMMON_FIELDS, decoderLayout, readSizes, writeSizes, type Sizes } from './decoder.js';
import { NO_LIMIT, stepLimit, writeStepLimit } from './mamba.js';
import { computedTypes, mambaLayout, mambaOr, PRE_FF_NAMES, siluOnly } from './recurrent.js';

/** A list of `count` factors, 1 where the file says null. */
function factors(fields: Fields, name: string, count: number): number[] {
  const given = fields.list<number>(name, 'number');
  if (fields.has(name) && given.length !== count) fields.refuse(`${name} of ${given.length} factors, not ${count}`);
  return Array.from({ length: count }, (_, i) => given[i] ?? 1);
}

/** Refuses a factor on the input of projections with biases, which it does not reach. */
function plainInput(fields: Fields, name: string, bias: boolean): number {
  const factor = fields.number(name);
  if (bias && factor !== 1) fields.refuse(`${name} ${factor} beside biases`);
  return factor;
}

function readMamba(fields: Fields, { hiddenSize, rmsNormEps }: Sizes): NonNullable<ModelInput['mamba2']> {
  const numHeads = fields.count('mamba_n_heads');
  fields.unheeded('mamba_expand');
  const inner = fields.has('mamba_d_ssm') ? fields.count('mamba_d_ssm') : fields.count('mamba_expand') * hiddenSize;
  const headDim = fields.value('mamba_d_head') === 'auto' ? Math.floor(inner / numHeads) : fields.count('mamba_d_head');
  if (numHeads * headDim !== inner)
    fields.refuse(`mamba_n_heads ${numHeads} of ${headDim} channels, which are not the inner width, ${inner}`);
  const numGroups = fields.count('mamba_n_groups');
  const bias = fields.flag('mamba_proj_bias', false);
  if (fields.flag('projectors_bias', false) !== bias) fields.refuse('projectors_bias other than mamba_proj_bias');
  const input = plainInput(fields, 'ssm_in_multiplier', bias);
  const scales = factors(fields, 'ssm_multipliers', 5).map((factor) => input * factor);
  const first = fields.flag('mamba_norm_before_gate', false);
  return {
    numHeads,
    headDim,
    numGroups,
    normGroups: numGroups,
    stateSize: fields.count('mamba_d_state'),
    convWidth: fields.count('mamba_d_conv'),
    convBias: fields.flag('mamba_conv_bias', false),
    bias,
    norm: !fields.flag('mamba_rms_norm', false) ? 'none' : first ? 'norm-first' : 'gate-first',
    normEps: rmsNormEps,
    ...(scales.every((scale) => scale === 1) ? {} : { inputScales: scales }),
    ...stepLimit(fields),
  };
}

function read(fields: Fields): ModelInput {
  siluOnly(fields);
  computedTypes(fields, 'layer_types', 'layers_block_type');
  const sizes = readSizes(fields);
  const bias = fields.flag('attention_bias');
  // Queries, keys and values grow with their input, so scores with its square.
  const input = plainInput(fields, 'attention_in_multiplier', bias);
  const scale = (input * input * fields.number('key_multiplier')) / Math.sqrt(sizes.headDim);
  if (scale <= 0) fields.refuse('key_multiplier and attention_in_multiplier that turn scores around');
  const [gate, down] = factors(fields, 'mlp_multipliers', 2) as [number, number];
  return {
    ...sizes,
    ...ropeFields(readRope(fields), sizes.headDim),
    layers: Array<string>(fields.count('num_hidden_layers')).fill('full+mamba2'),
    attentionBias: bias ? 'all' : 'none',
    ...(scale > 0 ? { attentionScale: scale } : {}),
    mlpBias: fields.flag('mlp_bias'),
    mlpGateScale: gate,
    embeddingScale: fields.number('embedding_multiplier'),
    logitScale: fields.number('lm_head_multiplier'),
    block: {
      mixerScale: input * fields.number('attention_out_multiplier'),
      besideScale: fields.number('ssm_out_multiplier'),
      mlpScale: down,
    },
    mamba2: readMamba(fields, sizes),
  };
}

/** The `key_multiplier` that gives a score scale exactly, where rounding allows. */
function keyMultiplier({ attentionScale, headDim }: ModelConfig): number {
  const root = Math.sqrt(headDim);
  const scale = plainScale(attentionScale, headDim);
  const nearest = scale * root;
  const tried = [nearest, nearest * (1 + Number.EPSILON), nearest * (1 - Number.EPSILON)];
  return tried.find((factor) => factor / root === scale) ?? nearest;
}

function write(config: ModelConfig): HfConfigJson {
  const { mamba2 } = config;
  const block = blockOf(config, 0);
  return {
    ...writeSizes(config),
    max_position_embeddings: longestOf(config),
    attention_bias: config.attentionBias === 'all',
    mlp_bias: config.mlpBias,
    embedding_multiplier: config.embeddingScale,
    lm_head_multiplier: config.logitScale,
    key_multiplier: keyMultiplier(config),
    attention_in_multiplier: 1,
    attention_out_multiplier: block.mixerScale,
    ssm_in_multiplier: 1,
    ssm_out_multiplier: block.besideScale,
    mlp_multipliers: [config.mlpGateScale, block.mlpScale],
    ssm_multipliers: mamba2?.inputScales ?? [1, 1, 1, 1, 1],
    mamba_d_ssm: (mamba2?.numHeads ?? 0) * (mamba2?.headDim ?? 0),
    mamba_n_heads: mamba2?.numHeads,
    mamba_d_head: mamba2?.headDim,
    mamba_n_groups: mamba2?.numGroups,
    mamba_d_state: mamba2?.stateSize,
    mamba_d_conv: mamba2?.convWidth,
    mamba_conv_bias: mamba2?.convBias,
    mamba_proj_bias: mamba2?.bias,
    projectors_bias: mamba2?.bias,
    mamba_rms_norm: mamba2?.norm !== 'none',
    mamba_norm_before_gate: mamba2?.norm !== 'gate-first',
    mamba_chunk_size: mamba2?.chunk ?? 256,
    time_step_limit: writeStepLimit(config),
    rope_parameters: writeRope(config, { theta: config.ropeTheta, scaling: config.ropeScaling }),
  };
}

/** Falcon-H1: attention and Mamba-2 side by side. */
export const falconH1: Family = {
  modelTypes: ['falcon_h1'],
  architecture: 'FalconH1ForCausalLM',
  fields: {
    ...COMMON_FIELDS,
    vocab_size: 128_000,
    hidden_size: 4096,
    intermediate_size: 14_336,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: optional(8),
    rms_norm_eps: 1e-5,
    max_position_embeddings: 8192,
    mamba_d_ssm: optional(1024),
    mamba_n_heads: optional(128),
    mamba_d_head: optional('auto'),
    mamba_n_groups: optional(1),
    mamba_d_state: optional(256),
    mamba_d_conv: optional(4),
    mamba_expand: optional(2),
    mamba_conv_bias: optional(true),
    mamba_proj_bias: optional(false),
    mamba_norm_before_gate: optional(true),
    mamba_rms_norm: optional(false),
    time_step_limit: optional(NO_LIMIT),
    projectors_bias: optional(false),
    lm_head_multiplier: optional(1),
    embedding_multiplier: optional(1),
    mlp_multipliers: optional(),
    key_multiplier: optional(1),
    attention_out_multiplier: optional(1),
    attention_in_multiplier: optional(1),
    ssm_multipliers: optional(),
    ssm_in_multiplier: optional(1),
    ssm_out_multiplier: optional(1),
    attention_bias: false,
    mlp_bias: false,
  },
  read,
  layout: mambaOr('mamba2.', mambaLayout, (config, layer, name) => decoderLayout(config, layer, name, PRE_FF_NAMES)),
  write,
};
