/** Qwen 3.5: Gated DeltaNet and gated attention, with dense MLPs or experts. */
import type { ModelConfig } from '../../../model/index.js';
import type { Family, HfConfigJson } from '../family/family.js';
import { matrix, rows, whole, type ParameterLayout } from '../family/layout.js';
import { optional } from '../family/fields.js';
import { writeRope } from '../family/rotary.js';
import { COMMON_FIELDS, decoderLayout, LLAMA_NAMES } from './decoder.js';
import { readExperts, withExperts } from './experts.js';
import { QWEN_SHARED, readQwenHybrid, sharedLayout, widthsOf, writeCommon } from './gdn.js';
import { convRows } from './recurrent.js';

function gdnLayout(config: ModelConfig, layer: number, name: string): ParameterLayout | null {
  const { gdn } = config;
  if (gdn === undefined) return null;
  const at = `model.layers.${layer}.linear_attn`;
  const { keys, values } = widthsOf(gdn);
  switch (name) {
    case 'gdn.wqkv':
      return matrix(whole(`${at}.in_proj_qkv.weight`, 2 * keys + values));
    case 'gdn.wgate':
      return matrix(whole(`${at}.in_proj_z.weight`, values));
    case 'gdn.wab':
      return matrix(
        whole(`${at}.in_proj_a.weight`, gdn.numValueHeads),
        whole(`${at}.in_proj_b.weight`, gdn.numValueHeads),
      );
    case 'gdn.conv.weight':
      return rows(convRows(`${at}.conv1d.weight`, 2 * keys + values, gdn.convWidth));
    default:
      return sharedLayout(config, at, name, 'norm', 'out_proj');
  }
}

const writeQwen35 = (config: ModelConfig): HfConfigJson => ({
  ...writeCommon(config),
  rope_parameters: {
    ...writeRope(config, { theta: config.ropeTheta, scaling: config.ropeScaling }),
    partial_rotary_factor: config.ropeDim / config.headDim,
  },
});

const QWEN35_FIELDS = {
  ...COMMON_FIELDS,
  vocab_size: 248_320,
  hidden_size: 4096,
  num_hidden_layers: 32,
  num_attention_heads: 16,
  num_key_value_heads: 4,
  max_position_embeddings: 32_768,
  attention_bias: false,
  head_dim: 256,
  linear_conv_kernel_dim: 4,
  linear_key_head_dim: 128,
  linear_value_head_dim: 128,
  linear_num_key_heads: 16,
  linear_num_value_heads: 32,
  layer_types: optional(),
} as const;

/** Qwen 3.5 (text): three layers of Gated DeltaNet to one of gated attention. */
export const qwen35: Family = {
  modelTypes: ['qwen3_5_text'],
  architecture: 'Qwen3_5ForCausalLM',
  fields: { ...QWEN35_FIELDS, intermediate_size: 12_288 },
  read: (fields) => readQwenHybrid(fields),
  layout: (config, layer, name) =>
    layer !== null && name.startsWith('gdn.')
      ? gdnLayout(config, layer, name)
      : decoderLayout(config, layer, name, { ...LLAMA_NAMES, gatedQueries: true }),
  // Transformers leaves out what predicts several tokens at once.
  ignored: (name) => name.startsWith('mtp.'),
  write: writeQwen35,
};

/** Qwen 3.5 (text) with experts in every layer, and a shared one behind a gate. */
export const qwen35Moe: Family = withExperts(
  {
    ...qwen35,
    modelTypes: ['qwen3_5_moe_text'],
    architecture: 'Qwen3_5MoeForCausalLM',
    fields: {
      ...QWEN35_FIELDS,
      hidden_size: 2048,
      num_hidden_layers: 40,
      num_key_value_heads: 2,
      moe_intermediate_size: 512,
      shared_expert_intermediate_size: 512,
      num_experts_per_tok: 8,
      num_experts: 256,
    },
    read: (fields) => ({
      ...readQwenHybrid(fields, fields.count('moe_intermediate_size')),
      experts: readExperts(fields, {
        dense: () => [],
        more: (own) => ({ sharedSize: own.count('shared_expert_intermediate_size'), sharedGate: true }),
      }),
    }),
    write: (config) => {
      const { intermediate_size: _, ...common } = writeQwen35(config);
      return {
        ...common,
        num_experts: config.experts?.count,
        num_experts_per_tok: config.experts?.perToken,
        moe_intermediate_size: config.experts?.intermediateSize,
        shared_expert_intermediate_size: config.experts?.sharedSize,
      };
    },
  },
  QWEN_SHARED,
);
