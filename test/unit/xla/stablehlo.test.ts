import { describe, expect, it } from 'vitest';
import { tensorFrom } from '../../../src/core/index.js';
import { lowerToStableHlo } from '../../../src/engine/index.js';
import { cudnnConfig } from '../../../src/engine/xla/stablehlo/cudnn.js';
import { denseText, literal } from '../../../src/engine/xla/mlir/text.js';
import { meshOf, shardOf } from '../../../src/engine/xla/mesh/sharding.js';
import * as L from '../../../src/graph/index.js';

const lower = (outputs: L.Named, inputs: L.Named, options = {}): string =>
  lowerToStableHlo(L.makeGraph(inputs, outputs), options);

describe('StableHLO text', () => {
  it('broadcasts, converts and multiplies', () => {
    const [x, w, b] = [L.input('x', 'f32', [2, 3]), L.input('w', 'f32', [3, 4]), L.input('b', 'f32', [4])];
    expect(lower({ y: L.tanh(L.add(L.linear(x, w), b)) }, { x, w, b })).toMatchInlineSnapshot(`
      "module @longsight attributes {mhlo.num_partitions = 1 : i32, mhlo.num_replicas = 1 : i32} {
        func.func public @main(%arg0: tensor<2x3xf32>, %arg1: tensor<3x4xf32>, %arg2: tensor<4xf32>) -> (tensor<2x4xf32>) {
          %0 = stablehlo.dot_general %arg0, %arg1, contracting_dims = [1] x [0], precision = [HIGHEST, HIGHEST] : (tensor<2x3xf32>, tensor<3x4xf32>) -> tensor<2x4xf32>
          %1 = stablehlo.broadcast_in_dim %arg2, dims = [1] : (tensor<4xf32>) -> tensor<2x4xf32>
          %2 = stablehlo.add %0, %1 : tensor<2x4xf32>
          %3 = stablehlo.tanh %2 : tensor<2x4xf32>
          return %3 : tensor<2x4xf32>
        }
      }
      "
    `);
  });

  it('writes a scan as a loop', () => {
    const [c, xs] = [L.input('c', 'f32', [3]), L.input('xs', 'f32', [5, 3])];
    const { carry, ys } = L.scan({ carry: [c], xs: [xs] }, ([a], [x]) => {
      const next = L.add(a as L.Value, x as L.Value);
      return { carry: [next], ys: [next] };
    });
    expect(lower({ end: carry[0] as L.Value, ys: ys[0] as L.Value }, { c, xs })).toMatchSnapshot();
  });

  it('marks donated inputs and shardings', () => {
    const x = L.input('x', 'f32', [4, 2]);
    const text = lower(
      { next: L.add(x, 1) },
      { x },
      { donate: { x: 'next' }, mesh: meshOf({ data: 2, tensor: 2 }), shardings: { x: [['data'], ['tensor']] } },
    );
    expect(text).toContain('sdy.mesh @mesh = <["data"=2, "fsdp"=1, "tensor"=2]>');
    expect(text).toContain(
      '%arg0: tensor<4x2xf32> {sdy.sharding = #sdy.sharding<@mesh, [{"data"}, {"tensor"}]>, tf.aliasing_output = 0 : i32}',
    );
  });

  it('is the same for the same graph', () => {
    const build = (): string => {
      const x = L.input('x', 'bf16', [1, 64, 2, 8]);
      return lower(
        { y: L.attention(L.rotary(x, L.rotaryFrequencies(8, 100)), x, x, { window: 5, scale: 1 }).out },
        { x },
      );
    };
    expect(build()).toBe(build());
  });

  it('takes cuDNN where it fits, and float32 statistics straight to the derivative', () => {
    const q = L.input('q', 'bf16', [1, 64, 2, 16]);
    const { out } = L.attention(q, q, q, { window: 8, scale: 0.25 });
    const graph = L.makeGraph({ q }, { dq: L.grad(L.reduceSum(L.convert(out, 'f32')), [q])[0] as L.Value });
    const text = lowerToStableHlo(graph, { cudnn: true });
    expect(text).toContain('@__cudnn$fmhaSoftmax(');
    expect(text).toMatch(
      /%(\d+):3 = stablehlo\.custom_call @__cudnn\$fmhaSoftmax\([^]*fmhaSoftmaxBackward\(%arg0, %arg0, %arg0, %\1#1,/,
    );
    expect(lowerToStableHlo(graph, { cudnn: false })).not.toContain('cudnn');
    const wide = L.input('q', 'f32', [1, 64, 2, 16]);
    const exact = L.makeGraph({ q: wide }, { y: L.attention(wide, wide, wide, { window: 8, scale: 1 }).out });
    expect(lowerToStableHlo(exact, { cudnn: true })).not.toContain('cudnn');
    const segments = L.input('segments', 'i32', [1, 64]);
    const packed = L.attention(q, q, q, { window: 8, scale: 0.25, segments }).out;
    const documents = L.makeGraph({ q, segments }, { dq: L.grad(L.reduceSum(L.convert(packed, 'f32')), [q])[0]! });
    expect(lowerToStableHlo(documents, { cudnn: true })).not.toContain('cudnn');
  });

  it('never builds all scores of a windowed attention', () => {
    const q = L.input('q', 'f32', [1, 4096, 1, 16]);
    const text = lower({ y: L.attention(q, q, q, { window: 128, scale: 1 }).out }, { q });
    expect(text).not.toMatch(/4096x4096/);
  });
});

describe('attention on a mesh', () => {
  const shape = (heads: number) => [8, 64, heads, 16];
  const graphOf = (kvHeads = 2, dtype: 'bf16' | 'f32' = 'bf16'): L.Graph => {
    const q = L.input('q', dtype, shape(4));
    const [k, v] = [L.input('k', dtype, shape(kvHeads)), L.input('v', dtype, shape(kvHeads))];
    const { out } = L.attention(q, k, v, { window: 8, scale: 0.25 });
    const [dq, dk, dv] = L.grad(L.reduceSum(L.convert(out, 'f32')), [q, k, v]) as [L.Value, L.Value, L.Value];
    return L.makeGraph({ q, k, v }, { dq, dk, dv });
  };
  const mesh = meshOf({ data: 2, fsdp: 2, tensor: 2 });

  it('calls kernels on the pieces of each device: sequences over data x fsdp, heads over tensor', () => {
    const text = lowerToStableHlo(graphOf(), { cudnn: true, mesh });
    expect(text).toMatchSnapshot();
    const calls = text.split('\n').filter((line) => line.includes('custom_call'));
    expect(calls).toHaveLength(2);
    for (const call of calls) {
      expect(call).toContain('tensor<2x64x2x16xbf16>, tensor<2x64x1x16xbf16>, tensor<2x64x1x16xbf16>');
      expect(call).toContain('\\22dimensions\\22: [\\222\\22, \\222\\22, \\2264\\22, \\2264\\22]');
    }
    const heads = '<@mesh, [{"data", "fsdp"}, {}, {"tensor"}, {}]>';
    expect(text).toContain(`in_shardings=[${heads}, ${heads}, ${heads}] out_shardings=[${heads}, <@mesh, [`);
  });

  it('leaves whole what does not divide: one key head, an odd batch', () => {
    const one = lowerToStableHlo(graphOf(1), { cudnn: true, mesh });
    expect(one).toContain('in_shardings=[<@mesh, [{"data", "fsdp"}, {}, {}, {}]>');
    const odd = lowerToStableHlo(graphOf(), { cudnn: true, mesh: meshOf({ data: 3, tensor: 2 }) });
    expect(odd).toContain('in_shardings=[<@mesh, [{}, {}, {"tensor"}, {}]>');
  });

  it('divides the documents of tokens as the sequences', () => {
    const [q, k] = [L.input('q', 'f32', shape(4)), L.input('k', 'f32', shape(2))];
    const [sinks, segments] = [L.input('sinks', 'f32', [4]), L.input('segments', 'i32', [8, 64])];
    const { out } = L.attention(q, k, k, { window: 8, scale: 0.25, sinks, segments });
    const text = lowerToStableHlo(L.makeGraph({ q, k, sinks, segments }, { out }), { mesh });
    const heads = '<@mesh, [{"data", "fsdp"}, {}, {"tensor"}, {}]>';
    const optional = '<@mesh, [{"tensor"}]>, <@mesh, [{"data", "fsdp"}, {}]>';
    expect(text).toContain(`in_shardings=[${heads}, ${heads}, ${heads}, ${optional}]`);
  });

  it('computes the blockwise form by pieces too, where there is something to divide', () => {
    const text = lowerToStableHlo(graphOf(2, 'f32'), { mesh });
    expect(text.match(/sdy.manual_computation/g)).toHaveLength(2);
    const none = lowerToStableHlo(graphOf(1, 'f32'), { mesh: meshOf({ data: 3, tensor: 2 }) });
    expect(none).not.toContain('manual_computation');
    expect(lowerToStableHlo(graphOf())).not.toContain('manual_computation');
  });
});

describe('backend_config of cuDNN attention', () => {
  it('is what JAX writes', () => {
    const config = cudnnConfig('forward', [2, 4, 1024, 1024], { window: 128, scale: 0.125 });
    expect(config).toContain('"fmha_scale": 0.125, "intermediate_tensor_shape": {"element_type": "BF16"');
    expect(config).toContain('"dropout_rate": 0.0, "seed": 42, "sliding_window_length": 128, "max_seg_per_batch": 1');
    expect(config).toMatchSnapshot();
  });

  it('shows all keys by 0', () => {
    for (const window of [null, 1024, 5000]) {
      expect(cudnnConfig('backward', [1, 1, 1024, 1024], { window, scale: 1 })).toContain(
        '"sliding_window_length": 0,',
      );
    }
  });

  it('fixes the order of sums in the derivative where it must', () => {
    const config = (direction: 'forward' | 'backward', deterministic: boolean): string =>
      cudnnConfig(direction, [1, 1, 1024, 1024], { window: null, scale: 1 }, deterministic);
    expect(config('backward', true)).toContain('"force_deterministic": true');
    expect(config('backward', false)).not.toContain('deterministic');
    expect(config('forward', true)).toBe(config('forward', false));
  });
});

describe('literals', () => {
  it('read back to the same number', () => {
    for (const x of [0, 1, -2.5, 1e-30, 3.4e38, 0.1, 123456789])
      expect(Number(literal(Math.fround(x), 'f32'))).toBe(Math.fround(x));
    expect(literal(-0, 'f32')).toBe('-0.0');
    expect(literal(1e-30, 'f64')).toBe('1.0e-30');
    expect(literal(-Infinity, 'bf16')).toBe('0xFF80');
    expect(literal(3, 'i32')).toBe('3');
  });

  it('write constants as a splat, a list or bytes', () => {
    expect(denseText(tensorFrom('f32', [2, 2], [1, 1, 1, 1]))).toBe('dense<1.0>');
    expect(denseText(tensorFrom('i32', [2, 2], [1, 2, 3, 4]))).toBe('dense<[[1, 2], [3, 4]]>');
    expect(denseText(tensorFrom('bool', [2], [1, 0]))).toBe('dense<[true, false]>');
    const many = tensorFrom(
      'bf16',
      [20],
      Array.from({ length: 20 }, (_, i) => i),
    );
    expect(denseText(many)).toMatch(/^dense<"0x0000803F0040/);
  });
});

describe('shards', () => {
  it('cover a tensor once, the last mesh axis changing fastest', () => {
    const mesh = meshOf({ data: 2, tensor: 2 });
    const starts = [0, 1, 2, 3].map((d) => shardOf(mesh, [['data'], ['tensor']], [4, 6], d));
    expect(starts.map((s) => s.starts)).toEqual([
      [0, 0],
      [0, 3],
      [2, 0],
      [2, 3],
    ]);
    expect(starts[0]?.shape).toEqual([2, 3]);
    expect(shardOf(mesh, [['data', 'tensor']], [4], 3).starts).toEqual([3]);
  });
});
