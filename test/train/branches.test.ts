/** Runs that go on from another's state at the step up to which both are the same. */
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readJson } from '../../src/core/index.js';
import { createEngine, createReferenceEngine, findPlugin, type Engine } from '../../src/engine/index.js';
import { branchPath, isBranchThere, takeOverBeginning, type BranchPoint } from '../../src/run/index.js';
import { trainRun, type TrainInput, type TrainRunOptions } from '../../src/train/index.js';
import { temporaryFolder, tinyRun } from './support.js';

const wsd = (steps: number, decaySteps: number, change: Partial<TrainInput> = {}) =>
  tinyRun({ train: { schedule: 'wsd', steps, decaySteps, logEvery: 2, evalEvery: 3, checkpointEvery: 4, ...change } });

/** The longer run decays after step 11, the shorter one after step 6. */
const [LONG, SHORT] = [wsd(14, 3), wsd(9, 3)];
const AT = 6;

const evaluate = ({ step }: { step: number }) => Promise.resolve({ 'eval/loss': step });

function train(engine: Engine, dir: string, more: Partial<TrainRunOptions>) {
  return trainRun({ dir, run: LONG, engine, hooks: { evaluate }, ...more });
}

const point = (dir: string, step = AT): BranchPoint => ({ dir, name: 'long', step, findings: ['heads'] });

function metricsOf(dir: string) {
  const lines = readFileSync(join(dir, 'metrics.jsonl'), 'utf8').trimEnd().split('\n');
  return lines.map((line) => {
    const { time: _time, 'train/tok_per_sec': _speed, ...numbers } = JSON.parse(line) as Record<string, number>;
    return numbers;
  });
}

/** The same checkpoints, bit for bit, with the same states; the same metrics. */
function expectSame(dir: string, alone: string): void {
  const names = readdirSync(join(alone, 'checkpoints'));
  expect(readdirSync(join(dir, 'checkpoints'))).toEqual(names);
  for (const name of names) {
    for (const file of ['model.safetensors', 'optimizer.safetensors']) {
      const bytes = (of: string) => readFileSync(join(of, 'checkpoints', name, file));
      expect(bytes(dir).equals(bytes(alone)), `${name}/${file}`).toBe(true);
    }
    const stateOf = (of: string) => ({ ...(readJson(join(of, 'checkpoints', name, 'state.json')) as object), time: 0 });
    expect(stateOf(dir)).toEqual(stateOf(alone));
  }
  expect(metricsOf(dir)).toEqual(metricsOf(alone));
}

const engines: [string, (() => Engine) | null][] = [
  ['reference', createReferenceEngine],
  ['onnx', () => createEngine('onnx', { threads: 1 })],
  ['xla:cpu', findPlugin('cpu') === null ? null : () => createEngine('xla:cpu')],
];

describe.each(engines)('a run that goes on from another on %s', (_name, make) => {
  it.skipIf(make === null)('is bit for bit the run that was trained alone', async () => {
    const engine = (make as () => Engine)();
    try {
      const [alone, long, plain, short] = [1, 2, 3, 4].map(() => temporaryFolder()) as [string, string, string, string];
      await train(engine, alone, { run: SHORT });
      await train(engine, plain, {});
      await train(engine, long, { branchAt: [AT] });
      // What is kept for others changes nothing in the run itself.
      expectSame(long, plain);
      const steps: number[] = [];
      await train(engine, short, {
        run: SHORT,
        branch: point(long),
        hooks: { evaluate, progress: ({ step }) => void steps.push(step) },
      });
      expect(steps).toEqual([7, 8, 9]);
      expectSame(short, alone);
      expect((readJson(join(short, 'config.json')) as { resumes: unknown }).resumes).toMatchObject([
        { step: AT, from: 'long' },
      ]);
    } finally {
      await engine.dispose();
    }
  });
});

describe('a run that goes on from another', () => {
  const engine = createReferenceEngine();

  it('takes an earlier checkpoint where the state at the step is gone, and begins itself where there is none', async () => {
    const [alone, long, short, own] = [1, 2, 3, 4].map(() => temporaryFolder()) as [string, string, string, string];
    await train(engine, alone, { run: SHORT });
    await train(engine, long, {});
    expect(isBranchThere(long, AT)).toBe(false);
    const { resumedFrom } = await train(engine, short, { run: SHORT, branch: point(long) });
    expect(resumedFrom).toBe(4);
    expectSame(short, alone);
    const none = await train(engine, own, { run: SHORT, branch: point(join(long, 'nowhere')) });
    expect(none.resumedFrom).toBeNull();
    expectSame(own, alone);
  });

  it('takes over again where it was killed before the state itself was there', async () => {
    const [alone, long, short] = [1, 2, 3].map(() => temporaryFolder()) as [string, string, string];
    await train(engine, alone, { run: SHORT });
    await train(engine, long, { branchAt: [AT] });
    await train(engine, short, { run: SHORT, branch: point(long) });
    for (const name of ['step-000006', 'step-000008', 'step-000009'])
      rmSync(join(short, 'checkpoints', name), { recursive: true, force: true });
    const { resumedFrom } = await train(engine, short, { run: SHORT, resume: 'auto', branch: point(long) });
    expect(resumedFrom).toBe(AT);
    expectSame(short, alone);
  });

  it('takes the state that is kept where the other run removes its checkpoint of that step meanwhile', async () => {
    const [long, short] = [temporaryFolder(), temporaryFolder()];
    await train(engine, long, { run: wsd(14, 3, { checkpointEvery: 2 }), branchAt: [AT] });
    const taken = takeOverBeginning(short, point(long));
    rmSync(join(long, 'checkpoints/step-000006'), { recursive: true });
    expect(await taken).toBe(AT);
    expect(readdirSync(join(short, 'checkpoints'))).toEqual(['step-000002', 'step-000004', 'step-000006']);
  });

  it('keeps its own state where that is further', async () => {
    const [long, short] = [temporaryFolder(), temporaryFolder()];
    await train(engine, long, { branchAt: [AT] });
    const abort = new AbortController();
    const stop = ({ step }: { step: number }) => (step === 8 ? abort.abort() : undefined);
    const stopped = train(engine, short, { run: SHORT, hooks: { evaluate, progress: stop }, signal: abort.signal });
    await expect(stopped).rejects.toThrow('stopped after step 8');
    const { resumedFrom } = await train(engine, short, { run: SHORT, resume: 'auto', branch: point(long) });
    expect(resumedFrom).toBe(8);
  });

  it('finds the state that a stopped run kept only once it was resumed', async () => {
    const long = temporaryFolder();
    const abort = new AbortController();
    const stop = ({ step }: { step: number }) => (step === AT ? abort.abort() : undefined);
    const stopped = train(engine, long, { hooks: { evaluate, progress: stop }, signal: abort.signal });
    await expect(stopped).rejects.toThrow(`stopped after step ${AT}`);
    await train(engine, long, { resume: 'auto', branchAt: [AT] });
    expect(existsSync(branchPath(long, AT))).toBe(true);
  });

  it('refuses a folder that holds another run', async () => {
    const [long, other] = [temporaryFolder(), temporaryFolder()];
    await train(engine, long, { branchAt: [AT] });
    await train(engine, other, { run: wsd(9, 3, { lr: 1e-3 }) });
    const taken = train(engine, other, { run: SHORT, resume: 'auto', branch: point(long) });
    await expect(taken).rejects.toThrow('holds another run');
  });
});
