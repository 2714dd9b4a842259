/** Cohere 2 with experts: attention and experts side by side, a dense MLP in the first layers. */
import { blockOf, expertsOf, headGroups, type ModelConfig, type ModelInput } from '../../../model/index.js';
import type { Family, HfConfigJson } from '../family/family.js';
import { optional, type Fields } from '../family/fields.js';
import { range } from '../family/layout.js';
import { longestOf, readRope, ropeFields, ropeTypeOf, writeRope } from '../family/rotary.js';
import {
  attentionLayers,
  decoderLayout,
  layerTypes,
  readActivation,
  readSizes,
  writeActivation,
  writeMaskedTypes,
  writeSizes,
} from './decoder.js';
import { QWEN_EXPERTS, readExperts, withExperts, writeMlpTypes } from './experts.js';

/** Layers from the start whose MLP is dense and which have a period of windows of their own. */
const prefixOf = (fields: Fields): number => fields.count('first_k_dense_replace', 0, 0);

/** The type of each layer where the file has none: every nth is full, counted anew behind the dense ones. */
function readTypes(fields: Fields): string[] {
  const prefix = prefixOf(fields);
  const inPrefix = fields.count('prefix_dense_sliding_window_pattern');
  const period = fields.count('sliding_window_pattern');
  return layerTypes(fields, (i) => {
    const [place, every] = i < prefix ? [i, inPrefix] : [i - prefix, period];
    return (place + 1) % every === 0 ? 'full_attention' : 'sliding_attention';
  });
}

function readDense(fields: Fields): number[] {
  const depth = fields.count('num_hidden_layers');
  const types = fields.perLayer<string>('mlp_layer_types', 'string', depth);
  return range(0, depth).filter((i) => (types === null ? i < prefixOf(fields) : types[i] === 'dense'));
}

/** What the router makes of the logits of the chosen experts: a softmax over them, or sigmoids. */
function readRouter(fields: Fields): Partial<NonNullable<ModelInput['experts']>> {
  const kind = fields.text('expert_selection_fn');
  if (kind === 'softmax') return { scores: 'softmax', normalize: true };
  if (kind !== 'sigmoid') fields.refuse(`expert_selection_fn ${kind}`);
  return { scores: 'sigmoid', normalize: fields.flag('norm_topk_prob') };
}

function readCohereExperts(fields: Fields): ModelInput['experts'] {
  const size = fields.count('intermediate_size');
  fields.unheeded('norm_topk_prob', 'expert_selection_fn');
  return readExperts(fields, {
    size: 'intermediate_size',
    dense: readDense,
    more: (own) => ({ ...readRouter(own), sharedSize: own.count('num_shared_experts', undefined, 0) * size }),
  });
}

/** Attention and MLP side by side; experts and shared ones are averaged, unless the file says that they are added. */
function readBlocks(fields: Fields, experts: ModelInput['experts']): ModelInput['block'] {
  const strategy = fields.text('shared_expert_combination_strategy');
  const shared = experts?.sharedSize !== undefined && experts.sharedSize !== null;
  if (shared && strategy !== 'sum' && strategy !== 'average')
    fields.refuse(`shared_expert_combination_strategy ${strategy}`);
  const dense = new Set(experts?.dense ?? []);
  const averaged = (layer: number) => shared && strategy === 'average' && !dense.has(layer);
  return range(0, fields.count('num_hidden_layers')).map((i) => ({ parallel: true, mlpScale: averaged(i) ? 0.5 : 1 }));
}

const sparseLayers = (config: ModelConfig): number[] =>
  range(0, config.numLayers).filter((i) => expertsOf(config, i) !== null);

function writeCohereExperts(config: ModelConfig): HfConfigJson {
  const { experts, intermediateSize } = config;
  const [first] = sparseLayers(config);
  if (experts === null || first === undefined) return writeMlpTypes(config);
  return {
    ...writeMlpTypes(config),
    intermediate_size: experts.intermediateSize,
    prefix_dense_intermediate_size: intermediateSize,
    num_experts: experts.count,
    num_experts_per_tok: experts.perToken,
    num_shared_experts: (experts.sharedSize ?? 0) / experts.intermediateSize,
    shared_expert_combination_strategy:
      experts.sharedSize !== null && blockOf(config, first).mlpScale === 1 ? 'sum' : 'average',
    expert_selection_fn: experts.scores,
    norm_topk_prob: experts.normalize,
  };
}

/** Full attention has positions in dense layers alone, and there only if the file's period of windows is 1. */
function writePrefix(config: ModelConfig): HfConfigJson {
  const still = config.layers.some((plan, i) => {
    const group = headGroups(plan)[0];
    return expertsOf(config, i) === null && group?.window === null && group.rope === false;
  });
  return { prefix_dense_sliding_window_pattern: still ? 2 : 1 };
}

/** Whether the norms are RMSNorms; the class takes no whole number as their epsilon. */
function checkNorms(fields: Fields): boolean {
  fields.positive('layer_norm_eps');
  const rms = fields.has('rms_norm_eps');
  if (rms && Number.isInteger(fields.positive('rms_norm_eps')))
    fields.refuse(`rms_norm_eps ${fields.positive('rms_norm_eps')}, which its class does not take`);
  return rms;
}

/** Refuses positions that the class passes over or computes nothing with: scaled ones beside them, a missing base. */
function checkPositions(fields: Fields): void {
  fields.only('rope_scaling');
  fields.unheeded('rope_theta');
  if (!fields.states('rope_parameters')) return;
  const own = fields.object('rope_parameters');
  if (own?.has('rope_theta') !== true) fields.refuse('rope_parameters without a rope_theta');
  if (own === null) return;
  const [type, original] = [ropeTypeOf(own), 'original_max_position_embeddings'];
  if (['yarn', 'llama3', 'longrope'].includes(type) && !own.has(original))
    fields.refuse(`rope_parameters of type ${type} without ${original}`);
}

/** Cohere 2 with experts. */
export const cohere2Moe: Family = withExperts(
  {
    modelTypes: ['cohere2_moe'],
    architecture: 'Cohere2MoeForCausalLM',
    fields: {
      hidden_act: 'silu',
      vocab_size: 256_000,
      hidden_size: 8192,
      intermediate_size: 22_528,
      logit_scale: 0.0625,
      num_hidden_layers: 40,
      num_attention_heads: 64,
      num_key_value_heads: optional(),
      head_dim: 128,
      max_position_embeddings: 8192,
      layer_norm_eps: 1e-5,
      tie_word_embeddings: true,
      rope_theta: 10_000,
      rope_scaling: optional(),
      attention_bias: false,
      sliding_window: optional(4096),
      num_experts_per_tok: 2,
      num_experts: 8,
      num_shared_experts: 0,
      shared_expert_combination_strategy: 'average',
      expert_selection_fn: 'softmax',
      layer_types: optional(),
      mlp_layer_types: optional(),
      prefix_dense_sliding_window_pattern: 1,
      norm_topk_prob: true,
      prefix_dense_intermediate_size: optional(),
      rms_norm_eps: optional(),
      sliding_window_pattern: 4,
    },
    read: (fields) => {
      const experts = readCohereExperts(fields);
      const types = readTypes(fields);
      const dense = new Set(readDense(fields));
      const turns = fields.count('prefix_dense_sliding_window_pattern') === 1;
      const rms = checkNorms(fields);
      checkPositions(fields);
      const inner = fields.count('prefix_dense_intermediate_size', fields.count('intermediate_size'));
      const sizes = readSizes(fields, rms ? 'rms_norm_eps' : 'layer_norm_eps', inner);
      return {
        ...sizes,
        experts,
        // The class passes over a share beside its positions.
        ...ropeFields(readRope(fields, { fixedFraction: true }), sizes.headDim),
        layers: attentionLayers(fields, types, (i, windowed) =>
          windowed || (turns && dense.has(i)) ? 'rope' : 'nope',
        ),
        activation: readActivation(fields),
        attentionBias: fields.flag('attention_bias') ? 'all' : 'none',
        norm: rms ? 'rms' : 'layer',
        logitScale: fields.number('logit_scale'),
        block: readBlocks(fields, experts),
      };
    },
    layout: (config, layer, name) =>
      decoderLayout(config, layer, name, { norm1: 'input_layernorm', turns: 'neighbors' }),
    write: (config) => {
      const rope = writeRope(config, { theta: config.ropeTheta, scaling: config.ropeScaling });
      return {
        ...writeSizes(config, config.norm === 'rms' ? 'rms_norm_eps' : 'layer_norm_eps'),
        ...writeMaskedTypes(config, 4096),
        ...writePrefix(config),
        ...writeCohereExperts(config),
        hidden_act: writeActivation(config.activation),
        max_position_embeddings: longestOf(config),
        attention_bias: config.attentionBias === 'all',
        logit_scale: config.logitScale,
        rope_theta: config.ropeTheta,
        rope_parameters: rope,
      };
    },
  },
  { ...QWEN_EXPERTS, shared: { module: 'mlp.shared_experts' } },
);
