/**
 * Regions of a program that every device of a mesh computes on its shards (`sdy.manual_computation`, as JAX's
 * `shard_map`). XLA's partitioner cannot see into custom calls and would gather all of their operands; here the
 * shardings are manual.
 */
import { at } from '../../../core/index.js';
import type { TensorType } from '../../../graph/index.js';
import { MESH_AXES, partsOf, shardingText, type Mesh, type MeshAxis, type Sharding } from './sharding.js';
import { typeText, type Operand, type TextBuilder } from '../mlir/text.js';

/** The mesh axes that sequences and heads divide over. */
export interface Split {
  readonly batch: readonly MeshAxis[];
  readonly heads: readonly MeshAxis[];
}

/** The leading axes of `wanted` that every one of `sizes` divides over. */
function dividing(mesh: Mesh, wanted: readonly MeshAxis[], sizes: readonly number[]): readonly MeshAxis[] {
  const taken: MeshAxis[] = [];
  let parts = 1;
  for (const axis of wanted) {
    if (!sizes.every((size) => size % (parts * mesh.axes[axis]) === 0)) break;
    parts *= mesh.axes[axis];
    taken.push(axis);
  }
  return taken;
}

/**
 * How work of `batch` independent rows divides over a mesh, and over its `tensor` axis that on heads, of which there
 * are several numbers that all must divide; an empty list for work that cannot.
 */
export function splitOf(mesh: Mesh | null, batch: number, heads: readonly number[]): Split {
  if (mesh === null) return { batch: [], heads: [] };
  return {
    batch: dividing(mesh, ['data', 'fsdp'], [batch]),
    heads: heads.length === 0 ? [] : dividing(mesh, ['tensor'], heads),
  };
}

/** A tensor and its sharding. Every axis must divide evenly. */
export interface ShardedType {
  readonly type: TensorType;
  readonly sharding: Sharding;
}

/** The type of one device's shard. */
export function shardType(mesh: Mesh, { type, sharding }: ShardedType): TensorType {
  const parts = partsOf(mesh, sharding, type.shape.length);
  return { dtype: type.dtype, shape: type.shape.map((d, i) => d / at(parts, i)) };
}

const shardings = (tensors: readonly ShardedType[]): string =>
  // The attribute's name is left out in this list.
  `[${tensors.map(({ type, sharding }) => shardingText(sharding, type.shape.length).slice('#sdy.sharding'.length)).join(', ')}]`;

const types = (tensors: readonly ShardedType[]): string => tensors.map(({ type }) => typeText(type)).join(', ');

/**
 * Writes `body`, which computes shards of `results` from shards of `operands`, and returns the names of the global
 * results. Without a mesh a shard is the tensor itself.
 */
export function manualComputation(
  { builder, mesh }: { readonly builder: TextBuilder; readonly mesh: Mesh | null },
  operands: readonly (Operand & ShardedType)[],
  results: readonly ShardedType[],
  body: (shards: readonly Operand[]) => readonly string[],
): readonly string[] {
  if (mesh === null) return body(operands);
  const shards = operands.map((o) => ({ name: builder.name(), type: shardType(mesh, o) }));
  const name = builder.name();
  const axes = MESH_AXES.map((a) => `"${a}"`).join(', ');
  builder.line(
    `${results.length === 1 ? name : `${name}:${results.length}`} = ` +
      `sdy.manual_computation(${operands.map((o) => o.name).join(', ')}) in_shardings=${shardings(operands)} ` +
      `out_shardings=${shardings(results)} manual_axes={${axes}} ` +
      `(${shards.map((p) => `${p.name}: ${typeText(p.type)}`).join(', ')}) {`,
  );
  builder.indented(() => {
    const names = body(shards);
    builder.line(`sdy.return ${names.join(', ')} : ${results.map((r) => typeText(shardType(mesh, r))).join(', ')}`);
  });
  builder.line(`} : (${types(operands)}) -> (${types(results)})`);
  return results.length === 1 ? [name] : results.map((_, i) => `${name}#${i}`);
}
