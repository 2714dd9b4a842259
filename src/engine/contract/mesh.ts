/** Shardings of tensors, for those who hand them to engines. */
import { at, type Shape } from '../../core/index.js';
import type { MeshAxis, MeshShape, Sharding } from './engine.js';

/** The sharding of tensors whose leading axis counts sequences, or tokens of them. */
export const BATCH_SHARDING: Sharding = [['data', 'fsdp']];

/** The axes of `wanted` that divide the sizes; the others would leave parts of unequal size. */
export function fittingSharding(wanted: Sharding, shape: Shape, mesh: MeshShape): Sharding {
  return wanted.map((axes, i): readonly MeshAxis[] => {
    const parts = axes.reduce((n, a) => n * (mesh[a] ?? 1), 1);
    return at(shape, i) % parts === 0 ? axes : [];
  });
}
