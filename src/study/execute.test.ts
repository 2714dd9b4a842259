import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { fakeConfig } from '../../test/support/fake-study.js';
import { temporaryFolder } from '../../test/support/folders.js';
import { InterruptedError } from '../core/index.js';
import type { Accelerator } from '../engine/index.js';
import { executeStudy, pendingRuns, type ExecuteOptions, type RunOutcome, type StudySnapshot } from './execute.js';
import { ON_HOST, type Capacity, type RunNeeds } from './places.js';
import type { PlannedRun, StudyPlan } from './plan.js';
import { awaitWorkersLeft, noteWorker, workersLeft } from './workers-left.js';

const WORKER = fileURLToPath(new URL('../../test/support/fake-worker.mjs', import.meta.url));

function planOf(...names: string[]): StudyPlan {
  const config = fakeConfig({ name: 'x', pattern: 'full', seed: 1, formsAt: 1 });
  const runs = names.map((name) => ({ name, arm: 'main', architecture: 'a', seed: 1, point: {}, config }));
  return { runs } as unknown as StudyPlan;
}

interface Told {
  readonly lines: string[];
  readonly snapshots: StudySnapshot[];
  readonly outcomes: RunOutcome[];
  /** The most runs in hand at once. */
  atOnce: number;
}

const hostCapacity = (workers: number): Capacity => ({
  ...{ devices: [], perDevice: 1, workers, threads: 1, most: Infinity, reason: '' },
});

/** `count` devices that a worker knows by FAKE_DEVICE. */
const fakeDevices = (count: number): Accelerator[] =>
  Array.from({ length: count }, (_, i) => ({
    ...{ platform: 'cuda', name: `cuda:${i}`, uuid: null, kind: 'Fake', memory: null },
    env: { FAKE_DEVICE: `cuda:${i}` },
  }));

function optionsFor(workers: number, change: Partial<ExecuteOptions> = {}): { options: ExecuteOptions; told: Told } {
  const told: Told = { lines: [], snapshots: [], outcomes: [], atOnce: 0 };
  let inHand = 0;
  const observer = {
    started: (run: PlannedRun, how: string) => {
      told.lines.push(`${how} ${run.name}`);
      told.atOnce = Math.max(told.atOnce, ++inHand);
    },
    note: (run: PlannedRun, text: string) => void told.lines.push(`${run.name}: ${text}`),
    progress: (_run: PlannedRun, snapshot: StudySnapshot) => void told.snapshots.push(snapshot),
    waiting: (runs: readonly string[]) => void told.lines.push(`waiting for ${runs.join(', ')}`),
    finished: (_run: PlannedRun, outcome: RunOutcome) => {
      told.outcomes.push(outcome);
      inHand -= 1;
    },
  };
  const options: ExecuteOptions = {
    capacity: hostCapacity(workers),
    workerCommand: (dir, run) => [process.execPath, WORKER, dir, run.name],
    ...{ observer, signal: new AbortController().signal },
    ...change,
  };
  return { options, told };
}

const started = (dir: string) =>
  existsSync(join(dir, 'starts.txt')) ? readFileSync(join(dir, 'starts.txt'), 'utf8').trim().split('\n') : [];

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((done) => setTimeout(done, 20));
}

describe('executeStudy', () => {
  it('runs everything, tells progress, and does nothing the second time', async () => {
    const dir = temporaryFolder();
    const plan = planOf('a_ok', 'b_ok', 'c_ok');
    const { options, told } = optionsFor(2);
    const outcomes = await executeStudy(dir, plan, options);
    expect(outcomes).toEqual(['a_ok', 'b_ok', 'c_ok'].map((name) => ({ name, state: 'done' })));
    expect(told.lines).toContain('a_ok: a remark');
    const last = told.snapshots.at(-1);
    expect(last).toMatchObject({ total: 3, failed: 0 });
    expect(last?.eta).toBeGreaterThanOrEqual(0);
    expect(pendingRuns(dir, plan)).toEqual([]);
    const again = await executeStudy(dir, plan, optionsFor(2).options);
    expect(again.map((o) => o.state)).toEqual(['done before', 'done before', 'done before']);
    expect(started(dir)).toHaveLength(3);
  });

  it('goes on after a failure, says why, and tries failed and unfinished runs again', async () => {
    const dir = temporaryFolder();
    const plan = planOf('a_fails', 'b_mute', 'c_ok');
    const outcomes = await executeStudy(dir, plan, optionsFor(1).options);
    expect(outcomes).toEqual([
      { name: 'a_fails', state: 'failed', message: 'training diverged at step 3' },
      { name: 'b_mute', state: 'failed', message: 'Error: out of ideas' },
      { name: 'c_ok', state: 'done' },
    ]);
    expect(readFileSync(join(dir, 'logs', 'b_mute.log'), 'utf8')).toContain('at somewhere');
    const second = optionsFor(1);
    await executeStudy(dir, plan, second.options);
    expect(second.told.lines).toEqual(['retried a_fails', 'retried b_mute']);
  });

  it('starts a worker that was killed once more, and no more than that', async () => {
    const dir = temporaryFolder();
    const { options, told } = optionsFor(1);
    const outcomes = await executeStudy(dir, planOf('a_stumbles', 'b_crashes'), options);
    expect(outcomes).toEqual([
      { name: 'a_stumbles', state: 'done' },
      { name: 'b_crashes', state: 'failed', message: 'the worker was ended by SIGKILL' },
    ]);
    expect(told.lines).toContain('a_stumbles: the worker was ended by SIGKILL; starting it again');
    expect(started(dir)).toHaveLength(4);
  });

  it('reports a worker that cannot be started', async () => {
    const { options } = optionsFor(1, { workerCommand: () => ['/no/such/program'] });
    const [outcome] = await executeStudy(temporaryFolder(), planOf('a_ok'), options);
    expect(outcome?.state).toBe('failed');
    expect(outcome?.message).toMatch(/^the worker did not start: .*ENOENT/);
  });

  it('asks workers to stop when aborted, ends those that do not, and starts no more', async () => {
    const dir = temporaryFolder();
    const abort = new AbortController();
    const { options, told } = optionsFor(2, { signal: abort.signal, graceMs: 300 });
    const execution = executeStudy(dir, planOf('a_waits', 'b_deaf', 'c_ok'), options);
    void until(() => (told.snapshots.at(-1)?.active.size ?? 0) === 2).then(() => abort.abort());
    await expect(execution).rejects.toThrow(InterruptedError);
    expect(started(dir).map((line) => line.split(' ')[0])).toEqual(expect.not.arrayContaining(['c_ok']));
    expect(JSON.parse(readFileSync(join(dir, 'runs', 'a_waits', 'status.json'), 'utf8'))).toMatchObject({
      state: 'interrupted',
    });
  });

  it('leaves no worker behind when it is killed itself', async () => {
    const dir = temporaryFolder();
    const parent = join(dir, 'parent.mjs');
    writeFileSync(
      parent,
      `import { spawn } from 'node:child_process';
spawn(process.execPath, [${JSON.stringify(WORKER)}, ${JSON.stringify(dir)}, 'a_waits'], { stdio: ['ignore', 'ignore', 'ignore', 'ipc'] });
setInterval(() => undefined, 1000);`,
    );
    const child = spawn(process.execPath, [parent], { stdio: 'ignore' });
    await until(() => started(dir).length === 1);
    child.kill('SIGKILL');
    await until(() => started(dir).includes('a_waits orphaned'));
  });
});

describe('processes that stay', () => {
  const processes = (dir: string) => started(dir).map((line) => line.split(' '));
  const ends = (dir: string) => readFileSync(join(dir, 'ends.txt'), 'utf8').trim().split('\n');

  it('perform the runs of a place one after another, and are gone at the end', async () => {
    const dir = temporaryFolder();
    const outcomes = await executeStudy(dir, planOf('a_ok_s', 'b_ok_s', 'c_ok_s'), optionsFor(1).options);
    expect(outcomes.map((o) => o.state)).toEqual(['done', 'done', 'done']);
    expect(new Set(processes(dir).map(([, pid]) => pid)).size).toBe(1);
    expect(ends(dir)).toHaveLength(1);
    expect(workersLeft(dir)).toEqual([]);
  });

  it('end before a run that needs another process, and are replaced after a run that failed', async () => {
    const dir = temporaryFolder();
    const processKey = ({ name }: PlannedRun) => (name.startsWith('b') ? 'other' : 'same');
    const { options } = optionsFor(1, { processKey });
    const outcomes = await executeStudy(dir, planOf('a_ok_s', 'b_ok_s', 'c_ok_s', 'd_fails_s', 'e_ok_s'), options);
    expect(outcomes.map((o) => o.state)).toEqual(['done', 'done', 'done', 'failed', 'done']);
    const pids = processes(dir).map(([, pid]) => pid);
    expect(pids[3]).toBe(pids[2]);
    expect(new Set(pids).size).toBe(4);
    expect(ends(dir)).toEqual([...new Set(pids)]); // each before the next began
  });

  it('are started again with the run in which they were killed', async () => {
    const dir = temporaryFolder();
    const { options, told } = optionsFor(1);
    const outcomes = await executeStudy(dir, planOf('a_ok_s', 'b_stumbles_s', 'c_ok_s'), options);
    expect(outcomes.map((o) => o.state)).toEqual(['done', 'done', 'done']);
    expect(told.lines).toContain('b_stumbles_s: the worker was ended by SIGKILL; starting it again');
    const pids = processes(dir).map(([name, pid]) => [name, pid]);
    expect(pids[0]?.[1]).toBe(pids[1]?.[1]);
    expect(pids[2]).toEqual(['b_stumbles_s', pids[3]?.[1]]);
  });

  it('hold no device that a run elsewhere needs', async () => {
    const dir = temporaryFolder();
    const needs = ({ name }: PlannedRun): RunNeeds => ({ platform: 'cuda', devices: name.startsWith('b') ? 2 : 1 });
    const capacity = { ...hostCapacity(0), devices: fakeDevices(2) };
    const { options } = optionsFor(0, { capacity, needs });
    await executeStudy(dir, planOf('a_ok_s', 'b_ok_s', 'c_ok_s'), options);
    const pids = processes(dir).map(([, pid]) => pid);
    expect(new Set(pids).size).toBe(3);
    expect(ends(dir)).toEqual(pids);
  });

  it('stop without a run', async () => {
    const dir = temporaryFolder();
    const abort = new AbortController();
    const { options, told } = optionsFor(2, { signal: abort.signal, graceMs: 5000 });
    const plan = planOf('a_ok_s', 'b_waits', 'c_ok_s', 'd_waits', 'e_ok_s');
    const execution = executeStudy(dir, plan, options);
    void until(() => (told.snapshots.at(-1)?.active.size ?? 0) === 2 && told.outcomes.length === 2).then(() =>
      abort.abort(),
    );
    await expect(execution).rejects.toThrow(InterruptedError);
    expect(new Set(ends(dir)).size).toBe(new Set(processes(dir).map(([, pid]) => pid)).size);
  });
});

describe('runs that go on from others', () => {
  const sharing = (run: string, step = 5) => new Map([['b_ok', { run, step }]]);
  const branch = (dir: string, run: string) => join(dir, 'runs', run, 'branches', 'step-000005');
  const order = (dir: string) => started(dir).map((line) => line.split(' ')[0]);

  it('wait for the run that trains their beginning, and go first where it comes later', async () => {
    const dir = temporaryFolder();
    const { options, told } = optionsFor(2, { shared: sharing('c_ok') });
    await executeStudy(dir, planOf('b_ok', 'c_ok'), options);
    expect(order(dir)).toEqual(['c_ok', 'b_ok']);
    expect(told.atOnce).toBe(1);
  });

  it('begin beside it once their state is there, which goes when they are done', async () => {
    const dir = temporaryFolder();
    const abort = new AbortController();
    const { options } = optionsFor(2, { shared: sharing('a_waits'), signal: abort.signal });
    mkdirSync(branch(dir, 'a_waits'), { recursive: true });
    const execution = executeStudy(dir, planOf('a_waits', 'b_ok'), options);
    void until(() => !existsSync(branch(dir, 'a_waits'))).then(() => abort.abort());
    await expect(execution).rejects.toThrow(InterruptedError);
    expect(order(dir).sort()).toEqual(['a_waits', 'b_ok']);
    expect(existsSync(join(dir, 'runs', 'a_waits', 'branches'))).toBe(false);
  });

  it('train alone where that run failed, which is said, or is not trained in this call', async () => {
    const dir = temporaryFolder();
    const { options, told } = optionsFor(1, { shared: sharing('c_fails') });
    const outcomes = await executeStudy(dir, planOf('b_ok', 'c_fails'), options);
    expect(outcomes.map((o) => o.state)).toEqual(['done', 'failed']);
    expect(told.lines).toContain(
      'b_ok: c_fails failed before step 5, up to which both are the same: trained here from what is there',
    );
    const only = temporaryFolder();
    const alone = await executeStudy(only, planOf('b_ok'), optionsFor(1, { shared: sharing('c_ok') }).options);
    expect(alone.map((o) => o.state)).toEqual(['done']);
  });

  it('are not left behind where that run finds no place', async () => {
    const dir = temporaryFolder();
    const needs = (run: PlannedRun): RunNeeds => (run.name === 'c_ok' ? { platform: 'cuda', devices: 1 } : ON_HOST);
    const { options } = optionsFor(1, { shared: sharing('c_ok'), needs });
    const outcomes = await executeStudy(dir, planOf('b_ok', 'c_ok'), options);
    expect(outcomes.map((o) => o.state)).toEqual(['done', 'failed']);
  });
});

describe('executeStudy on devices', () => {
  const CUDA: RunNeeds = { platform: 'cuda', devices: 1 };
  const log = (dir: string) =>
    readFileSync(join(dir, 'devices.txt'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => line.split(' '));
  const names = (count: number) => Array.from({ length: count }, (_, i) => `${'abcdefghijklmnop'[i] ?? 'z'}_device`);

  /** The most runs that were on each device at once. */
  function crowds(dir: string): Record<string, number> {
    const now: Record<string, number> = {};
    const most: Record<string, number> = {};
    for (const [what, device = ''] of log(dir)) {
      now[device] = (now[device] ?? 0) + (what === 'start' ? 1 : what === 'end' ? -1 : 0);
      most[device] = Math.max(most[device] ?? 0, now[device] ?? 0);
    }
    return most;
  }

  const onDevices = (count: number, change: Partial<ExecuteOptions> = {}, capacity: Partial<Capacity> = {}) =>
    optionsFor(0, {
      capacity: { ...hostCapacity(0), devices: fakeDevices(count), ...capacity },
      needs: () => CUDA,
      ...change,
    });

  it.each([
    [1, 1, 4],
    [2, 1, 6],
    [8, 1, 12],
    [1, 2, 4],
  ])('%i devices, %i runs on each at a time: %i runs, each on one device', async (count, perDevice, runs) => {
    const dir = temporaryFolder();
    const fractions = new Set<number | null>();
    const base = onDevices(count, {}, { perDevice });
    const workerCommand: ExecuteOptions['workerCommand'] = (study, run, place) => {
      fractions.add(place.memoryFraction);
      return base.options.workerCommand(study, run, place);
    };
    const outcomes = await executeStudy(dir, planOf(...names(runs)), { ...base.options, workerCommand });
    expect(outcomes.map((o) => o.state)).toEqual(Array.from({ length: runs }, () => 'done'));
    const used = crowds(dir);
    expect(Object.keys(used).toSorted()).toEqual(
      fakeDevices(count)
        .map((d) => d.name)
        .toSorted(),
    );
    for (const most of Object.values(used)) expect(most).toBeLessThanOrEqual(perDevice);
    expect(base.told.atOnce).toBe(count * perDevice);
    expect([...fractions]).toEqual([perDevice === 1 ? null : 0.85 / perDevice]);
    for (const { name, place } of outcomes) {
      expect(log(dir).filter(([what, , run]) => what === 'end' && run === name)).toEqual([['end', place, name]]);
    }
    expect([...(base.told.snapshots.at(-1)?.places.values() ?? [])].every((p) => p.startsWith('cuda:'))).toBe(true);
  });

  it('fills the cores with runs that need no device meanwhile', async () => {
    const dir = temporaryFolder();
    const host = new Set(['c_device', 'd_device']);
    const { options, told } = onDevices(1, { needs: ({ name }) => (host.has(name) ? ON_HOST : CUDA) }, { workers: 1 });
    const outcomes = await executeStudy(dir, planOf(...names(4)), options);
    expect(outcomes.map((o) => o.place)).toEqual(['cuda:0', 'cuda:0', undefined, undefined]);
    expect(crowds(dir)).toEqual({ 'cuda:0': 1, cpu: 1 });
    expect(told.atOnce).toBe(2);
  });

  it('gives a run with a mesh as many devices as it needs', async () => {
    const dir = temporaryFolder();
    const needs = ({ name }: PlannedRun): RunNeeds => ({ platform: 'cuda', devices: name === 'b_device' ? 2 : 1 });
    const { options } = onDevices(2, { needs });
    const outcomes = await executeStudy(dir, planOf(...names(3)), options);
    expect(outcomes.map((o) => o.place)).toEqual(['cuda:0', 'cuda:0+cuda:1', 'cuda:0']);
    expect(log(dir).find(([what, , run]) => what === 'start' && run === 'b_device')?.[1]).toBe('cuda:0,cuda:1');
  });

  it('leaves a busy device out, does its run elsewhere, and ends when none is left', async () => {
    const broken = (list: string): Accelerator[] =>
      fakeDevices(2).map((d) => ({ ...d, env: { ...d.env, FAKE_BROKEN: list.replaceAll(',', ' ') } }));
    const dir = temporaryFolder();
    const first = onDevices(2, { busyMs: 1 }, { devices: broken('cuda:0') });
    const outcomes = await executeStudy(dir, planOf(...names(4)), first.options);
    expect(outcomes.map((o) => [o.state, o.place])).toEqual(names(4).map(() => ['done', 'cuda:1']));
    expect(log(dir).filter(([what]) => what === 'busy')).toHaveLength(2); // once, and once more
    expect(first.told.lines).toContain(
      'a_device: cuda:0 is left out until the study is started again: xla: the device is busy',
    );

    const none = temporaryFolder();
    const second = onDevices(2, { busyMs: 1 }, { devices: broken('cuda:0,cuda:1') });
    const failed = await executeStudy(none, planOf(...names(3)), second.options);
    for (const { state, message } of failed) {
      expect(state).toBe('failed');
      expect(message).toMatch(/^no device is left for it \(cuda:[01]: xla: the device is busy; cuda:[01]: xla/);
    }
    expect(second.told.outcomes).toHaveLength(3);
    const again = await executeStudy(none, planOf(...names(3)), onDevices(2).options);
    expect(again.map((o) => o.state)).toEqual(['done', 'done', 'done']);
  });

  it('waits for the workers of a killed call, which still hold their devices', async () => {
    const dir = temporaryFolder();
    // It lives until its input is closed.
    const orphan = spawn('cat', [], { stdio: ['pipe', 'ignore', 'ignore'] });
    noteWorker(dir, 'a_device', orphan.pid ?? 0);
    const { options, told } = onDevices(1);
    const execution = executeStudy(dir, planOf('a_device'), options);
    await until(() => told.lines.length > 0);
    expect(told.lines).toEqual(['waiting for a_device']);
    expect(started(dir)).toEqual([]);
    orphan.stdin.end();
    await execution;
    expect(orphan.exitCode).toBe(0);
    expect(workersLeft(dir)).toEqual([]);
  });

  it('says which process does not end', async () => {
    const dir = temporaryFolder();
    noteWorker(dir, 'a_ok', process.pid);
    const waiting: string[] = [];
    const wait = awaitWorkersLeft(dir, {
      ...{ limitMs: 250, signal: new AbortController().signal },
      waiting: (runs) => waiting.push(...runs),
    });
    await expect(wait).rejects.toThrow(
      new RegExp(`^process ${process.pid} of an earlier call still works on run a_ok of .*; wait for it or stop it`),
    );
    expect(waiting).toEqual(['a_ok']);
  });
});
