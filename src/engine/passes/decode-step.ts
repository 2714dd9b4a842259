/** How engines tell programs that read a few tokens at a time from those that read whole sequences. */
import type { Graph } from '../../graph/index.js';

/**
 * Whether a program is a step of decoding: it hands a state on from run to run (some input is donated) and computes no
 * gradients. Such a program multiplies few tokens by each matrix, so work on a matrix costs more than work on tokens.
 *
 * @param donate input names to the outputs that take their memory
 */
export function isDecodeStep(graph: Graph, donate: Readonly<Record<string, string>> = {}): boolean {
  return Object.keys(donate).length > 0 && !graph.nodes.some(({ op }) => op.endsWith('Grad'));
}
