/** Tile kernels as nodes of a graph. */
import { entry, at } from '../../../core/index.js';
import { emit, type Value } from '../../../graph/index.js';
import { runKernel } from './triton/interpret.js';
import type { Kernel } from './triton/ir.js';

/** Into how many equal pieces a kernel's work is cut. */
export interface Pieces {
  /** Pieces of the sequences (or rows). */
  readonly batch: number;
  /** Pieces of the heads. */
  readonly heads: number;
}

/** All of a kernel's work, on one device. */
export const WHOLE: Pieces = { batch: 1, heads: 1 };

/**
 * Work that a kernel does, whole or on pieces that know nothing of one another: the devices of a mesh take one each.
 */
export interface KernelWork {
  /** Sequences, or rows. */
  readonly batch: number;
  /** Numbers of heads that must all divide; none where only all heads together can be done. */
  readonly heads: readonly number[];
  /** The kernel for one of so many pieces. Its buffers are smaller along the axes that are cut, and only there. */
  kernel(pieces: Pieces): Kernel;
}

/** A node that runs a kernel on its operands, in order; gives its results. */
export function kernelNode(work: KernelWork, operands: readonly Value[]): readonly Value[] {
  const kernel = work.kernel(WHOLE);
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
