/** Cross-entropy and its gradient by one tile kernel, which reads the logits once. */
import { at, dims, got } from '../../../core/index.js';
import { convert, type Node, type Value } from '../../../graph/index.js';
import { WIDEST_VOCABULARY, crossEntropyKernel } from '../kernels/cross-entropy.js';
import { kernelNode, type KernelWork } from '../kernels/work.js';
import type { KernelFamily } from './tile-kernel.js';
import { narrowSource } from './views.js';

/** Losses with their gradients. */
export const LOSS_KERNELS: KernelFamily = {
  name: 'loss',
  takes: ({ dividesHeads }) =>
    dividesHeads
      ? { whyNot: 'logits lie divided over tensor', notable: true }
      : { takes: `bf16 logits of up to ${WIDEST_VOCABULARY} classes, with their gradient`, briefly: 'loss' },

  rules: (placing) => {
    /** Gradients of losses that were computed with them. */
    const dlogits = new Map<Node, Value>();
    return {
      crossEntropy: {
        fits: (node) => placing.losses.has(node) || 'its gradient cannot be computed with it',
        place: (node, [logits, targets]) => {
          const loss = got(placing.losses, node);
          const [rows, vocabulary] = dims(logits, 2);
          const operands = [narrowSource(logits), targets, got(placing.image, loss.dloss)];
          const work: KernelWork = {
            batch: rows,
            heads: [],
            kernel: ({ batch }) => crossEntropyKernel(rows / batch, vocabulary),
          };
          const results = kernelNode(work, operands);
          dlogits.set(loss.gradient, at(results, 2));
          return [at(results, 0), at(results, 1)];
        },
      },
      crossEntropyGrad: {
        fits: (node) => dlogits.has(node) || 'its loss is no kernel',
        place: (node) => [convert(got(dlogits, node), 'f32')],
      },
    };
  },
};
