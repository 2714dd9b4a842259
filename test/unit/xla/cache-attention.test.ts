/** Attention on caches as a tile kernel, run by the interpreter, against the op on the reference engine. */
import { describe, expect, it } from 'vitest';
import { sizeOf, tensorFrom, toNumbers, type HostTensor } from '../../../src/core/index.js';
import { evaluateReference } from '../../../src/engine/index.js';
import { cacheAttentionKernel } from '../../../src/engine/xla/kernels/cache-attention.js';
import { runKernel } from '../../../src/engine/xla/kernels/triton/interpret.js';
import * as L from '../../../src/graph/index.js';
import { randomTensor } from '../../support/random.js';

interface Case {
  readonly n: number;
  readonly S: number;
  readonly first: number;
  readonly hidden?: readonly number[];
  readonly heads?: number;
  readonly kvHeads?: number;
  readonly window?: number | null;
  readonly chunk?: number | null;
  readonly softcap?: number | null;
  readonly sinks?: boolean;
  readonly block?: number;
  readonly inner?: number;
}

const D = 16;

/** Norm of the error over the norm of the reference, over queries that see an entry. */
function errorOf(c: Case, exact: boolean): number {
  const { n, S, first, hidden = [0], heads = 2, kvHeads = 1, window = null, chunk = null, softcap = null } = c;
  const [B, sinks, scale] = [hidden.length, c.sinks ?? false, 0.4];
  const random = (name: string, shape: readonly number[]): HostTensor => {
    const { data } = randomTensor(exact ? 'f64' : 'bf16', shape, `${JSON.stringify(c)}${name}`);
    const from = { dtype: exact ? 'f64' : 'bf16', shape, data } as HostTensor;
    return tensorFrom('f64', shape, toNumbers(from));
  };
  const given = {
    q: random('q', [B, n, heads, D]),
    keys: random('k', [B, kvHeads, S, D]),
    values: random('v', [B, kvHeads, S, D]),
    first: tensorFrom('i32', [], [first]),
    hidden: tensorFrom('i32', [B], hidden),
    sinks: random('s', [heads]),
  };
  const v = Object.fromEntries(
    Object.entries(given).map(([name, t]) => [name, L.input(name, t.dtype, t.shape)]),
  ) as Record<keyof typeof given, L.Value>;
  const place = { first: v.first, hidden: v.hidden };
  const options = { window, scale, softcap, sinks: sinks ? v.sinks : null, ...(chunk === null ? {} : { chunk }) };
  const want = toNumbers(
    evaluateReference(L.makeGraph(v, { o: L.cacheAttention(v, place, options) }), given).o as HostTensor,
  );
  const kernel = cacheAttentionKernel(
    {
      ...{ batch: B, queries: n, entries: S, heads, kvHeads, headDim: D, window, chunk, scale, softcap, sinks },
      q: { width: heads * D + 8, offset: 8 },
    },
    { block: c.block ?? 16, inner: c.inner ?? 16, numWarps: 4, numStages: 1, lastFirst: true },
  );
  const q = toNumbers(given.q);
  // Rows of queries stand behind eight channels of something else.
  const rows = Float64Array.from({ length: B * n * (heads * D + 8) }, (_, i) => {
    const [row, channel] = [Math.floor(i / (heads * D + 8)), (i % (heads * D + 8)) - 8];
    return channel < 0 ? 1e3 : (q[row * heads * D + channel] ?? NaN);
  });
  const operands = {
    ...{ q: rows, keys: toNumbers(given.keys), values: toNumbers(given.values), first: Float64Array.of(first) },
    ...{ hidden: Float64Array.from(hidden), ...(sinks ? { sinks: toNumbers(given.sinks) } : {}) },
  };
  const got = runKernel(kernel, operands, { exact })['o'] ?? new Float64Array(0);
  expect(got.length).toBe(sizeOf(given.q.shape));
  expect(got.every(Number.isFinite)).toBe(true);
  let [error, size] = [0, 0];
  got.forEach((x, i) => {
    const row = Math.floor(i / (heads * D));
    if (first + (row % n) < (hidden[Math.floor(row / n)] ?? 0)) return;
    error += (x - (want[i] ?? NaN)) ** 2;
    size += (want[i] ?? NaN) ** 2;
  });
  return Math.sqrt(error / size);
}

const CASES: readonly Case[] = [
  { n: 16, S: 16, first: 0 },
  { n: 40, S: 100, first: 0 },
  { n: 40, S: 100, first: 23, hidden: [0, 9] },
  { n: 40, S: 100, first: 60, hidden: [3, 30] },
  { n: 33, S: 67, first: 34, heads: 6, kvHeads: 2 },
  { n: 32, S: 80, first: 5, hidden: [20, 30], block: 32 },
  { n: 64, S: 128, first: 17, block: 32, inner: 16 },
  // Caches of windows: the chunk follows the last entries.
  ...[15, 16, 17, 31, 32, 33].map((window) => ({ n: 48, S: 48 + window, first: window, window })),
  { n: 48, S: 64, first: 16, window: 16, hidden: [-20, 16, 30], block: 32 },
  { n: 48, S: 56, first: 8, window: 1, hidden: [0, 8] },
  { n: 40, S: 60, first: 20, window: 20, chunk: 20, hidden: [-33, 20, 27, 5] },
  { n: 40, S: 100, first: 23, softcap: 1.5 },
  { n: 40, S: 100, first: 23, sinks: true, hidden: [0, 4] },
  { n: 40, S: 73, first: 33, window: 33, sinks: true, softcap: 0.7, hidden: [2], heads: 4, kvHeads: 4 },
];

describe('attention on a cache', () => {
  it.each(CASES.map((c) => [JSON.stringify(c), c] as const))('equals the op in float64: %s', (_, c) => {
    expect(errorOf(c, true)).toBeLessThan(1e-12);
  });

  it.each(CASES.slice(1, 5).map((c) => [JSON.stringify(c), c] as const))('rounds as bf16 does: %s', (_, c) => {
    expect(errorOf(c, false)).toBeLessThan(6e-3);
  });
});
