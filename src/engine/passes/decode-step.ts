/** How engines tell programs that read a few tokens at a time from those that read whole sequences. */
import { at } from '../../core/index.js';
import type { Graph, Value } from '../../graph/index.js';

/** Whether some matrix is multiplied along both of its axes, as by the gradient of what a product reads. */
function hasGradients(graph: Graph): boolean {
  const contracted = new Map<Value, number>();
  return graph.nodes.some((node) => {
    if (node.op !== 'dot' || node.attrs.rhsContract.length !== 1) return false;
    const [, matrix] = node.inputs;
    const axis = at(node.attrs.rhsContract, 0);
    const before = contracted.get(matrix) ?? axis;
    contracted.set(matrix, axis);
    return matrix.shape.length === 2 && before !== axis;
  });
}

/**
 * Whether a program is a step of decoding: it hands a state on from run to run (some input is donated) and computes no
 * gradients. Such a program multiplies few tokens by each matrix, so work on a matrix costs more than work on tokens.
 *
 * @param donate input names to the outputs that take their memory
 */
export function isDecodeStep(graph: Graph, donate: Readonly<Record<string, string>> = {}): boolean {
  return Object.keys(donate).length > 0 && !hasGradients(graph);
}
