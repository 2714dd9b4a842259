/** Host tensors to shards on the devices of a mesh and back. */
import { present, last, at, allocate, sizeOf, stridesOf, type HostTensor, type Shape } from '../../../core/index.js';
import type { Sharding } from '../../contract/engine.js';
import { shardOf, type Mesh } from './sharding.js';

/** Copies the block at `starts` of shape `block` between a global tensor and a shard, row by row. */
function copyBlock(whole: HostTensor, part: HostTensor, starts: readonly number[], direction: 'cut' | 'join'): void {
  const block = part.shape;
  const strides = stridesOf(whole.shape);
  const row = block.length === 0 ? 1 : last(block);
  const rows = row === 0 ? 0 : sizeOf(block) / row;
  const at = new Array<number>(Math.max(0, block.length - 1)).fill(0);
  for (let r = 0; r < rows; r++) {
    let from = block.length === 0 ? 0 : present(starts[block.length - 1]);
    at.forEach((i, axis) => (from += (i + present(starts[axis])) * present(strides[axis])));
    const [source, target] =
      direction === 'cut'
        ? [whole.data.subarray(from, from + row), part.data.subarray(r * row, (r + 1) * row)]
        : [part.data.subarray(r * row, (r + 1) * row), whole.data.subarray(from, from + row)];
    (target as Float32Array).set(source);
    for (let axis = at.length - 1; axis >= 0; axis--) {
      at[axis] = present(at[axis]) + 1;
      if (present(at[axis]) < present(block[axis])) break;
      at[axis] = 0;
    }
  }
}

/** The shard of a tensor on device number `device`. */
export function cutShard(tensor: HostTensor, mesh: Mesh, sharding: Sharding, device: number): HostTensor {
  const { starts, shape } = shardOf(mesh, sharding, tensor.shape, device);
  if (starts.every((s) => s === 0) && sizeOf(shape) === sizeOf(tensor.shape)) return tensor;
  const part = { dtype: tensor.dtype, shape, data: allocate(tensor.dtype, sizeOf(shape)) } as HostTensor;
  copyBlock(tensor, part, starts, 'cut');
  return part;
}

/** The global tensor from its shards, in the order of the mesh's devices. */
export function joinShards(parts: readonly HostTensor[], mesh: Mesh, sharding: Sharding, shape: Shape): HostTensor {
  const { dtype } = at(parts, 0);
  const whole = { dtype, shape, data: allocate(dtype, sizeOf(shape)) } as HostTensor;
  parts.forEach((part, device) => copyBlock(whole, part, shardOf(mesh, sharding, shape, device).starts, 'join'));
  return whole;
}
