/**
 * Puts tile kernels into a graph where they are faster than what XLA has. A pass over the whole graph, after
 * differentiation, while attention, norms and losses are still single nodes.
 */
import { at, invariant, sameShape } from '../../../core/index.js';
import { makeGraph, nodesOf, rebuild, type Graph, type Node, type OpName, type Value } from '../../../graph/index.js';
import type { KernelDevice } from '../kernels/taken.js';
import { ATTENTION_KERNELS } from './fuse-attention.js';
import { GATE_KERNELS } from './fuse-gate.js';
import { LOSS_KERNELS } from './fuse-loss.js';
import { NORM_KERNELS } from './fuse-norm.js';
import { ROTARY_KERNELS } from './fuse-rotary.js';
import { lossesOf, type Loss } from './losses.js';
import { Placing } from './placing.js';
import { applyRule, type KernelFamily, type KernelRule } from './tile-kernel.js';

/** The families of tile kernels that the pass places, in the order in which engines name them. */
export const TILE_KERNELS: readonly KernelFamily[] = [
  ATTENTION_KERNELS,
  NORM_KERNELS,
  ROTARY_KERNELS,
  GATE_KERNELS,
  LOSS_KERNELS,
];

/** How a program with tile kernels is divided. */
export type FuseOptions = Partial<KernelDevice>;

/** The graph with tile kernels in it. Composites must not be expanded yet, and remat must be. */
export function fuseTileKernels(graph: Graph, { dividesHeads = false }: FuseOptions = {}): Graph {
  const map = new Map<Value, Value>(graph.inputs.map(({ value }) => [value, value]));
  const losses = dividesHeads ? new Map<Node, Loss>() : lossesOf(graph);
  const placing = new Placing({ dividesHeads }, losses, map);
  const rules = new Map(TILE_KERNELS.flatMap((family) => Object.entries<unknown>(family.rules(placing))));
  const visit = (node: Node, inputs: readonly Value[]): readonly Value[] | null => {
    const rule = rules.get(node.op) as KernelRule<OpName> | undefined;
    const placed = placing.seenThrough(node, inputs) ?? (rule ? applyRule(rule, node, inputs) : null);
    if (placed === null || typeof placed === 'string') return null;
    placed.forEach((v, i) => {
      const { dtype, shape } = at(node.outputs, i);
      invariant(v.dtype === dtype && sameShape(v.shape, shape), `a tile kernel gives another type for ${node.op}`);
    });
    return placed;
  };
  // What the gradients of losses need comes first.
  const nodes = [...nodesOf([...losses.values()].map(({ dloss }) => dloss)), ...graph.nodes];
  const results = rebuild(
    nodes,
    graph.outputs.map((p) => p.value),
    map,
    visit,
  );
  return makeGraph(
    Object.fromEntries(graph.inputs.map((p) => [p.name, p.value])),
    Object.fromEntries(graph.outputs.map((p, i) => [p.name, at(results, i)])),
  );
}
