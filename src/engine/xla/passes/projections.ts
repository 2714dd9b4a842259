/**
 * A separate matrix product for each of the queries, keys and values that a kernel reads as contiguous tensors: slicing
 * them out of a fused product costs a copy of all of them. The backward pass keeps the fused product, for which the
 * gradients are concatenated.
 */
import { present } from '../../../core/index.js';
import {
  barrier,
  emit,
  mapGraph,
  split,
  type Graph,
  type Node,
  type OpAttrs,
  type Value,
} from '../../../graph/index.js';

/** Splits of projections one of whose results is an operand of a `wanted` node, as it is or reshaped to heads. */
function cutsFor(graph: Graph, wanted: (node: Node) => boolean): Set<Node> {
  const operands = graph.nodes.filter(wanted).flatMap(({ inputs }) => inputs.slice(0, 3));
  const sources = operands.map((v) => (v.node.op === 'reshape' ? v.node.inputs[0] : v).node);
  return new Set(
    sources.filter(({ op, inputs, attrs }) => {
      const whole = inputs[0];
      if (op !== 'split' || whole?.node.op !== 'dot') return false;
      const { lhsBatch, rhsContract } = whole.node.attrs;
      const matrix = whole.node.inputs[1];
      const last = attrs.axis === whole.shape.length - 1;
      return last && lhsBatch.length === 0 && matrix.shape.length === 2 && rhsContract[0] === 0;
    }),
  );
}

/** The graph with the projections that `wanted` nodes read as products of their own. */
export function separateProjections(graph: Graph, wanted: (node: Node) => boolean): Graph {
  const cuts = cutsFor(graph, wanted);
  if (cuts.size === 0) return graph;
  return mapGraph(graph, (node, [whole]) => {
    if (!cuts.has(node)) return null;
    const { attrs, inputs } = present(whole).node as Node<'dot'>;
    const [x, matrix] = inputs as [Value, Value];
    const { sizes } = node.attrs as OpAttrs['split'];
    return split(matrix, 1, sizes).flatMap((part) => {
      // XLA would join again what has an operand in common.
      const operands = barrier([x, part]);
      return emit('dot', operands, attrs);
    });
  });
}
