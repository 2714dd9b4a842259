/** Scatters as products: the same sums, and none left in programs that must repeat to the bit. */
import { describe, expect, it } from 'vitest';
import { tensorFrom, toNumbers } from '../../../src/core/index.js';
import { evaluateReference } from '../../../src/engine/index.js';
import { lowerToStableHlo } from '../../../src/engine/xla/stablehlo/lower.js';
import { addByProducts, withoutScatters } from '../../../src/engine/xla/passes/scatter.js';
import * as L from '../../../src/graph/index.js';
import { randomTensor } from '../../support/random.js';

/** Gradient of a table of rows that a batch looks up, some of them often. */
function embedding(dtype: 'f32' | 'bf16'): L.Graph {
  const [table, ids] = [L.input('table', 'f32', [7, 4]), L.input('ids', 'i32', [3, 5])];
  const rows = L.convert(L.take(table, ids), dtype);
  const loss = L.reduceSum(L.convert(L.mul(rows, rows), 'f32'));
  return L.makeGraph({ table, ids }, { d: L.grad(loss, [table])[0] as L.Value });
}

const inputs = {
  table: randomTensor('f32', [7, 4], 'table'),
  ids: tensorFrom('i32', [3, 5], [0, 6, 6, 6, 1, 2, 6, 0, 0, 3, 1, 1, 6, 5, 0]),
};

describe('scatters as products', () => {
  it.each(['f32', 'bf16'] as const)('are the same sums, with updates from %s', (dtype) => {
    const graph = embedding(dtype);
    const [want, got] = [graph, withoutScatters(graph)].map((g) => toNumbers(evaluateReference(g, inputs)['d']!));
    expect(got).toEqual(want);
    expect(withoutScatters(graph).nodes.some((n) => n.op === 'scatterAdd')).toBe(false);
  });

  it('go by blocks of rows, and leave out indices beyond the table', () => {
    const [x, ids, updates] = [L.input('x', 'f32', [7, 4]), L.input('ids', 'i32', [15]), L.input('u', 'f32', [15, 4])];
    const given = { x: inputs.table, u: randomTensor('f32', [15, 4], 'u') };
    const sums = (limit: number, indices: readonly number[]): Float64Array => {
      const graph = L.makeGraph({ x, ids, u: updates }, { y: addByProducts(x, ids, updates, limit) });
      return toNumbers(evaluateReference(graph, { ...given, ids: tensorFrom('i32', [15], indices) })['y']!);
    };
    const own = [...toNumbers(inputs.ids)];
    // 1, 2, 3 and all rows at once; 7 is no multiple of 2 or 3.
    for (const limit of [1, 30, 45]) expect(sums(limit, own)).toEqual(sums(2 ** 20, own));
    const beyond = sums(
      45,
      own.map(() => 7),
    );
    expect(beyond).toEqual(toNumbers(inputs.table));
  });

  it('are what deterministic programs have', () => {
    const text = (deterministic: boolean): string => lowerToStableHlo(embedding('bf16'), { deterministic });
    expect(text(false)).toContain('"stablehlo.scatter"');
    expect(text(true)).not.toContain('scatter');
    expect(text(true)).toMatch(/dot_general .*\(tensor<7x15xbf16>, tensor<15x4xbf16>\) -> tensor<7x4xf32>/);
  });
});
