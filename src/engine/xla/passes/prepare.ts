/** Graphs as they are lowered. */
import { expand, simplify, type Graph, type Node } from '../../../graph/index.js';
import { evaluateConstant } from '../../reference/engine.js';
import { fuseTileKernels, type FuseOptions } from './fuse.js';
import { XLA_DECOMPOSITIONS } from './overrides.js';

/** The graph with the device's own tile kernels in it, where they are faster than what XLA or cuDNN have. */
export function withTileKernels(graph: Graph, options: FuseOptions = {}): Graph {
  const flat = expand(graph, { keep: (node) => node.op !== 'remat' });
  return fuseTileKernels(simplify(flat), options);
}

/** Composites expanded but for those to `keep`, equal nodes merged, small constants folded. */
export function prepareForXla(graph: Graph, keep: (node: Node) => boolean): Graph {
  return simplify(expand(graph, { keep, overrides: XLA_DECOMPOSITIONS }), { evaluate: evaluateConstant });
}
