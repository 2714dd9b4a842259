import { describe, expect, it } from 'vitest';
import { Rng, tensorFrom, toNumbers, zeros, type HostTensor } from '../../../src/core/index.js';
import { evaluateReference } from '../../../src/engine/index.js';
import { div, grad, input, makeGraph, mixedPrecision, nodesOf, type Value } from '../../../src/graph/index.js';
import {
  forward,
  parameterInputs,
  parameterSpecs,
  recurrentMixers,
  resolveModelConfig,
  tokenLosses,
  type ForwardOptions,
  type ModelConfig,
  TapReader,
} from '../../../src/model/index.js';
import { CASES, RECURRENT_CASES, randomParameters, randomTokens, SMALL, worst, toleranceOf } from './cases.js';
import { plainForward } from './plain-model.js';

interface Run {
  readonly logits: Float64Array;
  readonly hidden: Float64Array[];
}

/** The forward pass on the reference engine, f64; rows of `batch` are sequences of one length. */
function run(
  config: ModelConfig,
  params: ReadonlyMap<string, HostTensor>,
  batch: readonly number[][],
  options: ForwardOptions = {},
): Run {
  const length = batch[0]?.length ?? 0;
  const values = parameterInputs(config, 'f64');
  const tokens = input('tokens', 'i32', [batch.length, length]);
  const { tap, stream: hidden } = new TapReader();
  const { logits } = forward(config, values, tokens, { ...options, tap });
  const outputs = Object.fromEntries(hidden.map((h, i) => [`hidden.${i}`, h]));
  const graph = makeGraph({ ...Object.fromEntries(values), tokens }, { logits, ...outputs });
  const results = evaluateReference(graph, {
    ...Object.fromEntries(params),
    tokens: tensorFrom('i32', tokens.shape, batch.flat()),
  });
  const of = (name: string) => toNumbers(results[name] as HostTensor);
  return { logits: of('logits'), hidden: hidden.map((_, i) => of(`hidden.${i}`)) };
}

describe('forward', () => {
  it.each(CASES)('equals the plain loops with %s', (_, settings) => {
    const config = resolveModelConfig({ ...SMALL, ...settings });
    const params = randomParameters(config);
    const batch = [randomTokens(config, 9, 1), randomTokens(config, 9, 2)];
    const got = run(config, params, batch);
    const plain = batch.map((tokens) => plainForward(config, params, tokens));
    expect(
      worst(
        got.logits,
        plain.flatMap((p) => p.logits.flat()),
      ),
    ).toBeLessThan(toleranceOf(settings, 1e-12));
    got.hidden.forEach((h, i) =>
      expect(
        worst(
          h,
          plain.flatMap((p) => p.hidden[i]?.flat() ?? []),
        ),
      ).toBeLessThan(toleranceOf(settings, 1e-12)),
    );
  });

  it.each([1, 2, 3, 4, 5, 6, 7])('equals the plain loops over %i tokens with windows of 3 and 5', (length) => {
    const config = resolveModelConfig({ ...SMALL, layers: 'swa:3 swa:5' });
    const params = randomParameters(config);
    const tokens = randomTokens(config, length);
    expect(
      worst(run(config, params, [tokens]).logits, plainForward(config, params, tokens).logits.flat()),
    ).toBeLessThan(1e-12);
  });

  it('computes the same with layers recomputed, and so do its gradients', () => {
    const shared = { shared: { blocks: 1, attentionRank: 2, mlpRank: 2 } };
    for (const layers of ['swa:4 full', 'swa:3:nope/full', 'shared:swa:4+conv shared:full:nope+conv']) {
      const config = resolveModelConfig({ ...SMALL, layers, numKvHeads: 2, sinks: true, outputGate: true, ...shared });
      const params = randomParameters(config);
      const tokens = [randomTokens(config, 9)];
      const plain = gradients(config, params, tokens, {});
      for (const options of [{ remat: true }, { remat: (layer: number) => layer === 1 }]) {
        const other = gradients(config, params, tokens, options);
        expect(Object.keys(other)).toEqual(['loss', ...parameterSpecs(config).map((s) => s.name)]);
        for (const [name, value] of Object.entries(plain)) {
          expect(worst(toNumbers(other[name] as HostTensor), toNumbers(value)), name).toBeLessThan(1e-12);
        }
      }
    }
  });

  it.each([
    [
      'a hybrid with every option of attention',
      { layers: 'swa:3/full:nope swa:2', numKvHeads: 2, qkNorm: true, sinks: true, outputGate: true },
    ],
    [
      'LayerNorm with biases and xIELU',
      { layers: 'swa:3', norm: 'layer', normBias: true, embeddingNorm: true, mlpGate: false, activation: 'xielu' },
    ],
    ['a gated xIELU and a gate a head', { layers: 'swa:3', activation: 'xielu', outputGate: 'head', numKvHeads: 2 }],
    ['soft-capped scores', { layers: 'swa:3 full', attentionSoftcap: 0.7, sinks: true }],
    ['norms without weights', { layers: 'full', normWeight: false, qkNorm: true, embeddingNorm: true }],
    ...RECURRENT_CASES,
  ] as const)('has gradients that central differences confirm, for every parameter of %s', (_, settings) => {
    const config = resolveModelConfig({ ...SMALL, ...settings });
    const params = randomParameters(config);
    const tokens = [randomTokens(config, 5)];
    const analytic = gradients(config, params, tokens, {});
    const rng = Rng.of(4, 'probe');
    for (const [name, tensor] of params) {
      const direction = Float64Array.from(tensor.data, () => rng.normal());
      const moved = (step: number) => {
        const data = Float64Array.from(tensor.data, (v, i) => v + step * (direction[i] as number));
        const changed = new Map(params).set(name, { ...tensor, dtype: 'f64', data });
        return lossOf(config, changed, tokens);
      };
      const difference = (step: number) => moved(step) - moved(-step);
      const numeric = (8 * difference(1e-5) - difference(2e-5)) / 12e-5;
      const slope = toNumbers(analytic[name] as HostTensor).reduce((s, g, i) => s + g * (direction[i] as number), 0);
      expect(Math.abs(slope - numeric), name).toBeLessThan(1e-8 + 1e-6 * Math.abs(numeric));
      expect(Math.abs(slope), `${name} has a gradient`).toBeGreaterThan(1e-8);
    }
  });

  it.each(RECURRENT_CASES)('works decays out in float32 in mixed precision with %s', (_, settings) => {
    const config = resolveModelConfig({ ...SMALL, ...settings });
    const { logits } = forward(config, parameterInputs(config), input('tokens', 'i32', [2, 9]));
    const recurrences = nodesOf(mixedPrecision([logits])).filter(
      ({ op }) => op === 'linearRecurrence' || op === 'deltaRule' || op === 'selectiveScan',
    );
    // A convolution has no recurrence.
    const mixers = config.layers.flatMap((plan) => recurrentMixers(plan)).filter((mixer) => mixer !== 'conv');
    // Mamba scans head by head.
    const scans = (mixer: string) => (mixer === 'mamba' ? (config.mamba?.numHeads ?? NaN) : 1);
    expect(recurrences).toHaveLength(mixers.reduce((n, mixer) => n + scans(mixer), 0));
    for (const { inputs } of recurrences) {
      const [q, k, v, decay] = inputs as [Value, Value, Value, Value];
      expect([q, k, v].map((x) => x.dtype)).toEqual(['bf16', 'bf16', 'bf16']);
      // Not rounded and widened again, nor cut from what has been.
      const whole = decay.node.op === 'slice' ? decay.node.inputs[0] : decay;
      expect([decay.dtype, whole.node.op === 'convert']).toEqual(['f32', false]);
    }
  });

  it('refuses sequences that are longer than its learned positions', () => {
    const config = resolveModelConfig({ ...SMALL, layers: 'full:nope', learnedPositions: 4 });
    const tokensOf = (length: number) => input('tokens', 'i32', [1, length]);
    expect(forward(config, parameterInputs(config), tokensOf(4)).logits.shape).toEqual([1, 4, 11]);
    expect(() => forward(config, parameterInputs(config), tokensOf(5))).toThrow(
      'the model has learned 4 positions, and sequences have 5 tokens',
    );
  });

  it('refuses parameters of another shape', () => {
    const config = resolveModelConfig({ ...SMALL, layers: 'full' });
    const values = parameterInputs(config);
    values.set('norm.weight', input('norm.weight', 'f32', [13]));
    const tokens = input('tokens', 'i32', [1, 3]);
    expect(() => forward(config, values, tokens)).toThrow(
      'parameter norm.weight has shape [13]; this model needs [12]',
    );
    values.delete('norm.weight');
    expect(() => forward(config, values, tokens)).toThrow('parameter norm.weight is missing');
  });
});

describe('what a position sees', () => {
  const LENGTH = 12;
  const changedAt = (layers: string, numLayers: number, at: number): boolean[] => {
    const config = resolveModelConfig({ ...SMALL, layers, numLayers });
    const params = randomParameters(config);
    const before = randomTokens(config, LENGTH);
    const after = before.map((token, t) => (t === at ? (token + 1) % config.vocabSize : token));
    const [a, b] = [before, after].map((tokens) => run(config, params, [tokens]).logits) as [
      Float64Array,
      Float64Array,
    ];
    const V = config.vocabSize;
    return before.map((_, t) => a.subarray(t * V, (t + 1) * V).some((x, v) => x !== b[t * V + v]));
  };

  it.each(['full', 'full:nope', 'swa:3', 'swa:3/full', 'swa:2 full'])('nothing later, with %s', (layers) => {
    const changed = changedAt(layers, 2, 5);
    expect(changed.slice(0, 5)).toEqual([false, false, false, false, false]);
    expect(changed[5]).toBe(true);
  });

  it.each([1, 2, 3, 7])('exactly its window of %i keys in one layer', (window) => {
    const changed = changedAt(`swa:${window}`, 1, 4);
    expect(changed).toEqual(Array.from({ length: LENGTH }, (_, t) => t >= 4 && t - 4 < window));
  });

  it('n (w - 1) + 1 tokens through n window layers, and everything through a full one', () => {
    expect(changedAt('swa:3', 3, 2)).toEqual(Array.from({ length: LENGTH }, (_, t) => t >= 2 && t - 2 < 7));
    expect(changedAt('swa:3 full', 2, 0)).toEqual(new Array(LENGTH).fill(true));
  });
});

describe('tokenLosses', () => {
  it('gives each token its loss in nats, and the weighted sum', () => {
    const logits = input('logits', 'f64', [2, 2, 3]);
    const targets = input('targets', 'i32', [2, 2]);
    const weights = input('weights', 'f64', [2, 2]);
    const { perToken, weightedSum, weightSum } = tokenLosses(logits, targets, weights);
    const graph = makeGraph({ logits, targets, weights }, { perToken, weightedSum, weightSum });
    const rows = [
      [0, 0, 0],
      [1, 2, 3],
      [-1, 0, 5],
      [100, 0, 0],
    ];
    const picks = [1, 2, 0, 0];
    const results = evaluateReference(graph, {
      logits: tensorFrom('f64', [2, 2, 3], rows.flat()),
      targets: tensorFrom('i32', [2, 2], picks),
      weights: tensorFrom('f64', [2, 2], [1, 0.25, 0, 2]),
    });
    const expected = rows.map((row, i) =>
      Math.log(row.reduce((s, x) => s + Math.exp(x - (row[picks[i] ?? 0] ?? 0)), 0)),
    );
    expect(worst(toNumbers(results['perToken'] as HostTensor), expected)).toBeLessThan(1e-12);
    expect(results['weightedSum']?.data[0]).toBeCloseTo(
      (expected[0] ?? 0) + 0.25 * (expected[1] ?? 0) + 2 * (expected[3] ?? 0),
      12,
    );
    expect(results['weightSum']?.data[0]).toBe(3.25);
  });
});

function lossGraph(
  config: ModelConfig,
  length: number,
  options: ForwardOptions,
): { inputs: Record<string, Value>; loss: Value } {
  const values = parameterInputs(config, 'f64');
  const tokens = input('tokens', 'i32', [1, length]);
  const targets = input('targets', 'i32', [1, length]);
  const weights = input('weights', 'f64', [1, length]);
  const { weightedSum, weightSum } = tokenLosses(forward(config, values, tokens, options).logits, targets, weights);
  return { inputs: { ...Object.fromEntries(values), tokens, targets, weights }, loss: div(weightedSum, weightSum) };
}

function feeds(params: ReadonlyMap<string, HostTensor>, tokens: readonly number[][]): Record<string, HostTensor> {
  const row = tokens[0] ?? [];
  const weights = zeros('f64', [1, row.length]);
  weights.data.forEach((_, i) => (weights.data[i] = 1 + (i % 3)));
  return {
    ...Object.fromEntries(params),
    tokens: tensorFrom('i32', [1, row.length], row),
    targets: tensorFrom('i32', [1, row.length], [...row.slice(1), 0]),
    weights,
  };
}

function lossOf(config: ModelConfig, params: ReadonlyMap<string, HostTensor>, tokens: readonly number[][]): number {
  const { inputs, loss } = lossGraph(config, tokens[0]?.length ?? 0, {});
  return evaluateReference(makeGraph(inputs, { loss }), feeds(params, tokens))['loss']?.data[0] as number;
}

function gradients(
  config: ModelConfig,
  params: ReadonlyMap<string, HostTensor>,
  tokens: readonly number[][],
  options: ForwardOptions,
): Record<string, HostTensor> {
  const { inputs, loss } = lossGraph(config, tokens[0]?.length ?? 0, options);
  const names = [...params.keys()];
  const grads = grad(
    loss,
    names.map((name) => inputs[name] as Value),
  );
  const outputs = Object.fromEntries(names.map((name, i) => [name, grads[i] as Value]));
  return evaluateReference(makeGraph(inputs, { loss, ...outputs }), feeds(params, tokens));
}
