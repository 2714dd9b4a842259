/** SwiGLU by tile kernels, which read gate and up from the product that gave both. */
import { at, invariant } from '../../../core/index.js';
import type { Value } from '../../../graph/index.js';
import { swigluGradKernel, swigluKernel } from '../kernels/swiglu.js';
import { kernelNode } from '../kernels/work.js';
import { DIVIDED_CHANNELS, isWhole, type Placing } from './placing.js';
import type { KernelFamily } from './tile-kernel.js';
import { joined, type Channels } from './views.js';
import { gatedWork } from './works.js';

function gatesOf(placing: Placing, gate: Value, up: Value): readonly [Channels, Channels] {
  const places = placing.gates(gate, up);
  invariant(typeof places !== 'string', 'a kernel of SwiGLU is placed where it does not fit');
  return places;
}

/** SwiGLU and its gradient. */
export const GATE_KERNELS: KernelFamily = {
  name: 'SwiGLU',
  takes: ({ dividesHeads }) => (dividesHeads ? { whyNot: DIVIDED_CHANNELS } : { takes: 'bf16, any width' }),
  rules: (placing) => {
    const fits = (gate: Value, up: Value): true | string => {
      const places = placing.gates(gate, up);
      return typeof places === 'string' ? places : true;
    };
    return {
      swiglu: {
        fits: (_, [gate, up]) => fits(gate, up),
        place: (_, [gate, up]) => {
          const places = gatesOf(placing, gate, up);
          return kernelNode(
            gatedWork(gate, places, swigluKernel),
            places.map((p) => p.source),
          );
        },
      },
      swigluGrad: {
        fits: (_, [gate, up]) => fits(gate, up),
        place: (_, [gate, up, dh]) => {
          const places = gatesOf(placing, gate, up);
          const whole = isWhole(joined(places));
          const work = gatedWork(gate, places, (gated) => swigluGradKernel(gated, whole));
          const results = kernelNode(work, [...places.map((p) => p.source), dh]);
          if (!whole) return results;
          const source = at(results, 0);
          return places.map((p) => placing.part({ channels: { ...p, source }, rotated: null }, gate.shape));
        },
      },
    };
  },
};
