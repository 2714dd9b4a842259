/** Tile kernels as nodes of a graph. */
import { emit, type Value } from '../../../graph/index.js';
import { runKernel } from './interpret.js';
import type { Kernel } from './ir.js';

/** A node that runs a kernel on its operands, in order; gives its results. */
export function kernelNode(kernel: Kernel, operands: readonly Value[]): readonly Value[] {
  const [read, written] = [kernel.buffers.filter((b) => !b.written), kernel.buffers.filter((b) => b.written)];
  return emit('kernel', operands, {
    name: kernel.name,
    types: written.map(({ dtype, shape }) => ({ dtype, shape })),
    program: kernel,
    evaluate: (inputs) => {
      const named = Object.fromEntries(read.map(({ name }, i) => [name, inputs[i] as Float64Array]));
      const results = runKernel(kernel, named, { exact: true });
      return written.map(({ name }) => results[name] as Float64Array);
    },
  });
}
