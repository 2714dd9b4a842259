/** Composites replaced by their decompositions. */
import { DECOMPOSITIONS, isComposite, type CompositeOp } from './decompositions.js';
import { mapGraph, rebuild, type Visit } from './ir/graph.js';
import { copyNode } from './ir/emit.js';
import type { Decomposition } from './ir/rules.js';
import type { Graph, Node, Value } from './ir/types.js';

/** Decompositions in place of the default ones. */
export type DecompositionOverrides = { readonly [K in CompositeOp]?: Decomposition<K> };

/** What to expand, and how. */
export interface ExpandOptions {
  /** Composites to leave as they are. */
  readonly keep?: (node: Node) => boolean;
  /** Decompositions in place of the default ones. */
  readonly overrides?: DecompositionOverrides;
}

/** Replaces composites by their decompositions until `keep` holds for all that are left, in the bodies of scans too. */
export function expand(graph: Graph, options: ExpandOptions = {}): Graph {
  return mapGraph(graph, expander(options));
}

function expander(options: ExpandOptions): Visit {
  const { keep = () => false, overrides = {} } = options;
  const visit: Visit = (node, inputs) => {
    if (node.op === 'scan') {
      return copyNode(node, inputs, { ...node.attrs, body: expand(node.attrs.body, options) });
    }
    if (!isComposite(node.op) || keep(node)) return null;
    const rule = (overrides[node.op] ?? DECOMPOSITIONS[node.op]) as Decomposition<CompositeOp>;
    return again(rule(inputs, node.attrs), new Set(inputs));
  };
  // A decomposition may use composites itself: visit what it added, taking its inputs as given.
  const again = (outputs: readonly Value[], given: ReadonlySet<Value>): readonly Value[] => {
    const nodes: Node[] = [];
    const seen = new Set<Node>();
    const walk = (v: Value): void => {
      if (given.has(v) || seen.has(v.node)) return;
      seen.add(v.node);
      v.node.inputs.forEach(walk);
      nodes.push(v.node);
    };
    outputs.forEach(walk);
    if (!nodes.some((n) => n.op === 'scan' || (isComposite(n.op) && !keep(n)))) return outputs;
    return rebuild(nodes, outputs, new Map([...given].map((v) => [v, v])), visit);
  };
  return visit;
}
