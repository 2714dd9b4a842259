import { describe, expect, it } from 'vitest';
import {
  fullLayers,
  hasPart,
  limitReach,
  maskHeads,
  maskSettings,
  needleScore,
  reachParts,
  type HeadIndex,
} from '../../../src/analysis/index.js';
import { Rng, tensorFrom, toNumbers, type HostTensor } from '../../../src/core/index.js';
import { recallNeedle, RecallOptionsSchema } from '../../../src/data/index.js';
import { createReferenceEngine } from '../../../src/engine/index.js';
import { answerTargets, loadModel, SequenceScorer, uploadParameters } from '../../../src/loaded/index.js';
import {
  initialParameters,
  printPattern,
  resolveModelConfig,
  type HostParameters,
  type ModelInput,
} from '../../../src/model/index.js';
import { plainForward } from '../model/plain-model.js';

const engine = createReferenceEngine();

function build(settings: Partial<ModelInput> & { layers: string }) {
  const model = resolveModelConfig({
    vocabSize: 64,
    hiddenSize: 8,
    numHeads: 4,
    headDim: 4,
    intermediateSize: 12,
    ...settings,
  });
  return { model, params: new Map(initialParameters(model, 3)) };
}

const samples = [9, 14, 11].map((length, i) =>
  recallNeedle(Rng.of(i, 'masking-test'), RecallOptionsSchema.parse({}), { length, depth: 0.3 }),
);

const lossOf = (logits: readonly number[], target: number) =>
  Math.log(logits.reduce((s, v) => s + Math.exp(v), 0)) - (logits[target] as number);

/** Loss of a needle answer by plain loops. */
function plainLosses(model: Parameters<typeof plainForward>[0], params: HostParameters): number[] {
  return samples.map((s) => {
    const { logits } = plainForward(model, params, [...s.tokens.subarray(0, s.queryPosition + 1)]);
    return lossOf(logits.at(-1) as number[], s.answer[0] as number);
  });
}

/** Parameters in which a head's output projection, or its queries, are zero. */
function withoutHead(params: HostParameters, { layer, head }: HeadIndex, what: 'wo' | 'query'): HostParameters {
  const name = `layers.${layer}.attn.${what === 'wo' ? 'wo' : 'wqkv'}`;
  const t = params.get(name) as HostTensor<'f32'>;
  const columns = t.shape[1] as number;
  const gone = (i: number) => Math.floor((what === 'wo' ? Math.floor(i / columns) : i % columns) / 4) === head;
  return new Map(params).set(
    name,
    tensorFrom(
      'f32',
      t.shape,
      toNumbers(t).map((v, i) => (gone(i) ? 0 : v)),
    ),
  );
}

describe('masked heads', () => {
  it.each([
    { layers: 'swa:3 full:nope', numKvHeads: 2 },
    { layers: 'swa:4@1/full:nope@3 full', qkNorm: true },
    { layers: 'swa:4#6,3 full#8,4', qkNorm: true },
  ])('count for nothing (zero) or see all keys alike (uniform): %o', async (settings) => {
    const { model, params } = build(settings);
    const options = { headSettings: true, batchTokens: 28 };
    const scorer = await SequenceScorer.create({ engine, config: model }, samples.map(answerTargets), options);
    const tensors = uploadParameters(engine, params);
    const losses = async (...[heads, mode]: [HeadIndex[], 'zero' | 'uniform']) =>
      (await scorer.score(tensors, maskSettings(model, heads, mode, null))).map((s) => s.loss[0] as number);
    const expectLosses = (got: number[], want: number[]) =>
      got.forEach((v, i) => expect(v).toBeCloseTo(want[i] as number, 5));
    expectLosses(await losses([], 'zero'), plainLosses(model, params));
    for (const head of [
      { layer: 0, head: 0 },
      { layer: 0, head: 2 },
      { layer: 1, head: 3 },
    ]) {
      expectLosses(await losses([head], 'zero'), plainLosses(model, withoutHead(params, head, 'wo')));
      if (model.qkNorm) continue;
      expectLosses(await losses([head], 'uniform'), plainLosses(model, withoutHead(params, head, 'query')));
    }
  });

  it('can be replaced by their mean output', async () => {
    const { model, params } = build({ layers: 'swa:3@2/full:nope@2 full', numKvHeads: 2 });
    // Of a single token the mean is the output itself, so nothing changes; zeros in its place do.
    const sample = { tokens: Int32Array.of(5), positions: [0], targets: [7] };
    const scorer = await SequenceScorer.create({ engine, config: model }, [sample], { headSettings: true });
    const tensors = uploadParameters(engine, params);
    const means = await scorer.meanHeadOutputs(tensors);
    const all = [0, 1].flatMap((layer) => [0, 1, 2, 3].map((head) => ({ layer, head })));
    const loss = async (mode: 'mean' | 'zero', by: Float32Array[]) =>
      (await scorer.score(tensors, maskSettings(model, all, mode, by)))[0]?.loss[0] as number;
    const [baseline] = await scorer.score(tensors);
    expect(await loss('mean', means)).toBeCloseTo(baseline?.loss[0] as number, 6);
    const zeros = means.map((m) => new Float32Array(m.length));
    expect(await loss('zero', means)).toBeCloseTo(await loss('mean', zeros), 9);
    expect(Math.abs((await loss('zero', means)) - (baseline?.loss[0] as number))).toBeGreaterThan(1e-3);
    // Over two equal tokens without positions every output is the same value, and so is the mean.
    const twice = { tokens: Int32Array.of(5, 5), positions: [1], targets: [7] };
    const pair = await SequenceScorer.create({ engine, config: model }, [twice, twice, twice], {
      batchTokens: 4,
      headSettings: true,
    });
    const same = await pair.meanHeadOutputs(tensors);
    same.forEach((m, layer) => m.forEach((v, k) => expect(v).toBeCloseTo(means[layer]?.[k] as number, 5)));
  });

  it('leave layers without attention as they are', async () => {
    const { model: config, params } = build({ layers: 'gdn full' });
    const model = loadModel(engine, config, params);
    const heads = [{ layer: 1, head: 0 }];
    const got = await maskHeads(model, samples, { heads, mode: 'mean', draws: 2 });
    expect(got.random.every((r) => r.heads.every((h) => h.layer === 1))).toBe(true);
    await expect(maskHeads(model, samples, { heads: [{ layer: 0, head: 0 }] })).rejects.toThrow(
      'there is no head 0:0; layer 0 (gdn) has no attention',
    );
  });

  it('are compared with random others, never themselves', async () => {
    const { model: config, params } = build({ layers: 'swa:3 full' });
    const heads = [
      { layer: 1, head: 0 },
      { layer: 1, head: 1 },
    ];
    const model = loadModel(engine, config, params);
    const got = await maskHeads(model, samples, { heads, draws: 4 });
    expect(got).toMatchObject({ mode: 'zero', heads, baseline: { samples: 3 } });
    expect(got.random).toHaveLength(4);
    for (const { heads: drawn } of got.random) {
      expect(new Set(drawn.map((h) => `${h.layer}:${h.head}`)).size).toBe(2);
      expect(drawn.some((h) => h.layer === 1 && h.head < 2)).toBe(false);
    }
    const inLayer = await maskHeads(model, samples, { heads, draws: 2, randomLayers: [1] });
    expect(inLayer.random.every((r) => r.heads.every((h) => h.layer === 1 && h.head >= 2))).toBe(true);
    const most = [0, 1, 2, 3, 4].map((i) => ({ layer: i % 2, head: Math.floor(i / 2) }));
    expect((await maskHeads(model, samples, { heads: most })).randomDrop).toBeNull();
    const mask = (h: HeadIndex[]) => maskHeads(model, samples, { heads: h });
    await expect(mask([])).rejects.toThrow('at least one head');
    await expect(mask([{ layer: 5, head: 0 }])).rejects.toThrow('there is no head 5:0');
  });
});

describe('needle scores', () => {
  it('need every token of an answer to be right', () => {
    const score = needleScore([
      { loss: Float64Array.of(0, 0), hit: Float64Array.of(1, 1) },
      { loss: Float64Array.of(Math.log(4), 0), hit: Float64Array.of(1, 0) },
    ]);
    expect(score.accuracy).toBe(0.5);
    expect(score.probability).toBeCloseTo(0.75, 12);
    expect(score.samples).toBe(2);
  });
});

describe('limits of reach', () => {
  const { model, params } = build({ layers: 'swa:3 full:nope swa:6@2/full@2 full' });

  it('narrow only the part that is named', () => {
    expect(printPattern(limitReach(model, 'full', 4).layers)).toBe('swa:3 swa:4:nope swa:6/swa:4 swa:4');
    expect(printPattern(limitReach(model, 'efficient', 4).layers)).toBe('swa:3 full:nope swa:4/full full');
    expect(printPattern(limitReach(model, 'all', 2).layers)).toBe('swa:2 swa:2:nope swa:2/swa:2 swa:2');
    expect([hasPart(model, 'full'), hasPart(model, 'efficient'), reachParts(model)]).toEqual([
      true,
      true,
      ['full', 'efficient'],
    ]);
    expect(printPattern(limitReach(model, 'full', 4, [1, 2]).layers)).toBe('swa:3 swa:4:nope swa:6/swa:4 full');
    expect(fullLayers(model)).toEqual([1, 2, 3]);
    const full = build({ layers: 'full' }).model;
    expect(() => limitReach(full, 'efficient', 4)).toThrow('the model has no efficient layers to limit');
    expect(() => limitReach(full, 'full', 0)).toThrow('must be a whole number >= 1');
  });

  it('change the loss as a model with those windows would have it', async () => {
    const limited = limitReach(model, 'full', 2);
    const scorer = await SequenceScorer.create({ engine, config: limited }, samples.map(answerTargets));
    const got = await scorer.score(uploadParameters(engine, params));
    plainLosses(limited, params).forEach((v, i) => expect(got[i]?.loss[0]).toBeCloseTo(v, 5));
  });

  it.each([4, 5, 6])('of the efficient layers are exact around a window of 5: %i keys', async (keys) => {
    // The same parameters in a model that was written down with that window, or with its own where that is narrower.
    const written = build({ layers: `swa:${Math.min(5, keys)} full` });
    const windowed = build({ layers: 'swa:5 full' });
    const limited = limitReach(windowed.model, 'efficient', keys);
    expect(limited).toEqual(written.model);
    const scorer = await SequenceScorer.create({ engine, config: limited }, samples.map(answerTargets));
    const got = (await scorer.score(uploadParameters(engine, windowed.params))).map((s) => s.loss[0] as number);
    plainLosses(written.model, windowed.params).forEach((v, i) => expect(got[i]).toBeCloseTo(v, 5));
    const gaps = plainLosses(windowed.model, windowed.params).map((v, i) => Math.abs(v - (got[i] as number)));
    if (keys < 5) expect(Math.max(...gaps)).toBeGreaterThan(1e-4);
    else expect(Math.max(...gaps)).toBeLessThan(1e-5);
  });
});
