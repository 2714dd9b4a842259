import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  extractFeatures,
  fitOneVsRest,
  predictClasses,
  probeLayers,
  probeSample,
  scoreProbe,
  standardize,
  stratifiedSplit,
  takeRows,
  type Features,
  type ProbeSample,
} from '../../../../src/analysis/index.js';
import { readJson, Rng, tensorFrom, toNumbers, type HostTensor } from '../../../../src/core/index.js';
import { recallNeedle, RecallOptionsSchema } from '../../../../src/data/index.js';
import { createReferenceEngine, evaluateReference } from '../../../../src/engine/index.js';
import { loadModel } from '../../../../src/loaded/index.js';
import { input, makeGraph } from '../../../../src/graph/index.js';
import {
  forward,
  initialParameters,
  parameterInputs,
  resolveModelConfig,
  TapReader,
} from '../../../../src/model/index.js';

interface Reference {
  readonly cases: readonly {
    readonly name: string;
    readonly classes: number;
    readonly width: number;
    readonly x: readonly number[];
    readonly y: readonly number[];
    readonly train: readonly number[];
    readonly test: readonly number[];
    readonly predicted: readonly number[];
    readonly accuracy: number;
    readonly default_accuracy: number;
    readonly last_class_weights: readonly number[];
  }[];
}

const { cases } = readJson(
  join(import.meta.dirname, '..', '..', '..', 'data', 'probes', 'reference.json'),
) as Reference;

describe('probes against scikit-learn (liblinear, one against the rest)', () => {
  it.each(cases)('have its accuracy, predictions and weights: $name', (c) => {
    const features: Features = { data: Float64Array.from(c.x), rows: c.y.length, width: c.width };
    const score = scoreProbe(features, c.y, c.classes, c, { C: 0.1 });
    expect(score.accuracy).toBeCloseTo(c.accuracy, 12);
    expect(score.accuracy).toBeCloseTo(c.default_accuracy, 12);
    const scaled = standardize(features, c.train);
    const labels = c.train.map((i) => c.y[i] as number);
    const model = fitOneVsRest(takeRows(scaled, c.train), labels, c.classes, { C: 0.1 });
    expect([...predictClasses(model, takeRows(scaled, c.test))]).toEqual(c.predicted);
    const last = model.weights.at(-1) as Float64Array;
    c.last_class_weights.forEach((w, j) => expect(last[j]).toBeCloseTo(w, 5));
  });
});

describe('the logistic regression', () => {
  it.each([
    ['fewer weights than rows', 90, 30],
    ['more weights than rows', 30, 90],
    ['columns that are almost the same', 80, 41],
  ])('ends where the gradient is nothing: %s', (what, rows, width) => {
    const rng = Rng.of(6, 'probe-test', what);
    const labels = Array.from({ length: rows }, (_, i) => i % 3);
    const alike = what.startsWith('columns');
    const data = new Float64Array(rows * width);
    for (let i = 0; i < rows; i++) {
      const shared = rng.normal();
      for (let j = 0; j < width; j++)
        data[i * width + j] = alike
          ? shared + 1e-3 * rng.normal()
          : rng.normal() + ((labels[i] as number) === j ? 1 : 0);
    }
    const { weights } = fitOneVsRest({ data, rows, width }, labels, 3, { C: 0.1 });
    weights.forEach((w, k) => {
      // The gradient of |w|^2 / 2 + C sum log(1 + exp(-s w.x)) as plain loops, at the solution and at zero.
      const gradientAt = (v: Float64Array): number => {
        const g = Float64Array.from(v);
        labels.forEach((label, i) => {
          const x = [...data.subarray(i * width, (i + 1) * width), 1];
          const sign = label === k ? 1 : -1;
          const margin = sign * x.reduce((sum, f, j) => sum + f * (v[j] as number), 0);
          x.forEach((f, j) => (g[j] = (g[j] as number) - (0.1 * sign * f) / (1 + Math.exp(margin))));
        });
        return Math.hypot(...g);
      };
      expect(gradientAt(w)).toBeLessThan(1.1e-6 * gradientAt(new Float64Array(width + 1)));
    });
  });

  it('refuses labels that do not fit and classes without rows', () => {
    const features: Features = { data: new Float64Array(4), rows: 2, width: 2 };
    expect(() => fitOneVsRest(features, [0], 2)).toThrow('2 rows of features but 1 labels');
    expect(() => fitOneVsRest(features, [0, 0], 2)).toThrow('class 1 of 2 has no training row');
    expect(() => fitOneVsRest(features, [0, 0], 1)).toThrow('at least two classes');
  });
});

describe('the split', () => {
  it('gives every class its share on both sides, and no sample twice', () => {
    const labels = Array.from({ length: 103 }, (_, i) => (i < 50 ? 0 : i < 90 ? 1 : 2));
    const { train, test } = stratifiedSplit(labels, 3, 0.2, 7);
    expect(test).toHaveLength(21);
    expect([...train, ...test].sort((a, b) => a - b)).toEqual(labels.map((_, i) => i));
    const of = (k: number) => test.filter((i) => labels[i] === k).length;
    expect([of(0), of(1), of(2)]).toEqual([10, 8, 3]);
    expect(stratifiedSplit(labels, 3, 0.2, 7).test).toEqual(test);
    expect(stratifiedSplit(labels, 3, 0.2, 8).test).not.toEqual(test);
  });

  it('refuses what cannot be split', () => {
    expect(() => stratifiedSplit([0, 0, 1], 2, 0.5, 0)).toThrow('class 1 has 1 samples');
    expect(() => stratifiedSplit([0, 0, 1, 1], 2, 1, 0)).toThrow('no training or no test part');
  });
});

describe('features', () => {
  const engine = createReferenceEngine();
  const model = resolveModelConfig({
    vocabSize: 13,
    hiddenSize: 8,
    numHeads: 2,
    intermediateSize: 12,
    layers: 'swa:3 full:nope',
  });
  const params = initialParameters(model, 1);
  const loaded = loadModel(engine, model, params);

  it('are the states of the last token after the embedding and after each layer, whatever the batches', async () => {
    const rng = Rng.of(4, 'probe-test');
    const samples: ProbeSample[] = [5, 9, 7, 9, 4].map((length, i) => ({
      tokens: Int32Array.from({ length: length + 2 }, () => rng.int(13)),
      position: length - 1,
      label: i % 3,
    }));
    const got = await extractFeatures(loaded, samples, { batchTokens: 20 });
    const normed = await extractFeatures(loaded, samples, { finalNorm: true });
    expect(got.classes).toBe(3);
    expect([...got.labels]).toEqual([0, 1, 2, 0, 1]);
    samples.forEach((sample, s) => {
      const T = sample.position + 1;
      const values = parameterInputs(model);
      const tokens = input('tokens', 'i32', [1, T]);
      const { tap, stream: hidden } = new TapReader();
      forward(model, values, tokens, { tap });
      const graph = makeGraph(
        { ...Object.fromEntries(values), tokens },
        Object.fromEntries(hidden.map((h, n) => [`h${n}`, h])),
      );
      const results = evaluateReference(graph, {
        ...Object.fromEntries(params),
        tokens: tensorFrom('i32', [1, T], sample.tokens.subarray(0, T)),
      });
      got.states.forEach(({ data, width }, n) => {
        const want = toNumbers(results[`h${n}`] as HostTensor).subarray((T - 1) * width, T * width);
        const have = data.subarray(s * width, (s + 1) * width);
        want.forEach((v, j) => expect(have[j]).toBeCloseTo(v, 6));
        if (n < model.numLayers) return;
        const rms = Math.sqrt(want.reduce((sum, v) => sum + v * v, 0) / width + model.rmsNormEps);
        const last = normed.states[n]?.data.subarray(s * width, (s + 1) * width);
        want.forEach((v, j) => expect(last?.[j]).toBeCloseTo(v / rms, 5));
      });
    });
  });

  it('let a probe read a class that stands in the last token from the embedding on, and layers add deltas', async () => {
    const rng = Rng.of(5, 'probe-test');
    const samples = Array.from({ length: 80 }, (_, i) => {
      const tokens = Int32Array.from({ length: 6 }, () => rng.int(13));
      tokens[5] = i % 4;
      return { tokens, position: 5, label: i % 4 };
    });
    const features = await extractFeatures(loaded, samples);
    const result = probeLayers(features, model, 'residual', { seed: 1 });
    expect(result).toMatchObject({ kind: 'residual', classes: 4, samples: 80, chance: 0.25 });
    expect(result.embedding?.accuracy).toBe(1);
    expect(result.layers.map((l) => l.label)).toEqual(['swa:3', 'full:nope']);
    result.layers.forEach((l) => expect(l.low).toBeLessThanOrEqual(l.accuracy));
    const deltas = probeLayers(features, model, 'delta', { seed: 1 });
    expect(deltas.embedding).toBeNull();
    expect(deltas.layers[0]?.accuracy).toBeGreaterThan(0.5);
  });

  it('come from needles whose value is replaced by the class', () => {
    const options = RecallOptionsSchema.parse({});
    const sample = recallNeedle(Rng.of(1, 'needle'), options, { length: 24, depth: 0.5 });
    const probe = probeSample(sample, [[40], [41]], 1);
    expect(probe.tokens[sample.needleSpan[0]]).toBe(41);
    expect(probe).toMatchObject({ position: 23, label: 1 });
    expect(() => probeSample(sample, [[1, 2]], 0)).toThrow('candidate 0 has 2 tokens but the needle');
  });
});
