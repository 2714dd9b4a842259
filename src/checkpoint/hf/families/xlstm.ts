/** XLSTM: a stack of mLSTMs and gated MLPs, with capped gates and logits. */
import type { ModelConfig } from '../../../model/index.js';
import type { Family } from '../family/family.js';
import { optional, type Fields } from '../family/fields.js';
import { matrix, rows, whole, type ParameterLayout } from '../family/layout.js';
import { plainPositions } from './recurrent.js';

/** The width of the MLP: the hidden size times a factor, rounded up to a multiple. */
const mlpWidth = (hiddenSize: number, factor: number, multiple: number): number =>
  Math.floor((hiddenSize * factor + multiple - 1) / multiple) * multiple;

/** The factor and the multiple of the class. */
const MLP = { factor: 2.667, multiple: 64 } as const;

/** The default of `max_inference_chunksize`. */
const STRETCH = 16_384;

/** The factor by which the class computes a width of `width` from `hiddenSize`, cutting what is behind the point. */
function factorOf(width: number, hiddenSize: number): number {
  const factor = width / hiddenSize;
  return Math.floor(hiddenSize * factor) === width ? factor : (width + 0.5) / hiddenSize;
}

/** The width of one of `heads` heads. */
function headWidth(fields: Fields, factor: string, heads: number): number {
  const all = Math.floor(fields.count('hidden_size') * fields.positive(factor));
  if (all < heads || all % heads !== 0)
    fields.refuse(`${factor} of ${all} channels, which are no multiple of num_heads ${heads},`);
  return Math.max(1, Math.floor(all / heads));
}

/** The capped logits of gates that exponentials stay finite with. */
function gateCap(fields: Fields): number {
  const cap = fields.positive('gate_soft_cap');
  if (cap <= 40) return cap;
  fields.refuse(`gate_soft_cap ${cap} (up to 40 can)`);
  return 40;
}

/** The most tokens that the class reads at once; between such stretches it rounds states to bfloat16. */
function readStretch(fields: Fields): void {
  const most = fields.count('max_inference_chunksize');
  if (most < STRETCH) fields.refuse(`max_inference_chunksize ${most} (from ${STRETCH} on can)`);
  fields.note(`Transformers rounds states to bfloat16 after each ${most} tokens of a longer text; Longsight does not`);
}

/** The tensors of a layer. */
function layerLayout(config: ModelConfig, layer: number, name: string): ParameterLayout | null {
  const { mlstm, hiddenSize: d, intermediateSize: f } = config;
  if (mlstm === undefined) return null;
  const at = `backbone.blocks.${layer}`;
  const { numHeads: H, keyDim: K, valueDim: V } = mlstm;
  const own = (tensor: string, size: number) => whole(`${at}.mlstm_layer.${tensor}`, size);
  switch (name) {
    case 'mlstm.wqkv':
      return matrix(own('q.weight', H * K), own('k.weight', H * K), own('v.weight', H * V));
    case 'mlstm.wgates':
      return matrix(own('igate_preact.weight', H), own('fgate_preact.weight', H));
    case 'mlstm.write.bias':
      return rows(own('igate_preact.bias', H));
    case 'mlstm.keep.bias':
      return rows(own('fgate_preact.bias', H));
    case 'mlstm.norm.weight':
      return rows(own('multihead_norm.weight', H * V));
    case 'mlstm.wgate':
      return matrix(own('ogate_preact.weight', H * V));
    case 'mlstm.wo':
      return matrix(own('out_proj.weight', d));
    case 'mlp.wgateup':
      return matrix(whole(`${at}.ffn.proj_up_gate.weight`, f), whole(`${at}.ffn.proj_up.weight`, f));
    case 'mlp.wdown':
      return matrix(whole(`${at}.ffn.proj_down.weight`, d));
    case 'norm1.weight':
      return rows(whole(`${at}.norm_mlstm.weight`, d));
    case 'norm2.weight':
      return rows(whole(`${at}.norm_ffn.weight`, d));
    default:
      return null;
  }
}

/** A stack of mLSTMs, each with an MLP behind it. */
export const xlstm: Family = {
  modelTypes: ['xlstm'],
  architecture: 'xLSTMForCausalLM',
  fields: {
    vocab_size: 50_304,
    hidden_size: 4096,
    embedding_dim: optional(),
    num_hidden_layers: 32,
    num_blocks: optional(),
    num_heads: 8,
    use_bias: false,
    norm_reduction_force_float32: true,
    tie_word_embeddings: false,
    add_out_norm: true,
    norm_eps: 1e-6,
    qk_dim_factor: 0.5,
    v_dim_factor: 1,
    chunkwise_kernel: 'chunkwise--native_autograd',
    sequence_kernel: 'native_sequence__native',
    step_kernel: 'native',
    mode: 'inference',
    return_last_states: true,
    autocast_kernel_dtype: 'bfloat16',
    eps: 1e-6,
    inference_state_dtype: 'float32',
    ffn_proj_factor: MLP.factor,
    ffn_round_up_to_multiple_of: MLP.multiple,
    gate_soft_cap: 15,
    output_logit_soft_cap: 30,
    weight_mode: 'single',
    max_inference_chunksize: STRETCH,
  },
  read: (fields) => {
    // Its class makes no model with fused weights: their biases do not fit its own initial values.
    fields.only('weight_mode', 'single');
    fields.only('use_bias', false);
    fields.only('mode', 'inference');
    fields.only('eps', 1e-6);
    fields.only('inference_state_dtype', 'float32');
    fields.only('chunkwise_kernel', 'chunkwise--native_autograd');
    fields.only('sequence_kernel', 'native_sequence__native');
    fields.only('step_kernel', 'native');
    fields.only('autocast_kernel_dtype', 'bfloat16', 'float32', 'float16');
    fields.unheeded('norm_reduction_force_float32', 'tie_word_embeddings', 'add_out_norm', 'return_last_states');
    plainPositions(fields);
    readStretch(fields);
    const hiddenSize = fields.count('hidden_size');
    const depth = fields.count('num_hidden_layers');
    if (fields.count('embedding_dim', hiddenSize) !== hiddenSize)
      fields.refuse(`embedding_dim other than hidden_size ${hiddenSize}`);
    const heads = fields.count('num_heads');
    const normEps = fields.positive('norm_eps');
    const multiple = fields.count('ffn_round_up_to_multiple_of');
    return {
      vocabSize: fields.count('vocab_size'),
      hiddenSize,
      layers: Array<string>(fields.count('num_blocks', depth)).fill('mlstm'),
      // There is no attention to have these.
      ...{ numHeads: 1, headDim: hiddenSize },
      intermediateSize: Math.max(1, mlpWidth(hiddenSize, fields.positive('ffn_proj_factor'), multiple)),
      rmsNormEps: normEps,
      logitSoftcap: fields.positive('output_logit_soft_cap'),
      mlstm: {
        ...{ numHeads: heads, gateCap: gateCap(fields), normEps },
        keyDim: headWidth(fields, 'qk_dim_factor', heads),
        valueDim: headWidth(fields, 'v_dim_factor', heads),
      },
    };
  },
  layout: (config, layer, name) => {
    const { vocabSize, hiddenSize } = config;
    if (layer !== null) return layerLayout(config, layer, name);
    if (name === 'embed.weight') return rows(whole('backbone.embeddings.weight', vocabSize));
    if (name === 'head.weight') return matrix(whole('lm_head.weight', vocabSize));
    return name === 'norm.weight' ? rows(whole('backbone.out_norm.weight', hiddenSize)) : null;
  },
  write: (config) => {
    const { mlstm, hiddenSize: d, intermediateSize: f, numLayers } = config;
    const { numHeads = 1, keyDim = 1, valueDim = 1, gateCap } = mlstm ?? {};
    const plain = mlpWidth(d, MLP.factor, MLP.multiple) === f;
    return {
      vocab_size: config.vocabSize,
      hidden_size: d,
      embedding_dim: d,
      num_hidden_layers: numLayers,
      num_blocks: numLayers,
      num_heads: numHeads,
      norm_eps: config.rmsNormEps,
      qk_dim_factor: factorOf(numHeads * keyDim, d),
      v_dim_factor: factorOf(numHeads * valueDim, d),
      ffn_proj_factor: plain ? MLP.factor : factorOf(f, d),
      ffn_round_up_to_multiple_of: plain ? MLP.multiple : 1,
      gate_soft_cap: gateCap,
      output_logit_soft_cap: config.logitSoftcap,
    };
  },
};
