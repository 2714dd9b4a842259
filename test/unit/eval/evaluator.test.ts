import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openTokenizer } from '../../../src/checkpoint/index.js';
import { ConfigError, parseConfig, Rng, tensorFrom, type HostTensor } from '../../../src/core/index.js';
import {
  DataConfigSchema,
  nextBatch,
  openData,
  prepareShards,
  recallEvalBatch,
  type NeedleSample,
  type OpenedData,
} from '../../../src/data/index.js';
import { createReferenceEngine, type DeviceTensor, type Engine, type Executable } from '../../../src/engine/index.js';
import { EVAL_SEED, NeedleEvaluator, needleSamples, needleTask, tokenNeedleTask } from '../../../src/eval/index.js';
import { initialParameters, resolveModelConfig, type ModelConfig } from '../../../src/model/index.js';
import { plainForward } from '../model/plain-model.js';
import {
  evalMetrics,
  type EvalRecord,
  evalSchema,
  needleEvalSchema,
  Measurement,
  planMeasures,
} from '../../../src/lab/index.js';

const AT = { step: 7, tokens: 99 };
const engine = createReferenceEngine();
const folder = mkdtempSync(join(tmpdir(), 'longsight-eval-'));
let text: OpenedData;
let recall: OpenedData;

function open(data: unknown, seqLen: number, seed = 1): OpenedData {
  return openData(parseConfig(DataConfigSchema, data, 'data'), { seqLen, seed, baseDir: folder });
}

beforeAll(() => {
  const rng = Rng.of(1, 'text');
  const words = Array.from({ length: 4000 }, () => 'abcdefgh'.slice(rng.int(4), 4 + rng.int(4)));
  writeFileSync(join(folder, 'a.txt'), words.join(' '));
  text = open({ kind: 'text', files: 'a.txt', heldOut: 0.2 }, 16);
  recall = open({ kind: 'recall', targetWeight: 1, otherWeight: 0.25 }, 40);
});

afterAll(() => {
  text[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

function smallModel(vocabSize: number): {
  model: ModelConfig;
  params: Map<string, HostTensor>;
  tensors: Record<string, DeviceTensor>;
} {
  const model = resolveModelConfig({
    vocabSize,
    hiddenSize: 8,
    numHeads: 2,
    intermediateSize: 8,
    layers: 'swa:4 full:nope',
    init: { scheme: 'normal', std: 0.7 },
  });
  const params = initialParameters(model, 3);
  // A trainer holds more than parameters; evaluations pick theirs.
  const tensors = Object.fromEntries([...params].map(([name, t]) => [name, engine.upload(t)]));
  tensors['adam.m.embed.weight'] = engine.upload(tensorFrom('f32', [1], [0]));
  return { model, params, tensors };
}

/** Loss and likeliest token of every position by the plain loops. */
function plainScores(
  model: ModelConfig,
  params: Map<string, HostTensor>,
  tokens: ArrayLike<number>,
  targets: ArrayLike<number>,
) {
  const { logits } = plainForward(model, params, Array.from(tokens));
  return logits.map((row, t) => {
    const target = targets[t] as number;
    const lse = Math.log(row.reduce((s, x) => s + Math.exp(x), 0));
    return { loss: lse - (row[target] as number), hit: row.indexOf(Math.max(...row)) === target ? 1 : 0 };
  });
}

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

describe('Measurement', () => {
  it('gives the loss, the loss by position and recall by distance that plain loops give', async () => {
    const { model, params, tensors } = smallModel(64);
    const config = evalSchema.parse({ batches: 1, batchSize: 3, recall: { batches: 3, bins: [4, 10, 39, 80] } });
    const evaluator = await Measurement.create({ engine, model, data: recall, config, batchSize: 9 });
    const record = await evaluator.evaluate(tensors, AT);
    const rows = [0, 1, 2].flatMap((index) => {
      const batch = recallEvalBatch(recall.recall ?? expect.unreachable(), {
        batchSize: 3,
        seqLen: 40,
        seed: EVAL_SEED,
        index,
      });
      return [0, 1, 2].map((row) => {
        const part = (values: Int32Array) => values.subarray(row * 40, (row + 1) * 40);
        const scores = plainScores(model, params, part(batch.tokens), part(batch.targets));
        return { scores, distances: [...part(batch.distances)] };
      });
    });
    const weigh = (d: number) => (d === 0 ? 0.25 : 1);
    const first = rows
      .slice(0, 3)
      .flatMap(({ scores, distances }) => scores.map((s, t) => ({ t, ...s, w: weigh(distances[t] ?? 0) })));
    const weighted = (cells: typeof first) =>
      cells.reduce((s, c) => s + c.w * c.loss, 0) / cells.reduce((s, c) => s + c.w, 0);
    expect(record.loss).toBeCloseTo(weighted(first), 5);
    record.perPositionLoss?.forEach((loss, t) => expect(loss).toBeCloseTo(weighted(first.filter((c) => c.t === t)), 5));
    expect(record.perPositionLoss).toHaveLength(40);
    const targets = rows
      .flatMap(({ scores, distances }) => scores.map((s, t) => ({ ...s, d: distances[t] ?? 0 })))
      .filter((c) => c.d > 0);
    expect(record.recall?.bins.map(({ from, to }) => [from, to])).toEqual([
      [1, 4],
      [5, 10],
      [11, 39],
      [40, 80],
    ]);
    for (const bin of record.recall?.bins.slice(0, 3) ?? []) {
      const own = targets.filter((c) => c.d >= bin.from && c.d <= bin.to);
      expect(bin.count).toBe(own.length);
      expect(bin.count).toBeGreaterThan(0);
      expect(bin.probability).toBeCloseTo(mean(own.map((c) => Math.exp(-c.loss))), 6);
      expect(bin.accuracy).toBeCloseTo(mean(own.map((c) => c.hit)), 12);
    }
    expect(record.recall?.bins[3]).toEqual({ from: 40, to: 80, probability: null, accuracy: null, count: 0 });
    expect(record.recall?.overall?.count).toBe(targets.length);
    expect(record).toMatchObject({ format: 1, ...AT, needle: null });
    await evaluator.dispose();
  });

  it('uses the held-out stream where data is not recall alone, and its weights', async () => {
    const { model, params, tensors } = smallModel(256);
    const mixed = open([{ kind: 'text', files: 'a.txt', heldOut: 0.2 }, { kind: 'recall' }], 12);
    const config = evalSchema.parse({
      batches: 2,
      batchSize: 2,
      perPosition: false,
      recall: { batches: 1 },
      needle: false,
    });
    const evaluator = await Measurement.create({ engine, model, data: mixed, config, batchSize: 4 });
    const record = await evaluator.evaluate(tensors, AT);
    const stream = mixed.heldOut();
    let [loss, weight] = [0, 0];
    for (let i = 0; i < 2 && stream; i++) {
      const batch = nextBatch(stream, 2);
      for (const row of [0, 12]) {
        const scores = plainScores(
          model,
          params,
          batch.tokens.subarray(row, row + 12),
          batch.targets.subarray(row, row + 12),
        );
        scores.forEach((s, t) => {
          loss += s.loss * (batch.weights[row + t] as number);
          weight += batch.weights[row + t] as number;
        });
      }
    }
    expect(record.loss).toBeCloseTo(loss / weight, 5);
    expect(record.perPositionLoss).toBeNull();
    expect(record.recall?.bins.map((b) => b.to)).toEqual([16]);
    mixed[Symbol.dispose]();
  });

  it('judges runs of different seeds on the same data, and the same model alike every time', async () => {
    const { model, tensors } = smallModel(64);
    const config = evalSchema.parse({ batches: 1 });
    const records: EvalRecord[] = [];
    for (const seed of [1, 2]) {
      const data = open({ kind: 'recall' }, 20, seed);
      const evaluator = await Measurement.create({ engine, model, data, config, batchSize: 2 });
      records.push(await evaluator.evaluate(tensors, AT), await evaluator.evaluate(tensors, AT));
    }
    for (const record of records.slice(1)) expect(record).toEqual(records[0]);
  });

  it('says what it leaves out, and refuses what it cannot do', async () => {
    const { model } = smallModel(256);
    const create = (config: unknown, data: OpenedData) =>
      Measurement.create({
        engine,
        model,
        data,
        config: evalSchema.parse(config),
        batchSize: 1,
        only: ['loss', 'recall', 'needle'],
      });
    expect((await create({}, text)).notes).toEqual([
      expect.stringContaining('no needle grid: a sample of 16 tokens cannot hold a needle'),
    ]);
    expect((await create({ needle: false }, text)).notes).toEqual([]);
    await expect(create({ recall: true }, text)).rejects.toThrow('eval.recall: the data has no recall source');
    await expect(create({ recall: { batches: 1 } }, text)).rejects.toThrow(ConfigError);
    await expect(create({ needle: true }, text)).rejects.toThrow(
      'eval.needle: a sample of 16 tokens cannot hold a needle',
    );
    expect((await create({ recall: false }, recall)).notes).toEqual([]);
    const tiny = smallModel(64).model;
    const needle = evalSchema.parse({ needle: { lengths: [400] } });
    await expect(Measurement.create({ engine, model: tiny, data: text, config: needle, batchSize: 1 })).rejects.toThrow(
      'model.vocabSize is 64; use 256',
    );
  });
});

describe('needle grid', () => {
  it('of token shards is in their tokens, without being asked for, and so are the traced heads', async () => {
    const dir = join(folder, 'shards');
    const tokenizerFolder = join(import.meta.dirname, '..', '..', 'data', 'tokenizer');
    const files = [join(folder, 'a.txt')];
    await prepareShards({ files, tokenizerFolder, dir, chunkBytes: 4096, heldOut: 0, workers: 1 });
    const options = needleEvalSchema.parse({});
    const { minLength } = tokenNeedleTask(openTokenizer(tokenizerFolder), options);
    using data = open({ kind: 'shards', path: dir }, minLength);
    using short = open({ kind: 'shards', path: dir }, minLength - 1);
    const { model, tensors } = smallModel(data.vocabSize);
    const config = evalSchema.parse({ needle: { depths: [0, 1], samples: 2 } });
    const evaluator = await Measurement.create({ engine, model, data, config, batchSize: 1 });
    const { needle } = await evaluator.evaluate(tensors, AT);
    expect(needle).toMatchObject({ task: 'bytes', lengths: [minLength], samples: 2 });
    expect(planMeasures({ data, config: evalSchema.parse({}) }).plans.get('needle')).toMatchObject({
      config: { lengths: [minLength] },
    });
    expect(planMeasures({ data: short, config: evalSchema.parse({}) }, ['needle']).notes).toEqual([
      expect.stringContaining(`no needle grid: a sample of ${minLength - 1} tokens`),
    ]);
    const sample = planTrace({}, data).plan?.samples[0] as NeedleSample;
    expect(openTokenizer(tokenizerFolder).decode(sample.tokens)).toMatch(/The special magic number for .* is: \d{5}$/);
    const hay = evalSchema.parse({ needle: { haystack: 'text' } });
    expect(() => planMeasures({ data, config: hay })).toThrow('eval.needle: needles for a model with a tokenizer are');
  });

  it('scores answers in bytes as plain loops do', async () => {
    const { model, params, tensors } = smallModel(256);
    const options = needleEvalSchema.parse({ lengths: [230, 260], depths: [0, 1], samples: 2, haystack: 'text' });
    const task = needleTask(text, options);
    const config = { ...options, lengths: options.lengths ?? [] };
    // Three samples a pass at most, so that the second pass is filled up.
    const evaluator = await NeedleEvaluator.create({ engine, config: model }, { task, config, batchTokens: 3 * 260 });
    const grid = await evaluator.evaluate(tensors);
    expect(grid).toMatchObject({ task: 'bytes', lengths: [230, 260], depths: [0, 1], samples: 2 });
    [230, 260].forEach((length, row) => {
      const samples = needleSamples(task, { label: 'needle', length, depths: [0, 1], count: 4 });
      const scores = samples.map(({ tokens, queryPosition, answer }) => {
        const targets = new Int32Array(length);
        targets.set(answer, queryPosition);
        return plainScores(model, params, tokens, targets).slice(queryPosition, queryPosition + answer.length);
      });
      [0, 1].forEach((column) => {
        const own = scores.filter((_, i) => i % 2 === column);
        const probability = mean(own.map((s) => Math.exp(-mean(s.map((x) => x.loss)))));
        expect(grid.probability[row]?.[column]).toBeCloseTo(probability, 6);
        expect(grid.accuracy[row]?.[column]).toBe(mean(own.map((s) => (s.every((x) => x.hit === 1) ? 1 : 0))));
      });
    });
  });

  it('counts an answer as right only if every token is, per depth and across passes', async () => {
    const { model } = smallModel(64);
    const options = needleEvalSchema.parse({ lengths: [230], depths: [0, 0.5, 1], samples: 2, digits: 3 });
    const task = needleTask(text, options);
    // Six samples, four a pass; samples by depth: 0 3, 1 4, 2 5. Hits of three digits each; the filled-up rows are all hits.
    const hits = ['111', '110', '111', '011', '111', '111', '111', '111'].map((bits) => [...bits].map(Number));
    const losses = hits.map((h, sample) => h.map(() => sample / 10));
    const wide = { ...model, vocabSize: 256 };
    const fake = scriptedEngine(hits, losses);
    const grid = await (
      await NeedleEvaluator.create(
        { engine: fake, config: wide },
        { task, config: { ...options, lengths: [230] }, batchTokens: 1000 },
      )
    ).evaluate(smallModel(256).tensors);
    expect(grid.accuracy).toEqual([[0.5, 0.5, 1]]);
    const expected = [
      (1 + Math.exp(-0.3)) / 2,
      (Math.exp(-0.1) + Math.exp(-0.4)) / 2,
      (Math.exp(-0.2) + Math.exp(-0.5)) / 2,
    ];
    expected.forEach((p, i) => expect(grid.probability[0]?.[i]).toBeCloseTo(p, 6));
  });

  it('draws recall needles for recall data', async () => {
    const { model, tensors } = smallModel(64);
    const config = evalSchema.parse({ batches: 1, needle: { lengths: [24], depths: [0.5], samples: 3 } });
    const evaluator = await Measurement.create({ engine, model, data: recall, config, batchSize: 2 });
    expect((await evaluator.evaluate(tensors, AT)).needle).toMatchObject({ task: 'recall', lengths: [24], samples: 3 });
    expect((await evaluator.evaluate(tensors, AT, 'light')).needle).toBeNull();
  });
});

/** An engine whose programs return scripted scores, four samples a run. */
function scriptedEngine(hits: readonly number[][], losses: readonly number[][]): Engine {
  let from = 0;
  const compile = async (graph: Executable['graph']): Promise<Executable> => ({
    graph,
    run: async () => {
      const take = (rows: readonly number[][]) => rows.slice(from, from + 4).flat();
      const outputs = {
        loss: engine.upload(tensorFrom('f32', [12], take(losses))),
        hit: engine.upload(tensorFrom('i32', [12], take(hits))),
      };
      from += 4;
      return outputs;
    },
    dispose: async () => {},
  });
  return { ...engine, compile };
}

/** What `eval.trace` comes to on data. */
function planTrace(config: unknown, data: OpenedData) {
  const { plans, notes } = planMeasures({ data, config: evalSchema.parse(config) }, ['trace']);
  const plan = plans.get('trace') as { samples: (() => NeedleSample)[]; queryFromEnd: number } | undefined;
  return {
    plan: plan === undefined ? null : { ...plan, samples: plan.samples.map((draw) => draw()) },
    note: notes[0] ?? null,
  };
}

describe('traced heads', () => {
  it('takes samples of training length from the far half unless told, and says why if there are none', () => {
    const { plan } = planTrace({}, recall);
    expect(plan?.samples).toHaveLength(32);
    expect(plan?.queryFromEnd).toBe(1);
    for (const sample of plan?.samples ?? []) {
      expect(sample.length).toBe(40);
      expect(sample.depth).toBeLessThanOrEqual(0.5);
    }
    expect(planTrace({ trace: false }, recall)).toEqual({ plan: null, note: null });
    expect(planTrace({}, text).note).toContain('retrieval heads are not traced: a sample of 16 tokens');
    expect(() => planTrace({ trace: true }, text)).toThrow('eval.trace: a sample of 16 tokens');
    expect(planTrace({ trace: { length: 300, samples: 2 } }, text).plan?.samples).toHaveLength(2);
  });
});

describe('evalMetrics', () => {
  it('names what was measured and leaves out what was not', () => {
    const record: EvalRecord = {
      format: 1,
      ...AT,
      loss: 1.5,
      perPositionLoss: null,
      recall: {
        bins: [
          { from: 1, to: 16, probability: 0.5, accuracy: 0.25, count: 8 },
          { from: 17, to: 32, probability: null, accuracy: null, count: 0 },
        ],
        overall: { probability: 0.5, accuracy: 0.25, count: 8 },
      },
      needle: {
        task: 'bytes',
        lengths: [8, 9],
        depths: [0],
        accuracy: [[0], [1]],
        probability: [[0.25], [0.75]],
        samples: 1,
      },
    };
    expect(evalMetrics(record)).toEqual({
      'eval/loss': 1.5,
      'eval/recall/1-16': 0.5,
      'eval/recall/all': 0.5,
      'eval/needle/accuracy': 0.5,
      'eval/needle/probability': 0.5,
    });
    expect(evalMetrics({ ...record, loss: null, recall: null, needle: null })).toEqual({});
  });
});

describe('evalSchema', () => {
  it.each([
    [{ recal: true }, 'did you mean "recall"?'],
    [{ recall: { bin: [4] } }, 'did you mean "bins"?'],
    [{ recall: { bins: [8, 4] } }, 'must ascend'],
    [{ batches: 0 }, 'batches must be at least 1'],
    [{ needle: { depths: [2] } }, 'must be at most 1'],
  ])('refuses %j', (value, message) => {
    expect(() => parseConfig(evalSchema, value, 'eval')).toThrow(message);
  });
});
