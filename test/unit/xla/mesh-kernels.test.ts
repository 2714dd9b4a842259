/**
 * Tile kernels on meshes: each device runs, on its piece, what one device would run, and the pieces joined are the
 * whole.
 */
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { tensorFrom, toNumbers, type HostTensor } from '../../../src/core/index.js';
import type { MeshShape, Sharding } from '../../../src/engine/index.js';
import { kernelsInUse } from '../../../src/engine/xla/engine/kernels-in-use.js';
import { cutShard, joinShards } from '../../../src/engine/xla/mesh/place.js';
import { dividedKernel } from '../../../src/engine/xla/stablehlo/kernel.js';
import { lowerToStableHlo } from '../../../src/engine/xla/stablehlo/lower.js';
import { shardType } from '../../../src/engine/xla/mesh/manual.js';
import { withTileKernels } from '../../../src/engine/xla/passes/prepare.js';
import { meshOf } from '../../../src/engine/xla/mesh/sharding.js';
import { runKernel, type Kernel } from '../../../src/engine/xla/kernels/triton/index.js';
import type { KernelWork } from '../../../src/engine/xla/kernels/work.js';
import * as L from '../../../src/graph/index.js';
import { resolveModelConfig, type ModelInput } from '../../../src/model/index.js';
import { stepProgram } from '../../../src/train/step-programs.js';
import { randomTensor } from '../../support/random.js';

const MODEL = {
  ...{ vocabSize: 16, hiddenSize: 128, numLayers: 2, layers: 'swa:7 full:nope', numHeads: 4, numKvHeads: 2 },
  ...{ headDim: 32, intermediateSize: 32, init: { scheme: 'normal', std: 0.2 } },
} as const satisfies ModelInput;

const step = (...args: Parameters<typeof stepOf>): L.Graph => stepOf(...args).graph;

function stepOf(batchSize: number, model: ModelInput = MODEL, seqLen = 40): ReturnType<typeof stepProgram> {
  const config = {
    ...{ seqLen, batchSize, accumulate: 1, remat: false },
    ...{ beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, clipNorm: 1 },
  };
  return stepProgram(resolveModelConfig(model), config, { precision: 'bf16', moments: 'separate' });
}

const CALL = /(grid_x = \d+ : i32, grid_y = \d+ : i32, grid_z = \d+) : i32, ir = "([^"]*)", name = "(\w+)"/g;
/** The kernels that a program calls: name, grid and a digest of what they do. */
const calls = (text: string): string[] =>
  [...text.matchAll(CALL)].map(([, grid, ir, name]) => `${name} ${grid} ${digest(ir as string)}`).sort();
const digest = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 12);

const shardings = Object.fromEntries(
  ['tokens', 'targets', 'weights'].map((name) => [name, [['data', 'fsdp'], []] as const]),
);
const lower = (graph: L.Graph, mesh: MeshShape | null): string =>
  lowerToStableHlo(graph, mesh ? { cudnn: true, mesh: meshOf(mesh), shardings } : { cudnn: true });

describe('tile kernels on a mesh', () => {
  it.each<[MeshShape, number]>([
    [{ data: 2 }, 4],
    [{ fsdp: 2 }, 4],
    [{ data: 2, fsdp: 2 }, 8],
  ])('%j: every device runs the kernels of one device with its share of the batch', (mesh, batch) => {
    const [alone, divided] = [lower(step(2), null), lower(step(batch), mesh)];
    expect(calls(alone).length).toBeGreaterThan(10);
    expect(calls(divided)).toEqual(calls(alone));
    // All of them inside regions that say what a device's piece is.
    const outside = divided.replace(/sdy\.manual_computation[^]*?sdy\.return/g, '');
    expect(outside).not.toContain('__gpu$xla.gpu.triton');
  });

  it('run whole on every device where a batch does not divide, but for the rows of the loss', () => {
    const [alone, divided] = [calls(lower(step(3), null)), calls(lower(step(3), { data: 2 }))];
    const loss = (call: string): boolean => call.startsWith('cross_entropy');
    expect(divided.filter((c) => !loss(c))).toEqual(alone.filter((c) => !loss(c)));
    expect(alone.find(loss)).toContain('grid_x = 120 ');
    expect(divided.find(loss)).toContain('grid_x = 60 ');
  });

  it('take their heads on a tensor mesh, and leave the loss to XLA', () => {
    const text = lower(step(2), { tensor: 2 });
    expect(text).toContain('name = "window_attention_grad"');
    expect(text).toContain('name = "rotate"');
    expect(text).not.toContain('name = "cross_entropy"');
    // Two of four query heads, one of two key heads: an instance a head and block of 64 tokens.
    expect(text).toMatch(
      /grid_x = 2 : i32, grid_y = 1 : i32, grid_z = 2 : i32, ir = "module {\\0A {2}tt.func public @window_attention\(/,
    );
    expect(text).toMatch(/in_shardings=\[<@mesh, \[{}, {}, {"tensor"}\]>/);
  });

  it.each<[string, MeshShape, ModelInput]>([
    ['data x fsdp', { data: 2, fsdp: 2 }, MODEL],
    ['data x tensor, norms of heads', { data: 2, tensor: 2 }, { ...MODEL, qkNorm: 'head' }],
  ])('%s: pieces joined are the whole', (_, shape, model) => {
    const mesh = meshOf(shape);
    const graph = withTileKernels(step(4, model), { dividesHeads: mesh.axes.tensor > 1 });
    const kernels = graph.nodes.filter((n): n is L.Node<'kernel'> => n.op === 'kernel');
    expect(new Set(kernels.map((n) => n.attrs.name)).size).toBeGreaterThan(4);
    const seen = new Set<string>();
    for (const node of kernels) {
      const signature = `${node.attrs.name} ${node.inputs.map((v) => v.shape.join('x')).join(' ')}`;
      if (seen.has(signature)) continue;
      seen.add(signature);
      const inputs = node.inputs.map((v, i) =>
        v.dtype === 'i32'
          ? tensorFrom(
              'i32',
              v.shape,
              Float64Array.from({ length: v.shape[0]! }, (__, k) => k % 16),
            )
          : randomTensor('f32', v.shape, `${signature} ${i}`),
      );
      const numbers = inputs.map(toNumbers);
      const whole = node.attrs.evaluate(numbers);
      const { kernel, read, written } = dividedKernel(node.attrs.program as KernelWork, mesh);
      const parts = Array.from({ length: mesh.size }, (__, device) =>
        run(
          kernel,
          inputs.map((x, i) => cutShard(x, mesh, read[i]!.sharding, device)),
        ),
      );
      written.forEach((piece, i) => {
        const { shape: part } = shardType(mesh, piece);
        const tensors = parts.map((results) => tensorFrom('f32', part, results[i]!));
        const joined = toNumbers(joinShards(tensors, mesh, piece.sharding, piece.type.shape));
        const expected = toNumbers(tensorFrom('f32', piece.type.shape, whole[i]!));
        expect(joined, signature).toEqual(expected);
      });
    }
  });

  it('beside parameters in parts: gathered in bf16, gradients summed into parts where they arise', () => {
    const { graph, donate } = stepOf(4, { ...MODEL, tieEmbeddings: true });
    const parts = ({ shape }: L.Value): Sharding =>
      shape.length < 2 ? [] : shape[0] === 16 ? [['tensor', 'fsdp'], []] : [['fsdp'], ['tensor']];
    const ports = [...graph.inputs, ...graph.outputs];
    const lie = Object.fromEntries(ports.map(({ name, value }) => [name, parts(value)]));
    const options = { cudnn: true, mesh: meshOf({ fsdp: 2 }), donate, shardings: { ...lie, ...shardings } };
    const text = lowerToStableHlo(graph, options);
    // Rows of the embedding are taken from the table in bf16.
    expect(text).toMatch(/"stablehlo\.gather"\(.*: \(tensor<16x128xbf16>/);
    // The gradient of wgateup, and that of a norm's gain, which is whole everywhere.
    expect(text).toMatch(
      /(%\d+) = stablehlo\.dot_general .* -> tensor<128x64xbf16>\n +%\d+ = sdy\.sharding_constraint \1 <@mesh, \[{"fsdp"}, {"tensor"}\]>/,
    );
    expect(text).toMatch(/sdy\.sharding_constraint %\d+ <@mesh, \[{}\]> : tensor<128xf32>/);
  });

  it('are named with the run', () => {
    const of = (mesh: MeshShape): string => kernelsInUse(meshOf(mesh), { cudnn: true, tileKernels: true });
    const [one, two, heads] = [of({}), of({ data: 2 }), of({ tensor: 2 })];
    expect(one).toMatch(
      /^bf16 windows up to 256, attention in packed documents \(heads of up to 128 channels\), chunks of prompts on caches \(heads of 32, 64, 128, 256\), norms, rotary, loss and recurrences \(multiples of 64 tokens, heads of up to 128 channels, 64 with keys of removal\) by tile kernels, other attention by cuDNN, what none of these takes in XLA's general form$/,
    );
    expect(two).toBe(one.replace('by tile kernels', 'by tile kernels on each device'));
    expect(heads).toMatch(/norms, rotary and recurrences \(.*\) by tile kernels on each device, .*, loss by XLA/);
    expect(kernelsInUse(meshOf({}), { cudnn: false, tileKernels: false })).toBe('bf16 attention by XLA');
  });

  it('recurrences whose heads share queries and keys, which every device has whole and sums the gradients of', () => {
    const recurrence = (heads: number): L.Graph => {
      const [q, k, v] = [1, 1, heads].map((n, i) => L.input('qkv'[i]!, 'bf16', [2, 64, n, 16])) as [
        L.Value,
        L.Value,
        L.Value,
      ];
      const g = L.input('g', 'f32', [2, 64, heads]);
      const { out } = L.linearRecurrence(q, k, v, g, { scale: 1 });
      const [dq, dk, dv] = L.grad(L.reduceSum(L.convert(out, 'f32')), [q, k, v]) as [L.Value, L.Value, L.Value];
      return L.makeGraph({ q, k, v, g }, { out, dq, dk, dv });
    };
    const text = lower(recurrence(4), { tensor: 2 });
    expect(calls(text).length).toBeGreaterThan(3);
    expect(calls(text)).toEqual(calls(lower(recurrence(2), null)));
    // A row of each device, summed: dq and dk.
    const sums = text.match(/stablehlo\.reduce\(.* dimensions = \[0\] : \(tensor<2x2x64x1x16xf32>, tensor<f32>\)/g);
    expect(sums).toHaveLength(2);
  });

  it('keys of removal, whose rows divide by heads', () => {
    const recurrence = (heads: number): L.Graph => {
      const rows = (name: string, dtype: 'bf16' | 'f32') => L.input(name, dtype, [2, 64, heads, 16]);
      const [q, k, v, beta] = [
        rows('q', 'bf16'),
        rows('k', 'bf16'),
        rows('v', 'bf16'),
        L.input('beta', 'f32', [2, 64, heads]),
      ];
      const [g, read, erase] = [rows('g', 'f32'), rows('read', 'f32'), rows('erase', 'f32')];
      const { out } = L.deltaRule(q, k, v, g, beta, { scale: 1, removal: { read, erase }, leastDecay: -1 });
      const inputs = { q, k, v, g, beta, read, erase };
      const grads = L.grad(L.reduceSum(L.convert(out, 'f32')), Object.values(inputs));
      return L.makeGraph(inputs, { out, ...Object.fromEntries(grads.map((x, i) => [`d${i}`, x])) });
    };
    const text = lower(recurrence(4), { tensor: 2 });
    expect(calls(text).length).toBeGreaterThan(6);
    expect(calls(text)).toEqual(calls(lower(recurrence(2), null)));
  });

  it('recurrences too, and sum the gradients of decays', () => {
    const model: ModelInput = { ...MODEL, numLayers: 3, layers: 'lightning gdn kda', numKvHeads: 4 };
    const [alone, divided] = [lower(step(2, model, 64), null), lower(step(4, model, 64), { data: 2 })];
    const recurrent = (text: string): string[] => calls(text).filter((c) => /^(recurrence|delta|linear)/.test(c));
    expect(recurrent(alone).length).toBeGreaterThan(4);
    expect(recurrent(divided)).toEqual(recurrent(alone));
    const heads = lower(step(2, model, 64), { tensor: 2 });
    expect(recurrent(heads)).toHaveLength(recurrent(alone).length);
    expect(recurrent(heads)).not.toEqual(recurrent(alone));
  });

  it('those of RWKV-7, whose mixer promises a bound on its decays', () => {
    const model: ModelInput = { ...MODEL, numLayers: 1, layers: 'rwkv7', numKvHeads: 4, rwkv7: { keyDim: 32 } };
    const names = (mesh: MeshShape | null): string[] =>
      calls(lower(step(2, model, 64), mesh)).flatMap((call) => /^delta_removal\w*/.exec(call)?.[0] ?? []);
    const all = ['prepare', 'outputs', 'score_grads', 'read_grads', 'write_grads'].map(
      (name) => `delta_removal_${name}`,
    );
    expect(new Set(names(null))).toEqual(new Set(all));
    expect(names({ tensor: 2 })).toEqual(names(null));
  });
});

function run(kernel: Kernel, inputs: readonly HostTensor[]): Float64Array[] {
  const names = kernel.buffers.filter((b) => !b.written).map((b) => b.name);
  const named = Object.fromEntries(names.map((name, i) => [name, toNumbers(inputs[i]!)]));
  const results = runKernel(kernel, named, { exact: true });
  return kernel.buffers.filter((b) => b.written).map((b) => results[b.name] as Float64Array);
}
