/** Steps started before the numbers of earlier ones are read: the same results, stops and failures as one step at a time. */
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { EngineError, pending, readJson } from '../../src/core/index.js';
import { createReferenceEngine, type Engine } from '../../src/engine/index.js';
import { trainRun, type TrainHooks, type TrainProgress, type TrainRunOptions } from '../../src/train/index.js';
import { temporaryFolder, tinyRun } from './support.js';
import { listCheckpoints } from '../../src/run/index.js';

const reference = createReferenceEngine();

/** The reference engine, asking for runs ahead; counts how many runs there were before each reading of a step's numbers. */
function eager(runsAhead: number): { engine: Engine; started: () => number; ahead: number[] } {
  let started = 0;
  let read = 0;
  const ahead: number[] = [];
  const engine: Engine = {
    ...reference,
    hints: { ...reference.hints, runsAhead, accelerator: true },
    compile: async (graph, options) => {
      const program = await reference.compile(graph, options);
      return {
        ...{ graph, dispose: () => program.dispose() },
        run: (inputs) => {
          started++;
          return program.run(inputs);
        },
      };
    },
    download: (tensor) => {
      // A step has two numbers, loss and gradient norm.
      if (tensor.shape.length === 0 && read++ % 2 === 0) ahead.push(started - ahead.length);
      return reference.download(tensor);
    },
  };
  return { engine, started: () => started, ahead };
}

const start = (dir: string, more: Partial<TrainRunOptions>) =>
  trainRun({ dir, run: tinyRun(), engine: reference, ...more });

const lines = (dir: string) =>
  readFileSync(join(dir, 'metrics.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => {
      const { time: _time, 'train/tok_per_sec': _speed, ...numbers } = JSON.parse(line) as Record<string, number>;
      return numbers;
    });

function expectSame(a: string, b: string): void {
  for (const file of ['model.safetensors', 'optimizer.safetensors']) {
    const bytes = (dir: string) => readFileSync(join(dir, 'checkpoints', 'step-000012', file));
    expect(bytes(a).equals(bytes(b)), file).toBe(true);
  }
  expect(lines(b)).toEqual(lines(a));
}

describe('runs ahead', () => {
  const run = tinyRun({ train: { logEvery: 6, evalEvery: 0, checkpointEvery: 0 } });

  it.each([
    [1, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]],
    [3, [3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 2, 1]],
    [50, [12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1]],
  ])(
    'starts %i steps before it waits for the first, and writes metrics as numbers arrive',
    async (runsAhead, expected) => {
      const [plain, dir] = [temporaryFolder(), temporaryFolder()];
      const { engine, ahead } = eager(runsAhead);
      await start(plain, { run });
      await start(dir, { run, engine });
      expect(ahead).toEqual(expected);
      expectSame(plain, dir);
    },
  );

  it('has nothing under way while it evaluates or writes a checkpoint', async () => {
    const { engine, started } = eager(4);
    const points: number[] = [];
    const evaluate = async ({ step }: { step: number }) => {
      expect(started()).toBe(step);
      points.push(step);
      return {};
    };
    await start(temporaryFolder(), { engine, hooks: { evaluate } });
    expect(points).toEqual([0, 4, 5, 8, 10, 12]);
  });

  it('starts the next steps before it waits for an evaluation, and writes what that came to where it belongs', async () => {
    const often = tinyRun({ train: { logEvery: 1, evalEvery: 4, checkpointEvery: 8 } });
    const [plain, dir] = [temporaryFolder(), temporaryFolder()];
    const { engine, started } = eager(3);
    const seen: [step: number, started: number][] = [];
    /** Measures a parameter as it is when the evaluation is started. */
    const evaluate =
      (on: Engine, dir: string): NonNullable<TrainHooks['evaluate']> =>
      async ({ step, parameters, atCheckpoint }) => {
        const value = Number((await on.download(Object.values(parameters)[0]!)).data[0]);
        return pending(
          async () => {
            seen.push([step, started()]);
          },
          () => {
            // What is found at a checkpoint is written before the checkpoint is there.
            if (atCheckpoint) expect(listCheckpoints(dir).map((c) => c.step)).not.toContain(step);
            return { value };
          },
        );
      };
    await start(plain, { run: often, hooks: { evaluate: evaluate(reference, plain) } });
    seen.length = 0;
    await start(dir, { run: often, engine, hooks: { evaluate: evaluate(engine, dir) } });
    expect(seen).toEqual([
      [0, 4],
      [4, 8],
      [8, 12],
      [12, 12],
    ]);
    expectSame(plain, dir);
    expect(listCheckpoints(dir).map((c) => c.step)).toEqual(listCheckpoints(plain).map((c) => c.step));
  });

  it('ends with the sentence of an evaluation that fails while steps are under way, without its checkpoint', async () => {
    const often = tinyRun({ train: { logEvery: 1, evalEvery: 0, checkpointEvery: 3 } });
    const dir = temporaryFolder();
    let broken = true;
    const evaluate: NonNullable<TrainHooks['evaluate']> = async ({ step }) =>
      pending(
        async () => {
          if (broken && step === 6) throw new EngineError('the device is gone');
        },
        () => ({}),
      );
    const ended = start(dir, { run: often, engine: eager(3).engine, hooks: { evaluate } });
    await expect(ended).rejects.toThrow(/^the device is gone$/);
    expect(readJson(join(dir, 'status.json'))).toMatchObject({ state: 'failed', message: 'the device is gone' });
    expect(listCheckpoints(dir).map((c) => c.step)).toEqual([3]);
    expect(readdirSync(join(dir, 'checkpoints'))).toEqual(['step-000003']);
    // The same command goes on from there, to the same result.
    const whole = temporaryFolder();
    broken = false;
    await start(whole, { run: often, hooks: { evaluate } });
    await start(dir, { run: often, resume: 'yes', engine: eager(3).engine, hooks: { evaluate } });
    expectSame(whole, dir);
  });

  it('reports every step in order', async () => {
    const plain: TrainProgress[] = [];
    const ahead: TrainProgress[] = [];
    await start(temporaryFolder(), { run, hooks: { progress: (p) => plain.push(p) } });
    await start(temporaryFolder(), { run, engine: eager(5).engine, hooks: { progress: (p) => ahead.push(p) } });
    const numbers = (all: readonly TrainProgress[]) => all.map(({ tokPerSec: _, ...p }) => p);
    expect(numbers(ahead)).toEqual(numbers(plain));
  });

  it('stops and resumes bit for bit', async () => {
    const [whole, parts] = [temporaryFolder(), temporaryFolder()];
    await start(whole, { run });
    for (const [resume, at] of [
      ['no', 2],
      ['yes', 7],
    ] as const) {
      const abort = new AbortController();
      const progress = (p: TrainProgress) => {
        if (p.step === at) abort.abort();
      };
      const stopped = start(parts, {
        ...{ run, resume, engine: eager(3).engine, signal: abort.signal },
        hooks: { progress },
      });
      await expect(stopped).rejects.toThrow(/stopped after step/);
      const { step } = readJson(join(parts, 'status.json')) as { step: number };
      // What was under way is finished, not thrown away.
      expect(step).toBe(at + 2);
      expect(listCheckpoints(parts).map((c) => c.step)).toEqual([step]);
    }
    await start(parts, { run, resume: 'yes', engine: eager(3).engine });
    expectSame(whole, parts);
  });

  it('names the step that diverged, not the one that was under way', async () => {
    const dir = temporaryFolder();
    const abort = new AbortController();
    const progress = (p: TrainProgress) => {
      if (p.step === 5) abort.abort();
    };
    await expect(start(dir, { run, signal: abort.signal, hooks: { progress } })).rejects.toThrow(/after step 5/);
    const path = join(dir, 'checkpoints', 'step-000005', 'model.safetensors');
    const bytes = readFileSync(path);
    bytes.writeUInt32LE(0x7fc00000, bytes.length - 4); // the last weight of the last tensor becomes NaN
    writeFileSync(path, bytes);
    const rare = tinyRun({ train: { logEvery: 12, evalEvery: 0, checkpointEvery: 0 } });
    const { engine, started } = eager(4);
    await expect(start(dir, { run: rare, resume: 'yes', engine })).rejects.toThrow(
      /training diverged at step 6: the loss is NaN; the checkpoint of step 5 is kept/,
    );
    expect(started()).toBeGreaterThan(1);
    expect(readJson(join(dir, 'status.json'))).toMatchObject({ state: 'failed', step: 5 });
  });

  it('writes checkpoints beside the steps: the same files, and a disk that does not take one ends the run', async () => {
    const often = tinyRun({ train: { logEvery: 6, evalEvery: 0, checkpointEvery: 3 } });
    const [plain, dir, broken] = [temporaryFolder(), temporaryFolder(), temporaryFolder()];
    await start(plain, { run: often });
    await start(dir, { run: often, engine: eager(3).engine });
    expectSame(plain, dir);
    expect(listCheckpoints(dir).map((c) => c.step)).toEqual(listCheckpoints(plain).map((c) => c.step));
    const checkpoints = join(broken, 'checkpoints');
    const progress = ({ step }: TrainProgress) => {
      if (step !== 5) return;
      rmSync(checkpoints, { recursive: true, force: true });
      writeFileSync(checkpoints, 'in the way');
    };
    const ended = start(broken, { run: often, engine: eager(3).engine, hooks: { progress } });
    await expect(ended).rejects.toThrow(/^cannot (make folder|write|rename) .*checkpoints/);
    expect(readJson(join(broken, 'status.json'))).toMatchObject({ state: 'failed' });
  });
});
