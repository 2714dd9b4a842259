/** What lowering a graph to StableHLO carries along. */
import type { AttentionAttrs, Node, Value } from '../../../graph/index.js';
import type { FsdpScope } from '../mesh/fsdp.js';
import type { Mesh } from '../mesh/sharding.js';
import type { Operand, TextBuilder } from '../mlir/text.js';

/**
 * What a device has its own kernel of attention for. Layouts as the graph has them: q `[B,T,H,D]`, statistics
 * `[B,H,T]`.
 */
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

/** What a rule works in. */
export interface Scope extends FsdpScope {
  /**
   * The float32 softmax statistics of attention kernels, by the value that stands for them rounded to the graph's
   * dtype.
   */
  readonly statistics: Map<Value, string>;
  /** The mesh that the program is divided over; null on one device. */
  readonly mesh: Mesh | null;
  /** The kernel for an `attention` or `attentionGrad`, if there is one. */
  kernelOf(node: Node): AttentionKernel | null;
}
