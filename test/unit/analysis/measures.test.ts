import { describe, expect, it } from 'vitest';
import {
  attentionEntropy,
  AttentionRows,
  entropyOf,
  gradientInfluence,
  influenceFloor,
  probabilitiesOf,
  weightDrift,
  type InfluenceTarget,
} from '../../../src/analysis/index.js';
import { Rng, tensorFrom, toNumbers, type HostTensor } from '../../../src/core/index.js';
import { createReferenceEngine, evaluateReference } from '../../../src/engine/index.js';
import { loadModel, uploadParameters } from '../../../src/loaded/index.js';
import { input, makeGraph } from '../../../src/graph/index.js';
import {
  forward,
  initialParameters,
  parameterInputs,
  resolveModelConfig,
  type HostParameters,
  type ModelConfig,
  type ModelInput,
} from '../../../src/model/index.js';
import { plainForward } from '../model/plain-model.js';

const engine = createReferenceEngine();
const BASE: Omit<ModelInput, 'layers'> = {
  vocabSize: 11,
  hiddenSize: 8,
  numHeads: 4,
  headDim: 4,
  intermediateSize: 12,
};

function build(settings: Partial<ModelInput> & { layers: string }): { model: ModelConfig; params: HostParameters } {
  const model = resolveModelConfig({ ...BASE, ...settings });
  const params = new Map(initialParameters(model, 3));
  // Sinks off zero, so that they take mass.
  for (const [name, t] of params) {
    if (name.endsWith('.sinks'))
      params.set(
        name,
        tensorFrom(
          'f32',
          t.shape,
          toNumbers(t).map((_, i) => 0.3 * i),
        ),
      );
  }
  return { model, params };
}

const text = (seed: number, length: number) => {
  const rng = Rng.of(seed, 'measures');
  return Int32Array.from({ length }, () => rng.int(11));
};

describe('AttentionRows', () => {
  it.each([
    { layers: 'swa:3 full:nope', numKvHeads: 2, sinks: true },
    { layers: 'swa:4@1/full:nope@3', qkNorm: true },
    { layers: 'swa:3:nope full:nope', positionBias: { width: 2, extent: 6 }, shortConv: {} },
  ])('gives the rows of a whole softmax with %o', async (settings) => {
    const { model, params } = build(settings);
    const samples = [7, 12, 9].map((n, i) => ({ tokens: text(i, n), positions: [2, n - 2, n - 1] }));
    const rows = await AttentionRows.create({ engine, config: model }, samples, { batchTokens: 25, logits: true });
    const plain = samples.map((s) => plainForward(model, params, [...s.tokens]).probabilities);
    let seen = 0;
    let logits = 0;
    await rows.read(
      uploadParameters(engine, params),
      (row) => {
        const { layer, head, sample, position, first } = row;
        const probabilities = probabilitiesOf(row);
        const want = plain[sample]?.[layer]?.[head]?.[position] ?? [];
        probabilities.forEach((p, j) => expect(p).toBeCloseTo(want[first + j] as number, 6));
        for (let j = 0; j < first; j++) expect(want[j]).toBe(0);
        expect(first + probabilities.length).toBe(position + 1);
        seen += 1;
      },
      { onLogits: (_, values) => void (logits += values.length) },
    );
    expect(seen).toBe(model.numLayers * 4 * 3 * 3);
    expect(logits).toBe(3 * 3 * 11);
  });

  it('refuses heads that do not exist and samples without positions', async () => {
    const { model, params } = build({ layers: 'swa:3 full' });
    const rows = await AttentionRows.create({ engine, config: model }, [{ tokens: text(1, 5), positions: [4] }]);
    const read = (layer: number, head: number) =>
      rows.read(uploadParameters(engine, params), () => {}, { heads: [{ layer, head }] });
    await expect(read(2, 0)).rejects.toThrow('there is no head 2:0; the model has layers 0 to 1');
    await expect(read(1, 4)).rejects.toThrow('there is no head 1:4; layer 1 has heads 0 to 3');
    const samples = [{ tokens: text(1, 5), positions: [] }];
    await expect(AttentionRows.create({ engine, config: model }, samples)).rejects.toThrow('at least one');
  });
});

describe('entropy', () => {
  it('is ln n for n equal weights, and ignores their sum', () => {
    expect(entropyOf([0.1, 0.1, 0.1, 0.1]).entropy).toBeCloseTo(Math.log(4), 9);
    expect(entropyOf([0.1, 0.1, 0.1, 0.1]).mass).toBeCloseTo(0.4, 12);
    expect(entropyOf([1, 0, 0]).entropy).toBeCloseTo(0, 9);
  });

  it('of a uniform window head is 1 by visible keys and less by the published normalizer', async () => {
    const { model, params } = build({ layers: 'swa:3 full' });
    for (const layer of [0, 1]) {
      const name = `layers.${layer}.attn.wqkv`;
      const t = params.get(name) as HostTensor<'f32'>;
      // Zero queries: every visible key gets the same.
      params.set(
        name,
        tensorFrom(
          'f32',
          t.shape,
          toNumbers(t).map((v, i) => (i % 48 < 16 ? 0 : v)),
        ),
      );
    }
    const uniform = loadModel(engine, model, params);
    const got = await attentionEntropy(uniform, [text(1, 9), text(2, 9)], { tailQueries: 1 });
    expect(got.heads).toHaveLength(8);
    expect(got.heads[0]).toMatchObject({ layer: 0, head: 0, label: 'swa:3', window: 3 });
    expect(got.heads[0]?.entropy).toBeCloseTo(Math.log(3), 8);
    expect(got.heads[0]?.normalized).toBeCloseTo(Math.log(3) / Math.log(9), 8);
    expect(got.heads[0]?.normalizedVisible).toBeCloseTo(1, 8);
    expect(got.heads[4]?.normalized).toBeCloseTo(1, 8);
  });

  it('tells the mass that sinks leave, and refuses texts shorter than the tail', async () => {
    const { model, params } = build({ layers: 'full', sinks: true });
    const loaded = loadModel(engine, model, params);
    const got = await attentionEntropy(loaded, [text(1, 9)]);
    got.heads.forEach((h) => expect(h.mass).toBeLessThan(0.99));
    await expect(attentionEntropy(loaded, [text(1, 3)])).rejects.toThrow(
      'text 0 has 3 tokens, fewer than the 4 positions',
    );
  });
});

describe('drift', () => {
  const weights = (config: ModelConfig, parameters: HostParameters) => ({ config, parameters: () => parameters });

  it('sees a rotation of queries and keys together in the weights but not in the scores', () => {
    const { model, params } = build({ layers: 'full:nope', numKvHeads: 4 });
    const name = 'layers.0.attn.wqkv';
    const t = params.get(name) as HostTensor<'f32'>;
    const values = toNumbers(t);
    const [c, s] = [Math.cos(0.7), Math.sin(0.7)];
    // Channels 0 and 1 of head 0's queries (column 0) and keys (column 16) turn alike.
    for (let i = 0; i < 8; i++) {
      for (const first of [0, 16]) {
        const at = i * 48 + first;
        const [x, y] = [values[at] as number, values[at + 1] as number];
        values[at] = c * x - s * y;
        values[at + 1] = s * x + c * y;
      }
    }
    const turned = new Map(params).set(name, tensorFrom('f32', t.shape, values));
    const [head, other] = weightDrift(weights(model, turned), params).heads;
    expect(head?.qRel).toBeGreaterThan(0.1);
    expect(head?.scoreRel).toBeLessThan(1e-5);
    expect(other).toMatchObject({ qL2: 0, kL2: 0 });
  });

  it('is the distance of a scaled head, relative to the reference', () => {
    const { model, params } = build({ layers: 'full', numKvHeads: 2 });
    const name = 'layers.0.attn.wqkv';
    const t = params.get(name) as HostTensor<'f32'>;
    const scaled = new Map(params).set(
      name,
      tensorFrom(
        'f32',
        t.shape,
        toNumbers(t).map((v) => 1.5 * v),
      ),
    );
    const got = weightDrift(weights(model, scaled), params);
    got.heads.forEach((h) => {
      expect(h.qRel).toBeCloseTo(0.5, 6);
      expect(h.qkRel).toBeCloseTo(1, 6);
      expect(h.scoreRel).toBeCloseTo(1.25, 5);
    });
    // Heads 0 and 1 share the keys of group 0.
    expect(got.heads[0]?.kL2).toBe(got.heads[1]?.kL2);
    expect(got.heads[0]?.kL2).not.toBe(got.heads[2]?.kL2);
  });

  it('refuses checkpoints of another model', () => {
    const { model, params } = build({ layers: 'full' });
    const other = build({ layers: 'full', hiddenSize: 12 });
    expect(() => weightDrift(weights(model, params), other.params)).toThrow('compare checkpoints of one model');
    expect(() => weightDrift(weights(model, new Map()), params)).toThrow('lacks layers.0.attn.wqkv');
    expect(() => weightDrift(weights(model, params), params, { heads: [{ layer: 0, head: 9 }] })).toThrow(
      'there is no head 0:9',
    );
  });
});

describe('gradient influence', () => {
  const { model, params } = build({ layers: 'swa:3 full:nope' });

  /** The target from logits `[T,V]`, by hand. */
  function targetOf(kind: InfluenceTarget, logits: Float64Array, tokens: Int32Array, last: number): number {
    const [T, V] = [tokens.length, 11];
    const row = (t: number) => Array.from(logits.subarray(t * V, (t + 1) * V));
    if (kind === 'loss') {
      const losses = Array.from({ length: last }, (_, k) => {
        const scores = row(T - last + k - 1);
        const lse = Math.log(scores.reduce((s, v) => s + Math.exp(v), 0));
        return lse - (scores[tokens[T - last + k] as number] as number);
      });
      return losses.reduce((a, b) => a + b, 0) / last;
    }
    const mean = Array.from({ length: V }, (_, v) => {
      const all = Array.from({ length: last }, (__, k) => row(T - 1 - k)[v] as number);
      return all.reduce((a, b) => a + b, 0) / last;
    });
    return kind === 'logit_sum' ? mean.reduce((a, b) => a + b, 0) : Math.max(...mean);
  }

  it.each(['logit_sum', 'argmax_logit', 'loss'] as const)('is the finite difference of %s', async (target) => {
    // Distinct tokens, so that one row of the embedding is one position.
    const tokens = Int32Array.from([4, 0, 7, 2, 9, 1, 5]);
    const last = 2;
    const evaluate = (embedding: Float64Array): number => {
      const values = parameterInputs(model, 'f64');
      const ids = input('tokens', 'i32', [1, 7]);
      const graph = makeGraph(
        { ...Object.fromEntries(values), tokens: ids },
        { l: forward(model, values, ids).logits },
      );
      const result = evaluateReference(graph, {
        ...Object.fromEntries(params),
        'embed.weight': tensorFrom('f64', [11, 8], embedding),
        tokens: tensorFrom('i32', [1, 7], tokens),
      });
      return targetOf(target, toNumbers(result['l'] as HostTensor), tokens, last);
    };
    const base = toNumbers(params.get('embed.weight') as HostTensor);
    const got = await gradientInfluence(loadModel(engine, model, params), [tokens], {
      target,
      lastTokens: last,
    });
    tokens.forEach((id, t) => {
      let squares = 0;
      for (let j = 0; j < 8; j++) {
        const at = (d: number) => evaluate(base.map((v, k) => (k === id * 8 + j ? v + d : v)));
        squares += ((at(1e-4) - at(-1e-4)) / 2e-4) ** 2;
      }
      const norm = Math.sqrt(squares);
      expect(Math.abs((got.mean[6 - t] as number) - norm)).toBeLessThan(1e-5 + 1e-4 * norm);
    });
  });

  it('averages by distance over texts of different lengths, in any batches', async () => {
    const texts = [text(1, 6), text(2, 9), text(3, 6)];
    const loaded = loadModel(engine, model, params);
    const all = await gradientInfluence(loaded, texts, { lastTokens: 3, batchTokens: 18 });
    const single = await Promise.all(texts.map((t) => gradientInfluence(loaded, [t], { lastTokens: 3 })));
    expect(all.counts).toEqual([3, 3, 3, 3, 3, 3, 1, 1, 1]);
    all.mean.forEach((v, d) => {
      const own = single.flatMap((s) => s.mean[d] ?? []);
      expect(v).toBeCloseTo(own.reduce((x, y) => x + y, 0) / own.length, 6);
    });
    expect(all.floor).toBeNull();
    await expect(gradientInfluence(loaded, [text(1, 2)], { lastTokens: 3 })).rejects.toThrow(
      'text 0 has 2 tokens, but the target averages over 3',
    );
  });

  it('finds where a curve meets its floor', () => {
    const curve = Array.from({ length: 512 }, (_, d) => 1 + 100 / (1 + d));
    expect(influenceFloor(curve)?.level).toBeCloseTo(1.22, 1);
    expect(influenceFloor(curve)?.distance).toBe(128);
    expect(influenceFloor(Array<number>(512).fill(2))).toEqual({ level: 2, distance: 0 });
    expect(influenceFloor(curve.slice(0, 30))).toBeNull();
  });
});
