/**
 * Tensors that are sharded over `fsdp` only to save memory. What is computed from one element by itself (conversion,
 * the optimizer's update) is computed on the shards; a product, or anything else, reads the tensor gathered over
 * `fsdp`. Left to itself the partitioner moves activations instead, which are larger.
 */
import { convert, mapGraph, take, type Graph, type Node, type Value } from '../../../graph/index.js';
import { got, at, sameShape } from '../../../core/index.js';
import { shardingText, type MeshAxis, type Sharding } from './sharding.js';
import { typeText, type TextBuilder } from '../mlir/text.js';

/** A tensor that is sharded to save memory, and its name after gathering, once something has asked for that. */
interface Stored {
  readonly sharding: Sharding;
  gathered: string | null;
}

/** What sharded parameters need of the lowering's state. */
export interface FsdpScope {
  readonly builder: TextBuilder;
  /** The name of each value in the module. */
  readonly names: Map<Value, string>;
  /** The values that are sharded over `fsdp`, with their gathered form once it is made. */
  readonly stored: Map<Value, Stored>;
  /** The sharding that a value gets because sharded outputs are computed from it; see `originsOf`. */
  readonly origins: ReadonlyMap<Value, Sharding>;
}

/** Whether results are sharded as the inputs of the same shape are. */
const isElementwise = ({ definition: { locality } }: Node): boolean =>
  locality === 'elementwise' || locality === 'broadcasting';

/** Whether a sharding splits a tensor over `fsdp` alone, which a batch may be split over too. */
export function isStored(sharding: Sharding, parts: number): boolean {
  return parts > 1 && sharding.some((axes) => axes.includes('fsdp') && !axes.includes('data'));
}

const withoutFsdp = (sharding: Sharding): Sharding => sharding.map((axes) => axes.filter((a) => a !== 'fsdp'));

function constrained({ builder }: FsdpScope, name: string, value: Value, sharding: Sharding): string {
  const where = shardingText(sharding, value.shape.length).slice('#sdy.sharding'.length);
  return builder.define(`sdy.sharding_constraint ${name} ${where} : ${typeText(value)}`);
}

/**
 * Converts a table to bf16 before rows of it are taken, where only bf16 rows are asked for: the table is gathered in
 * half the bytes, as other products read it.
 */
export function narrowTakes(graph: Graph): Graph {
  return mapGraph(graph, (node, [x]) => {
    if (node.op !== 'convert' || node.outputs[0]?.dtype !== 'bf16' || x?.node.op !== 'take') return null;
    const [table, indices] = x.node.inputs;
    return [take(convert(table, 'bf16'), indices)];
  });
}

/**
 * Finds the values that sharded outputs are computed from element by element, and gives each the sharding of its
 * output. Gradients are then summed over devices where they arise, and only the shard of each device is kept where the
 * parameter is sharded.
 */
export function originsOf(graph: Graph, shardings: Readonly<Record<string, Sharding>>): Map<Value, Sharding> {
  const known = new Map<Value, Sharding>();
  const origins = new Map<Value, Sharding>();
  for (const { name, value } of graph.outputs) {
    const sharding = shardings[name];
    if (sharding && value.shape.length > 0) known.set(value, sharding);
  }
  for (const node of [...graph.nodes].reverse()) {
    for (const value of node.outputs) {
      const sharding = known.get(value);
      if (sharding === undefined || node.definition.locality === 'source') continue;
      if (node.op === 'transpose') {
        const { permutation } = node.attrs;
        const before: (readonly MeshAxis[])[] = [];
        permutation.forEach((axis, i) => (before[axis] = sharding[i] ?? []));
        known.set(node.inputs[0], before);
      } else if (isElementwise(node)) {
        for (const input of node.inputs) if (sameShape(input.shape, value.shape)) known.set(input, sharding);
      } else {
        origins.set(value, sharding);
      }
    }
  }
  return origins;
}

/** Results of a node, constrained to the sharding of what is computed from them. */
export function placedResults(node: Node, results: readonly string[], scope: FsdpScope): readonly string[] {
  if (scope.origins.size === 0) return results;
  return results.map((name, i) => {
    const value = at(node.outputs, i);
    const sharding = scope.origins.get(value);
    return sharding ? constrained(scope, name, value, sharding) : name;
  });
}

/** The names that a node reads: gathered, unless it works on shards. */
export function readNames(node: Node, scope: FsdpScope): string[] {
  const { names, stored } = scope;
  const { locality } = node.definition;
  // Sums over a shard need no all-gather: the partitioner adds them up.
  const onShards = isElementwise(node) || locality === 'reduction' || locality === 'identity';
  return node.inputs.map((value) => {
    const name = got(names, value);
    const entry = stored.get(value);
    if (entry === undefined || onShards) return name;
    if (entry.gathered === null) {
      // The shards are constrained first: else the conversion would come after gathering, which would move twice the
      // bytes.
      const shards = value.node.op === 'input' ? name : constrained(scope, name, value, entry.sharding);
      entry.gathered = constrained(scope, shards, value, withoutFsdp(entry.sharding));
    }
    return entry.gathered;
  });
}

/** Notes which results of a node are sharded as its inputs are. */
export function followShards(node: Node, { stored }: FsdpScope): void {
  if (stored.size === 0) return;
  const follow = (value: Value, sharding: Sharding | undefined): void => {
    if (sharding) stored.set(value, { sharding, gathered: null });
  };
  const shardingOf = (value: Value | undefined): Sharding | undefined => value && stored.get(value)?.sharding;
  if (node.op === 'barrier') node.outputs.forEach((value, i) => follow(value, shardingOf(node.inputs[i])));
  const [result] = node.outputs;
  if (result === undefined) return;
  if (!isElementwise(node)) return;
  const like = node.inputs.find((v) => stored.has(v) && sameShape(v.shape, result.shape));
  follow(result, shardingOf(like));
}
