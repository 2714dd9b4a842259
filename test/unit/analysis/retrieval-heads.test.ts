import { describe, expect, it } from 'vitest';
import { Rng, toNumbers, tensorFrom, type HostTensor } from '../../../src/core/index.js';
import { createReferenceEngine } from '../../../src/engine/index.js';
import { headSparsity, HeadTracer, type HeadTracerOptions, type TraceSample } from '../../../src/analysis/index.js';
import {
  headGroups,
  initialParameters,
  resolveModelConfig,
  type ModelConfig,
  type ModelInput,
} from '../../../src/model/index.js';
import { plainForward } from '../model/plain-model.js';

const engine = createReferenceEngine();
const AT = { step: 3, tokens: 12 };

function randomParameters(config: ModelConfig): Map<string, HostTensor> {
  return new Map(
    [...initialParameters(config, 2)].map(([name, tensor]) => {
      const rng = Rng.of(2, 'test', name);
      const values = toNumbers(tensor);
      // Sinks off zero and attention off uniform.
      if (tensor.shape.length === 1) values.forEach((v, i) => (values[i] = v + rng.normal()));
      return [name, tensorFrom('f32', tensor.shape, values)];
    }),
  );
}

function randomSample(seed: number, vocabSize: number, length: number, needleSpan: [number, number]): TraceSample {
  const rng = Rng.of(seed, 'sample');
  // Tokens behind the query, as an answer would be, must not matter.
  const tokens = Int32Array.from({ length: length + 3 }, () => rng.int(vocabSize));
  return { tokens, queryPosition: length - 1, needleSpan };
}

async function trace(
  config: ModelConfig,
  params: ReadonlyMap<string, HostTensor>,
  samples: readonly TraceSample[],
  options: Partial<HeadTracerOptions> = {},
) {
  const tracer = await HeadTracer.create({ engine, config }, samples, options);
  const tensors = Object.fromEntries([...params].map(([name, t]) => [name, engine.upload(t)]));
  return tracer.trace(tensors, AT);
}

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

const BASE = { vocabSize: 13, hiddenSize: 12, numHeads: 4, headDim: 6, intermediateSize: 16 };
const CASES: readonly (readonly [string, Partial<ModelInput> & { layers: string }])[] = [
  ['windows and full layers', { layers: 'swa:5 full full:nope' }],
  ['grouped queries, sinks and qk norm', { layers: 'swa:12 full', numKvHeads: 2, sinks: true, qkNorm: true }],
  ['heads counted by layer', { layers: 'swa:12#6 full:nope#2,1', numKvHeads: 2, sinks: true }],
  ['soft-capped scores', { layers: 'swa:12 full', numKvHeads: 2, attentionSoftcap: 6 }],
  [
    'latent attention in windows and full',
    { layers: 'mla:5 mla swa:9', sinks: true, numKvHeads: 2, mla: { ropeDim: 2, valueDim: 3, queryRank: 5 } },
  ],
  ['windows mixed head by head', { layers: 'swa:9@1/full:nope@3 swa:4/full', sinks: true }],
];

describe('HeadTracer', () => {
  it.each(CASES)('gives the masses of a whole softmax with %s', async (_, settings) => {
    const config = resolveModelConfig({ ...BASE, ...settings });
    const params = randomParameters(config);
    const samples = [
      randomSample(1, 13, 14, [3, 6]),
      randomSample(2, 13, 20, [9, 11]),
      randomSample(3, 13, 17, [0, 1]),
      randomSample(4, 13, 20, [14, 18]),
      randomSample(5, 13, 11, [5, 9]),
    ];
    for (const queryFromEnd of [1, 2]) {
      const got = await trace(config, params, samples, { queryFromEnd, batchTokens: 41 });
      expect(got).toMatchObject({ format: 1, ...AT, definition: 'attention-mass', queryFromEnd, samples: 5 });
      const plain = samples.map(
        (s) => plainForward(config, params, [...s.tokens.subarray(0, s.queryPosition + 1)]).probabilities,
      );
      got.layers.forEach(({ heads }, layer) => {
        const groups = headGroups(config.layers[layer]!).flatMap((g) => Array.from({ length: g.heads }, () => g));
        expect(heads.map(({ head, window, rope }) => ({ head, window, rope }))).toEqual(
          groups.map(({ window, rope }, head) => ({ head, window, rope })),
        );
        heads.forEach((score, head) => {
          const rows = samples.map((s, i) => plain[i]?.[layer]?.[head]?.[s.queryPosition + 1 - queryFromEnd] ?? []);
          const masses = samples.map((s, i) => rows[i]?.slice(...s.needleSpan).reduce((a, b) => a + b, 0) ?? NaN);
          const sizes = samples.map((s) => s.needleSpan[1] - s.needleSpan[0]);
          expect(score.score).toBeCloseTo(mean(masses), 6);
          expect(score.massPerToken).toBeCloseTo(mean(masses.map((m, i) => m / (sizes[i] ?? NaN))), 6);
          const best = rows.map((row) => row.indexOf(Math.max(...row)));
          expect(score.top1).toBeCloseTo(
            mean(
              best.map((b, i) =>
                b >= (samples[i]?.needleSpan[0] ?? NaN) && b < (samples[i]?.needleSpan[1] ?? NaN) ? 1 : 0,
              ),
            ),
            12,
          );
          const seen = samples.map(
            (s, i) => (rows[i]?.slice(...s.needleSpan).filter((p) => p > 0).length ?? NaN) / (sizes[i] ?? NaN),
          );
          expect(score.visible).toBeCloseTo(mean(seen), 12);
        });
      });
    }
  });

  it('gives heads whose window ends before the needle a score of 0, and says that they cannot see it', async () => {
    const config = resolveModelConfig({ ...BASE, layers: 'swa:4 full' });
    const got = await trace(config, randomParameters(config), [randomSample(1, 13, 12, [6, 9])]);
    const [window, full] = got.layers;
    expect(window).toMatchObject({ layer: 0, label: 'swa:4' });
    // The query at 11 sees 8 to 11: the last needle token alone.
    expect(window?.heads.map((h) => h.visible)).toEqual([1 / 3, 1 / 3, 1 / 3, 1 / 3]);
    expect(full?.heads.every((h) => h.visible === 1 && h.score > 0)).toBe(true);
    const far = await trace(config, randomParameters(config), [randomSample(1, 13, 12, [5, 8])]);
    expect(far.layers[0]?.heads.every((h) => h.visible === 0 && h.score === 0 && h.top1 === 0)).toBe(true);
  });

  it('reaches 1 for a head that looks at nothing but the needle', async () => {
    const config = resolveModelConfig({
      ...BASE,
      numHeads: 1,
      hiddenSize: 2,
      headDim: 2,
      layers: 'full:nope',
      vocabSize: 3,
    });
    const params = randomParameters(config);
    // Token 2 alone has the second channel, and every query asks for it.
    params.set('embed.weight', tensorFrom('f32', [3, 2], [1, 0, 1, 0, 1, 5]));
    params.set('layers.0.norm1.weight', tensorFrom('f32', [2], [1, 1]));
    params.set('layers.0.attn.wqkv', tensorFrom('f32', [2, 6], [0, 100, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0]));
    const sample: TraceSample = { tokens: Int32Array.of(0, 1, 2, 0, 1, 0), queryPosition: 5, needleSpan: [2, 3] };
    const head = (await trace(config, params, [sample])).layers[0]?.heads[0];
    expect(head?.score).toBeCloseTo(1, 9);
    expect(head).toMatchObject({ top1: 1, visible: 1 });
  });

  it('refuses samples without a row to look from', async () => {
    const config = resolveModelConfig({ ...BASE, layers: 'full' });
    await expect(HeadTracer.create({ engine, config }, [])).rejects.toThrow('at least one needle sample');
    const samples = [randomSample(1, 13, 12, [6, 11])];
    await expect(HeadTracer.create({ engine, config }, samples, { queryFromEnd: 2 })).rejects.toThrow(
      'queryFromEnd 2 reaches back into the needle',
    );
    await expect(HeadTracer.create({ engine, config }, samples)).resolves.toBeDefined();
  });
});

describe('headSparsity', () => {
  it('counts heads from the threshold on, and what the strongest hold', () => {
    const layers = [
      { heads: [{ score: 0.5 }, { score: 0.1 }] },
      { heads: [{ score: 0.05 }, { score: 0.35 }] },
      { heads: [] },
    ];
    expect(headSparsity(layers, 2)).toEqual({ heads: 4, retrievalHeads: 3, topShare: 0.85, top: 2 });
    expect(headSparsity([{ heads: [{ score: 0 }] }]).topShare).toBe(0);
  });
});
