/** Tile kernels as nodes of a graph. */
import { entry, at } from '../../../core/index.js';
import { emit, type Value } from '../../../graph/index.js';
import { runKernel } from './triton/interpret.js';
import type { Kernel } from './triton/ir.js';

/** Into how many equal shards a kernel's operands and results are split. */
export interface Shards {
  /** Shards of the sequences (or rows). */
  readonly batch: number;
  /** Shards of the heads. */
  readonly heads: number;
}

/** All of a kernel's work, on one device. */
export const UNSHARDED: Shards = { batch: 1, heads: 1 };

/**
 * Work that a kernel does on one device, or sharded over a mesh without communication.
 */
export interface KernelWork {
  /** Sequences, or rows. */
  readonly batch: number;
  /** Head counts, each of which the number of head shards must divide; none where heads cannot be sharded. */
  readonly heads: readonly number[];
  /** The kernel for one of so many shards. Its buffers are smaller along the sharded axes, and only there. */
  kernel(shards: Shards): Kernel;
}

/** A node that runs a kernel on its operands, in order; gives its results. */
export function kernelNode(work: KernelWork, operands: readonly Value[]): readonly Value[] {
  const kernel = work.kernel(UNSHARDED);
  const [read, written] = [kernel.buffers.filter((b) => !b.written), kernel.buffers.filter((b) => b.written)];
  return emit('kernel', operands, {
    name: kernel.name,
    types: written.map(({ dtype, shape }) => ({ dtype, shape })),
    program: work,
    evaluate: (inputs) => {
      const named = Object.fromEntries(read.map(({ name }, i) => [name, at(inputs, i)]));
      const results = runKernel(kernel, named, { exact: true });
      return written.map(({ name }) => entry(results, name));
    },
  });
}
