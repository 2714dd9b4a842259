/** Stages: what changes on the way of a run, exactly, and across interruptions. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ConfigError, InterruptedError, parseConfig } from '../../src/core/index.js';
import { nextBatch } from '../../src/data/index.js';
import { createReferenceEngine } from '../../src/engine/index.js';
import {
  learningRate,
  openRunData,
  runAtStep,
  stagesOf,
  TrainConfigSchema,
  Trainer,
  trainingTokens,
  trainRun,
  type TrainInput,
  type TrainPoint,
  type TrainRunOptions,
} from '../../src/train/index.js';
import { temporaryFolder, tinyRun } from './support.js';
import { findCheckpoint, listCheckpoints } from '../../src/run/index.js';

const engine = createReferenceEngine();

/** 12 steps: 16 tokens, then 32 with another rotary base from step 5 on, then a schedule of its own from step 9 on. */
const train: Partial<TrainInput> = {
  schedule: 'constant',
  stages: [
    { from: 5, seqLen: 32, batchSize: 2, ropeTheta: 500_000 },
    { from: 9, lr: 2e-3, schedule: 'wsd', warmupSteps: 1, decaySteps: 2 },
  ],
};
const run = tinyRun({ train });
const rate = (step: number) => {
  const stage = stagesOf(run).find((s) => step <= s.to);
  return learningRate(stage!.schedule, step - stage!.scheduleFrom);
};

describe('stages', () => {
  it('change lengths, batches and rotary base from a step on, until the next change', () => {
    const of = stagesOf(run).map((s) => [
      s.from,
      s.to,
      s.train.seqLen,
      s.train.batchSize,
      s.model.ropeTheta,
      s.tokensBefore,
    ]);
    expect(of).toEqual([
      [0, 5, 16, 4, 10_000, 0],
      [5, 9, 32, 2, 500_000, 320],
      [9, 12, 32, 2, 500_000, 576],
    ]);
    expect(trainingTokens(run.train)).toBe(768);
    expect(runAtStep(run, 5).model.ropeTheta).toBe(10_000);
    expect(runAtStep(run, 6)).toMatchObject({ model: { ropeTheta: 500_000 }, train: { seqLen: 32 } });
  });

  it('go on with the schedule, or have one of their own; the one before ends where that begins', () => {
    expect(rate(5)).toBe(1e-2);
    expect(rate(6)).toBe(1e-2);
    expect([10, 11, 12].map(rate)).toEqual([2e-3, 2e-3 * 0.55, 2e-3 * 0.1].map((r) => expect.closeTo(r, 12) as number));
    const decaying = tinyRun({ train: { ...train, schedule: 'cosine' } });
    const [first] = stagesOf(decaying);
    expect(first?.schedule.steps).toBe(9);
    expect(learningRate(first!.schedule, 9)).toBeCloseTo(1e-3, 12);
  });

  it('change the mixture', () => {
    const data = [{ kind: 'recall' }, { kind: 'recall', numKeys: 4 }];
    const mixed = tinyRun({ data, train: { stages: [{ from: 3, weights: [1, 9] }] } });
    expect(stagesOf(mixed).map((s) => s.data.map((d) => d.weight))).toEqual([
      [1, 1],
      [1, 9],
    ]);
  });

  it.each<[NonNullable<TrainInput['stages']>, RegExp]>([
    [[{ from: 12 }], /stages\[0\]\.from: must be more than 0 and less than steps \(12\), got 12/],
    [[{ from: 5 }, { from: 5 }], /stages\[1\]\.from: must be more than 5/],
    [[{ from: 5, accumulate: 3 }], /stages\[0\]\.accumulate: must divide batchSize 4, and 3 does not/],
    [[{ from: 5, schedule: 'wsd' }], /stages\[0\]\.schedule: is of a schedule of its own: set lr too/],
    [[{ from: 1, lr: 1 }], /warmupSteps: must be at most steps \(1\), got 2/],
  ])('are refused if they do not fit: %j', (stages, message) => {
    const parse = () => parseConfig(TrainConfigSchema, { steps: 12, batchSize: 4, warmupSteps: 2, stages }, 'train');
    expect(parse).toThrow(ConfigError);
    expect(parse).toThrow(message);
  });

  it('parse their own result to the same', () => {
    expect(parseConfig(TrainConfigSchema, run.train, 'train')).toEqual(run.train);
  });
});

describe('a run in stages', () => {
  const final = (dir: string, file: string) => readFileSync(join(dir, 'checkpoints', 'step-000012', file));
  const start = (dir: string, more: Partial<TrainRunOptions> = {}) => trainRun({ dir, run, engine, ...more });

  it('trains each stage from the state of the one before, on rows of its length', async () => {
    const dir = join(temporaryFolder(), 'run');
    const seen: [number, number, number][] = [];
    const notes: string[] = [];
    const evaluate = ({ step, stage, data }: TrainPoint) => {
      seen.push([step, stage.index, data.train.seqLen]);
      return Promise.resolve({});
    };
    const result = await start(dir, { hooks: { evaluate, note: (text) => notes.push(text) } });
    expect(result.tokens).toBe(768);
    expect(listCheckpoints(dir).map((c) => c.step)).toEqual([5, 9, 10, 12]);
    expect(seen).toEqual([
      [0, 0, 16],
      [4, 0, 16],
      [5, 0, 16],
      [8, 1, 32],
      [9, 1, 32],
      [10, 2, 32],
      [12, 2, 32],
    ]);
    expect(notes[0]).toBe('step 5: stage 2 of 3, 2 x 32 tokens a step, rotary base 500000');
    expect(findCheckpoint(dir, 5).state.model.ropeTheta).toBe(10_000);
    expect(findCheckpoint(dir, 9).state).toMatchObject({ tokens: 576, model: { ropeTheta: 500_000 } });
    // By hand, from the checkpoint at the end of the first stage.
    const [, stage] = stagesOf(run);
    const checkpoint = findCheckpoint(dir, 5);
    using data = openRunData(stage!);
    const trainer = await Trainer.create({
      ...{ engine, model: stage!.model, config: stage!.train },
      ...{ parameters: checkpoint.parameters(), optimizer: checkpoint.optimizer() },
    });
    for (let step = 6; step <= 9; step++) await trainer.step(nextBatch(data.train, 2), 1e-2, step);
    for (const [name, tensor] of findCheckpoint(dir, 9).parameters()) {
      expect(await trainer.tensors().parameter(name), name).toEqual(tensor);
    }
    await trainer.dispose();
  });

  it.each([[[3, 5]], [[7]], [[5, 9, 11]]])('resumes bit for bit when stopped after steps %j', async (stops) => {
    const [whole, parts] = [temporaryFolder(), temporaryFolder()];
    await start(whole);
    for (const stop of stops) {
      const abort = new AbortController();
      const progress = ({ step }: { step: number }) => void (step === stop && abort.abort());
      await expect(start(parts, { resume: 'auto', signal: abort.signal, hooks: { progress } })).rejects.toThrow(
        InterruptedError,
      );
    }
    expect(await start(parts, { resume: 'yes' })).toMatchObject({ step: 12, tokens: 768, resumedFrom: stops.at(-1) });
    for (const file of ['model.safetensors', 'optimizer.safetensors']) {
      expect(final(parts, file).equals(final(whole, file)), file).toBe(true);
    }
    const again = await start(parts, { resume: 'yes' });
    expect(again.step).toBe(12);
  });
});
