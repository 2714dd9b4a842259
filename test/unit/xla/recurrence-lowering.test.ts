/** Which recurrences become kernels, and that the others do not. */
import { describe, expect, it } from 'vitest';
import { lowerToStableHlo } from '../../../src/engine/xla/stablehlo/lower.js';
import * as L from '../../../src/graph/index.js';

interface Options {
  readonly dtype?: 'f32' | 'bf16';
  readonly T?: number;
  readonly K?: number;
  readonly V?: number;
  readonly kernels?: boolean;
  readonly channels?: boolean;
  readonly removal?: boolean;
  readonly leastDecay?: number;
}

function lowered({
  dtype = 'bf16',
  T = 128,
  K = 32,
  V = 32,
  kernels = true,
  channels = false,
  removal = false,
  leastDecay,
}: Options): string {
  const wide = dtype === 'bf16' ? 'f32' : dtype;
  const x = (name: string, width: number) => L.input(name, dtype, [2, T, 2, width]);
  const [q, k, v] = [x('q', K), x('k', K), x('v', V)];
  const g = L.input('g', wide, [2, T, 2, ...(channels ? [K] : [])]);
  const beta = L.input('beta', wide, [2, T, 2]);
  const [read, erase] = ['read', 'erase'].map((name) => L.input(name, wide, [2, T, 2, K])) as [L.Value, L.Value];
  const options = { scale: 1, removal: removal ? { read, erase } : null, leastDecay: leastDecay ?? null };
  const { out } = L.deltaRule(q, k, v, g, beta, options);
  const loss = L.reduceSum(L.convert(out, 'f32'));
  const inputs = { q, k, v, g, beta, ...(removal ? { read, erase } : {}) };
  const grads = L.grad(loss, Object.values(inputs));
  const named = Object.fromEntries(grads.map((d, i) => [`d${i}`, d]));
  return lowerToStableHlo(L.makeGraph(inputs, { out, ...named }), { kernels });
}

const REMOVAL = { channels: true, removal: true } as const;

const calls = (text: string): number => text.split('__gpu$xla.gpu.triton').length - 1;

describe('recurrences on NVIDIA GPUs', () => {
  it('are kernels in bf16: three forward, five backward', () => expect(calls(lowered({}))).toBe(8));
  it('are one kernel more each way with a decay per channel', () =>
    expect(calls(lowered({ channels: true }))).toBe(10));
  it('fill heads up to a power of two', () => {
    const text = lowered({ K: 24, V: 48 });
    expect(calls(text)).toBe(8);
    expect(text).toContain('stablehlo.pad');
    expect(text).toMatch(/-> \(tensor<2x128x2x48xbf16>, tensor<2x128x2x24xbf16>/);
    expect(lowered({ K: 24, V: 48, channels: true })).toMatch(/tensor<2x128x2x24xf32>, tensor<2x128x2xf32>\)/);
  });
  it('take keys of removal beside bounded decays, and fill those keys up too', () => {
    const bounded = { ...REMOVAL, leastDecay: -0.7 };
    expect(calls(lowered(bounded))).toBe(10);
    const rows = (width: number, dtype: string) => `tensor<2x128x2x${width}x${dtype}>`;
    const types = [...[24, 24, 40].map((n) => rows(n, 'bf16')), rows(24, 'f32'), 'tensor<2x128x2xf32>'];
    expect(lowered({ ...bounded, K: 24, V: 40 })).toContain(
      `-> (${[rows(40, 'bf16'), ...types, rows(24, 'f32'), rows(24, 'f32')].join(', ')})`,
    );
  });
  it('stay products of XLA where no kernel fits', () => {
    const alone = [{ dtype: 'f32' }, { T: 100 }, { V: 256 }, { kernels: false }] as const;
    const removal = [{}, { leastDecay: -2.1 }, { leastDecay: -0.7, V: 128 }].map((o) => ({ ...REMOVAL, ...o }));
    for (const options of [...alone, ...removal]) expect(calls(lowered(options)), JSON.stringify(options)).toBe(0);
  });
});
