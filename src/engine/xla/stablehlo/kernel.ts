/** Tile kernels that stand in a graph, on a mesh piece by piece. */
import { at } from '../../../core/index.js';
import type { Node } from '../../../graph/index.js';
import type { Kernel } from '../kernels/triton/index.js';
import { WHOLE, type KernelWork, type Pieces } from '../kernels/work.js';
import { callKernel } from './call.js';
import { manualComputation, splitOf, type Piecewise } from '../mesh/manual.js';
import type { Scope } from './scope.js';
import { partsOf, type Mesh, type Sharding } from '../mesh/sharding.js';

/** Per buffer and axis, whether those of a piece are smaller. */
const smaller = (whole: Kernel, piece: Kernel): boolean[][] =>
  whole.buffers.map(({ shape }, i) => shape.map((d, axis) => piece.buffers[i]?.shape[axis] !== d));

/** The kernel that every device of a mesh runs, and how what it reads and writes is cut. */
export interface DividedKernel {
  readonly kernel: Kernel;
  readonly read: readonly Piecewise[];
  readonly written: readonly Piecewise[];
}

/** The kernel of a piece of the work that each device of a mesh does, and how its buffers are sharded. */
export function dividedKernel(work: KernelWork, mesh: Mesh): DividedKernel {
  const whole = work.kernel(WHOLE);
  const split = splitOf(mesh, work.batch, work.heads);
  const [batch, heads] = partsOf(mesh, [split.batch, split.heads], 2) as [number, number];
  const cut = (pieces: Pieces): boolean[][] => smaller(whole, work.kernel(pieces));
  const [alongBatch, alongHeads] = [cut({ batch, heads: 1 }), cut({ batch: 1, heads })];
  const pieces = whole.buffers.map(({ dtype, shape }, i): Piecewise => {
    const sharding: Sharding = shape.map((_, axis) => [
      ...(alongBatch[i]?.[axis] ? split.batch : []),
      ...(alongHeads[i]?.[axis] ? split.heads : []),
    ]);
    return { type: { dtype, shape }, sharding };
  });
  const [read, written] = [false, true].map((is) => pieces.filter((_, i) => whole.buffers[i]?.written === is)) as [
    Piecewise[],
    Piecewise[],
  ];
  return { kernel: work.kernel({ batch, heads }), read, written };
}

/** A kernel node; what is written are the results of the call. */
export function lowerKernel(node: Node<'kernel'>, inputs: readonly string[], scope: Scope): readonly string[] {
  const { builder, mesh } = scope;
  const work = node.attrs.program as KernelWork;
  if (mesh === null) return callKernel(builder, work.kernel(WHOLE), inputs);
  const { kernel, read, written } = dividedKernel(work, mesh);
  const operands = read.map((piece, i) => ({ ...piece, name: at(inputs, i) }));
  return manualComputation(scope, operands, written, (pieces) =>
    callKernel(
      builder,
      kernel,
      pieces.map((p) => p.name),
    ),
  );
}
