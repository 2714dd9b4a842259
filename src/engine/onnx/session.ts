/** What sessions of onnxruntime have in common, in Node and in browsers. */
import { isHalf, type DType } from '../../core/index.js';
import type { Graph } from '../../graph/index.js';

type OrtType = 'float32' | 'float64' | 'uint16' | 'float16' | 'int32' | 'bool';

/** The names that onnxruntime's JavaScript bindings have for dtypes. */
export const ORT_TYPES: Readonly<Record<DType, OrtType>> = {
  f32: 'float32',
  f64: 'float64',
  // Its bits: the binding has no tensors of bf16.
  bf16: 'uint16',
  f16: 'float16',
  i32: 'int32',
  bool: 'bool',
};

/**
 * How much onnxruntime rewrites a graph. In float64 only what holds for every dtype: its fusions take kernels that
 * exist in float32 alone (QuickGelu), or make a factor an attribute, which is a float32 (FusedMatMul).
 */
const rewriting = (graph: Graph): 'all' | 'basic' =>
  graph.nodes.some((node) => node.outputs.some((v) => v.dtype === 'f64')) ? 'basic' : 'all';

/**
 * Whether a program keeps the memory of its temporaries for the next run. Programs on weights of two bytes give it
 * back: they are there to take little memory.
 */
const keepsMemory = (graph: Graph): boolean => !graph.inputs.some(({ value }) => isHalf(value.dtype));

/** Options of every session on the CPU's kernels, native or in WebAssembly. */
export const commonOptions = (graph: Graph) =>
  ({
    executionMode: 'sequential',
    graphOptimizationLevel: rewriting(graph),
    // A plan of one block for all temporaries doubles the memory and saves no time.
    enableMemPattern: false,
    enableCpuMemArena: keepsMemory(graph),
    logSeverityLevel: 3,
    // Masked softmax leaves denormals, which the processor handles a hundred times slower than numbers.
    extra: {
      session: { set_denormal_as_zero: '1' },
      // Transposes in the graph are meant: products read a transposed operand more slowly than its own transpose.
      optimization: { disable_specified_optimizers: 'MatmulTransposeFusion;GemmTransposeFusion' },
    },
  }) as const;
