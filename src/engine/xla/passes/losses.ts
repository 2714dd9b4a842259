/** Losses whose gradients can be computed with them. */
import { at } from '../../../core/index.js';
import { nodesOf, uniformValue, type Graph, type Node, type Value } from '../../../graph/index.js';
import { WIDEST_VOCABULARY } from '../kernels/cross-entropy.js';
import { narrowSource } from './views.js';

/** A cross-entropy loss whose gradient the graph also has, weighted row by row. */
export interface Loss {
  readonly gradient: Node<'crossEntropyGrad'>;
  /** The cotangent of each row's loss, `[n]`. */
  readonly dloss: Value;
}

/** Losses over bf16 logits whose gradient can be computed with them: it waits for nothing that needs the loss. */
export function lossesOf(graph: Graph): Map<Node, Loss> {
  const found = new Map<Node, Loss>();
  for (const node of graph.nodes) {
    if (node.op !== 'crossEntropyGrad') continue;
    const [logits, targets, lse, dloss, dlse] = node.inputs as [Value, Value, Value, Value, Value];
    const own = lse.node;
    const fits =
      own.op === 'crossEntropy' &&
      own.inputs[0] === logits &&
      own.inputs[1] === targets &&
      narrowSource(logits).dtype === 'bf16' &&
      at(logits.shape, 1) <= WIDEST_VOCABULARY &&
      dloss.dtype === 'f32' &&
      uniformValue(dlse) === 0 &&
      !nodesOf([dloss]).includes(own);
    if (fits) found.set(own, { gradient: node, dloss });
  }
  return found;
}
