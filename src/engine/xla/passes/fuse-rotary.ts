/** Rotary embedding by a tile kernel, which reads heads as a strided view of the projection's rows. */
import { at, dims } from '../../../core/index.js';
import { reshape } from '../../../graph/index.js';
import { rotateKernel } from '../kernels/rotate.js';
import { kernelNode, type KernelWork } from '../kernels/work.js';
import type { KernelFamily } from './tile-kernel.js';
import { angleTables } from './rotations.js';
import { rowsOf } from './works.js';

/** Widths of heads that the kernel takes. */
const HEAD_WIDTHS: ReadonlySet<number> = new Set([32, 64]);

/** Rotary embedding and its inverse. */
export const ROTARY_KERNELS: KernelFamily = {
  name: 'rotary',
  takes: () => ({ takes: 'bf16 heads of 32 or 64 channels', briefly: 'rotary' }),
  rules: (placing) => ({
    rotary: {
      fits: ({ inputs: [{ dtype, shape }] }) => {
        if (dtype !== 'bf16') return `${dtype}, not bf16`;
        return HEAD_WIDTHS.has(at(shape, 3)) ? true : `heads of ${shape[3]} channels, not 32 or 64`;
      },
      place: ({ attrs }, [x]) => {
        const from = placing.placeOf(x);
        const [B, T, n, D] = dims(x, 4);
        const work: KernelWork = {
          batch: B,
          heads: placing.headsOf(n),
          kernel: ({ batch, heads }) =>
            rotateKernel({
              ...{ batch: B / batch, tokens: T, heads: n / heads, headDim: D, inverse: attrs.inverse },
              x: rowsOf(from, heads),
            }),
        };
        const y = at(kernelNode(work, [...angleTables(T, attrs), from.source]), 0);
        placing.rotate(y, { from, attrs });
        return [reshape(y, [B, T, n, D])];
      },
    },
  }),
};
