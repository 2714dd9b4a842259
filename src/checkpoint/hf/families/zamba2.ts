/**
 * Zamba2: Mamba-2 whose layers here and there are fed by shared blocks of attention and an MLP, with adapters for each
 * use.
 */
import { headGroups, isShared, type ModelConfig, type ModelInput } from '../../../model/index.js';
import type { Family, HfConfigJson } from '../family/family.js';
import { optional, type Fields } from '../family/fields.js';
import { matrix, rows, whole } from '../family/layout.js';
import { longestOf, readRope, ropeFields, writeRope } from '../family/rotary.js';
import { readActivation, writeActivation } from './decoder.js';
import { mambaLayout } from './recurrent.js';
import { sharedCopies, sharedLayout, type SharedNames } from './shared.js';

/** The layers of a model whose hybrid layers use a shared block: those that the file lists, or those of the class. */
export function zambaLayers(
  fields: Fields,
  mixer: string,
  hybrid: string,
  otherwise: () => readonly boolean[],
): string[] {
  const depth = fields.count('num_hidden_layers');
  const given = fields.perLayer<string>('layers_block_type', 'string', depth);
  const types = given?.map((type) => {
    if (type === 'hybrid') return true;
    if (type !== 'mamba' && type !== 'linear_attention') fields.refuse(`a layer of type ${type}`);
    return false;
  });
  const found = types ?? otherwise();
  if (found.length !== depth)
    fields.refuse(`num_hidden_layers ${depth} without layers_block_type, of which the class makes ${found.length}`);
  return found.map((is) => (is ? hybrid : mixer));
}

/** The types of layers in the words of Transformers. */
const writeZambaLayers = ({ layers }: ModelConfig): string[] =>
  layers.map((plan) => (isShared(plan) ? 'hybrid' : 'linear_attention'));

/** The fields of sizes and layers that Zamba and Zamba 2 have in common. */
export const writeZambaSizes = (config: ModelConfig): HfConfigJson => ({
  vocab_size: config.vocabSize,
  hidden_size: config.hiddenSize,
  intermediate_size: config.intermediateSize,
  num_hidden_layers: config.numLayers,
  layers_block_type: writeZambaLayers(config),
  num_attention_heads: config.numHeads,
  num_key_value_heads: config.numKvHeads,
  attention_head_dim: config.headDim,
  hidden_act: writeActivation(config.activation),
  rms_norm_eps: config.rmsNormEps,
  tie_word_embeddings: config.tieEmbeddings,
});

/** The factor on scores: the class counts half of the channels, those of the stream alone. */
export const zambaScale = (headDim: number): number => 1 / Math.sqrt(headDim / 2);

/** Refuses fields that files hold though the class computes them, where they hold something else. */
export function computed(fields: Fields, byClass: Readonly<Record<string, unknown>>): void {
  for (const [name, value] of Object.entries(byClass)) {
    if (!fields.states(name) || JSON.stringify(fields.value(name)) === JSON.stringify(value)) continue;
    fields.refuse(`${name} ${JSON.stringify(fields.value(name))}, where other fields make it ${JSON.stringify(value)}`);
  }
}

/** How many blocks there are: as many as the file says, or one a layer where nothing is tied. */
export function sharedBlocks(fields: Fields, layers: readonly string[], count: number): number {
  const uses = layers.filter((layer) => layer.startsWith('shared:')).length;
  return fields.flag('tie_word_embeddings') ? Math.min(count, uses) : uses;
}

/** Tensors of norms, embedding and head, the same in both families; `layer` is null outside of layers. */
export function zambaLayout(
  config: ModelConfig,
  layer: number | null,
  name: string,
  mixer: (at: string) => ReturnType<Family['layout']>,
): ReturnType<Family['layout']> {
  const { vocabSize, hiddenSize } = config;
  if (layer === null) {
    if (name === 'embed.weight') return rows(whole('model.embed_tokens.weight', vocabSize));
    if (name === 'head.weight') return matrix(whole('lm_head.weight', vocabSize));
    return name === 'norm.weight' ? rows(whole('model.final_layernorm.weight', hiddenSize)) : null;
  }
  const at = `model.layers.${layer}${isShared(config.layers[layer]) ? '.mamba_decoder' : ''}`;
  return name === 'norm1.weight' ? rows(whole(`${at}.input_layernorm.weight`, hiddenSize)) : mixer(`${at}.mamba`);
}

const NAMES: SharedNames = { module: 'shared_transformer', fusedMlp: true };

/** The layers of the class, which it does not count. */
const BY_CLASS: readonly boolean[] = [
  ...[false, ...Array.from({ length: 42 }, (_, i) => i % 6 === 5)],
  ...[false, false, false, false, true, false, false, false, true, false, false],
];

function read(fields: Fields): ModelInput {
  fields.unheeded('use_mamba_kernels', 'use_mem_eff_path', 'use_conv_bias');
  const hiddenSize = fields.count('hidden_size');
  const numHeads = fields.count('num_attention_heads');
  const numKvHeads = fields.count('num_key_value_heads', numHeads);
  const headDim = fields.count('attention_head_dim', Math.floor((2 * hiddenSize) / numHeads));
  const turns = fields.flag('use_mem_rope');
  const layers = zambaLayers(fields, 'mamba2', `shared:full${turns ? '' : ':nope'}+mamba2`, () => BY_CLASS);
  fields.count('max_position_embeddings');
  const rope = readRope(fields);
  // It makes the longest text 16,384 tokens, which says something only where positions are scaled by it.
  if (fields.flag('use_long_context') && turns && rope.scaling !== null && rope.scaling.type !== 'linear')
    fields.refuse(`use_long_context beside rotary positions of type ${rope.scaling.type}`);
  const rank = fields.count('adapter_rank');
  const adapts = fields.flag('use_shared_attention_adapter');
  if (adapts && (numKvHeads !== numHeads || numHeads * headDim !== 2 * hiddenSize))
    fields.refuse(`adapters of attention beside ${numHeads} heads of ${headDim} and num_key_value_heads ${numKvHeads}`);
  const [heads, inner] = [fields.count('n_mamba_heads'), Math.floor(fields.number('mamba_expand') * hiddenSize)];
  const mambaHeadDim = Math.floor(inner / heads);
  // Files hold what the class computes of other fields, and what they hold counts.
  const hybrid = layers.flatMap((layer, i) => (layer === 'mamba2' ? [] : [i]));
  computed(fields, { attention_hidden_size: 2 * hiddenSize, mamba_headdim: mambaHeadDim, hybrid_layer_ids: hybrid });
  const dtMin = fields.number('time_step_min');
  if (dtMin <= 0) fields.refuse(`time_step_min ${dtMin}, of which the class takes the logarithm`);
  const numGroups = fields.count('mamba_ngroups');
  const bias = fields.flag('add_bias_linear');
  const count = fields.count('num_mem_blocks');
  const blocks = sharedBlocks(fields, layers, count);
  return {
    vocabSize: fields.count('vocab_size'),
    hiddenSize,
    intermediateSize: fields.count('intermediate_size', 4 * hiddenSize),
    ...{ numHeads, numKvHeads, headDim, layers },
    rmsNormEps: fields.positive('rms_norm_eps'),
    tieEmbeddings: fields.flag('tie_word_embeddings'),
    ...(turns ? ropeFields(rope, headDim) : {}),
    activation: readActivation(fields),
    attentionScale: zambaScale(headDim),
    mlpBias: bias,
    block: { mlp: false },
    ...(blocks === 0 ? {} : { shared: { blocks, mlpRank: rank, attentionRank: adapts ? rank : null } }),
    mamba2: {
      ...{ numHeads: heads, headDim: mambaHeadDim, numGroups, normGroups: numGroups, bias },
      stateSize: fields.count('mamba_d_state'),
      convWidth: fields.count('mamba_d_conv'),
      dtMin,
    },
  };
}

function write(config: ModelConfig): HfConfigJson {
  const { mamba2, shared } = config;
  const turns = config.layers.some((plan) => headGroups(plan)[0]?.rope === true);
  return {
    ...writeZambaSizes(config),
    max_position_embeddings: longestOf(config),
    add_bias_linear: config.mlpBias,
    num_mem_blocks: shared?.blocks ?? 1,
    adapter_rank: shared?.mlpRank ?? 1,
    use_shared_attention_adapter: shared !== null && shared.attentionRank !== null,
    use_mem_rope: turns,
    rope_parameters: writeRope(config, { theta: config.ropeTheta, scaling: config.ropeScaling }),
    n_mamba_heads: mamba2?.numHeads,
    mamba_expand: ((mamba2?.numHeads ?? 0) * (mamba2?.headDim ?? 0)) / config.hiddenSize,
    mamba_d_state: mamba2?.stateSize,
    mamba_d_conv: mamba2?.convWidth,
    mamba_ngroups: mamba2?.numGroups,
    time_step_min: mamba2?.dtMin,
    chunk_size: mamba2?.chunk ?? 256,
  };
}

/** Mamba-2 with shared blocks. */
export const zamba2: Family = {
  modelTypes: ['zamba2'],
  architecture: 'Zamba2ForCausalLM',
  aliases: { layer_types: 'layers_block_type', head_dim: 'attention_head_dim' },
  fields: {
    vocab_size: 32_000,
    max_position_embeddings: 4096,
    hidden_size: 2560,
    num_hidden_layers: 54,
    layers_block_type: optional(),
    mamba_d_state: 64,
    mamba_d_conv: 4,
    mamba_expand: 2,
    mamba_ngroups: 1,
    time_step_min: 0.001,
    n_mamba_heads: 8,
    use_mamba_kernels: true,
    use_conv_bias: true,
    use_mem_eff_path: false,
    add_bias_linear: false,
    intermediate_size: optional(),
    hidden_act: 'gelu',
    num_attention_heads: 32,
    num_key_value_heads: optional(),
    num_mem_blocks: 1,
    use_shared_attention_adapter: false,
    adapter_rank: 128,
    use_mem_rope: false,
    rope_parameters: optional(),
    rms_norm_eps: 1e-5,
    use_long_context: false,
    tie_word_embeddings: true,
  },
  read,
  layout: (config, layer, name, shapes) =>
    sharedLayout(config, NAMES, layer, name, shapes) ??
    zambaLayout(config, layer, name, (at) => mambaLayout(config, at, name)),
  ...sharedCopies(NAMES),
  write,
};
