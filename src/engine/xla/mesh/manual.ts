/**
 * Parts of a program that every device of a mesh computes on its own piece of the data (`sdy.manual_computation`).
 * XLA's partitioner cannot see into custom calls and would gather all of their operands; here the pieces are said by
 * hand.
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

/** A tensor and how it is cut into pieces. Every axis must divide evenly. */
export interface Piecewise {
  readonly type: TensorType;
  readonly sharding: Sharding;
}

/** The type of one device's piece. */
export function pieceType(mesh: Mesh, { type, sharding }: Piecewise): TensorType {
  const parts = partsOf(mesh, sharding, type.shape.length);
  return { dtype: type.dtype, shape: type.shape.map((d, i) => d / at(parts, i)) };
}

const shardings = (tensors: readonly Piecewise[]): string =>
  // The attribute's name is left out in this list.
  `[${tensors.map(({ type, sharding }) => shardingText(sharding, type.shape.length).slice('#sdy.sharding'.length)).join(', ')}]`;

const types = (tensors: readonly Piecewise[]): string => tensors.map(({ type }) => typeText(type)).join(', ');

/**
 * Writes `body`, which computes pieces of `results` from pieces of `operands`, and returns the names of the whole
 * results. Without a mesh the pieces are the whole.
 */
export function manualComputation(
  { builder, mesh }: { readonly builder: TextBuilder; readonly mesh: Mesh | null },
  operands: readonly (Operand & Piecewise)[],
  results: readonly Piecewise[],
  body: (pieces: readonly Operand[]) => readonly string[],
): readonly string[] {
  if (mesh === null) return body(operands);
  const pieces = operands.map((o) => ({ name: builder.name(), type: pieceType(mesh, o) }));
  const name = builder.name();
  const axes = MESH_AXES.map((a) => `"${a}"`).join(', ');
  builder.line(
    `${results.length === 1 ? name : `${name}:${results.length}`} = ` +
      `sdy.manual_computation(${operands.map((o) => o.name).join(', ')}) in_shardings=${shardings(operands)} ` +
      `out_shardings=${shardings(results)} manual_axes={${axes}} ` +
      `(${pieces.map((p) => `${p.name}: ${typeText(p.type)}`).join(', ')}) {`,
  );
  builder.indented(() => {
    const names = body(pieces);
    builder.line(`sdy.return ${names.join(', ')} : ${results.map((r) => typeText(pieceType(mesh, r))).join(', ')}`);
  });
  builder.line(`} : (${types(operands)}) -> (${types(results)})`);
  return results.length === 1 ? [name] : results.map((_, i) => `${name}#${i}`);
}
