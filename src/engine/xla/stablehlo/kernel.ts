/** The lowering of a graph's tile kernels, on a mesh by shards. */
import { at } from '../../../core/index.js';
import type { Node } from '../../../graph/index.js';
import type { Kernel } from '../kernels/triton/index.js';
import { UNSHARDED, type KernelWork, type Shards } from '../kernels/work.js';
import { callKernel } from './call.js';
import { manualComputation, splitOf, type ShardedType } from '../mesh/manual.js';
import type { Scope } from './scope.js';
import { partsOf, type Mesh, type Sharding } from '../mesh/sharding.js';

/** Per buffer and axis, whether those of a shard are smaller. */
const smaller = (whole: Kernel, shard: Kernel): boolean[][] =>
  whole.buffers.map(({ shape }, i) => shape.map((d, axis) => shard.buffers[i]?.shape[axis] !== d));

/** The kernel that every device of a mesh runs, and the shardings of its operands and results. */
export interface DividedKernel {
  readonly kernel: Kernel;
  readonly read: readonly ShardedType[];
  readonly written: readonly ShardedType[];
}

/** The kernel of one shard, and how its buffers are sharded. */
export function dividedKernel(work: KernelWork, mesh: Mesh): DividedKernel {
  const whole = work.kernel(UNSHARDED);
  const split = splitOf(mesh, work.batch, work.heads);
  const [batch, heads] = partsOf(mesh, [split.batch, split.heads], 2) as [number, number];
  const cut = (shards: Shards): boolean[][] => smaller(whole, work.kernel(shards));
  const [alongBatch, alongHeads] = [cut({ batch, heads: 1 }), cut({ batch: 1, heads })];
  const buffers = whole.buffers.map(({ dtype, shape }, i): ShardedType => {
    const sharding: Sharding = shape.map((_, axis) => [
      ...(alongBatch[i]?.[axis] ? split.batch : []),
      ...(alongHeads[i]?.[axis] ? split.heads : []),
    ]);
    return { type: { dtype, shape }, sharding };
  });
  const [read, written] = [false, true].map((is) => buffers.filter((_, i) => whole.buffers[i]?.written === is)) as [
    ShardedType[],
    ShardedType[],
  ];
  return { kernel: work.kernel({ batch, heads }), read, written };
}

/** A kernel node; what is written are the results of the call. */
export function lowerKernel(node: Node<'kernel'>, inputs: readonly string[], scope: Scope): readonly string[] {
  const { builder, mesh } = scope;
  const work = node.attrs.program as KernelWork;
  if (mesh === null) return callKernel(builder, work.kernel(UNSHARDED), inputs);
  const { kernel, read, written } = dividedKernel(work, mesh);
  const operands = read.map((piece, i) => ({ ...piece, name: at(inputs, i) }));
  return manualComputation(scope, operands, written, (shards) =>
    callKernel(
      builder,
      kernel,
      shards.map((p) => p.name),
    ),
  );
}
