/** RMSNorm by tile kernels: norms in float32 of what is bf16, as the model has them, and their gradients. */
import { at, got, sameShape } from '../../../core/index.js';
import { convert, type Value } from '../../../graph/index.js';
import { WIDEST_ROW, rmsNormGradKernel, rmsNormKernel } from '../kernels/norm.js';
import { kernelNode } from '../kernels/work.js';
import type { KernelFamily } from './tile-kernel.js';
import { narrowSource } from './views.js';
import { whyNoNorm, normWork } from './works.js';

/** A norm's gradient, before something is added to it. */
interface NormGradient {
  /** The norm's result. */
  readonly y: Value;
  readonly rstd: Value;
  readonly dy: Value;
}

/** Norms, their gradients, and the sum that a residual stream adds to the gradient. */
export const NORM_KERNELS: KernelFamily = {
  name: 'norms',
  takes: () => ({ takes: `bf16 rows of up to ${WIDEST_ROW} channels`, briefly: 'norms' }),
  rules: () => {
    /** Results of norms, by their statistics. */
    const normed = new Map<Value, Value>();
    const gradients = new Map<Value, NormGradient>();
    /** The later of two such gradients: the earlier is the sum so far, which others use too. */
    const laterOf = (a: Value, b: Value): Value | undefined =>
      [...gradients.keys()].reverse().find((v) => v === a || v === b);
    return {
      rmsNorm: {
        fits: (node, inputs) => {
          if (inputs.length !== 1) return 'has a gain';
          if (node.outputs[0].dtype !== 'f32') return `${node.outputs[0].dtype}, not f32`;
          return whyNoNorm(narrowSource(inputs[0]));
        },
        place: (node, inputs) => {
          const x = narrowSource(inputs[0]);
          const results = kernelNode(
            normWork(x, (rows) => rmsNormKernel(rows, node.attrs.epsilon)),
            [x],
          );
          const [y, rstd] = [at(results, 0), at(results, 1)];
          normed.set(rstd, y);
          return [convert(y, 'f32'), rstd];
        },
      },
      // From the norm's result, which products need too, so that what came in may be overwritten.
      rmsNormGrad: {
        fits: (_, inputs) => {
          if (inputs.length !== 3) return 'has a gain';
          if (!normed.has(inputs[1])) return 'the norm is no kernel';
          return narrowSource(inputs[2]).dtype === 'bf16' ? true : 'its gradient is not bf16';
        },
        place: (_, [, rstd, ct]) => {
          const [y, dy] = [got(normed, rstd), narrowSource(ct)];
          const work = normWork(y, (rows) => rmsNormGradKernel(rows, false));
          const dx = at(kernelNode(work, [y, rstd, dy]), 0);
          gradients.set(dx, { y, rstd, dy });
          return [convert(dx, 'f32')];
        },
      },
      // A sum after a norm's gradient is computed with it.
      add: {
        fits: (_, [a, b]) => {
          const isSum = laterOf(a, b) !== undefined && sameShape(a.shape, b.shape);
          return isSum ? true : 'adds to no gradient of a norm';
        },
        place: (_, [a, b]) => {
          const [from, added] = laterOf(a, b) === a ? [a, b] : [b, a];
          const { y, rstd, dy } = got(gradients, from);
          const work = normWork(y, (rows) => rmsNormGradKernel(rows, true));
          return kernelNode(work, [y, rstd, dy, added]);
        },
      },
    };
  },
};
