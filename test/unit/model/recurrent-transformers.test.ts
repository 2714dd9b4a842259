/** Every recurrent mixer against the one of Transformers, on weights and inputs that its code made (test/data/mixers). */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readSafetensors } from '../../../src/checkpoint/index.js';
import { tensorFrom, toNumbers, type HostTensor } from '../../../src/core/index.js';
import { evaluateReference } from '../../../src/engine/index.js';
import { expand, input, makeGraph } from '../../../src/graph/index.js';
import { parameterSpecs, resolveModelConfig, type ModelInput } from '../../../src/model/index.js';
import { mixerOf } from '../../../src/model/mixers.js';

type Matrix = number[][];

/** The weights of one of their modules: linear maps as `[in][out]` columns to put side by side. */
class Weights {
  readonly #tensors: Record<string, HostTensor>;

  constructor(name: string) {
    this.#tensors = readSafetensors(join(import.meta.dirname, '../../data/mixers', `${name}.safetensors`));
  }

  tensor(name: string): HostTensor {
    const found = this.#tensors[name];
    if (found === undefined) throw new Error(`no tensor ${name}`);
    return found;
  }

  numbers(name: string): number[] {
    return [...toNumbers(this.tensor(name))];
  }

  /** Rows of a weight `[out, in]`, or of taps `[channels, 1, width]`. */
  rows(name: string): Matrix {
    const values = this.numbers(name);
    const out = this.tensor(name).shape[0] as number;
    const width = values.length / out;
    return Array.from({ length: out }, (_, i) => values.slice(i * width, (i + 1) * width));
  }

  /** Our matrix `[in, out]`, row by row, from the rows of theirs one after another. */
  linear(...names: string[]): number[] {
    return transposed(names.flatMap((name) => this.rows(name)));
  }
}

function transposed(rows: Matrix): number[] {
  return (rows[0] ?? []).flatMap((_, column) => rows.map((row) => row[column] as number));
}

/** Rows in groups per head, each cut into parts of `sizes`: part p of all heads together. */
function partOfHeads(rows: readonly number[][], sizes: readonly number[], part: number): Matrix {
  const size = sizes.reduce((a, b) => a + b, 0);
  const start = sizes.slice(0, part).reduce((a, b) => a + b, 0);
  return rows.filter((_, i) => i % size >= start && i % size < start + (sizes[part] as number));
}

interface Case {
  readonly config: Omit<ModelInput, 'hiddenSize' | 'numHeads' | 'layers'> & { readonly layers: string };
  readonly layer?: number;
  readonly parameters: (w: Weights) => Record<string, number[]>;
}

const DELTA = { numHeads: 2, numValueHeads: 4, keyDim: 4, valueDim: 6 };

const mamba = (w: Weights) => ({
  win: w.linear('in_proj.weight'),
  'conv.weight': w.numbers('conv1d.weight'),
  'conv.bias': w.numbers('conv1d.bias'),
  dtbias: w.numbers('dt_bias'),
  alog: w.numbers('A_log'),
  skip: w.numbers('D'),
  'norm.weight': w.numbers('norm.weight'),
  wout: w.linear('out_proj.weight'),
});

const shortConv = (w: Weights) => ({
  win: w.linear('in_proj.weight'),
  'conv.weight': w.numbers('conv.weight'),
  wout: w.linear('out_proj.weight'),
});

const CASES: Readonly<Record<string, Case>> = {
  mamba2: {
    config: {
      layers: 'mamba2',
      mamba2: { headDim: 4, stateSize: 5, numGroups: 2, bias: true, dtMin: 0.05, dtMax: 1.5 },
    },
    parameters: (w) => ({ ...mamba(w), 'in.bias': w.numbers('in_proj.bias'), 'out.bias': w.numbers('out_proj.bias') }),
  },
  bamba: {
    config: { layers: 'mamba2', mamba2: { numHeads: 6, headDim: 4, stateSize: 5, convWidth: 3, chunk: 8 } },
    parameters: mamba,
  },
  minimax: {
    config: {
      layers: '4*lightning',
      headDim: 4,
      lightning: { slopes: 'power', layerFactor: 'minimax', activation: 'silu', scale: 1 },
    },
    layer: 1,
    parameters: (w) => {
      const rows = w.rows('qkv_proj.weight');
      return {
        wqkv: transposed([0, 1, 2].flatMap((part) => partOfHeads(rows, [4, 4, 4], part))),
        'norm.weight': w.numbers('norm.weight'),
        wgate: w.linear('output_gate.weight'),
        wo: w.linear('out_proj.weight'),
      };
    },
  },
  qwen3_next: {
    config: { layers: 'gdn', gdn: DELTA },
    parameters: (w) => {
      const qkvz = w.rows('in_proj_qkvz.weight');
      const part = (index: number) => partOfHeads(qkvz, [4, 4, 12, 12], index);
      const ba = w.rows('in_proj_ba.weight');
      return {
        wqkv: transposed([0, 1, 2].flatMap(part)),
        'conv.weight': w.numbers('conv1d.weight'),
        wab: transposed([...partOfHeads(ba, [2, 2], 1), ...partOfHeads(ba, [2, 2], 0)]),
        dtbias: w.numbers('dt_bias'),
        alog: w.numbers('A_log'),
        'norm.weight': w.numbers('norm.weight'),
        wgate: transposed(part(3)),
        wo: w.linear('out_proj.weight'),
      };
    },
  },
  olmo_hybrid: {
    config: { layers: 'gdn', gdn: { ...DELTA, allowNegEigval: true, normEps: 1e-5 } },
    parameters: (w) => ({
      wqkv: w.linear('q_proj.weight', 'k_proj.weight', 'v_proj.weight'),
      'conv.weight': w.numbers('conv1d.weight'),
      wab: w.linear('a_proj.weight', 'b_proj.weight'),
      dtbias: w.numbers('dt_bias'),
      alog: w.numbers('A_log'),
      'norm.weight': w.numbers('o_norm.weight'),
      wgate: w.linear('g_proj.weight'),
      wo: w.linear('o_proj.weight'),
    }),
  },
  kimi_linear: {
    config: { layers: 'kda', headDim: 4, kda: { normEps: 1e-5 } },
    parameters: (w) => ({
      wqkv: w.linear('q_proj.weight', 'k_proj.weight', 'v_proj.weight'),
      'conv.weight': w.numbers('conv1d.weight'),
      wdecaydown: w.linear('forget_gate.f_a_proj.weight'),
      wdecayup: w.linear('forget_gate.f_b_proj.weight'),
      dtbias: w.numbers('forget_gate.dt_bias'),
      alog: w.numbers('forget_gate.A_log'),
      wbeta: w.linear('b_proj.weight'),
      'norm.weight': w.numbers('o_norm.weight'),
      wgatedown: w.linear('g_a_proj.weight'),
      wgateup: w.linear('g_b_proj.weight'),
      wo: w.linear('o_proj.weight'),
    }),
  },
  lfm2: { config: { layers: 'conv' }, parameters: shortConv },
  lfm2_bias: {
    config: { layers: 'conv', conv: { width: 4, bias: true } },
    parameters: (w) => ({
      ...shortConv(w),
      'in.bias': w.numbers('in_proj.bias'),
      'conv.bias': w.numbers('conv.bias'),
      'out.bias': w.numbers('out_proj.bias'),
    }),
  },
};

describe('recurrent mixers and those of Transformers', () => {
  it.each(Object.keys(CASES))('give the same for %s', (name) => {
    const { config: given, layer = 0, parameters } = CASES[name]!;
    const config = resolveModelConfig({ hiddenSize: 12, numHeads: 3, ...given });
    const weights = new Weights(name);
    const plan = config.layers[layer]!;
    const prefix = `layers.${layer}.${plan.mixer}.`;
    const theirs = parameters(weights);
    const specs = parameterSpecs(config).filter((s) => s.name.startsWith(prefix));
    // Every parameter of ours is one of theirs, and the other way round.
    expect(Object.keys(theirs).sort()).toEqual(specs.map((s) => s.name.slice(prefix.length)).sort());
    const tensors = Object.fromEntries(
      specs.map((s) => [s.name, tensorFrom('f64', s.shape, theirs[s.name.slice(prefix.length)]!)]),
    );
    const values = new Map(specs.map((s) => [s.name, input(s.name, 'f64', s.shape)]));
    const param = (end: string) => values.get(`layers.${layer}.${end}`)!;
    const x = input('x', 'f64', weights.tensor('x').shape);
    const scope = {
      config,
      x,
      param,
      inputMatrix: param,
      layer,
      segments: null,
      positions: null,
      handed: new Map(),
    };
    const { out } = mixerOf(plan).build(scope, plan);
    const graph = makeGraph({ x, ...Object.fromEntries(values) }, { out });
    const inputs = { x: tensorFrom('f64', x.shape, weights.numbers('x')), ...tensors };
    const expected = weights.numbers('y');
    const size = Math.sqrt(expected.reduce((sum, v) => sum + v * v, 0) / expected.length);
    const worst = (actual: HostTensor) =>
      toNumbers(actual).reduce((w, v, i) => Math.max(w, Math.abs(v - (expected[i] as number))), 0) / size;
    // Theirs works in float32 at places.
    expect(worst(evaluateReference(graph, inputs)['out']!)).toBeLessThan(3e-5);
    expect(worst(evaluateReference(expand(graph), inputs)['out']!)).toBeLessThan(3e-5);
  });
});
