/** The devices of a mesh with their memory: placing tensors on them, and what happens when they are full. */
import { present, at, DTYPE_BYTES, EngineError, sizeOf, type HostTensor } from '../../../core/index.js';
import { findAccelerators, type AcceleratorMemory } from '../../contract/accelerators.js';
import type { DeviceTensor, Sharding } from '../../contract/engine.js';
import type { BufferPool } from './memory.js';
import { isFull, outOfMemory } from './out-of-memory.js';
import type { Device, PjrtClient } from '../pjrt/client.js';
import { cutShard, joinShards } from '../mesh/place.js';
import { partsOf, shardingKey, type Mesh } from '../mesh/sharding.js';
import type { Placement, XlaTensor } from './tensor.js';

/** What an engine holds; shared by its programs. */
export interface Core {
  readonly client: PjrtClient;
  readonly mesh: Mesh;
  /** The mesh's devices, in its order. */
  readonly devices: readonly Device[];
  /** Places on the mesh of the devices that are this process's own; buffers of a tensor are in this order. */
  readonly own: readonly number[];
  readonly pool: BufferPool;
}

/** The device at a place of the mesh. */
export const deviceOf = ({ devices }: Core, place: number): Device => at(devices, place);

/** An error as it is shown: one that says that a device is full, or taken by others, comes with what to do. */
export function explain({ client, devices, own }: Core, error: unknown): unknown {
  if (!isFull(error)) return error;
  const device = at(devices, at(own, 0));
  return outOfMemory(error, { stats: client.memoryStats(device), device: memoryOf(client.platform, device.id) });
}

/**
 * What all processes hold of a device, by its number among those that this process sees; null where nothing says it.
 */
export function memoryOf(platform: string, id: number): AcceleratorMemory | null {
  if (platform !== 'cuda') return null;
  return findAccelerators().find((device) => device.name === `cuda:${id}`)?.memory ?? null;
}

/** Runs `action`; when the device is full, frees garbage and tries once more. */
export function withMemory<T>(core: Core, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (!isFull(error)) throw error;
    core.pool.sweep();
    try {
      return action();
    } catch (second) {
      throw explain(core, second);
    }
  }
}

const bytesOf = (t: DeviceTensor): number => sizeOf(t.shape) * DTYPE_BYTES[t.dtype];

/** Gives a tensor its buffers, which are freed with it. */
export function adopt(core: Core, tensor: XlaTensor, placement: Placement): void {
  tensor.placement = placement;
  tensor.host = null;
  core.pool.adopt(tensor, placement.buffers, bytesOf(tensor));
}

/** Puts a tensor that is still on the host on the devices as `sharding` says. */
export function place(core: Core, tensor: XlaTensor, sharding: Sharding): Placement {
  const host = present(tensor.host);
  const buffers = core.own.map((at) =>
    withMemory(core, () => core.client.upload(cutShard(host, core.mesh, sharding, at), deviceOf(core, at))),
  );
  const placement = { sharding, buffers };
  adopt(core, tensor, placement);
  return placement;
}

/** The buffers of a tensor, which must have the sharding that a program wants. */
export function placementFor(core: Core, tensor: XlaTensor, sharding: Sharding, name: string): Placement {
  const rank = tensor.shape.length;
  const placement = tensor.placement ?? place(core, tensor, sharding);
  if (core.mesh.size === 1) return placement;
  if (shardingKey(placement.sharding, rank) === shardingKey(sharding, rank)) return placement;
  throw new EngineError(
    `xla: input "${name}" lies on the mesh as ${shardingKey(placement.sharding, rank)}, the program wants ` +
      `${shardingKey(sharding, rank)}; download it and upload it anew`,
  );
}

/** True if one device of this process has all of it. */
function isWhole(core: Core, { sharding }: Placement, rank: number): boolean {
  return partsOf(core.mesh, sharding, rank).every((n) => n === 1);
}

/** True if this process has all of a placed tensor. */
export function isHere(core: Core, { placement, shape }: XlaTensor): boolean {
  return core.own.length === core.mesh.size || (placement !== null && isWhole(core, placement, shape.length));
}

/** A placed tensor on the host. All of its shards must be in this process. */
export async function fetch(core: Core, tensor: XlaTensor): Promise<HostTensor> {
  const { dtype, shape } = tensor;
  const placement = present(tensor.placement);
  const parts = partsOf(core.mesh, placement.sharding, shape.length);
  const get = (i: number, part: readonly number[]): Promise<HostTensor> =>
    core.client.download(at(placement.buffers, i), dtype, part);
  try {
    if (isWhole(core, placement, shape.length)) return await get(0, shape);
    const local = shape.map((d, i) => d / at(parts, i));
    const shards = await Promise.all(core.own.map((_, i) => get(i, local)));
    return joinShards(shards, core.mesh, placement.sharding, shape);
  } catch (error) {
    throw explain(core, error);
  }
}
