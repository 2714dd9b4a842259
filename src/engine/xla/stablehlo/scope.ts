/** What lowering a graph to StableHLO carries along. */
import type { AttentionAttrs, Node, TensorType, Value } from '../../../graph/index.js';
import type { Mesh, Sharding } from './sharding.js';
import type { TextBuilder } from './text.js';

/** A named value of the text. */
export interface Operand {
  readonly name: string;
  readonly type: TensorType;
}

/** What a device has its own kernel of attention for. Layouts as the graph has them: q `[B,T,H,D]`, statistics `[B,H,T]`. */
export interface AttentionKernel {
  /** q, k, v -> o, and the log-sum-exp in float32. */
  forward(
    builder: TextBuilder,
    operands: readonly [Operand, Operand, Operand],
    attrs: AttentionAttrs,
  ): readonly string[];
  /** q, k, v, o, the log-sum-exp in float32, do -> dq, dk, dv. */
  backward(
    builder: TextBuilder,
    operands: readonly [Operand, Operand, Operand, Operand, Operand, Operand],
    attrs: AttentionAttrs,
  ): readonly string[];
}

/** A tensor that lies divided to save memory, and the name of it gathered, once something has asked. */
export interface Stored {
  readonly sharding: Sharding;
  gathered: string | null;
}

/** What a rule works in. */
export interface Scope {
  readonly builder: TextBuilder;
  /** Names of values. */
  readonly names: Map<Value, string>;
  /** The float32 softmax statistics of attention kernels, by the value that stands for them rounded to the graph's dtype. */
  readonly statistics: Map<Value, string>;
  /** What lies divided over `fsdp`. */
  readonly stored: Map<Value, Stored>;
  /** How values must lie that outputs come from. */
  readonly origins: ReadonlyMap<Value, Sharding>;
  /** The mesh that the program is divided over; null on one device. */
  readonly mesh: Mesh | null;
  /** The kernel for an `attention` or `attentionGrad`, if there is one. */
  kernelOf(node: Node): AttentionKernel | null;
}
