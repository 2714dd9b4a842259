/** The tile IR: its text, what programs mean, and what the builder and the interpreter refuse. */
import { describe, expect, it } from 'vitest';
import { KernelBuilder, printKernel, runKernel, type Kernel } from '../../../src/engine/xla/kernels/triton/index.js';
import { callKernel } from '../../../src/engine/xla/stablehlo/call.js';
import { TextBuilder } from '../../../src/engine/xla/mlir/text.js';

const launch = { name: 'k', grid: [1, 1, 1], numWarps: 4, numStages: 1 } as const;

/** Row-wise softmax of `[rows,16]`, the last rows beyond `rows` masked, an instance per 16 rows. */
function softmaxKernel(rows: number): Kernel {
  const b = new KernelBuilder({ ...launch, name: 'softmax', grid: [Math.ceil(rows / 16), 1, 1] });
  const [x, y] = [b.input('x', 'f32', [rows, 16]), b.output('y', 'bf16', [rows, 16])];
  const row = b.add(b.rows(16), b.mul(b.programId(0), 16));
  const offsets = b.add(b.mul(row, 16), b.columns(16));
  const mask = b.lt(row, rows);
  const values = b.load(x, offsets, { mask });
  const e = b.exp(b.sub(values, b.expandDims(b.maximum(values, 1), 1)));
  b.store(y, offsets, b.div(e, b.expandDims(b.sum(e, 1), 1)), mask);
  return b.build();
}

/** Sum over `count` blocks of `x_i · y_iᵀ`, `[16,16]`, in a loop. */
function productKernel(count: number): Kernel {
  const b = new KernelBuilder({ ...launch, name: 'product' });
  const [x, y] = [b.input('x', 'bf16', [count, 16, 16]), b.input('y', 'bf16', [count, 16, 16])];
  const z = b.output('z', 'f32', [16, 16]);
  const offsets = b.add(b.mul(b.rows(16), 16), b.columns(16));
  const [sum] = b.loop(0, count, [b.zeros([16, 16])], (i, [acc]) => {
    const by = b.mul(i, 256);
    const [left, right] = [b.load(b.advance(x, by), offsets), b.load(b.advance(y, by), offsets)];
    return [b.dot(left, b.transpose(right), acc)];
  });
  b.store(z, offsets, sum!);
  return b.build();
}

describe('tile kernels', () => {
  it('print as Triton IR', () => {
    expect(printKernel(softmaxKernel(20))).toMatchSnapshot();
    expect(printKernel(productKernel(3))).toMatchSnapshot();
  });

  it('are called from StableHLO', () => {
    const text = new TextBuilder();
    expect(callKernel(text, softmaxKernel(16), ['%x'])).toEqual(['%0']);
    const [line] = text.text().split('\n');
    expect(line).toContain('%0 = stablehlo.custom_call @__gpu$xla.gpu.triton(%x)');
    expect(line).toContain('ir = "module {\\0A  tt.func public @softmax(');
    expect(line).toContain('name = "softmax", num_stages = 1 : i32, num_warps = 4 : i32');
    expect(line).toMatch(/ : \(tensor<16x16xf32>\) -> tensor<16x16xbf16>$/);
  });

  it.each([
    [[2, 65_535, 1], true],
    [[1, 65_536, 2], false],
    [[2, 3, 65_536], false],
  ] as const)('launch %j as CUDA can, each instance once and at its place', (grid, asItIs) => {
    const [nx, ny, nz] = grid;
    const b = new KernelBuilder({ ...launch, grid });
    const out = b.output('out', 'f32', [nz, ny, nx]);
    const [x, y, z] = [b.programId(0), b.programId(1), b.programId(2)];
    const place = b.add(x, b.mul(b.add(y, b.mul(z, ny)), nx));
    b.store(b.advance(out, b.convert(place, 'i64')), b.range(1), b.broadcast(b.convert(place, 'f32'), [1]));
    const kernel = b.build();
    expect(kernel.grid).toEqual(asItIs ? grid : [nx * ny * nz, 1, 1]);
    const found = runKernel(kernel, {})['out'] ?? [];
    expect(found.length).toBe(nx * ny * nz);
    expect(found.findIndex((value, i) => value !== i)).toBe(-1);
  });

  it('mean what they say: softmax with a masked end', () => {
    const x = Float64Array.from({ length: 20 * 16 }, (_, i) => Math.sin(i) * 3);
    const { y } = runKernel(softmaxKernel(20), { x }, { exact: true });
    for (let r = 0; r < 20; r++) {
      const row = [...x.subarray(r * 16, (r + 1) * 16)];
      const total = row.reduce((n, v) => n + Math.exp(v), 0);
      row.forEach((v, i) => expect(y![r * 16 + i]).toBeCloseTo(Math.exp(v) / total, 12));
    }
  });

  it('mean what they say: products summed over a loop, operands rounded to bf16', () => {
    const value = (i: number): number => ((i * 7) % 13) - 6;
    const x = Float64Array.from({ length: 3 * 256 }, (_, i) => value(i));
    const y = Float64Array.from({ length: 3 * 256 }, (_, i) => value(i + 5));
    const { z } = runKernel(productKernel(3), { x, y });
    for (const [m, n] of [
      [0, 0],
      [3, 7],
      [15, 14],
    ] as const) {
      let want = 0;
      for (let i = 0; i < 3; i++) {
        for (let k = 0; k < 16; k++) want += x[i * 256 + m * 16 + k]! * y[i * 256 + n * 16 + k]!;
      }
      expect(z![m * 16 + n]).toBe(want);
    }
    const third = Float64Array.from({ length: 256 }, (_, i) => (i % 17 === 0 ? 1 / 3 : 0));
    const one = Float64Array.from({ length: 256 }, (_, i) => (i % 17 === 0 ? 1 : 0));
    expect(runKernel(productKernel(1), { x: third, y: one })['z']![0]).toBe(0.333984375);
  });

  it('run sums from either end', () => {
    for (const reverse of [false, true]) {
      const b = new KernelBuilder(launch);
      const [x, y] = [b.input('x', 'f32', [2, 4]), b.output('y', 'f32', [2, 4])];
      const offsets = b.add(b.mul(b.rows(2), 4), b.columns(4));
      b.store(y, offsets, b.cumsum(b.load(x, offsets), 1, reverse));
      const { y: got } = runKernel(b.build(), { x: [1, 2, 3, 4, 5, 6, 7, 8] });
      expect([...got!]).toEqual(reverse ? [10, 9, 7, 4, 26, 21, 15, 8] : [1, 3, 6, 10, 5, 11, 18, 26]);
    }
  });

  it('refuse memory that is not theirs, written twice, or never written', () => {
    const copy = (from: number, to: number, size: number, grid: number): Kernel => {
      const b = new KernelBuilder({ ...launch, name: 'copy', grid: [grid, 1, 1] });
      const [x, y] = [b.input('x', 'f32', [8]), b.output('y', 'f32', [8])];
      const i = b.range(size);
      b.store(y, b.add(i, to), b.add(b.load(x, b.add(i, from)), b.constant('f32', [], 0)));
      return b.build();
    };
    const x = [1, 2, 3, 4, 5, 6, 7, 8];
    expect([...runKernel(copy(0, 0, 8, 1), { x })['y']!]).toEqual(x);
    expect(() => runKernel(copy(1, 0, 8, 1), { x })).toThrow('reads element 8 of "x", which has 8');
    expect(() => runKernel(copy(0, 1, 8, 1), { x })).toThrow('writes element 8 of "y"');
    expect(() => runKernel(copy(0, 0, 4, 1), { x })).toThrow('element 4 of "y" is never written');
    expect(() => runKernel(copy(0, 0, 8, 1), {})).toThrow('operand "x" is missing; it needs 8');
    const b = new KernelBuilder({ ...launch, grid: [2, 1, 1] });
    b.store(b.output('y', 'i32', [1]), b.zeros([], 'i32'), b.programId(0));
    expect(() => runKernel(b.build(), {})).toThrow('element 0 of "y" is written twice');
  });

  it('are type checked while they are built', () => {
    const b = new KernelBuilder(launch);
    const [i, x] = [b.range(16), b.zeros([16])];
    expect(() => b.add(i, x)).toThrow('add: i32[16] and f32[16] differ in dtype; convert one');
    expect(() => b.add(x, b.zeros([8]))).toThrow('f32[16] and f32[8] do not broadcast');
    expect(() => b.add(x, b.zeros([16, 16]))).toThrow('differ in rank; use expandDims');
    expect(() => b.range(12)).toThrow('[12] has a size that is not a power of two');
    expect(() => b.exp(b.zeros([16], 'bf16'))).toThrow('exp: needs f32, got bf16[16]');
    expect(() => b.dot(b.zeros([16, 8]), b.zeros([8, 16]))).toThrow('sizes must be at least 16');
    expect(() => b.loop(0, 2, [x], () => [i])).toThrow('carried value 0 is f32[16] before and i32[16] after a turn');
  });
});
