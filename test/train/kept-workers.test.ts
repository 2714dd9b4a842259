/** The built command line: worker processes of a study that stay for the next run. */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { lockHolder } from '../../src/core/index.js';
import { findPlugin } from '../../src/engine/xla/pjrt/discover.js';
import { folderWith } from '../support/folders.js';
import { MAIN } from '../support/main.js';

/** @param between architectures between the two */
const study = (steps: number, between = '') => `name: tiny
base:
  model: { hiddenSize: 8, numLayers: 2, numHeads: 2, intermediateSize: 16 }
  data: { kind: recall, numKeys: 4, numValues: 4, numFillers: 4 }
  train: { steps: ${steps}, seqLen: 16, batchSize: 4, warmupSteps: 2, evalEvery: 8, checkpointEvery: 16, logEvery: 2 }
  eval: { batches: 1, recall: { batches: 1, bins: [4, 16] }, trace: { samples: 4 } }
architectures: { full: full, ${between}small: 'swa:4 full' }
seeds: [1, 2]
`;
const WILD = `wild: { layers: 'full', init: { scheme: normal, std: 1.0e+19 } }, `;
const RUNS = ['full_seed-1', 'full_seed-2', 'small_seed-1', 'small_seed-2'];

function start(
  cwd: string,
  ...args: string[]
): { readonly child: ChildProcess; readonly ended: Promise<number | null> } {
  const child = spawn(process.execPath, [MAIN, 'study', ...args], { cwd, stdio: 'ignore' });
  return { child, ended: new Promise((done) => child.on('close', (code) => done(code))) };
}

const longsight = (cwd: string, ...args: string[]): Promise<number | null> => start(cwd, ...args).ended;

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((done) => setTimeout(done, 10));
}

/** Whether there is such a process; a negative id is that of a group. */
function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

interface Status {
  readonly state: string;
}

const read = (path: string): unknown => JSON.parse(readFileSync(path, 'utf8'));
const statusOf = (study: string, run: string) => read(join(study, 'runs', run, 'status.json')) as Status;

/** The process that was the last to hold a run, which its lock names when it is free too. */
function lastHolderOf(study: string, run: string): number {
  const lock = join(study, 'runs', run, 'run.lock');
  const [number = ''] = readdirSync(lock);
  const [line = ''] = readFileSync(join(lock, number), 'utf8').split('\n');
  return (JSON.parse(line) as { pid: number }).pid;
}

/** Whether a run has a checkpoint of step 32 or a later one: only the newest ones stay. */
function isUnderWay(dir: string): boolean {
  const checkpoints = join(dir, 'checkpoints');
  return (
    existsSync(checkpoints) &&
    readdirSync(checkpoints).some((name) => /^step-\d{6}$/.test(name) && name >= 'step-000032')
  );
}

/** All that a run has measured and learned, without the times. */
function contents(study: string, run: string): Record<string, string> {
  const dir = join(study, 'runs', run);
  const metrics = readFileSync(join(dir, 'metrics.jsonl'), 'utf8').trim().split('\n');
  const timeless = metrics.map((line) => {
    const { time: _, 'train/tok_per_sec': __, ...numbers } = JSON.parse(line) as Record<string, number>;
    return JSON.stringify(numbers);
  });
  const found: Record<string, string> = { metrics: timeless.join('\n') };
  for (const folder of ['evals', 'analysis'])
    for (const name of readdirSync(join(dir, folder))) found[name] = readFileSync(join(dir, folder, name), 'utf8');
  const checkpoints = join(dir, 'checkpoints');
  for (const step of readdirSync(checkpoints))
    for (const name of readdirSync(join(checkpoints, step)).filter((file) => file.endsWith('.safetensors')))
      found[`${step}/${name}`] = readFileSync(join(checkpoints, step, name)).toString('base64');
  return found;
}

/** The process that works on a run now; undefined while none does. */
function workerOf(study: string, run: string): number | undefined {
  const path = join(study, 'workers', `${run}.json`);
  return existsSync(path) ? (read(path) as { pid: number }).pid : undefined;
}

const engines = [['onnx'], ...(findPlugin('cpu').plugin === null ? [] : [['xla:cpu']])];

describe.each(engines)('workers that stay, on %s', (engine) => {
  it('give the same bits as a process for each run, and so does study run', async () => {
    const folder = folderWith({ 's.yaml': study(32) });
    const on = ['--engine', engine, '--threads', '1'];
    // A run that is a process's first, then one of the same design, then one of another; the last two also by themselves.
    const [together, alone] = [RUNS.slice(0, 3), RUNS.slice(1, 3)];
    const only = ['--only', 'full,small_seed-1', '--workers', '1'];
    expect(await longsight(folder, 's.yaml', '--out', 'kept', ...only, ...on)).toBe(0);
    for (const out of ['own', 'units']) expect(await longsight(folder, 'plan', 's.yaml', '--out', out)).toBe(0);
    for (const run of alone) expect(await longsight(folder, 'run', 'own', run, ...on)).toBe(0);
    expect(await longsight(folder, 'run', 'units', ...together, ...on)).toBe(0);
    for (const run of together) {
      const kept = contents(join(folder, 'kept'), run);
      expect(Object.keys(kept).length).toBeGreaterThan(8);
      expect(contents(join(folder, 'units'), run)).toEqual(kept);
      if (alone.includes(run)) expect(contents(join(folder, 'own'), run)).toEqual(kept);
    }
    // One process has held all runs, or each has been held by its own.
    for (const [out, runs, processes] of [
      ['kept', together, 1],
      ['units', together, 1],
      ['own', alone, alone.length],
    ] as const)
      expect(new Set(runs.map((run) => lastHolderOf(join(folder, out), run))).size).toBe(processes);
  });
});

describe('workers that stay', () => {
  it('go on to the same bits where one is killed in its second run, and then the study', async () => {
    const folder = folderWith({ 's.yaml': study(192) });
    const args = ['s.yaml', '--workers', '1', '--threads', '1'];
    const out = join(folder, 'out');
    const { child, ended } = start(folder, ...args, '--out', 'out');
    await until(() => workerOf(out, 'full_seed-1') !== undefined);
    const first = workerOf(out, 'full_seed-1');
    const under = (run: string) => isUnderWay(join(out, 'runs', run));
    await until(() => under('full_seed-2'));
    const second = workerOf(out, 'full_seed-2');
    expect(second).toBe(first);
    process.kill(second ?? 0, 'SIGKILL');
    await until(() => under('small_seed-1'));
    const third = workerOf(out, 'small_seed-1');
    expect(third).not.toBe(first);
    expect(statusOf(out, 'full_seed-2').state).toBe('done');
    child.kill('SIGKILL');
    await ended;
    expect(await longsight(folder, ...args, '--out', 'out')).toBe(0);
    expect(await longsight(folder, ...args, '--out', 'whole')).toBe(0);
    for (const run of RUNS) expect(contents(out, run)).toEqual(contents(join(folder, 'whole'), run));
    expect(readdirSync(join(out, 'workers'))).toEqual([]);
  });

  it('have the threads that each run asks for, unless the command says how many', async () => {
    const folder = folderWith({ 's.yaml': study(2).replace('[1, 2]', '[1]') + 'grid: { threads: [1, 2, 3] }\n' });
    const threads = (out: string) =>
      [1, 2, 3].map((asked) => {
        const path = join(folder, out, 'runs', `full_threads-${asked}_seed-1`, 'config.json');
        return (read(path) as { engine: { threads: number } }).engine.threads;
      });
    const args = ['s.yaml', '--engine', 'onnx', '--workers', '1', '--only', 'full'];
    expect(await longsight(folder, ...args, '--out', 'own')).toBe(0);
    expect(threads('own')).toEqual([1, 2, 3]);
    expect(await longsight(folder, ...args, '--out', 'given', '--threads', '2')).toBe(0);
    expect(threads('given')).toEqual([2, 2, 2]);
  });

  it('print to the log of the run at hand, and leave a failed run behind', async () => {
    const folder = folderWith({ 's.yaml': study(16, WILD) });
    expect(await longsight(folder, 's.yaml', '--out', 'out', '--workers', '1')).toBe(1);
    const out = join(folder, 'out');
    for (const run of RUNS) {
      expect(statusOf(out, run).state).toBe('done');
      expect(readFileSync(join(out, 'logs', `${run}.log`), 'utf8')).toBe('');
    }
    for (const run of ['wild_seed-1', 'wild_seed-2']) {
      expect(statusOf(out, run).state).toBe('failed');
      const log = readFileSync(join(out, 'logs', `${run}.log`), 'utf8');
      expect(log.match(/training diverged at step 1/g)?.length).toBeGreaterThan(0);
    }
  });
});

describe('the process in which study run performs several runs', () => {
  /** Starts `study run` for a short run and a long one, in a process group of its own, and waits for the long one. */
  async function inSecondRun() {
    const folder = folderWith({ 's.yaml': study(32) + 'grid: { train.steps: [32, 20000] }\n' });
    const out = join(folder, 'out');
    expect(await longsight(folder, 'plan', 's.yaml', '--out', 'out')).toBe(0);
    const [first, second] = ['full_steps-32_seed-1', 'full_steps-20000_seed-1'];
    const child = spawn(process.execPath, [MAIN, 'study', 'run', 'out', first, second, '--threads', '1'], {
      ...{ cwd: folder, stdio: 'ignore', detached: true },
    });
    const ended = new Promise<number | null>((done) => child.on('close', (code) => done(code)));
    await until(() => isUnderWay(join(out, 'runs', second)));
    const worker = lockHolder(join(out, 'runs', second, 'run.lock'))?.pid ?? 0;
    onTestFinished(() => {
      for (const id of [-(child.pid ?? 0), worker]) if (isAlive(id)) process.kill(id, 'SIGKILL');
    });
    return { pid: child.pid ?? 0, worker, ended, state: () => statusOf(out, second).state };
  }

  it('saves its state on Ctrl-C, which reaches both processes', async () => {
    const { pid, ended, state } = await inSecondRun();
    process.kill(-pid, 'SIGINT');
    expect(await ended).toBe(130);
    expect(state()).toBe('interrupted');
  });

  it('saves its state and ends where study run was killed', async () => {
    const { pid, ended, state } = await inSecondRun();
    process.kill(pid, 'SIGKILL');
    await ended;
    await until(() => state() !== 'running');
    expect(state()).toBe('interrupted');
  });

  it('is to be tried again where it was killed itself', async () => {
    const { worker, ended } = await inSecondRun();
    process.kill(worker, 'SIGKILL');
    expect(await ended).toBe(75);
  });
});
