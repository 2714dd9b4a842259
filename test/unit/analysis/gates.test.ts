/** Gates on parallel branches: what the two ends of a gate compute, how gates share a budget, and what they find. */
import { describe, expect, it } from 'vitest';
import {
  branchFullHeads,
  fullLayers,
  gatesOf,
  learnGates,
  limitReach,
  logitGradient,
  mostOpen,
} from '../../../src/analysis/index.js';
import { got, Rng, tensorFrom, toNumbers, type HostTensor } from '../../../src/core/index.js';
import { emptyBatch, type Batch } from '../../../src/data/index.js';
import { createReferenceEngine, evaluateReference } from '../../../src/engine/index.js';
import { input, makeGraph } from '../../../src/graph/index.js';
import { loadModel } from '../../../src/loaded/index.js';
import {
  forward,
  initialParameters,
  parameterInputs,
  resolveModelConfig,
  tokenLosses,
  type HostParameters,
  type ModelConfig,
  type ModelInput,
} from '../../../src/model/index.js';

const [B, T, V] = [2, 7, 11];

/** A model with random weights; those of attention are `times` as large. */
function build(
  settings: Partial<ModelInput> & { layers: string },
  times = 1,
): { model: ModelConfig; params: HostParameters } {
  const base = { vocabSize: V, hiddenSize: 8, numHeads: 4, headDim: 4, intermediateSize: 12 };
  const model = resolveModelConfig({ ...base, ...settings });
  const scaled = [...initialParameters(model, 3)].map(([name, tensor]) => {
    const numbers = toNumbers(tensor).map((x) => (name.includes('.attn.w') ? times * x : x));
    return [name, tensorFrom('f32', tensor.shape, numbers)] as const;
  });
  return { model, params: new Map(scaled) };
}

const ids = (seed: number) => {
  const rng = Rng.of(seed, 'gates');
  return Int32Array.from({ length: B * T }, () => rng.int(V));
};
const SEGMENTS = Int32Array.from([0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0]);

interface Asked {
  readonly segments?: boolean;
  readonly remat?: boolean;
  readonly gates?: readonly number[];
}

/** Logits `[B*T*V]` and the mean loss of `targets`, in float64. */
function run(model: ModelConfig, params: HostParameters, tokens: Int32Array, { segments, remat, gates }: Asked = {}) {
  const values = parameterInputs(model, 'f64');
  const shape = [B, T];
  const inputs = {
    tokens: input('tokens', 'i32', shape),
    ...(segments === true ? { segments: input('segments', 'i32', shape) } : {}),
    ...(gates === undefined ? {} : { gates: input('gates', 'f64', [gates.length]) }),
  };
  const targets = input('targets', 'i32', shape);
  const weights = input('weights', 'f64', shape);
  const { logits } = forward(model, values, inputs.tokens, { ...inputs, remat: remat ?? false });
  const loss = tokenLosses(logits, targets, weights).weightedSum;
  const found = evaluateReference(
    makeGraph({ ...Object.fromEntries(values), ...inputs, targets, weights }, { logits, loss }),
    {
      ...Object.fromEntries(params),
      tokens: tensorFrom('i32', shape, tokens),
      targets: tensorFrom('i32', shape, ids(9)),
      weights: tensorFrom('f64', shape, new Array<number>(B * T).fill(1 / (B * T))),
      ...(segments === true ? { segments: tensorFrom('i32', shape, SEGMENTS) } : {}),
      ...(gates === undefined ? {} : { gates: tensorFrom('f64', [gates.length], gates) }),
    },
  );
  const numbers = (name: string) => toNumbers(found[name] as HostTensor);
  return { logits: numbers('logits'), loss: numbers('loss')[0] as number };
}

const apart = (a: Float64Array, b: Float64Array) => Math.max(...a.map((v, i) => Math.abs(v - (b[i] as number))));

describe('a second branch', () => {
  it.each([
    ['full swa:3 full:nope', {}],
    ['gdn 2*full:nope', {}],
    ['full/swa:3 full', {}],
    ['2*full', { numKvHeads: 2, sinks: true }],
    ['2*mla', { mla: { latentRank: 6, nopeDim: 4, ropeDim: 2, valueDim: 4 } }],
  ] as const)('is the layer as it is at gate 1, the limited layer at gate 0, layer by layer: %s', (layers, more) => {
    const { model, params } = build({ layers, ...more });
    const full = fullLayers(model);
    const tokens = ids(1);
    for (const keys of [1, 4, T - 1, T]) {
      const branched = branchFullHeads(model, keys);
      for (const asked of [{}, { segments: true }, { remat: true, segments: true }]) {
        const all = (gate: number) => new Array<number>(model.numLayers).fill(gate);
        const limited = (only?: readonly number[]) =>
          run(limitReach(model, 'full', keys, only), params, tokens, asked).logits;
        const gated = (gates: readonly number[]) => run(branched, params, tokens, { ...asked, gates }).logits;
        expect(apart(gated(all(1)), run(model, params, tokens, asked).logits)).toBeLessThan(1e-12);
        expect(apart(gated(all(0)), limited())).toBeLessThan(1e-12);
        const [first] = full as [number];
        expect(apart(gated(all(1).with(first, 0)), limited([first]))).toBeLessThan(1e-12);
        // Half of each: neither.
        if (keys === 1) expect(apart(gated(all(0.5)), limited())).toBeGreaterThan(1e-4);
      }
    }
  });

  it('needs full heads', () => {
    expect(() => branchFullHeads(build({ layers: '2*swa:3' }).model, 2)).toThrow(
      'the model has no full layers to limit',
    );
  });
});

describe('gates with a budget', () => {
  it.each([
    [[0, 0, 0, 0], 1],
    [[3, -2, 0.5, 0, 9], 2],
    [[400, -400, 0], 1],
    [[0, 1, 2], 2],
  ])('add up to it and keep the order of %j', (logits, full) => {
    const gates = gatesOf(logits, full);
    expect(gates.reduce((a, b) => a + b, 0)).toBeCloseTo(full, 10);
    for (const [i, x] of logits.entries())
      for (const [j, y] of logits.entries()) if (x > y) expect(gates[i]).toBeGreaterThanOrEqual(gates[j] as number);
  });

  it('have the gradient of what they are a function of', () => {
    const logits = [0.3, -1.2, 2, 0.1];
    // Any smooth function of the gates.
    const of = (gates: readonly number[]) =>
      gates.reduce((sum, gate, i) => sum + Math.sin((i + 1) * gate) + gate ** 3, 0);
    const gates = gatesOf(logits, 2);
    const own = gates.map((gate, i) => (i + 1) * Math.cos((i + 1) * gate) + 3 * gate ** 2);
    logitGradient(gates, own).forEach((slope, i) => {
      const at = (d: number) =>
        of(
          gatesOf(
            logits.map((x, j) => (i === j ? x + d : x)),
            2,
          ),
        );
      expect(slope).toBeCloseTo((at(1e-5) - at(-1e-5)) / 2e-5, 6);
    });
  });

  it('are chosen by how open they are, of equal ones the earlier', () => {
    const gates = [0.2, 0.9, 0.2, 0.7].map((gate, i) => ({ layer: 2 * i, gate }));
    expect(mostOpen(gates, 1)).toEqual([2]);
    expect(mostOpen(gates, 3)).toEqual([0, 2, 6]);
  });
});

describe('learned gates', () => {
  /** Batches whose targets are what the model itself finds likeliest, so that no other attention fits them better. */
  function ownBatch(model: ModelConfig, params: HostParameters, seed: number): Batch {
    const batch = emptyBatch(B, T);
    batch.tokens.set(ids(seed));
    batch.weights.fill(1);
    const { logits } = run(model, params, batch.tokens);
    for (let i = 0; i < B * T; i++) {
      const row = Array.from(logits.subarray(i * V, (i + 1) * V));
      batch.targets[i] = row.indexOf(Math.max(...row));
    }
    return batch;
  }

  it.each([0, 1, 2])('open where alone attention adds anything: layer %i', async (heard) => {
    const { model, params } = build({ layers: '3*full' }, 8);
    for (const layer of [0, 1, 2].filter((other) => other !== heard)) {
      const name = `layers.${layer}.attn.wo`;
      const { shape } = got(params, name);
      params.set(name, tensorFrom('f32', shape, new Float32Array(toNumbers(got(params, name)).length)));
    }
    const loaded = loadModel(createReferenceEngine(), model, params);
    let seed = 0;
    const done: number[] = [];
    const { gates, losses } = await learnGates(loaded, () => ownBatch(model, params, ++seed), {
      ...{ full: 1, keys: 2, steps: 30 },
      stepDone: (steps) => done.push(steps),
    });
    expect(seed).toBe(30);
    expect(done).toEqual(Array.from({ length: 30 }, (_, i) => i + 1));
    expect(losses).toHaveLength(30);
    expect(mostOpen(gates, 1)).toEqual([heard]);
    expect(gates[heard]?.gate).toBeGreaterThan(0.8);
    expect(gates.reduce((sum, { gate }) => sum + gate, 0)).toBeCloseTo(1, 6);
  });

  it('begin equal, at the loss that the mixture has, and go down the slope of the budget', async () => {
    const { model, params } = build({ layers: 'full swa:2 full:nope full' }, 8);
    const loaded = loadModel(createReferenceEngine(), model, params);
    const batch = { ...emptyBatch(B, T), tokens: ids(4), targets: ids(9), weights: new Float32Array(B * T).fill(3) };
    const { gates, losses } = await learnGates(loaded, () => batch, { full: 1, keys: 2, steps: 1, lr: 0.25 });
    const branched = branchFullHeads(model, 2);
    const lossAt = (own: readonly number[]) =>
      run(branched, params, batch.tokens, { gates: [own[0] as number, 0, own[1] as number, own[2] as number] }).loss;
    expect(losses[0]).toBeCloseTo(lossAt([1 / 3, 1 / 3, 1 / 3]), 5);
    // Adam's first step is the sign of the gradient, times the rate.
    const moved = [0, 1, 2].map((i) => {
      const at = (d: number) => lossAt(gatesOf([0, 0, 0].with(i, d), 1));
      return at(1e-4) > at(-1e-4) ? -0.25 : 0.25;
    });
    expect(new Set(moved).size).toBe(2);
    expect(gates.map(({ layer }) => layer)).toEqual([0, 2, 3]);
    gatesOf(moved, 1).forEach((gate, i) => expect(gates[i]?.gate).toBeCloseTo(gate, 6));
  });

  it('refuse a budget that leaves nothing to choose, and data in which nothing counts', async () => {
    const { model, params } = build({ layers: '2*full' });
    const loaded = loadModel(createReferenceEngine(), model, params);
    const next = () => emptyBatch(B, T);
    await expect(learnGates(loaded, next, { full: 2, keys: 2, steps: 1 })).rejects.toThrow('there is nothing to learn');
    await expect(learnGates(loaded, next, { full: 1, keys: 2, steps: 1 })).rejects.toThrow('no target that counts');
  });
});
