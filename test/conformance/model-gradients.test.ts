/** Loss and gradients of small models on every engine in float32 against the reference engine in float64. */
import { describe, expect, it } from 'vitest';
import { sizeOf, tensorFrom, toNumbers, type HostTensor } from '../../src/core/index.js';
import {
  createOnnxEngine,
  createXlaEngine,
  evaluateReference,
  findPlugin,
  type Engine,
} from '../../src/engine/index.js';
import { div, grad, input, makeGraph, type Graph, type Value } from '../../src/graph/index.js';
import { forward, parameterInputs, resolveModelConfig, tokenLosses, type ModelInput } from '../../src/model/index.js';
import { randomParameters, randomTokens, SMALL, worst } from '../unit/model/cases.js';

const plugin = findPlugin('cpu').plugin;
const ENGINES: [string, () => Engine][] = [
  ['onnx', () => createOnnxEngine({ threads: 1 })],
  ...(plugin
    ? ([['xla:cpu', () => createXlaEngine({ platform: 'cpu', plugin: plugin.path, cache: null })]] as [
        string,
        () => Engine,
      ][])
    : []),
];

const MODELS: readonly (readonly [string, Partial<ModelInput> & { layers: string }])[] = [
  [
    'LayerNorm with biases, an MLP without a gate',
    {
      ...{ layers: 'swa:4 full', norm: 'layer', normBias: true, attentionBias: 'all', mlpBias: true },
      ...{ mlpGate: false, activation: 'gelu_tanh' },
    },
  ],
  [
    'norms without weights, a normalized embedding, a squared relu',
    {
      ...{ layers: 'full', normWeight: false, embeddingNorm: true, qkNorm: true, logitSoftcap: 3 },
      ...{ mlpGate: false, activation: 'relu2' },
    },
  ],
  [
    'experts of several kinds',
    {
      ...{ layers: 'swa:4 full', block: [{ norm: 'both' }, {}] },
      experts: {
        ...{ count: 8, perToken: 3, intermediateSize: 6, scores: 'sigmoid', correctionBias: true, routerBias: true },
        ...{ groups: { count: 4, perToken: 2 }, bias: true, clamped: { limit: 0.7 }, sharedSize: 5, sharedGate: true },
      },
    },
  ],
  [
    'experts, one a token, and a dense layer',
    { layers: 'swa:4 full', experts: { count: 6, perToken: 1, intermediateSize: 6, normalize: false, dense: [1] } },
  ],
  [
    'a gate with biases, queries without positions that grow by a power, sums weighted by depth',
    {
      ...{ layers: 'swa:4 full:nope', outputGate: true, outputGateBias: true, numKvHeads: 2 },
      queryScaling: { law: 'power', beta: 0.5, length: 3, offset: 1, nope: true },
      block: [
        { norm: 'both', mixerScale: 0.7, mixerSkip: 0.7, mlpScale: 0.58, mlpSkip: 0.82 },
        { norm: 'both', mixerScale: 0.5, mixerSkip: 0.87, mlpScale: 0.45, mlpSkip: 0.89 },
      ],
    },
  ],
  [
    'compressed convolutional attention, learned sums, routers that hand on a state',
    {
      ...{ layers: 'swa:4 full', cca: {}, numKvHeads: 2, residualAffine: true, headBias: true, attentionBias: 'all' },
      experts: { count: 4, perToken: 1, intermediateSize: 6, routerSize: 5, skip: 0.1, normalize: false },
    },
  ],
  [
    'heads counted by layer behind a gate by softplus, local positions of their own width',
    {
      ...{ layers: 'swa:4:local#6,3 full#2,1', numKvHeads: 2, outputGate: 'head', outputGateActivation: 'softplus' },
      ...{ localRope: { theta: 50, ropeDim: 6 }, ropeDim: 2, qkNorm: true },
    },
  ],
  [
    'experts chosen by capped logits with a correction, that read weighted inputs',
    {
      layers: 'swa:4 full',
      experts: {
        ...{ count: 6, perToken: 2, intermediateSize: 6, scores: 'sigmoid', correctionBias: true, weigh: 'input' },
        ...{ correctionOf: 'logits', logitSoftcap: 0.6, normalize: false },
      },
    },
  ],
  [
    'experts beside MLPs, whose router has a norm and whose weights have factors',
    {
      ...{ layers: 'swa:4 full', block: { norm: 'both' } },
      experts: {
        ...{ count: 5, perToken: 2, intermediateSize: 6, besideMlp: true, routerNorm: true, weightScale: true },
      },
    },
  ],
  [
    'a dense layer with a bias in the head, no norm before the first mixer',
    {
      ...{ layers: 'full swa:4', norm: 'layer', embeddingNorm: true, block: [{ mixerNorm: false }, {}] },
      headLayer: { bias: true },
    },
  ],
  [
    'xIELU and a gate a head',
    { layers: 'swa:4', activation: 'xielu', mlpGate: false, qkNorm: true, outputGate: 'head' },
  ],
  [
    'latent attention beside a delta rule, values of their own width',
    {
      ...{ layers: 'mla kda', ropeScaling: { type: 'yarn', factor: 4, originalLength: 16 }, attentionBias: 'all' },
      ...{ mla: { queryRank: 5, latentRank: 7, ropeDim: 4, valueDim: 4 } },
    },
  ],
  [
    'RWKV-7 twice, values of the first layer in the other',
    { layers: 'rwkv7 full+rwkv7', rwkv7: { decayRank: 2, removalRank: 3, valueRank: 4, gateRank: 5, chunk: 4 } },
  ],
  ['latent attention in a window, no positions, sinks', { layers: 'mla:4:nope', sinks: true, outputGate: true }],
  [
    'soft-capped scores in windows',
    { layers: 'swa:4 full', attentionSoftcap: 0.7, logitSoftcap: 2, block: { norm: 'both' } },
  ],
  [
    'attention in chunks, norms where heads turn, queries without positions that grow',
    {
      ...{ layers: 'chunk:4 full:nope', qkNorm: 'rope', numKvHeads: 2 },
      queryScaling: { beta: 0.5, length: 3, offset: 1, nope: true },
    },
  ],
  [
    'temperatures, fixed and learned, part of each head turning by bases of their own',
    {
      layers: 'swa:4:rope=0.5:temp=learned@1/swa:5:nope@1/full:theta=90:temp=log@2 mla:nope:temp=learned',
      ...{ headDim: 8, mla: { ropeDim: 4 } },
    },
  ],
  [
    'RG-LRU and windows',
    {
      ...{ layers: 'rglru swa:4', attentionBias: 'output', mlpBias: true, activation: 'gelu_tanh', normOffset: 1 },
      ...{ rglru: { width: 16, chunk: 4 } },
    },
  ],
];

const [BATCH, LENGTH] = [2, 9];

/** The mean loss of a batch and its gradients by every parameter. */
function lossGraph(settings: Partial<ModelInput>, dtype: 'f32' | 'f64') {
  const config = resolveModelConfig({ ...SMALL, ...settings });
  const values = parameterInputs(config, dtype);
  const shape = [BATCH, LENGTH];
  const [tokens, targets] = [input('tokens', 'i32', shape), input('targets', 'i32', shape)];
  const weights = input('weights', dtype, shape);
  const { weightedSum, weightSum } = tokenLosses(forward(config, values, tokens).logits, targets, weights);
  const loss = div(weightedSum, weightSum);
  const grads = grad(loss, [...values.values()]);
  const outputs = Object.fromEntries([...values.keys()].map((name, i) => [name, grads[i] as Value]));
  const graph = makeGraph({ ...Object.fromEntries(values), tokens, targets, weights }, { loss, ...outputs });
  const ids = Array.from({ length: BATCH }, (_, i) => randomTokens(config, LENGTH + 1, i));
  const given: Record<string, HostTensor> = {
    ...Object.fromEntries(
      [...randomParameters(config)].map(([name, t]) => [
        name,
        tensorFrom(dtype, t.shape, toNumbers(tensorFrom('f32', t.shape, toNumbers(t)))),
      ]),
    ),
    tokens: tensorFrom(
      'i32',
      shape,
      ids.flatMap((row) => row.slice(0, LENGTH)),
    ),
    targets: tensorFrom(
      'i32',
      shape,
      ids.flatMap((row) => row.slice(1)),
    ),
    weights: tensorFrom(dtype, shape, new Array<number>(BATCH * LENGTH).fill(1)),
  };
  return { graph, given };
}

const known = new Map<string, ReturnType<typeof evaluateReference>>();
/** The reference's loss and gradients of a model, the same whichever engine is compared with them. */
function exactOf(name: string, settings: Partial<ModelInput>): ReturnType<typeof evaluateReference> {
  const found = known.get(name);
  if (found !== undefined) return found;
  const { graph, given } = lossGraph(settings, 'f64');
  const want = evaluateReference(graph, given);
  known.set(name, want);
  return want;
}

async function runOn(engine: Engine, graph: Graph, given: Record<string, HostTensor>) {
  const program = await engine.compile(graph);
  const inputs = Object.fromEntries(Object.entries(given).map(([name, tensor]) => [name, engine.upload(tensor)]));
  const results = await program.run(inputs);
  const found = new Map<string, Float64Array>();
  for (const [name, tensor] of Object.entries(results)) found.set(name, toNumbers(await engine.download(tensor)));
  return found;
}

describe('onnx in float64', () => {
  const models: typeof MODELS = [
    ...MODELS,
    ['a SiLU and factors that float32 rounds', { layers: 'full', embeddingScale: 0.3, attentionScale: 0.7 }],
  ];
  it.each(models)('has the gradients of the reference to 1e-12 with %s', async (name, settings) => {
    const { graph, given } = lossGraph(settings, 'f64');
    const want = exactOf(name, settings);
    const engine = createOnnxEngine({ threads: 1 });
    for (const [output, values] of await runOn(engine, graph, given)) {
      const numbers = toNumbers(want[output] as HostTensor);
      const size = Math.max(...numbers.map(Math.abs));
      expect(worst(values, numbers), output).toBeLessThan(1e-12 * Math.max(size, 0.1));
    }
    await engine.dispose();
  });
});

describe.each(ENGINES)('%s', (_engine, make) => {
  it.each(MODELS)('has the loss and the gradients of the reference with %s', async (model, settings) => {
    const want = exactOf(model, settings);
    const engine = make();
    const { graph, given } = lossGraph(settings, 'f32');
    const got = await runOn(engine, graph, given);
    await engine.dispose();
    expect([...got.keys()].sort()).toEqual(Object.keys(want).sort());
    for (const [name, values] of got) {
      const expected = want[name] as HostTensor;
      const numbers = toNumbers(expected);
      const size = Math.max(...numbers.map(Math.abs));
      // The choice of experts, all that a correction bias decides, has no gradient.
      if (!name.endsWith('correction')) expect(size, `${name} has a gradient`).toBeGreaterThan(1e-6);
      expect(values.length).toBe(sizeOf(expected.shape));
      expect(worst(values, numbers), name).toBeLessThan(3e-5 * Math.max(size, 0.1));
    }
  });
});
