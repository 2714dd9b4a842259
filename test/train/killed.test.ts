/** Runs in processes of their own, killed. They run what is built in `dist`, bundled; `npm test` builds it first. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { readJson, Rng } from '../../src/core/index.js';
import { BUNDLED } from '../support/main.js';
import { temporaryFolder, tinyRun } from './support.js';
import { listCheckpoints } from '../../src/run/index.js';

const CHILD = join(BUNDLED, 'tests', 'child.js');
const THREADS = 2;
const STEPS = 40;

const run = tinyRun({
  model: { hiddenSize: 32, numHeads: 4, intermediateSize: 64, layers: 'swa:4 full:nope' },
  train: { steps: STEPS, seqLen: 32, batchSize: 8, checkpointEvery: 3, evalEvery: 0, keepCheckpoints: 3 },
});

interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly output: string;
}

/** Trains in a child that gets `signal` after step `atStep`, or after `afterMs`. */
function train(
  dir: string,
  kill?: { signal: NodeJS.Signals; atStep?: number; afterMs?: number },
  { delayMs = 0, shell = '' } = {},
): Promise<Ending> {
  const runFile = `${dir}.json`;
  if (!existsSync(runFile)) writeFileSync(runFile, JSON.stringify(run));
  const own = kill?.atStep === undefined ? '@' : `${kill.signal}@${kill.atStep}`;
  const args = [CHILD, dir, runFile, String(THREADS), String(delayMs), own];
  const child =
    shell === ''
      ? spawn(process.execPath, args)
      : spawn('bash', ['-c', `${shell}; exec "$0" "$@"`, process.execPath, ...args]);
  let output = '';
  let timer: NodeJS.Timeout | undefined;
  if (kill?.afterMs !== undefined) timer = setTimeout(() => child.kill(kill.signal), kill.afterMs);
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  return new Promise((resolve) => {
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, output });
    });
  });
}

const finalFile = (dir: string, name: string) => readFileSync(join(dir, 'checkpoints', 'step-000040', name));

function expectSameResult(a: string, b: string): void {
  for (const name of ['model.safetensors', 'optimizer.safetensors']) {
    expect(finalFile(a, name).equals(finalFile(b, name)), name).toBe(true);
  }
  const losses = (dir: string) =>
    readFileSync(join(dir, 'metrics.jsonl'), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as Record<string, number>)['train/loss']);
  expect(losses(b)).toEqual(losses(a));
}

const shared = mkdtempSync(join(tmpdir(), 'longsight-killed-'));
afterAll(() => rmSync(shared, { recursive: true, force: true }));
let made: Promise<string> | undefined;
/** The run that nobody disturbs, trained once. */
const undisturbed = (): Promise<string> =>
  (made ??= (async () => {
    const dir = join(shared, 'whole');
    expect(await train(dir)).toMatchObject({ code: 0 });
    return dir;
  })());

/** Puts down a run by Muon for `train` to find. */
function givenMuon(dir: string): void {
  const muon = tinyRun({ train: { optimizer: 'muon' } }).train.muon;
  writeFileSync(`${dir}.json`, JSON.stringify({ ...run, train: { ...run.train, optimizer: 'muon', muon } }));
}

describe('a run in its own process', () => {
  it('by Muon, killed and resumed, ends with the parameters and the momentum of an uninterrupted one', async () => {
    const folder = temporaryFolder();
    const [whole, dir] = [join(folder, 'whole'), join(folder, 'killed')];
    for (const own of [whole, dir]) givenMuon(own);
    expect(await train(whole)).toMatchObject({ code: 0 });
    expect((await train(dir, { signal: 'SIGKILL', atStep: 17 }, { delayMs: 2 })).signal).toBe('SIGKILL');
    expect((await train(dir)).output).toMatch(/note resuming from step 1\d of 40/);
    expectSameResult(whole, dir);
  });

  it('killed twice at random moments and resumed ends with the parameters of an uninterrupted run', async () => {
    const folder = temporaryFolder();
    const whole = await undisturbed();
    const seed = Date.now();
    const rng = Rng.of(seed, 'kill');
    for (let trial = 0; trial < 3; trial++) {
      const dir = join(folder, `killed-${trial}`);
      const first = 2 + rng.int(STEPS / 2);
      const second = first + 1 + rng.int(STEPS - first - 2);
      const steps = `seed ${seed}, trial ${trial}: killed at ${first} and ${second}`;
      for (const step of [first, second]) {
        const ending = await train(dir, { signal: 'SIGKILL', atStep: step }, { delayMs: 2 });
        expect(ending.signal, `${steps}: ${ending.output}`).toBe('SIGKILL');
        expect(readJson(join(dir, 'status.json')), steps).toMatchObject({ state: 'running' });
      }
      const last = await train(dir);
      expect(last, steps).toMatchObject({ code: 0 });
      expect(last.output, steps).toMatch(/note resuming from step \d+ of 40/);
      expectSameResult(whole, dir);
    }
  });

  it('survives being killed at any moment, checkpoints being written included', async () => {
    const folder = temporaryFolder();
    const whole = await undisturbed();
    const dir = join(folder, 'killed');
    const seed = Date.now();
    const rng = Rng.of(seed, 'moments');
    let killed = 0;
    for (let attempt = 0; attempt < 12; attempt++) {
      // The steps take longer than the latest moment, however fast the machine is.
      const ending = await train(dir, { signal: 'SIGKILL', afterMs: 250 + rng.int(400) }, { delayMs: 20 });
      if (ending.signal === null) break;
      killed++;
    }
    expect(killed, `seed ${seed}`).toBeGreaterThan(0);
    expect(await train(dir), `seed ${seed}`).toMatchObject({ code: 0 });
    expectSameResult(whole, dir);
  });

  it('stops on Ctrl-C with a checkpoint and exit code 130, and goes on from there', async () => {
    const folder = temporaryFolder();
    const [whole, dir] = [await undisturbed(), join(folder, 'stopped')];
    const ending = await train(dir, { signal: 'SIGINT', atStep: 7 }, { delayMs: 20 });
    expect(ending.code, ending.output).toBe(130);
    const { state, step } = readJson(join(dir, 'status.json')) as { state: string; step: number };
    expect(state).toBe('interrupted');
    expect(step).toBeGreaterThanOrEqual(7);
    expect(step).toBeLessThan(STEPS);
    expect(ending.output).toContain(`InterruptedError: training was stopped after step ${step}; resume it`);
    const resumed = await train(dir);
    expect(resumed.output).toContain(`done 40 ${step}`);
    expectSameResult(whole, dir);
  });

  it('says that a file could not be written, keeps what is there, and goes on once it can', async () => {
    const folder = temporaryFolder();
    const [whole, dir] = [await undisturbed(), join(folder, 'full')];
    await train(dir, { signal: 'SIGINT', atStep: 7 }, { delayMs: 20 });
    const before = listCheckpoints(dir).map((c) => c.step);
    // No file may grow beyond 16 KiB: the next checkpoint cannot be written, as on a full disk.
    const ending = await train(dir, undefined, { shell: 'ulimit -f 16' });
    expect(ending.code, ending.output).toBe(2);
    expect(ending.output).toMatch(
      /StoreError: cannot write .*model\.safetensors: the file would be larger than allowed/,
    );
    expect(listCheckpoints(dir).map((c) => c.step)).toEqual(before);
    expect(readJson(join(dir, 'status.json'))).toMatchObject({ state: 'failed' });
    expect(await train(dir)).toMatchObject({ code: 0 });
    expectSameResult(whole, dir);
  });
});
