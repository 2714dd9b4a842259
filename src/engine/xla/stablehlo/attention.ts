/**
 * Attention as the device's kernel where there is one, and on a mesh by shards: sequences and heads are independent, so
 * sequences are sharded over `data` and `fsdp`, heads over `tensor`, and nothing is gathered.
 */
import { dims, at } from '../../../core/index.js';
import {
  input,
  makeGraph,
  type AttentionAttrs,
  type Graph,
  type Node,
  type TensorType,
  type Value,
} from '../../../graph/index.js';
import { manualComputation, splitOf, type ShardedType, type Split } from '../mesh/manual.js';
import { XLA_DECOMPOSITIONS } from '../passes/overrides.js';
import { prepareForXla } from '../passes/prepare.js';
import type { Operand } from '../mlir/text.js';
import type { KeptFor } from './composites.js';
import type { Scope } from './scope.js';
import { partsOf, type Mesh, type Sharding } from '../mesh/sharding.js';

type LowerNodes = (graph: Graph, scope: Scope) => string[];
type Attention = Node<KeptFor<'attention'>>;

function splitFor(mesh: Mesh | null, { inputs: [q, k] }: Attention): Split {
  const [B, , H] = dims(q, 3);
  return splitOf(mesh, B, [H, at(k.shape, 2)]);
}

/** Whether there is anything to divide. */
export function divides(mesh: Mesh, node: Attention): boolean {
  const { batch, heads } = splitFor(mesh, node);
  return partsOf(mesh, [batch, heads], 2).some((n) => n > 1);
}

const tokensOf = ({ batch, heads }: Split): Sharding => [batch, [], heads];
const statisticsOf = ({ batch, heads }: Split): Sharding => [batch, heads];

/** The shardings of the inputs after the `fixed` ones: sinks, and the documents of tokens. */
const optionalOf = ({ batch, heads }: Split, node: Attention, fixed: number): Sharding[] =>
  node.inputs.slice(fixed).map(({ dtype }) => (dtype === 'i32' ? [batch, []] : [heads]));

/** The composite on shards, by its decomposition. */
function decomposed(
  { op, attrs }: Attention,
  shards: readonly Operand[],
  scope: Scope,
  lowerNodes: LowerNodes,
): readonly string[] {
  const inputs = shards.map(({ type }, i) => input(`x${i}`, type.dtype, type.shape));
  const decompose = XLA_DECOMPOSITIONS[op] as (inputs: readonly Value[], attrs: AttentionAttrs) => readonly Value[];
  const outputs = decompose(inputs, attrs);
  const named = (values: readonly Value[]) => Object.fromEntries(values.map((v, i) => [`x${i}`, v]));
  const graph = prepareForXla(makeGraph(named(inputs), named(outputs)), () => false);
  const names = new Map(graph.inputs.map(({ value }, i) => [value, at(shards, i).name]));
  return lowerNodes(graph, { ...scope, names });
}

const placed = (
  names: readonly string[],
  types: readonly TensorType[],
  shardings: readonly Sharding[],
): (Operand & ShardedType)[] => names.map((name, i) => ({ name, type: at(types, i), sharding: at(shardings, i) }));

/** attention (q, k, v, [sinks], [segments]) -> o, log-sum-exp. */
export function lowerAttention(
  node: Node<'attention'>,
  inputs: readonly string[],
  scope: Scope,
  lowerNodes: LowerNodes,
): readonly string[] {
  const kernel = scope.kernelOf(node);
  const split = splitFor(scope.mesh, node);
  const [out, lse] = node.outputs as [Value, Value];
  const [tokens, statistics] = [tokensOf(split), statisticsOf(split)];
  const operands = placed(inputs, node.inputs, [tokens, tokens, tokens, ...optionalOf(split, node, 3)]);
  const lseType = { dtype: kernel ? 'f32' : lse.dtype, shape: lse.shape } as const;
  const results: ShardedType[] = [
    { type: out, sharding: tokens },
    { type: lseType, sharding: statistics },
  ];
  const [o, stats] = manualComputation(scope, operands, results, (shards) =>
    kernel
      ? kernel.forward(scope.builder, shards as [Operand, Operand, Operand], node.attrs)
      : decomposed(node, shards, scope, lowerNodes),
  ) as [string, string];
  if (!kernel) return [o, stats];
  scope.statistics.set(lse, stats);
  return [o, scope.builder.convert(stats, lseType, lse.dtype)];
}

/** attentionGrad (q, k, v, o, log-sum-exp, do, [sinks], [segments]) -> dq, dk, dv, [dsinks]. */
export function lowerAttentionGrad(
  node: Node<'attentionGrad'>,
  inputs: readonly string[],
  scope: Scope,
  lowerNodes: LowerNodes,
): readonly string[] {
  const { builder, mesh } = scope;
  const kernel = scope.kernelOf(node);
  const split = splitFor(mesh, node);
  const [tokens, statistics] = [tokensOf(split), statisticsOf(split)];
  const optional = optionalOf(split, node, 6);
  const operands = placed(inputs, node.inputs, [tokens, tokens, tokens, tokens, statistics, tokens, ...optional]);
  if (kernel) {
    const lse = node.inputs[4];
    const name = scope.statistics.get(lse) ?? builder.convert(at(inputs, 4), lse, 'f32');
    operands[4] = { name, type: { dtype: 'f32', shape: lse.shape }, sharding: statistics };
  }
  const [dq, dk, dv, dSinks] = node.outputs as [Value, Value, Value, Value | undefined];
  const results: ShardedType[] = [dq, dk, dv].map((type) => ({ type, sharding: tokens }));
  // Each device has the sinks' gradient of its sequences: partial sums, one row a device, which are then reduced.
  const rows = mesh === null ? 1 : at(partsOf(mesh, [split.batch], 1), 0);
  const partial = dSinks && { dtype: dSinks.dtype, shape: [rows, ...dSinks.shape] };
  if (partial) results.push({ type: partial, sharding: [split.batch, split.heads] });
  const names = manualComputation(scope, operands, results, (shards) => {
    if (kernel) return kernel.backward(builder, shards as Parameters<typeof kernel.backward>[1], node.attrs);
    const found = decomposed(node, shards, scope, lowerNodes);
    if (!dSinks) return found;
    const own = at(shards, 6).type;
    return [...found.slice(0, 3), builder.reshape(at(found, 3), own, [1, ...own.shape])];
  });
  if (!partial || !dSinks) return names;
  const wide = { dtype: partial.dtype === 'bf16' ? 'f32' : partial.dtype, shape: partial.shape } as const;
  const sum = builder.reduce(builder.convert(at(names, 3), partial, wide.dtype), wide, [0], 'add', 0);
  return [...names.slice(0, 3), builder.convert(sum, { ...wide, shape: dSinks.shape }, partial.dtype)];
}
