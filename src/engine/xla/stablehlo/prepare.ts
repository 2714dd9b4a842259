/** Graphs as they are lowered. */
import { expand, simplify, type Graph, type Node } from '../../../graph/index.js';
import { evaluateConstant } from '../../reference/engine.js';
import { XLA_DECOMPOSITIONS } from './overrides.js';

/** Composites expanded but for those to `keep`, equal nodes merged, small constants folded. */
export function prepareForXla(graph: Graph, keep: (node: Node) => boolean): Graph {
  return simplify(expand(graph, { keep, overrides: XLA_DECOMPOSITIONS }), { evaluate: evaluateConstant });
}
