import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readSafetensors } from '../../src/checkpoint/index.js';
import {
  ConfigError,
  DataError,
  DivergedError,
  InterruptedError,
  readJson,
  StoreError,
  takeLock,
  toNumbers,
} from '../../src/core/index.js';
import { createReferenceEngine } from '../../src/engine/index.js';
import { trainRun, type RunConfig, type TrainProgress, type TrainRunOptions } from '../../src/train/index.js';
import { temporaryFolder, TINY_DATA, tinyRun } from './support.js';
import { findCheckpoint, listCheckpoints } from '../../src/run/index.js';

const engine = createReferenceEngine();

type Line = Record<string, number> & { step: number };

const linesOf = (dir: string): Line[] =>
  readFileSync(join(dir, 'metrics.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);

/** What a run computes, without what depends on the clock. */
const numbersOf = (dir: string): Line[] =>
  linesOf(dir).map(({ time: _time, 'train/tok_per_sec': _speed, ...line }) => line as Line);

const status = (dir: string) => readJson(join(dir, 'status.json')) as { state: string; step: number; message?: string };
const stepsOf = (dir: string) => listCheckpoints(dir).map((c) => c.step);
const finalBytes = (dir: string, file: string, step = 12) =>
  readFileSync(join(dir, 'checkpoints', `step-${String(step).padStart(6, '0')}`, file));

function start(dir: string, more: Partial<TrainRunOptions> = {}): ReturnType<typeof trainRun> {
  return trainRun({ dir, run: tinyRun(), engine, ...more });
}

/** Runs until `step` is done, then stops as on Ctrl-C. */
async function interruptAt(dir: string, step: number, more: Partial<TrainRunOptions> = {}): Promise<void> {
  const abort = new AbortController();
  const progress = (p: TrainProgress) => {
    if (p.step === step) abort.abort();
  };
  await expect(start(dir, { ...more, signal: abort.signal, hooks: { progress } })).rejects.toThrow(InterruptedError);
}

function expectSameResult(a: string, b: string): void {
  for (const file of ['model.safetensors', 'optimizer.safetensors']) {
    expect(finalBytes(a, file).equals(finalBytes(b, file)), file).toBe(true);
  }
  expect(numbersOf(a)).toEqual(numbersOf(b));
}

const evaluate = async ({ step, atCheckpoint }: { step: number; atCheckpoint: boolean }) => ({
  'eval/loss': step / 2,
  checkpoint: Number(atCheckpoint),
});

describe('trainRun', () => {
  it('writes a run folder that explains itself', async () => {
    const dir = join(temporaryFolder(), 'nested', 'run');
    const seen: TrainProgress[] = [];
    const result = await start(dir, { name: 'tiny', hooks: { evaluate, progress: (p) => seen.push(p) } });
    expect(result).toEqual({
      step: 12,
      tokens: 768,
      resumedFrom: null,
      checkpoint: join(dir, 'checkpoints', 'step-000012'),
    });
    expect(status(dir)).toMatchObject({ state: 'done', step: 12, tokens: 768 });
    expect(stepsOf(dir)).toEqual([5, 10, 12]);
    const config = readJson(join(dir, 'config.json')) as Record<string, unknown>;
    expect(config).toMatchObject({ format: 1, name: 'tiny', engine: { name: 'reference', threads: 1 }, resumes: [] });
    expect(config.run).toEqual(JSON.parse(JSON.stringify(tinyRun())));
    expect((config.versions as { longsight: string }).longsight).toMatch(/^\d+\.\d+\.\d+/);
    const lines = linesOf(dir);
    const trained = lines.filter((l) => 'train/loss' in l);
    expect(trained.map((l) => l.step)).toEqual([3, 6, 9, 12]);
    expect(trained.map((l) => l.tokens)).toEqual([192, 384, 576, 768]);
    for (const line of trained) {
      for (const name of ['train/lr', 'train/grad_norm', 'train/tok_per_sec', 'time'])
        expect(line[name]).toBeGreaterThan(0);
    }
    const mean = (from: number) => seen.slice(from, from + 3).reduce((sum, p) => sum + p.loss, 0) / 3;
    trained.forEach((line, i) => expect(line['train/loss']).toBeCloseTo(mean(3 * i), 12));
    expect(trained.at(-1)?.['train/lr']).toBeCloseTo(1e-3, 12);
    const evaluated = lines.filter((l) => 'eval/loss' in l);
    expect(evaluated.map((l) => [l.step, l.checkpoint])).toEqual([
      [0, 0],
      [4, 0],
      [5, 1],
      [8, 0],
      [10, 1],
      [12, 1],
    ]);
    expect(seen.map((p) => p.step)).toEqual(Array.from({ length: 12 }, (_, i) => i + 1));
    expect(readFileSync(join(dir, 'run.lock', '1'), 'utf8')).toMatch(/ free\n$/);
  });

  it('makes the loss go down', async () => {
    const dir = temporaryFolder();
    await start(dir, { run: tinyRun({ train: { steps: 60, lr: 2e-2, logEvery: 10 } }) });
    const losses = linesOf(dir).map((l) => l['train/loss']!);
    expect(losses.at(-1)).toBeLessThan(losses[0]! - 0.3);
  });

  it('gives the same numbers for the same seed, and others for another', async () => {
    const [a, b, c] = [temporaryFolder(), temporaryFolder(), temporaryFolder()];
    await start(a);
    await start(b);
    await start(c, { run: tinyRun({ seed: 2 }) });
    expectSameResult(a, b);
    expect(finalBytes(a, 'model.safetensors').equals(finalBytes(c, 'model.safetensors'))).toBe(false);
  });

  it.each([1, 2])('resumes bit for bit after interruptions, with %i microbatches', async (accumulate) => {
    const [whole, parts] = [temporaryFolder(), temporaryFolder()];
    const run = tinyRun({ train: { accumulate } });
    await start(whole, { run, hooks: { evaluate } });
    await interruptAt(parts, 4, { run });
    expect(status(parts)).toMatchObject({ state: 'interrupted', step: 4 });
    expect(status(parts).message).toMatch(/stopped after step 4; resume/);
    expect(stepsOf(parts)).toEqual([4]);
    await interruptAt(parts, 11, { run, resume: 'yes' });
    expect(stepsOf(parts)).toEqual([5, 10, 11]); // that of step 4 was not scheduled and goes with the next
    const notes: string[] = [];
    const note = (text: string) => notes.push(text);
    const result = await start(parts, { run, resume: 'auto', hooks: { note } });
    expect(result.resumedFrom).toBe(11);
    expect(notes).toEqual(['resuming from step 11 of 12']);
    expect(stepsOf(parts)).toEqual([5, 10, 12]);
    for (const file of ['model.safetensors', 'optimizer.safetensors']) {
      expect(finalBytes(parts, file).equals(finalBytes(whole, file)), file).toBe(true);
    }
    const trained = (dir: string) => numbersOf(dir).filter((l) => 'train/loss' in l);
    expect(trained(parts)).toEqual(trained(whole));
    const { resumes } = readJson(join(parts, 'config.json')) as { resumes: { step: number }[] };
    expect(resumes.map((r) => r.step)).toEqual([4, 11]);
  });

  it('resumes a mixture of sources bit for bit, and refuses if the text has changed', async () => {
    const [whole, parts] = [temporaryFolder(), temporaryFolder()];
    const baseDir = temporaryFolder();
    const text = 'the quick brown fox jumps over the lazy dog. '.repeat(9);
    writeFileSync(join(baseDir, 'fox.txt'), text);
    const data = [TINY_DATA, { kind: 'text', files: 'fox.txt', weight: 2 }];
    const run = tinyRun({ model: { vocabSize: 256 }, data });
    await start(whole, { run, baseDir });
    await interruptAt(parts, 7, { run, baseDir });
    writeFileSync(join(baseDir, 'fox.txt'), text.toUpperCase());
    await expect(start(parts, { run, baseDir, resume: 'yes' })).rejects.toThrow(/text files differ from those/);
    writeFileSync(join(baseDir, 'fox.txt'), text);
    await start(parts, { run, baseDir, resume: 'yes' });
    for (const file of ['model.safetensors', 'optimizer.safetensors']) {
      expect(finalBytes(parts, file).equals(finalBytes(whole, file)), file).toBe(true);
    }
  });

  it('goes back to the last checkpoint after dying between two, and forgets what came after it', async () => {
    const [whole, dead] = [temporaryFolder(), temporaryFolder()];
    await start(whole, { hooks: { evaluate } });
    cpSync(whole, dead, { recursive: true });
    for (const step of ['000010', '000012']) rmSync(join(dead, 'checkpoints', `step-${step}`), { recursive: true });
    mkdirSync(join(dead, 'checkpoints', '.step-000010.999.tmp'));
    mkdirSync(join(dead, 'evals'));
    for (const step of ['000005', '000008']) writeFileSync(join(dead, 'evals', `step-${step}.json`), '{}');
    await start(dead, { resume: 'yes', hooks: { evaluate } });
    expectSameResult(whole, dead);
    expect(readdirSync(join(dead, 'evals'))).toEqual(['step-000005.json']);
    expect(readdirSync(join(dead, 'checkpoints'))).toEqual(['step-000005', 'step-000010', 'step-000012']);
  });

  it('begins anew when it died before its first checkpoint, and has nothing to do when done', async () => {
    const [whole, dead] = [temporaryFolder(), temporaryFolder()];
    await start(whole, { hooks: { evaluate } });
    cpSync(whole, dead, { recursive: true });
    rmSync(join(dead, 'checkpoints'), { recursive: true });
    expect((await start(dead, { resume: 'auto', hooks: { evaluate } })).resumedFrom).toBeNull();
    expectSameResult(whole, dead);
    const before = readFileSync(join(dead, 'metrics.jsonl'), 'utf8');
    expect((await start(dead, { resume: 'yes' })).resumedFrom).toBe(12);
    expect(readFileSync(join(dead, 'metrics.jsonl'), 'utf8')).toBe(before);
    expect(status(dead).state).toBe('done');
  });

  it('keeps as many checkpoints as asked for', async () => {
    const dir = temporaryFolder();
    await start(dir, { run: tinyRun({ train: { checkpointEvery: 2, keepCheckpoints: 2 } }) });
    expect(stepsOf(dir)).toEqual([10, 12]);
    const last = temporaryFolder();
    await start(last, { run: tinyRun({ train: { checkpointEvery: 0 } }) });
    expect(stepsOf(last)).toEqual([12]);
  });

  it('stops before the first step if it is told to, leaving a run that can be resumed', async () => {
    const dir = temporaryFolder();
    await expect(start(dir, { signal: AbortSignal.abort() })).rejects.toThrow(/stopped after step 0/);
    expect(status(dir)).toMatchObject({ state: 'interrupted', step: 0 });
    await start(dir, { resume: 'yes' });
    expect(status(dir).state).toBe('done');
  });
});

describe('trainRun refuses', () => {
  it('a folder that holds a run, or other things, or is a file', async () => {
    const dir = temporaryFolder();
    await start(join(dir, 'run'));
    const before = readFileSync(join(dir, 'run', 'metrics.jsonl'));
    await expect(start(join(dir, 'run'))).rejects.toThrow(
      /already holds a run; resume it \(--resume\) or choose another/,
    );
    expect(readFileSync(join(dir, 'run', 'metrics.jsonl')).equals(before)).toBe(true);
    await expect(start(dir)).rejects.toThrow(/is not empty and holds no run/);
    writeFileSync(join(dir, 'file'), '');
    await expect(start(join(dir, 'file'))).rejects.toThrow(StoreError);
    await expect(start(join(dir, 'file', 'run'))).rejects.toThrow(StoreError);
    await expect(start(join(dir, 'none'), { resume: 'yes' })).rejects.toThrow(/holds no run to resume/);
    expect(existsSync(join(dir, 'none'))).toBe(false);
  });

  it('a folder in which another process trains', async () => {
    const dir = temporaryFolder();
    await start(dir);
    const lock = await takeLock(join(dir, 'run.lock'), dir);
    await expect(start(dir, { resume: 'yes' })).rejects.toThrow(`is in use by process ${process.pid}`);
    lock.release();
    rmSync(join(dir, 'run.lock'), { recursive: true });
    writeFileSync(join(dir, 'run.lock'), '{"pid":');
    await start(dir, { resume: 'yes' });
  });

  it('to resume another configuration, naming what differs', async () => {
    const dir = temporaryFolder();
    await interruptAt(dir, 6);
    const other = (run: RunConfig) => expect(start(dir, { run, resume: 'yes' })).rejects;
    await other(tinyRun({ model: { layers: 'swa:5 full' } })).toThrow(
      'holds another run: model.layers[0].groups[0].window was 4, now 5; use the same configuration or another folder',
    );
    await other(tinyRun({ train: { lr: 0.5 } })).toThrow(/train\.lr was 0\.01, now 0\.5/);
    await other(tinyRun({ seed: 3 })).toThrow(/seed was 1, now 3/);
    await other(tinyRun({ data: { ...TINY_DATA, reuseProbability: 0.5 } })).toThrow(
      /data\[0\]\.reuseProbability was 0\.6/,
    );
    await start(dir, { run: tinyRun({ train: { logEvery: 1, checkpointEvery: 0 } }), resume: 'yes' });
  });

  it('a checkpoint of another architecture', async () => {
    const [dir, other] = [temporaryFolder(), temporaryFolder()];
    await interruptAt(dir, 6);
    await start(other, { run: tinyRun({ model: { intermediateSize: 24 }, train: { steps: 6 } }) });
    rmSync(join(dir, 'checkpoints'), { recursive: true });
    cpSync(join(other, 'checkpoints'), join(dir, 'checkpoints'), { recursive: true });
    await expect(start(dir, { resume: 'yes' })).rejects.toThrow(
      /step-000006 is of another run: model\.intermediateSize was 24, now 16/,
    );
  });

  it('a model whose vocabulary is too small for the data, and data that are not there', async () => {
    const dir = join(temporaryFolder(), 'run');
    await expect(start(dir, { run: tinyRun({ model: { vocabSize: 11 } }) })).rejects.toThrow(ConfigError);
    const text = tinyRun({ model: { vocabSize: 256 }, data: { kind: 'text', files: 'nowhere.txt' } });
    await expect(start(dir, { run: text, baseDir: '/' })).rejects.toThrow(DataError);
    expect(existsSync(dir)).toBe(false);
  });
});

describe('damaged checkpoints', () => {
  it('are passed over, named, for an older complete one, and the result is the same', async () => {
    const [whole, dir] = [temporaryFolder(), temporaryFolder()];
    await start(whole);
    cpSync(whole, dir, { recursive: true });
    rmSync(join(dir, 'checkpoints', 'step-000012', 'state.json'));
    truncateSync(join(dir, 'checkpoints', 'step-000010', 'model.safetensors'), 1000);
    const notes: string[] = [];
    const result = await start(dir, { resume: 'yes', hooks: { note: (text) => notes.push(text) } });
    expect(result.resumedFrom).toBe(5);
    expect(notes[0]).toMatch(/checkpoint step-000012 is damaged and not used \(cannot read .*state\.json.*; remove it/);
    expect(notes[1]).toMatch(/checkpoint step-000010 is damaged and not used \(.*model\.safetensors is not a complete/);
    expectSameResult(whole, dir);
  });

  it('stop a resumption if none is complete', async () => {
    const dir = temporaryFolder();
    await start(dir, { run: tinyRun({ train: { checkpointEvery: 0 } }) });
    truncateSync(join(dir, 'checkpoints', 'step-000012', 'optimizer.safetensors'), 100);
    const resumed = start(dir, { run: tinyRun(), resume: 'yes' });
    await expect(resumed).rejects.toThrow(StoreError);
    await expect(resumed).rejects.toThrow(
      /no checkpoint of .* is complete: .*step-000012.*remove .*checkpoints to train from/,
    );
  });
});

describe('findCheckpoint', () => {
  it('takes a run folder, a step, or a checkpoint folder, and says what is there otherwise', async () => {
    const dir = temporaryFolder();
    await start(dir);
    expect(basename(findCheckpoint(dir).path)).toBe('step-000012');
    expect(findCheckpoint(dir, 5).state.step).toBe(5);
    const checkpoint = findCheckpoint(join(dir, 'checkpoints', 'step-000010'));
    expect(checkpoint.state.model).toEqual(tinyRun().model);
    const stored = readSafetensors(join(checkpoint.path, 'model.safetensors'));
    for (const [name, tensor] of checkpoint.parameters()) expect(toNumbers(tensor)).toEqual(toNumbers(stored[name]!));
    expect(() => findCheckpoint(dir, 6)).toThrow(/no checkpoint of step 6; there are: 5, 10, 12/);
    expect(() => findCheckpoint(join(dir, 'checkpoints', 'step-000099'))).toThrow(
      /there is no checkpoint .*step-000099/,
    );
    expect(() => findCheckpoint(temporaryFolder())).toThrow(/has no checkpoint/);
  });
});

describe('divergence', () => {
  it('stops at the step, names it, and keeps the last good checkpoint', async () => {
    const dir = temporaryFolder();
    const run = tinyRun({ train: { lr: 1e38, warmupSteps: 0, schedule: 'constant', clipNorm: 0, checkpointEvery: 1 } });
    const failed = start(dir, { run });
    await expect(failed).rejects.toThrow(DivergedError);
    const { message, details } = await failed.then(
      () => new Error() as DivergedError,
      (error: unknown) => error as DivergedError,
    );
    const { step } = details as { step: number };
    expect(message).toMatch(new RegExp(`(training diverged at|is not finite after) step ${step}.*lower train\\.lr`));
    expect(status(dir)).toMatchObject({ state: 'failed', message });
    for (const { path } of listCheckpoints(dir)) {
      for (const tensor of findCheckpoint(path).parameters().values()) {
        expect(toNumbers(tensor).every(Number.isFinite)).toBe(true);
      }
    }
    expect(readdirSync(dir).includes('checkpoints') ? readdirSync(join(dir, 'checkpoints')) : []).not.toContainEqual(
      expect.stringMatching(/tmp/),
    );
  });

  it('is said of experts too, whose scores are not numbers then', async () => {
    const run = tinyRun({ model: { experts: { count: 4, perToken: 2, intermediateSize: 16 } } });
    const dir = temporaryFolder();
    await interruptAt(dir, 5, { run });
    const path = join(dir, 'checkpoints', 'step-000005', 'model.safetensors');
    const bytes = readFileSync(path);
    const header = Number(bytes.readBigUInt64LE(0));
    bytes.fill(0xff, 8 + header); // all weights become NaN
    writeFileSync(path, bytes);
    await expect(start(dir, { run, resume: 'yes' })).rejects.toThrow(/training diverged at step 6: the loss is NaN/);
  });

  it('is noticed in a loss that is not a number, with the step of the checkpoint that is kept', async () => {
    const dir = temporaryFolder();
    await interruptAt(dir, 5);
    const path = join(dir, 'checkpoints', 'step-000005', 'model.safetensors');
    const bytes = readFileSync(path);
    bytes.writeUInt32LE(0x7fc00000, bytes.length - 4); // the last weight of the last tensor becomes NaN
    writeFileSync(path, bytes);
    await expect(start(dir, { resume: 'yes' })).rejects.toThrow(
      /training diverged at step 6: the loss is NaN; the checkpoint of step 5 is kept; lower train\.lr/,
    );
    expect(stepsOf(dir)).toEqual([5]);
    expect(status(dir)).toMatchObject({ state: 'failed', step: 5 });
  });
});
