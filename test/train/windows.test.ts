/** Windows that move in training: which steps have which, what a step then computes, and that runs resume to the bit. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ConfigError, InterruptedError, parseConfig } from '../../src/core/index.js';
import { nextBatch } from '../../src/data/index.js';
import { createEngine, createReferenceEngine, type Engine } from '../../src/engine/index.js';
import {
  atWindows,
  heldAt,
  headGroups,
  initialParameters,
  modelCost,
  printPeriod,
  resolveModelConfig,
} from '../../src/model/index.js';
import {
  checkWindows,
  learningRate,
  openRunData,
  TrainConfigSchema,
  Trainer,
  trainRun,
  windowPlan,
  windowShares,
  type RunConfig,
  type TrainInput,
  type TrainRunOptions,
} from '../../src/train/index.js';
import { temporaryFolder, tinyRun } from './support.js';
import { readMetrics } from '../../src/run/index.js';

const moving = (layers: string, windows?: TrainInput['windows'], train: Partial<TrainInput> = {}): RunConfig =>
  tinyRun({ model: { layers }, train: { ...train, ...(windows === undefined ? {} : { windows }) } });

/** The windows of the first layer at steps 1 to n. */
function windowsAt(run: RunConfig, n = run.train.steps): (number | null | undefined)[] {
  const plan = windowPlan(run);
  return Array.from({ length: n }, (_, i) => headGroups(plan.models[plan.of(i + 1)]!.layers[0]!)[0]?.window);
}

describe('windows of steps', () => {
  it('are drawn by weight, the same for a seed and a step whatever came before', () => {
    const run = moving('swa:4~8 full', { weights: [3, 1] }, { steps: 4000 });
    const all = windowsAt(run);
    expect(all.filter((w) => w === 4).length / 4000).toBeCloseTo(0.75, 1);
    expect(windowsAt(moving('swa:4~8 full', { weights: [3, 1] }, { steps: 9000 }), 4000)).toEqual(all);
    expect(windowsAt({ ...run, seed: 2 }, 100)).not.toEqual(all.slice(0, 100));
  });

  it('are drawn at one place of the list in all layers', () => {
    const plan = windowPlan(moving('swa:4~8 swa:2~full', undefined, { steps: 40 }));
    expect(plan.models.map((m) => printPeriod(m.layers))).toEqual(['swa:4 swa:2', 'swa:8 full']);
  });

  it('come in the order written for the steps that weights give them, and the last one stays', () => {
    const run = moving('swa:2~4~8 full', { choose: 'schedule', weights: [1, 2, 1], until: 8 });
    expect(windowsAt(run)).toEqual([2, 2, 4, 4, 4, 4, 8, 8, 8, 8, 8, 8]);
    expect(windowShares(run.train)([2, 4, 8])).toEqual([
      { window: 2, share: 2 / 12 },
      { window: 4, share: 6 / 12 - 2 / 12 },
      { window: 8, share: 1 - 6 / 12 },
    ]);
    expect(windowsAt(moving('swa:8~2 full', { choose: 'schedule' }))).toEqual([
      ...Array<number>(6).fill(8),
      ...Array<number>(6).fill(2),
    ]);
  });

  it('have whole steps where weights are written as decimals that binary numbers round', () => {
    const run = moving('swa:2~4~8 full', { choose: 'schedule', weights: [0.1, 0.2, 0.7] }, { steps: 10 });
    expect(windowsAt(run)).toEqual([2, 4, 4, 8, 8, 8, 8, 8, 8, 8]);
    expect(windowShares(run.train)([2, 4, 8]).map(({ share }) => Math.round(share * 10))).toEqual([1, 2, 7]);
  });

  it('share the steps as they come, whatever the lengths do to one another', () => {
    for (const [steps, until, weights] of [
      [10, 7, [1, 1, 1]],
      [97, 97, [1, 5, 2]],
      [13, 4, [2, 2, 3]],
    ] as const) {
      const run = moving('swa:2~4~8 full', { choose: 'schedule', weights: [...weights], until }, { steps });
      const at = windowsAt(run);
      for (const { window, share } of windowShares(run.train)([2, 4, 8]))
        expect(at.filter((w) => w === window).length / steps).toBeCloseTo(share, 12);
    }
  });

  it('go along curves between two windows, of which one may be full', () => {
    const along = (layers: string, curve: 'linear' | 'geometric') =>
      windowPlan(moving(layers, { choose: 'schedule', curve, count: 4 })).models.map((m) => printPeriod(m.layers));
    expect(along('swa:2~16 full', 'geometric')).toEqual(['swa:2 full', 'swa:4 full', 'swa:8 full', 'swa:16 full']);
    expect(along('swa:1~full', 'linear')).toEqual(['swa:1', 'swa:6', 'swa:11', 'full']);
    expect(along('swa:16~2', 'geometric')).toEqual(['swa:16', 'swa:8', 'swa:4', 'swa:2']);
  });

  it('that show the whole sequence are one program', () => {
    // Sequences have 16 tokens.
    expect(windowPlan(moving('swa:15~16~17~full')).models).toHaveLength(2);
  });

  it.each<[string, TrainInput['windows'], RegExp]>([
    [
      'swa:4 full',
      { choose: 'step' },
      /train\.windows: .*no layer of the model has several; name them, as in swa:128~2048/,
    ],
    ['swa:4~8', { weights: [1, 2, 3] }, /weights must be 2, one for each window of a layer, got 3/],
    ['swa:4~8 swa:2~4~8', { weights: [1, 2] }, /weights must be 3/],
    ['swa:2~4~8', { choose: 'schedule', curve: 'linear', count: 5 }, /a layer has 3 \(2~4~8\); name two/],
    ['swa:4~8', { choose: 'schedule', until: 13 }, /until must be at most steps \(12\), got 13/],
    [
      'swa:4~8',
      { choose: 'sequence', weights: [1, 2] },
      /share of 0\.33.* of the 4 sequences of a batch, .*no whole number/,
    ],
  ])('%s with %j are refused', (layers, windows, message) => {
    const check = () => checkWindows(moving(layers, windows));
    expect(check).toThrow(ConfigError);
    expect(check).toThrow(message);
  });

  it.each<[TrainInput['windows'], RegExp]>([
    [{ until: 5 }, /windows\.until: is for choose: schedule only, and choose is step/],
    [{ curve: 'linear' }, /windows\.curve: needs count/],
    [{ curve: 'linear', count: 3, weights: [1, 1] }, /windows\.weights: must be 3/],
    [{ choose: 'batch' as 'step' }, /windows\.choose/],
  ])('%j is refused by itself', (windows, message) => {
    expect(() => parseConfig(TrainConfigSchema, { steps: 12, windows }, 'train')).toThrow(message);
  });
});

describe('a step', () => {
  it.each([['reference'], ['onnx']] as const)('has the window of its time, on %s', async (name) => {
    const engine = createEngine(name);
    const compiled: unknown[] = [];
    const counting: Engine = {
      ...{ info: engine.info, hints: engine.hints },
      compile: (graph, options) => (compiled.push(graph), engine.compile(graph, options)),
      upload: (...args) => engine.upload(...args),
      download: (tensor) => engine.download(tensor),
      dispose: () => engine.dispose(),
    };
    const run = { ...moving('swa:3~4~5 full', undefined, { steps: 6 }), seed: 2 };
    const dir = join(temporaryFolder(), 'run');
    const losses: number[] = [];
    await trainRun({ dir, run, engine: counting, hooks: { progress: ({ loss }) => losses.push(loss) } });
    expect(compiled).toHaveLength(3); // not one a step
    // By hand: each step by a trainer of that window alone.
    using data = openRunData(run);
    let state: Pick<Parameters<typeof Trainer.create>[0], 'parameters' | 'optimizer'> = {
      parameters: initialParameters(run.model, run.seed),
    };
    const seen = new Set<unknown>();
    for (let step = 1; step <= run.train.steps; step++) {
      const window = windowsAt(run)[step - 1]!;
      seen.add(window);
      const model = resolveModelConfig({ ...run.model, layers: `swa:${window} full` });
      const trainer = await Trainer.create({ engine, model, config: run.train, ...state });
      const { loss } = await trainer.step(nextBatch(data.train, 4), learningRate(run.train, step), step);
      expect(losses[step - 1], `step ${step}`).toBe(loss);
      const tensors = trainer.tensors();
      const names = [...initialParameters(model, 1).keys()];
      const all = async (get: (name: string) => ReturnType<typeof tensors.parameter>) =>
        new Map(await Promise.all(names.map(async (n) => [n, await get(n)] as const)));
      state = {
        parameters: await all((n) => tensors.parameter(n)),
        optimizer: { m: await all((n) => tensors.moment('m', n)), v: await all((n) => tensors.moment('v', n)) },
      } as typeof state;
      await trainer.dispose();
    }
    expect(seen.size).toBe(3);
    const logged = readMetrics(join(dir, 'metrics.jsonl')).series.get('train/window');
    expect(logged?.map((p) => p.value)).toEqual([3, 6].map((step) => windowsAt(run)[step - 1]));
    await engine.dispose();
  });

  it('gives sequences their shares of a batch, and costs their mean', async () => {
    const run = moving('swa:3~6 full', { choose: 'sequence', weights: [1, 3] });
    const engine = createReferenceEngine();
    using data = openRunData(run);
    const batch = nextBatch(data.train, 4);
    const { models, keys } = windowPlan(run);
    expect(keys).toEqual([(3 + 3 * 6) / 4]);
    const parameters = initialParameters(run.model, 1);
    const stepOf = async (model: (typeof models)[number], size: number, from: number) => {
      const n = size * batch.seqLen;
      const cut = <A extends { slice(a: number, b: number): A }>(x: A) =>
        x.slice(from * batch.seqLen, from * batch.seqLen + n);
      const part = {
        ...batch,
        batchSize: size,
        tokens: cut(batch.tokens),
        targets: cut(batch.targets),
        weights: cut(batch.weights),
      };
      const trainer = await Trainer.create({ engine, model, config: { ...run.train, batchSize: size }, parameters });
      const { loss } = await trainer.step(part, 1e-3, 1);
      await trainer.dispose();
      return { loss, weight: cut(batch.weights).reduce((a, b) => a + b, 0) };
    };
    const [small, large] = [3, 6].map((w) => atWindows(run.model, () => w)) as [typeof run.model, typeof run.model];
    const [first, rest] = [await stepOf(small, 1, 0), await stepOf(large, 3, 1)];
    const whole = await stepOf(models[0]!, 4, 0);
    expect(whole.loss).toBeCloseTo((first.loss * first.weight + rest.loss * rest.weight) / whole.weight, 6);
    const flops = (model: typeof run.model) => modelCost(model, 16).trainFlops;
    const mean = modelCost(run.model, 16, { windowShares: windowShares(run.train) }).trainFlops;
    expect(mean).toBeCloseTo((flops(small) + 3 * flops(large)) / 4, 6);
  });
});

describe('a run', () => {
  const engine = createReferenceEngine();
  const final = (dir: string, file: string) => readFileSync(join(dir, 'checkpoints', 'step-000012', file));

  it.each<[TrainInput['windows'], number[]]>([
    [{ choose: 'step' }, [3, 7]],
    [{ choose: 'schedule', until: 9 }, [4, 5]],
    [{ choose: 'sequence', weights: [1, 2, 1] }, [6]],
  ])('with %j resumes bit for bit when stopped after steps %j', async (windows, stops) => {
    const run = moving('swa:2~4~full full', windows);
    const start = (dir: string, more: Partial<TrainRunOptions> = {}) => trainRun({ dir, run, engine, ...more });
    const [whole, parts] = [temporaryFolder(), temporaryFolder()];
    await start(whole);
    for (const stop of stops) {
      const abort = new AbortController();
      const progress = ({ step }: { step: number }) => step === stop && abort.abort();
      await expect(start(parts, { resume: 'auto', signal: abort.signal, hooks: { progress } })).rejects.toThrow(
        InterruptedError,
      );
    }
    await start(parts, { resume: 'auto' });
    for (const file of ['model.safetensors', 'optimizer.safetensors'])
      expect(final(parts, file).equals(final(whole, file)), file).toBe(true);
  });

  it('is another run with other windows', async () => {
    const dir = temporaryFolder();
    const run = moving('swa:2~4 full', { choose: 'schedule' });
    await trainRun({ dir, run, engine });
    const other = moving('swa:2~4 full', { choose: 'schedule', until: 6 });
    await expect(trainRun({ dir, run: other, engine, resume: 'auto' })).rejects.toThrow(/train\.windows\.until/);
  });
});

describe('evaluation at a window', () => {
  it('replaces the windows that moved, else every window, and says where there is none', () => {
    const at = (layers: string, window: number | null) => {
      const model = heldAt(tinyRun({ model: { layers } }).model, window);
      return model === null ? null : printPeriod(model.layers);
    };
    expect(at('swa:4~8 swa:2 full', 5)).toBe('swa:5 swa:2 full');
    expect(at('swa:4~8 full', null)).toBe('full');
    expect(at('swa:4 full', 3)).toBe('swa:3 full');
    expect(at('full', 3)).toBeNull();
  });
});
