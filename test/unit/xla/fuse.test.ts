/**
 * Training steps with tile kernels in them compute what they did without: the same graph, evaluated in float64 both
 * ways.
 */
import { describe, expect, it } from 'vitest';
import { tensorFrom, toNumbers, type HostTensor } from '../../../src/core/index.js';
import { evaluateReference, lowerToStableHlo } from '../../../src/engine/index.js';
import { withTileKernels } from '../../../src/engine/xla/passes/prepare.js';
import * as L from '../../../src/graph/index.js';
import { initialParameters, resolveModelConfig, type ModelInput } from '../../../src/model/index.js';
import { stepProgram } from '../../../src/train/step-programs.js';
import { joined } from '../../gpu/ops.js';
import { OP_CASES, type OpCase } from '../../support/cases.js';
import { randomTensor } from '../../support/random.js';

const SMALL = {
  vocabSize: 16,
  hiddenSize: 64,
  numHeads: 2,
  headDim: 32,
  intermediateSize: 32,
  init: { scheme: 'normal', std: 0.2 },
} as const;

const STEP = {
  ...{ seqLen: 40, batchSize: 2, accumulate: 1, remat: false },
  ...{ beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, clipNorm: 1 },
};

/** Documents of each of two rows of 40 tokens. */
const DOCUMENTS = [
  [1, 9, 1, 29],
  [24, 16],
];

interface ProgramOptions {
  readonly remat?: boolean;
  /** Rows hold several documents. */
  readonly packed?: boolean;
}

function program(
  model: ModelInput,
  { remat = false, packed = false }: ProgramOptions = {},
): { graph: L.Graph; inputs: Record<string, HostTensor> } {
  const config = resolveModelConfig(model);
  const options = { precision: 'bf16', moments: 'separate', hasSegments: packed } as const;
  const { graph } = stepProgram(config, { ...STEP, remat }, options);
  const parameters = initialParameters(config, 1);
  const inputs = graph.inputs.map(({ name, value }): [string, HostTensor] => {
    const own = parameters.get(name);
    if (own) return [name, own];
    if (name === 'weights') return [name, tensorFrom('f32', value.shape, new Float64Array(80).fill(1 / 80))];
    if (name === 'segments') {
      const ids = DOCUMENTS.flatMap((row) => row.flatMap((n, i) => Array.from({ length: n }, () => i)));
      return [name, tensorFrom('i32', value.shape, Float64Array.from(ids))];
    }
    const positive = name.startsWith('moment2') || value.shape.length === 0;
    return [name, randomTensor(value.dtype, value.shape, name, (x) => (positive ? Math.abs(x) : x))];
  });
  return { graph, inputs: Object.fromEntries(inputs) };
}

const kernelsOf = (graph: L.Graph): Record<string, number> => {
  const counts: Record<string, number> = {};
  for (const node of graph.nodes) {
    if (node.op !== 'kernel') continue;
    const { name } = node.attrs;
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
};

/** A program evaluates to the same numbers with tile kernels, so many of each name. */
function expectSame({ graph, inputs }: ReturnType<typeof program>, expected: Record<string, number>): void {
  const fused = withTileKernels(graph);
  expect(kernelsOf(fused)).toMatchObject(expected);
  const [want, got] = [evaluateReference(graph, inputs), evaluateReference(fused, inputs)];
  for (const name of Object.keys(want)) {
    const [a, b] = [toNumbers(want[name]!), toNumbers(got[name]!)];
    const worst = a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!) / (1e-2 + Math.abs(x))), 0);
    expect(worst, name).toBeLessThan(1e-4);
  }
}

const WINDOW = { window_attention: 1, window_attention_grad: 1, swiglu: 1, swiglu_grad: 1 };

describe('tile kernels in training steps', () => {
  it.each<[string, ModelInput, Record<string, number>]>([
    // Norms: two a layer and the last; each is followed, backward, by a sum, but for the last.
    ['rotary', { ...SMALL, layers: 'swa:7', numLayers: 1 }, { ...WINDOW, rotate: 1, rms_norm: 3, rms_norm_grad: 3 }],
    ['no rotary', { ...SMALL, layers: 'swa:7:nope', numLayers: 1 }, { ...WINDOW, rms_norm: 3, rms_norm_grad: 3 }],
    [
      'grouped queries, a full layer that turns',
      { ...SMALL, numKvHeads: 1, layers: 'swa:7 full', numLayers: 2 },
      { ...WINDOW, rotate: 3, rms_norm: 5, rms_norm_grad: 5, swiglu: 2, swiglu_grad: 2 },
    ],
    [
      'windows and full attention in one layer',
      { ...SMALL, layers: 'swa:7/full', numLayers: 1 },
      { ...WINDOW, rotate: 2, rms_norm: 3, rms_norm_grad: 3 },
    ],
    ['norms on queries and keys', { ...SMALL, qkNorm: 'head', layers: 'swa:7', numLayers: 1 }, WINDOW],
  ])('%s: the same numbers', (_, model, expected) => {
    expectSame(program(model), expected);
  });

  const BOTH = { packed_attention: 2, packed_attention_grad: 2, document_bounds: 1 };
  it.each<[string, ModelInput, Record<string, number>]>([
    ['a window and a full layer', { ...SMALL, layers: 'swa:7 full', numLayers: 2 }, { ...BOTH, rotate: 2 }],
    ['no rotary', { ...SMALL, layers: 'swa:7:nope full:nope', numLayers: 2 }, BOTH],
    ['grouped queries', { ...SMALL, numKvHeads: 1, layers: 'swa:39 full', numLayers: 2 }, BOTH],
    ['both in one layer', { ...SMALL, layers: 'swa:7/full', numLayers: 1 }, BOTH],
    ['sinks', { ...SMALL, sinks: true, layers: 'swa:7 full', numLayers: 2 }, BOTH],
    ['heads of 24 channels', { ...SMALL, headDim: 24, layers: 'swa:7 full', numLayers: 2 }, BOTH],
    [
      'heads of 48, with sinks',
      { ...SMALL, headDim: 48, sinks: true, layers: 'full', numLayers: 1 },
      { packed_attention: 1 },
    ],
  ])('packed documents, %s: the same numbers', (_, model, expected) => {
    expectSame(program(model, { packed: true }), expected);
  });

  it('recompute in the backward pass where layers of packed documents are rematerialized', () => {
    const { graph } = program({ ...SMALL, layers: 'full', numLayers: 1 }, { remat: true, packed: true });
    expect(kernelsOf(withTileKernels(graph))).toMatchObject({ packed_attention: 2, packed_attention_grad: 1 });
  });

  it('leave no joins or turns between the gradient and the projection', () => {
    const { graph } = program({ ...SMALL, layers: 'swa:7', numLayers: 1 });
    const fused = L.simplify(withTileKernels(graph));
    const gradient = fused.nodes.find((n) => n.op === 'kernel' && n.attrs.name === 'window_attention_grad')!;
    const [dqkv] = gradient.outputs;
    expect(dqkv.shape).toEqual([2, 40, 3 * 64]);
    const users = fused.nodes.filter((n) => n.inputs.includes(dqkv));
    expect(new Set(users.map((n) => n.op))).toEqual(new Set(['dot']));
    expect(fused.nodes.filter((n) => n.op === 'rotary')).toEqual([]);
  });

  it('read gate and up where they lie, and give the gradient of both at once', () => {
    const { graph } = program({ ...SMALL, layers: 'swa:7', numLayers: 1 });
    const fused = L.simplify(withTileKernels(graph));
    const find = (name: string): L.Node => fused.nodes.find((n) => n.op === 'kernel' && n.attrs.name === name)!;
    expect(find('swiglu').inputs.map((v) => v.node.op)).toEqual(['dot', 'dot']);
    const [dx] = find('swiglu_grad').outputs;
    expect(dx.shape).toEqual([2, 40, 64]);
    expect(new Set(fused.nodes.filter((n) => n.inputs.includes(dx)).map((n) => n.op))).toEqual(new Set(['dot']));
  });

  it('recompute in the backward pass where layers are rematerialized', () => {
    const { graph } = program({ ...SMALL, layers: 'swa:7', numLayers: 1 }, { remat: true });
    expect(kernelsOf(withTileKernels(graph))).toMatchObject({ window_attention: 2, window_attention_grad: 1 });
  });

  it('give results of the types that the ops have, in bf16 graphs too', () => {
    for (const [op, cases] of Object.entries(OP_CASES) as [L.OpName, readonly OpCase[]][]) {
      for (const derivative of [false, true]) {
        const { graph } = joined(op, cases, 'bf16', derivative);
        const types = (g: L.Graph) => g.outputs.map(({ value: { dtype, shape } }) => ({ dtype, shape }));
        expect(types(withTileKernels(graph)), op).toEqual(types(graph));
      }
    }
    const x = L.input('x', 'bf16', [2, 64]);
    const norm = L.makeGraph({ x }, { y: L.rmsNorm(x, null, 1e-6) });
    expect(kernelsOf(withTileKernels(norm))).toEqual({});
    const wide = L.makeGraph({ x }, { y: L.rmsNorm(L.convert(x, 'f32'), null, 1e-6) });
    expect(kernelsOf(withTileKernels(wide))).toEqual({ rms_norm: 1 });
  });

  it('stay away from windows too wide, sinks of rows that are one document, and float32', () => {
    interface Options {
      readonly sinks?: boolean;
      readonly packed?: boolean;
      readonly width?: number;
    }
    const attend = (dtype: 'bf16' | 'f32', window: number | null, options: Options = {}): string => {
      const { sinks = false, packed = false, width = 32 } = options;
      const x = L.input('x', dtype, [1, 512, 2, width]);
      const z = sinks ? L.input('z', dtype, [2]) : null;
      const s = packed ? L.input('s', 'i32', [1, 512]) : null;
      const { out } = L.attention(x, x, x, { window, scale: 1, sinks: z, segments: s });
      const graph = L.makeGraph({ x, ...(z ? { z } : {}), ...(s ? { s } : {}) }, { y: out });
      return lowerToStableHlo(graph, { cudnn: true });
    };
    expect(attend('bf16', 256)).toContain('name = "window_attention"');
    expect(attend('bf16', 257)).toContain('__cudnn$fmhaSoftmax');
    expect(attend('bf16', null)).toContain('__cudnn$fmhaSoftmax');
    expect(attend('bf16', 64, { sinks: true })).not.toContain('custom_call');
    for (const width of [8, 32, 64, 96, 128]) {
      for (const window of [64, 257, null]) {
        expect(attend('bf16', window, { packed: true, width })).toContain('name = "packed_attention"');
      }
    }
    expect(attend('bf16', null, { packed: true, sinks: true })).toContain('name = "packed_attention"');
    expect(attend('bf16', null, { packed: true, width: 136 })).not.toContain('custom_call');
    expect(attend('f32', null, { packed: true })).not.toContain('custom_call');
    expect(attend('f32', 64)).not.toContain('custom_call');
  });
});
