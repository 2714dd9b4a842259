/** Device meshes and shardings of tensors, as Shardy (`sdy`) annotations and as slices of host tensors. */
import { present, at, ConfigError, formatShape, type Shape } from '../../../core/index.js';
import type { MeshAxis, MeshShape, Sharding } from '../../contract/engine.js';

export type { MeshAxis, MeshShape, Sharding };

/** The mesh axes, from the slowest-changing to the fastest among device numbers. */
export const MESH_AXES: readonly MeshAxis[] = ['data', 'fsdp', 'tensor'];

/** A device mesh: how many devices there are along each axis. */
export interface Mesh {
  readonly axes: Readonly<Record<MeshAxis, number>>;
  /** Devices in all. */
  readonly size: number;
}

/** A complete mesh; axes left out have size 1. Throws `ConfigError` for sizes that are no whole numbers >= 1. */
export function meshOf(shape: MeshShape): Mesh {
  const axes = { data: shape.data ?? 1, fsdp: shape.fsdp ?? 1, tensor: shape.tensor ?? 1 };
  for (const axis of MESH_AXES) {
    const n = axes[axis];
    if (!Number.isInteger(n) || n < 1) throw new ConfigError(`mesh: ${axis} must be a whole number >= 1, got ${n}`);
  }
  return { axes, size: axes.data * axes.fsdp * axes.tensor };
}

/** `sdy.mesh @mesh = <["data"=2, ...]>` */
export function meshText(mesh: Mesh): string {
  return `sdy.mesh @mesh = <[${MESH_AXES.map((a) => `"${a}"=${mesh.axes[a]}`).join(', ')}]>`;
}

/** `#sdy.sharding<@mesh, [{"data"}, {}]>`; axes without an entry are replicated. */
export function shardingText(sharding: Sharding, rank: number): string {
  const dims = Array.from({ length: rank }, (_, i) => `{${(sharding[i] ?? []).map((a) => `"${a}"`).join(', ')}}`);
  return `#sdy.sharding<@mesh, [${dims.join(', ')}]>`;
}

/** Into how many shards each axis of a tensor is split. */
export function partsOf(mesh: Mesh, sharding: Sharding, rank: number): number[] {
  return Array.from({ length: rank }, (_, i) => (sharding[i] ?? []).reduce((n, a) => n * mesh.axes[a], 1));
}

/** Throws `ConfigError` unless every axis divides evenly. */
export function checkSharding(mesh: Mesh, sharding: Sharding, shape: Shape, what: string): void {
  partsOf(mesh, sharding, shape.length).forEach((parts, axis) => {
    if (at(shape, axis) % parts === 0) return;
    const axes = (sharding[axis] ?? []).join(' x ');
    throw new ConfigError(
      `${what} ${formatShape(shape)}: axis ${axis} of ${shape[axis]} does not divide into the ${parts} parts of mesh ` +
        `axis ${axes}; change that size or the mesh`,
      { details: { shape, axis, parts } },
    );
  });
}

/** The coordinates of device number `device` on the mesh. */
function coordinates(mesh: Mesh, device: number): Record<MeshAxis, number> {
  const { fsdp, tensor } = mesh.axes;
  return {
    tensor: device % tensor,
    fsdp: Math.floor(device / tensor) % fsdp,
    data: Math.floor(device / (tensor * fsdp)),
  };
}

/** Where the shard of device number `device` starts, per axis, and its shape. */
export function shardOf(
  mesh: Mesh,
  sharding: Sharding,
  shape: Shape,
  device: number,
): { starts: number[]; shape: number[] } {
  const at = coordinates(mesh, device);
  const parts = partsOf(mesh, sharding, shape.length);
  const local = shape.map((d, i) => d / present(parts[i]));
  const starts = local.map((d, i) => d * (sharding[i] ?? []).reduce((n, a) => n * mesh.axes[a] + at[a], 0));
  return { starts, shape: local };
}

/** By rank, the names of replicated tensors: asked for hundreds of times a step. */
const REPLICATED: readonly string[] = Array.from({ length: 9 }, (_, rank) => shardingText([], rank));

/** A name for a sharding of a rank, for comparing. */
export function shardingKey(sharding: Sharding, rank: number): string {
  return sharding.length === 0 ? (REPLICATED[rank] ?? shardingText([], rank)) : shardingText(sharding, rank);
}
