/** More steps on a run: as if it had been planned longer, or refused. */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { InterruptedError, readJson, type Difference } from '../../src/core/index.js';
import { createReferenceEngine } from '../../src/engine/index.js';
import { performRun, resolveRunConfig } from '../../src/lab/index.js';
import { trainRun, type TrainInput, type TrainRunOptions } from '../../src/train/index.js';
import { cli } from '../support/cli.js';
import { temporaryFolder, TINY_DATA, TINY_TRAIN, tinyRun } from './support.js';

const engine = createReferenceEngine();
const PLAIN: Partial<TrainInput> = { schedule: 'constant', steps: 12 };

async function train(dir: string, settings: Partial<TrainInput>, more: Partial<TrainRunOptions> = {}): Promise<void> {
  await trainRun({ dir, run: tinyRun({ train: settings }), engine, ...more });
}

/** The parameters and moments of a step, as bytes. */
const bytesOf = (dir: string, step: number): string =>
  ['model.safetensors', 'optimizer.safetensors']
    .map((file) => readFileSync(join(dir, 'checkpoints', `step-${String(step).padStart(6, '0')}`, file), 'base64'))
    .join();

/** A run that was ended after step `last`, as by Ctrl-C. */
async function stoppedAt(dir: string, last: number, settings: Partial<TrainInput>): Promise<void> {
  const abort = new AbortController();
  const progress = ({ step }: { readonly step: number }) => (step === last ? abort.abort() : undefined);
  await expect(train(dir, settings, { signal: abort.signal, hooks: { progress } })).rejects.toThrow(InterruptedError);
}

/** Trains by `begin`, goes on by `then`, and compares with a run planned as `then` from the start. */
async function expectSame(begin: Partial<TrainInput>, then: Partial<TrainInput>, stopped?: number): Promise<string> {
  const [dir, whole] = [join(temporaryFolder(), 'run'), join(temporaryFolder(), 'whole')];
  if (stopped === undefined) await train(dir, begin);
  else await stoppedAt(dir, stopped, begin);
  await train(dir, then, { resume: 'yes' });
  await train(whole, then);
  const last = then.steps ?? 12;
  expect(bytesOf(dir, last)).toBe(bytesOf(whole, last));
  return dir;
}

describe('more steps on a run', () => {
  it('of a constant learning rate are those of a run that was planned longer, and are noted', async () => {
    const dir = await expectSame(PLAIN, { ...PLAIN, steps: 20 });
    const { run, resumes } = readJson(join(dir, 'config.json')) as {
      run: { train: { steps: number } };
      resumes: { step: number; changed: (Omit<Difference, 'a' | 'b'> & { was: unknown; now: unknown })[] }[];
    };
    expect(run.train.steps).toBe(20);
    expect(resumes).toMatchObject([{ step: 12, changed: [{ path: 'train.steps', was: 12, now: 20 }] }]);
    expect(readJson(join(dir, 'status.json'))).toMatchObject({ state: 'done', step: 20 });
    // As it is now, it is the run of 20 steps.
    await train(dir, { ...PLAIN, steps: 20 }, { resume: 'yes' });
    await expect(train(dir, PLAIN, { resume: 'yes' })).rejects.toThrow(
      /train.steps was 20, now 12, and it has taken 20 steps/,
    );
  });

  it('of a constant one may end in a decay', async () => {
    await expectSame(PLAIN, { ...PLAIN, steps: 16, schedule: 'wsd', decaySteps: 4 });
  });

  it('go on with the stable phase of wsd, and not once it has decayed', async () => {
    const wsd: Partial<TrainInput> = { schedule: 'wsd', steps: 12, decaySteps: 4 };
    await expectSame(wsd, { ...wsd, steps: 20 }, 7);
    const dir = join(temporaryFolder(), 'run');
    await train(dir, wsd);
    const before = readFileSync(join(dir, 'config.json'), 'utf8');
    await expect(train(dir, { ...wsd, steps: 20 }, { resume: 'yes' })).rejects.toThrow(
      /train.steps was 12, now 20, and the learning rate of step 9, which it has taken, would be 0.01 in place of 0.00775\d*; a run may get more steps/,
    );
    expect(readFileSync(join(dir, 'config.json'), 'utf8')).toBe(before);
  });

  it('of a schedule that has ended take one of their own', async () => {
    const stages = [{ from: 12, lr: 5e-3, schedule: 'wsd' as const, seqLen: 32, batchSize: 2 }];
    await expectSame({ steps: 12 }, { steps: 20, stages });
    const dir = join(temporaryFolder(), 'run');
    await train(dir, { steps: 12 });
    await expect(train(dir, { steps: 20 }, { resume: 'yes' })).rejects.toThrow(
      /train.steps was 12, now 20, and the learning rate of step 3, .*: use the same configuration, .*train.stages: \[{ from: 12, lr/,
    );
    await expect(train(dir, { steps: 20, stages: [{ from: 8, lr: 1e-3 }] }, { resume: 'yes' })).rejects.toThrow(
      /step 3/,
    );
    await expect(train(dir, { steps: 20, stages, batchSize: 8 }, { resume: 'yes' })).rejects.toThrow(
      /train.batchSize was 4, now 8/,
    );
  });

  it('may change no sequence of a step that was taken', async () => {
    const dir = join(temporaryFolder(), 'run');
    await train(dir, PLAIN);
    const stages = [{ from: 6, seqLen: 32 }];
    await expect(train(dir, { ...PLAIN, steps: 20, stages }, { resume: 'yes' })).rejects.toThrow(
      /step 7, which it has taken, would be another \(from was 0, now 6; and 2 more\)/,
    );
  });

  it('may be fewer, down to a checkpoint that was due, and then later results go and the folder says so', async () => {
    const dir = join(temporaryFolder(), 'run');
    await train(dir, PLAIN, { hooks: { evaluate: ({ step }) => Promise.resolve({ 'eval/loss': step }) } });
    const last = join(dir, 'checkpoints/step-000012');
    rmSync(last, { recursive: true });
    await train(dir, { ...PLAIN, steps: 10 }, { resume: 'yes' });
    expect(readJson(join(dir, 'config.json'))).toMatchObject({
      run: { train: { steps: 10 } },
      resumes: [{ step: 10, changed: [{ path: 'train.steps', was: 12, now: 10 }] }],
    });
    const lines = readFileSync(join(dir, 'metrics.jsonl'), 'utf8').trimEnd().split('\n');
    expect(Math.max(...lines.map((line) => (JSON.parse(line) as { step: number }).step))).toBe(10);
    expect(readJson(join(dir, 'status.json'))).toMatchObject({ state: 'done', step: 10 });
  });

  it('may not end where a run was stopped between two measurements', async () => {
    const dir = join(temporaryFolder(), 'run');
    await stoppedAt(dir, 7, PLAIN);
    await expect(train(dir, { ...PLAIN, steps: 7 }, { resume: 'yes' })).rejects.toThrow(
      /train.steps was 12, now 7, and it was stopped after step 7 without measuring it/,
    );
    await train(dir, { ...PLAIN, steps: 8 }, { resume: 'yes' });
    expect(existsSync(join(dir, 'checkpoints/step-000008'))).toBe(true);
  });

  it('are asked for with a run folder', async () => {
    const at = temporaryFolder();
    const dir = join(at, 'run');
    const run = resolveRunConfig({
      model: { hiddenSize: 8, layers: 'swa:4 full', numHeads: 2, intermediateSize: 16 },
      data: TINY_DATA,
      train: { ...TINY_TRAIN, ...PLAIN, steps: 4 },
      eval: { batches: 1, needle: false, trace: false },
    });
    await performRun({ dir, run, engine, resume: 'no' });
    const settings = ['--engine', 'reference', '--quiet'];
    const more = await cli(['train', dir, '--resume', '--set', 'train.steps=6', ...settings]);
    expect(more).toMatchObject({ code: 0 });
    expect(existsSync(join(dir, 'checkpoints/step-000006'))).toBe(true);
    const less = await cli(['train', join(dir, 'config.json'), '--resume', '--set', 'train.steps=5', ...settings]);
    expect(less).toMatchObject({ code: 2 });
    expect(less.stderr).toMatch(/train.steps was 6, now 5, and it has taken 6 steps/);
  });
});
