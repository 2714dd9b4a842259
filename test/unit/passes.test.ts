/** Rewrites of graphs before they are lowered: projections by part, gains of norms, masks of exponentials, attention. */
import { describe, expect, it } from 'vitest';
import { present, tensorFrom, toNumbers, type HostTensor } from '../../src/core/index.js';
import { evaluateReference } from '../../src/engine/index.js';
import { lowerToOnnx } from '../../src/engine/onnx/lower.js';
import { isDecodeStep } from '../../src/engine/passes/decode-step.js';
import { gatesAnew } from '../../src/engine/passes/gates-anew.js';
import { masksAfterExp } from '../../src/engine/passes/masked-exp.js';
import { gainsInNorms } from '../../src/engine/passes/norm-gains.js';
import { projectionsByPart } from '../../src/engine/passes/projections.js';
import { lowerToStableHlo } from '../../src/engine/xla/stablehlo/lower.js';
import {
  attention,
  decomposeAttention,
  decomposeAttentionGrad,
  exp,
  expand,
  grad,
  input,
  makeGraph,
  mul,
  reduceSum,
  select,
  type Graph,
  type Value,
} from '../../src/graph/index.js';
import {
  forward,
  forwardChunk,
  headLogits,
  parameterInputs,
  resolveModelConfig,
  stateInputs,
  tokenLosses,
  type ModelConfig,
} from '../../src/model/index.js';
import { randomParameters, randomTokens, SMALL, worst } from './model/cases.js';
import { randomTensor } from '../support/random.js';

const MODELS: readonly (readonly [string, object])[] = [
  ['queries and keys rotated together', { layers: 'full swa:4' }],
  [
    'groups of heads, norms of heads, gates and sinks',
    { layers: 'swa:3/full:nope full', qkNorm: true, sinks: true, outputGate: true },
  ],
  [
    'biases, GELU and a tied head',
    { layers: 'full full:nope', attentionBias: 'all', mlpBias: true, activation: 'gelu', tieEmbeddings: true },
  ],
  [
    'queries alone, of a layer that takes the keys of another',
    { layers: 'full full;keys=0', attentionBias: 'all', valueNorm: true, qkNorm: true },
  ],
  ['parallel blocks', { layers: 'full full', block: { parallel: true } }],
  ['recurrent mixers', { layers: 'gdn lightning' }],
];

/** Loss and gradients of two short sequences. */
function training(config: ModelConfig, remat: boolean): Graph {
  const params = parameterInputs(config, 'f64');
  const tokens = input('tokens', 'i32', [2, 6]);
  const targets = input('targets', 'i32', [2, 6]);
  const weights = input('weights', 'f64', [2, 6]);
  const loss = tokenLosses(forward(config, params, tokens, { remat }).logits, targets, weights).weightedSum;
  const gradients = grad(loss, [...params.values()]);
  return makeGraph(
    { ...Object.fromEntries(params), tokens, targets, weights },
    { loss, ...Object.fromEntries([...params.keys()].map((name, i) => [`d ${name}`, gradients[i]!])) },
  );
}

function inputsOf(graph: Graph, config: ModelConfig): Record<string, HostTensor> {
  const params = randomParameters(config);
  return Object.fromEntries(
    graph.inputs.map(({ name, value: { dtype, shape } }) => {
      const ids = (): HostTensor =>
        tensorFrom('i32', shape, [...randomTokens(config, 6, 1), ...randomTokens(config, 6, 2)]);
      return [name, params.get(name) ?? (dtype === 'i32' ? ids() : randomTensor(dtype, shape, name))];
    }),
  );
}

/** The largest relative difference of any output. */
function difference(a: Graph, b: Graph, inputs: Record<string, HostTensor>): number {
  const [want, got] = [evaluateReference(a, inputs), evaluateReference(b, inputs)];
  expect(Object.keys(got)).toEqual(Object.keys(want));
  return Math.max(...Object.keys(want).map((name) => worst(toNumbers(got[name]!), toNumbers(want[name]!))));
}

/** Splits of products that have a row for each token. */
const cutProducts = ({ nodes }: Graph): number =>
  nodes.filter(({ op, inputs }) => op === 'split' && inputs[0]?.node.op === 'dot' && inputs[0].shape.length === 3)
    .length;

describe('projections by part', () => {
  it.each(MODELS)('compute the same loss and gradients: %s', (_, settings) => {
    const config = resolveModelConfig({ ...SMALL, numKvHeads: 2, ...settings });
    for (const remat of [false, true]) {
      const graph = training(config, remat);
      const parts = projectionsByPart(graph);
      expect(difference(graph, parts, inputsOf(graph, config))).toBeLessThan(1e-12);
      expect(cutProducts(parts)).toBe(0);
      const joinedGradients = parts.nodes.filter(
        ({ op, inputs }) =>
          op === 'dot' && inputs.some((v) => v.node.op === 'concat' && v.shape[2] === config.intermediateSize * 2),
      );
      expect(joinedGradients).toEqual([]);
    }
  });

  it('leave whole what a short convolution reads', () => {
    const config = resolveModelConfig({ ...SMALL, layers: 'mamba2 conv', mamba2: { headDim: 8 } });
    const graph = training(config, false);
    // Two mixers and two MLPs, of which the MLPs are cut.
    expect([cutProducts(graph), cutProducts(projectionsByPart(graph))]).toEqual([4, 2]);
  });

  it('are for CPUs and for devices that divide heads', () => {
    const config = resolveModelConfig({ ...SMALL, layers: 'full' });
    const params = parameterInputs(config);
    const tokens = input('tokens', 'i32', [2, 6]);
    const { logits } = forward(config, params, tokens);
    const graph = makeGraph({ ...Object.fromEntries(params), tokens }, { logits });
    const gates = (text: string): number =>
      (text.match(new RegExp(`dot_general.*-> tensor<2x6x${config.intermediateSize}xf32>`, 'g')) ?? []).length;
    const mesh = (axis: 'data' | 'tensor') => ({ size: 2, axes: { data: 1, fsdp: 1, tensor: 1, [axis]: 2 } });
    expect(gates(lowerToStableHlo(graph))).toBe(0);
    expect(gates(lowerToStableHlo(graph, { mesh: mesh('data') }))).toBe(0);
    expect(gates(lowerToStableHlo(graph, { mesh: mesh('tensor') }))).toBe(2 * config.numLayers);
    const { nodes } = lowerToOnnx(graph).onnx;
    const parts = new Set(nodes.filter(({ op }) => op === 'Split').flatMap(({ outputs }) => outputs));
    const ofParts = nodes.filter(({ op, inputs }) => (op === 'MatMul' || op === 'Gemm') && parts.has(inputs[1]!));
    // Queries, keys, values, gate and up.
    expect(ofParts.length).toBe(5 * config.numLayers);
  });
});

describe('gates computed anew', () => {
  it.each(MODELS)('give the same loss and gradients: %s', (_, settings) => {
    const config = resolveModelConfig({ ...SMALL, numKvHeads: 2, ...settings });
    for (const remat of [false, true]) {
      const graph = projectionsByPart(training(config, remat));
      expect(difference(graph, gatesAnew(graph), inputsOf(graph, config))).toBeLessThan(1e-12);
    }
  });

  it('leave nothing of the forward pass to the backward pass but their factors', () => {
    const config = resolveModelConfig({ ...SMALL, layers: 'full swa:4' });
    const graph = training(config, false);
    const anew = gatesAnew(graph);
    const gates = ({ nodes }: Graph) => nodes.filter(({ op }) => op === 'swiglu');
    expect([gates(graph).length, gates(anew).length]).toEqual([config.numLayers, 2 * config.numLayers]);
    // Each gate has one reader: the product with the matrix, or the gradient of the matrix.
    for (const { outputs } of gates(anew)) {
      const readers = anew.nodes.filter(({ inputs }) => outputs.some((v) => inputs.includes(v)));
      expect(readers.map(({ op }) => op)).toEqual(['dot']);
    }
    const sigmoids = (recomputes: boolean) =>
      lowerToOnnx(graph, {}, { recomputes }).onnx.nodes.filter(({ op }) => op === 'Sigmoid').length;
    expect([sigmoids(false), sigmoids(true)]).toEqual([config.numLayers, 2 * config.numLayers]);
  });

  it('are for graphs with gradients', () => {
    const config = resolveModelConfig({ ...SMALL, layers: 'full' });
    const params = parameterInputs(config);
    const tokens = input('tokens', 'i32', [2, 6]);
    const { logits } = forward(config, params, tokens);
    const graph = makeGraph({ ...Object.fromEntries(params), tokens }, { logits });
    expect(gatesAnew(graph)).toBe(graph);
  });
});

describe('gains in norms', () => {
  function decoding(config: ModelConfig): { graph: Graph; donate: Record<string, string> } {
    const room = { batchSize: 2, maxLength: 8, dtype: 'f64' } as const;
    const params = parameterInputs(config, 'f64');
    const before = stateInputs(config, room);
    const tokens = input('tokens', 'i32', [2, 1]);
    const place = { start: input('start', 'i32', []), padding: input('padding', 'i32', [2]) };
    const { stream, state } = forwardChunk(config, params, { tokens, ...place }, before, room);
    const after = Object.fromEntries([...state].map(([name, value]) => [`next ${name}`, value]));
    const inputs = { ...Object.fromEntries(params), ...Object.fromEntries(before), tokens, ...place };
    const graph = makeGraph(inputs, { logits: headLogits(config, params, stream), ...after });
    return { graph, donate: Object.fromEntries([...state.keys()].map((name) => [name, `next ${name}`])) };
  }

  const scaledMatrices = ({ nodes }: Graph): number =>
    nodes.filter(
      ({ op, outputs }) =>
        op === 'mul' && outputs[0].node.inputs[0].node.op === 'input' && outputs[0].shape.length === 2,
    ).length;

  it.each([...MODELS, ['LayerNorm and an offset', { layers: 'full', norm: 'layer', normOffset: 1 }] as const])(
    'compute the same next token: %s',
    (_, settings) => {
      const config = resolveModelConfig({ ...SMALL, numKvHeads: 2, ...settings });
      const { graph, donate } = decoding(config);
      expect(isDecodeStep(graph, donate)).toBe(true);
      const inputs = {
        ...Object.fromEntries(
          graph.inputs.map(({ name, value }) => [name, randomTensor(value.dtype, value.shape, name)]),
        ),
        ...Object.fromEntries(randomParameters(config)),
        tokens: tensorFrom('i32', [2, 1], [1, 2]),
        start: tensorFrom('i32', [], [3]),
        padding: tensorFrom('i32', [2], [0, 1]),
      };
      const gains = gainsInNorms(graph);
      expect(difference(graph, gains, inputs)).toBeLessThan(1e-12);
      expect(scaledMatrices(graph)).toBeGreaterThan(0);
      expect(scaledMatrices(gains)).toBe(0);
    },
  );

  it('are for programs that hand a state on and compute no gradients', () => {
    const config = resolveModelConfig({ ...SMALL, layers: 'full' });
    const { graph } = decoding(config);
    expect(isDecodeStep(graph)).toBe(false);
    expect(isDecodeStep(training(config, false), { tokens: 'loss' })).toBe(false);
  });
});

describe('masks of exponentials', () => {
  const [mask, x] = [input('mask', 'bool', [2, 3]), input('x', 'f32', [3])];
  const masked = (low: number): Graph => makeGraph({ mask, x }, { y: exp(select(mask, x, low)) });
  const ops = ({ nodes }: Graph): string[] => nodes.map(({ op }) => op).filter((op) => op === 'exp' || op === 'select');

  it('are taken after them where what is masked gives zero, with the same bits', () => {
    const inputs = {
      mask: tensorFrom('bool', [2, 3], [1, 0, 0, 1, 1, 0]),
      x: tensorFrom('f32', [3], [-3, 90, Number.NaN]),
    };
    for (const low of [-1e30, -Infinity]) {
      const graph = masked(low);
      const after = masksAfterExp(graph);
      expect([ops(graph), ops(after)]).toEqual([
        ['select', 'exp'],
        ['exp', 'select'],
      ]);
      expect(evaluateReference(after, inputs)).toEqual(evaluateReference(graph, inputs));
    }
  });

  it('stay where what is masked gives more than zero', () => {
    for (const low of [0, 5, -100, -745]) expect(ops(masksAfterExp(masked(low)))).toEqual(['select', 'exp']);
  });

  it('are none of the arguments of any exponential that the CPU takes of a hybrid with decays', () => {
    const graph = training(resolveModelConfig({ ...SMALL, layers: 'gdn full' }), false);
    const { nodes } = lowerToOnnx(graph).onnx;
    const made = new Map(nodes.flatMap(({ op, outputs }) => outputs.map((name) => [name, op] as const)));
    const taken = nodes.filter(({ op }) => op === 'Exp').map(({ inputs }) => made.get(inputs[0]!));
    expect(taken.length).toBeGreaterThan(0);
    expect(taken).not.toContain('Where');
  });
});

describe('probabilities of attention', () => {
  it.each([
    ['a window, 32 keys in a block, 7 channels', 4, 40, 7, 1],
    ['a window, 32 keys in a block, 6 channels', 4, 40, 6, 2],
    ['two blocks of 16 and 32 keys, 5 channels', null, 32, 5, 2],
    ['two blocks of 16 and 32 keys, 4 channels', null, 32, 4, 4],
  ] as const)('are kept on the CPU up to 5 keys for each channel: %s', (_, window, T, D, softmaxes) => {
    const q = input('q', 'f32', [1, T, 1, D]);
    const [dq] = grad(reduceSum(attention(q, q, q, { window, scale: 1 }).out), [q]) as [Value];
    const { nodes } = lowerToOnnx(makeGraph({ q }, { dq })).onnx;
    expect(nodes.filter((node) => node.op === 'Softmax')).toHaveLength(softmaxes);
  });
});

describe('gradients of causal attention in shapes of their own', () => {
  const [B, T, H, G, D] = [2, 24, 4, 2, 5];

  /** Output and gradients of an attention, and the same with its gradient in blocks of 8 rows, flat or not. */
  function graphs(window: number | null, more: { readonly softcap?: number; readonly sinks?: boolean }) {
    const value = (name: string, shape: number[]) => input(name, 'f64', shape);
    const [q, k, v] = [value('q', [B, T, H, D]), value('k', [B, T, G, D]), value('v', [B, T, G, D + 1])];
    const weights = value('w', [B, T, H, D + 1]);
    const sinks = more.sinks === true ? value('sinks', [H]) : null;
    const { out } = attention(q, k, v, { window, scale: 0.7, softcap: more.softcap ?? null, sinks });
    const wanted = [q, k, v, ...(sinks ? [sinks] : [])];
    const gradients = grad(reduceSum(mul(out, weights)), wanted);
    const inputs = { q, k, v, w: weights, ...(sinks ? { sinks } : {}) };
    const graph = makeGraph(inputs, { out, ...Object.fromEntries(gradients.map((d, i) => [`d${i}`, present(d)])) });
    const blocks = (flatGradients: boolean) => ({ banded: null, causal: 8, keptKeys: 0, flatGradients });
    const inPrimitives = (flat: boolean) =>
      expand(graph, {
        keep: () => false,
        overrides: {
          attention: (values, attrs) => decomposeAttention(values, attrs, blocks(flat)),
          attentionGrad: (values, attrs) => decomposeAttentionGrad(values, attrs, blocks(flat)),
        },
      });
    return { graph, plain: inPrimitives(false), flat: inPrimitives(true) };
  }

  it.each([
    ['no window', null, {}],
    ['a window of all but one token', T - 1, {}],
    ['sinks', null, { sinks: true }],
    ['a soft cap', null, { softcap: 2 }],
  ] as const)('are the same numbers: %s', (_, window, more) => {
    const { graph, plain, flat } = graphs(window, more);
    const inputs = Object.fromEntries(
      graph.inputs.map(({ name, value: { shape } }) => [name, randomTensor('f64', shape, name)]),
    );
    expect(difference(graph, plain, inputs)).toBeLessThan(1e-12);
    expect(difference(plain, flat, inputs)).toBe(0);
  });

  it('never have the shape of scores of the forward pass', () => {
    const { plain, flat } = graphs(null, {});
    /** Shapes of what has a row a query and a column a key. */
    const scores = ({ nodes }: Graph) => {
      const found = nodes.flatMap(({ op, outputs }) => (op === 'dot' ? outputs.map(({ shape }) => shape) : []));
      const square = found.filter((shape) => [8, 16, 24].includes(shape.at(-1) ?? 0) && shape.at(-2) === 16);
      return square.map((shape) => shape.join());
    };
    // A product of queries and keys forward; that and a product of gradients and values backward, for each block.
    const counts = (graph: Graph) => scores(graph).map((own) => scores(graph).filter((other) => other === own).length);
    expect(counts(plain)).toEqual(Array.from({ length: 9 }, () => 3));
    expect([...counts(flat)].sort()).toEqual([1, 1, 1, 2, 2, 2, 2, 2, 2]);
  });
});
