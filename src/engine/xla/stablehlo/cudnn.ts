/**
 * Attention as cuDNN's fused kernels, which XLA reaches by custom call: `__cudnn$fmhaSoftmax` and its backward pass. q,
 * k and v are `[B,T,heads,D]` in bf16, outputs `[B,heads,T,D]`, softmax statistics (log-sum-exp) `[B,H,T]` in float32.
 * `sliding_window_length` w shows w keys, the query's own included; 0 shows all.
 */
import type { NamedKernel } from '../kernels/taken.js';
import { at } from '../../../core/index.js';
import type { AttentionAttrs, Node, TensorType } from '../../../graph/index.js';
import type { AttentionKernel } from './scope.js';
import { typeText, type Operand } from '../mlir/text.js';

interface DotNumbers {
  readonly lhs_contracting_dimensions: readonly string[];
  readonly rhs_contracting_dimensions: readonly string[];
  readonly lhs_batch_dimensions: readonly string[];
  readonly rhs_batch_dimensions: readonly string[];
}

const dims = (lhs: string, rhs: string, lhsBatch: readonly string[], rhsBatch: readonly string[]): DotNumbers => ({
  lhs_contracting_dimensions: [lhs],
  rhs_contracting_dimensions: [rhs],
  lhs_batch_dimensions: lhsBatch,
  rhs_batch_dimensions: rhsBatch,
});

const INPUT_BATCH = ['0', '2'];
const SCORE_BATCH = ['0', '1'];

const FORWARD_DOTS = {
  bmm1_dot_dimension_numbers: dims('3', '3', INPUT_BATCH, INPUT_BATCH),
  bmm2_dot_dimension_numbers: dims('3', '1', SCORE_BATCH, INPUT_BATCH),
};

const BACKWARD_DOTS = {
  bmm1_grad_gemm1_dot_dimension_numbers: dims('2', '1', SCORE_BATCH, INPUT_BATCH),
  bmm1_grad_gemm2_dot_dimension_numbers: dims('3', '1', SCORE_BATCH, INPUT_BATCH),
  bmm2_grad_gemm1_dot_dimension_numbers: dims('2', '1', SCORE_BATCH, INPUT_BATCH),
  bmm2_grad_gemm2_dot_dimension_numbers: dims('3', '3', INPUT_BATCH, INPUT_BATCH),
};

/** A JSON number with a decimal point: the protobuf reader wants doubles where the schema has them. */
class Double {
  constructor(readonly value: number) {}
}

/** JSON as the fixtures have it: a space after colons and commas. */
function json(value: unknown): string {
  if (value instanceof Double) return Number.isInteger(value.value) ? value.value.toFixed(1) : `${value.value}`;
  if (Array.isArray(value)) return `[${value.map(json).join(', ')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  return `{${Object.entries(value)
    .map(([k, v]) => `${JSON.stringify(k)}: ${json(v)}`)
    .join(', ')}}`;
}

/** The `backend_config` of both calls for scores `[B,H,T,T]`. Exported for the test against JAX's text. */
export function cudnnConfig(
  direction: 'forward' | 'backward',
  scores: readonly [number, number, number, number],
  { window, scale }: AttentionAttrs,
  deterministic = false,
): string {
  const visible = window === null || window >= scores[2] ? 0 : window;
  return json({
    operation_queue_id: '0',
    cudnn_fmha_backend_config: {
      algorithm: {
        algo_id: '0',
        math_type: 'TENSOR_OP_MATH',
        tuning_knobs: { '17': '1', '24': '0' },
        is_cudnn_frontend: true,
        workspace_size: '0',
      },
      fmha_scale: new Double(scale),
      intermediate_tensor_shape: {
        element_type: 'BF16',
        dimensions: scores.map(String),
        tuple_shapes: [],
        layout: {
          dim_level_types: [],
          dim_unique: [],
          dim_ordered: [],
          minor_to_major: ['3', '2', '1', '0'],
          tiles: [],
          element_size_in_bits: '0',
          memory_space: '0',
          index_primitive_type: 'PRIMITIVE_TYPE_INVALID',
          pointer_primitive_type: 'PRIMITIVE_TYPE_INVALID',
          dynamic_shape_metadata_prefix_bytes: '0',
        },
        is_dynamic_dimension: [false, false, false, false],
      },
      is_flash_attention: true,
      mask_type: 'CAUSAL',
      ...(direction === 'forward' ? FORWARD_DOTS : BACKWARD_DOTS),
      dropout_rate: new Double(0),
      seed: 42,
      sliding_window_length: visible,
      max_seg_per_batch: 1,
      is_paged_attention: false,
      // XLA adds this itself under xla_gpu_exclude_nondeterministic_ops, but after it has noted the call under what it
      // was.
      ...(deterministic && direction === 'backward' ? { force_deterministic: true } : {}),
    },
  });
}

const layout = (order: string, rank: number): string => `dense<${order}> : tensor<${rank}xindex>`;
const IN4 = layout('[3, 2, 1, 0]', 4);
const OUT4 = layout('[3, 1, 2, 0]', 4);
const STATS = layout('[2, 1, 0]', 3);
const WORKSPACE = layout('0', 1);

function callText(
  name: string,
  operands: readonly Operand[],
  config: string,
  [operandLayouts, resultLayouts]: readonly [readonly string[], readonly string[]],
  to: readonly string[],
): string {
  const escaped = config.replaceAll('"', '\\22');
  return (
    `stablehlo.custom_call @${name}(${operands.map((o) => o.name).join(', ')}) {api_version = 2 : i32, backend_config = "${escaped}", ` +
    `operand_layouts = [${operandLayouts.join(', ')}], result_layouts = [${resultLayouts.join(', ')}]} : ` +
    `(${operands.map((o) => typeText(o.type)).join(', ')}) -> (${to.join(', ')})`
  );
}

/** `[B,T,H,D]` as the kernels return it, `[B,H,T,D]`. */
function headsFirst({ dtype, shape }: TensorType): TensorType {
  const [b, t, h, d] = shape as [number, number, number, number];
  return { dtype, shape: [b, h, t, d] };
}

const statsType = ({ shape }: TensorType): TensorType => ({
  dtype: 'f32',
  shape: [at(shape, 0), at(shape, 2), at(shape, 1)],
});

const scoresOf = ({ shape: [b, t, h] }: TensorType): [number, number, number, number] =>
  [b, h, t, t] as [number, number, number, number];

const HEADS_LAST = [0, 2, 1, 3];

/** Widest head of cuDNN's backward kernels. */
const MAX_HEAD = 128;

/**
 * Whether cuDNN has kernels for this attention: bf16, equal widths, a multiple of 8, an even number of tokens, no
 * sinks, one document a row, no soft-capped scores.
 *
 * @returns true, or why not
 */
export function fitsCudnn(node: Node<'attention' | 'attentionGrad'>): true | string {
  const [q, , v] = node.inputs;
  const width = at(q.shape, 3);
  if (node.inputs.length !== (node.op === 'attention' ? 3 : 6)) return 'sinks or several documents a row';
  if (q.dtype !== 'bf16') return `${q.dtype}, not bf16`;
  if (node.attrs.softcap !== undefined) return 'soft-capped scores';
  if (width !== v.shape[3]) return `keys of ${width} channels and values of ${v.shape[3]}`;
  if (width % 8 !== 0 || width > MAX_HEAD) return `heads of ${width} channels, not a multiple of 8 up to ${MAX_HEAD}`;
  return at(q.shape, 1) % 2 === 0 ? true : 'an odd number of tokens';
}

/** cuDNN's kernels as `doctor` names them. */
export const CUDNN_KERNELS: NamedKernel = {
  name: 'cuDNN attention',
  takes: () => ({
    takes: `bf16 attention that no tile kernel takes: heads of a multiple of 8 up to ${MAX_HEAD} channels, an even number of tokens, no sinks, no softcap`,
  }),
};

/** The kernels; `deterministic` sums the gradient of queries in a fixed order. */
export const cudnnAttention = (deterministic: boolean): AttentionKernel => ({
  forward: (builder, [q, k, v], attrs) => {
    const [out, stats] = [headsFirst(q.type), statsType(q.type)];
    const [o, lse] = builder.defineMany(
      3,
      callText(
        '__cudnn$fmhaSoftmax',
        [q, k, v],
        cudnnConfig('forward', scoresOf(q.type), attrs),
        [
          [IN4, IN4, IN4],
          [OUT4, STATS, WORKSPACE],
        ],
        [typeText(out), typeText(stats), 'tensor<0xui8>'],
      ),
    ) as [string, string];
    return [builder.transpose(o, out, HEADS_LAST), lse];
  },
  backward: (builder, [q, k, v, o, lse, dOut], attrs) => {
    const results = [q, k, v].map(({ type }) => headsFirst(type));
    const names = builder.defineMany(
      4,
      callText(
        '__cudnn$fmhaSoftmaxBackward',
        [q, k, v, lse, dOut, o],
        cudnnConfig('backward', scoresOf(q.type), attrs, deterministic),
        [
          [IN4, IN4, IN4, STATS, IN4, IN4],
          [OUT4, OUT4, OUT4, WORKSPACE],
        ],
        [...results.map(typeText), 'tensor<0xui8>'],
      ),
    );
    return results.map((type, i) => builder.transpose(at(names, i), type, HEADS_LAST));
  },
});
