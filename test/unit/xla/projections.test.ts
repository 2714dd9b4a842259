/** Products of their own for what kernels read whole. */
import { describe, expect, it } from 'vitest';
import { toNumbers } from '../../../src/core/index.js';
import { evaluateReference, lowerToStableHlo } from '../../../src/engine/index.js';
import { separateProjections } from '../../../src/engine/xla/passes/projections.js';
import * as L from '../../../src/graph/index.js';
import { randomTensor } from '../../support/random.js';

const [B, T, H, G, D] = [1, 8, 2, 1, 8];

function layer(dtype: 'f64' | 'bf16'): L.Graph {
  const x = L.input('x', dtype, [B, T, 5]);
  const w = L.input('w', dtype, [5, (H + 2 * G) * D]);
  const [q, k, v] = L.split(L.linear(x, w), 2, [H * D, G * D, G * D]).map((p) =>
    L.reshape(p, [B, T, p.shape[2]! / D, D]),
  ) as [L.Value, L.Value, L.Value];
  const { out } = L.attention(q, k, v, { window: null, scale: 0.5 });
  const loss = L.reduceSum(L.convert(out, dtype === 'bf16' ? 'f32' : dtype));
  const [dx, dw] = L.grad(loss, [x, w]) as [L.Value, L.Value];
  return L.makeGraph({ x, w }, { out, dx, dw });
}

describe('separate projections', () => {
  const isAttention = ({ op }: L.Node): boolean => op === 'attention';

  it('compute what one product and its cuts do', () => {
    const graph = layer('f64');
    const apart = separateProjections(graph, isAttention);
    const cutTokens = (g: L.Graph): number =>
      g.nodes.filter((n) => n.op === 'split' && n.inputs[0].shape.length === 3).length;
    expect([cutTokens(graph), cutTokens(apart)]).toEqual([1, 0]);
    const inputs = Object.fromEntries(graph.inputs.map((p) => [p.name, randomTensor('f64', p.value.shape, p.name)]));
    const [want, got] = [evaluateReference(graph, inputs), evaluateReference(apart, inputs)];
    for (const name of Object.keys(want)) {
      const b = toNumbers(got[name]!);
      toNumbers(want[name]!).forEach((value, i) => expect(b[i]).toBeCloseTo(value, 12));
    }
    expect(separateProjections(graph, () => false)).toBe(graph);
  });

  it('are for cuDNN alone', () => {
    const products = (cudnn: boolean): number =>
      (lowerToStableHlo(layer('bf16'), { cudnn, kernels: false }).match(/dot_general .*tensor<1x8x5xbf16>, /g) ?? [])
        .length;
    // The projection, and the gradient of the matrix.
    expect(products(true) - products(false)).toBe(2);
  });
});
