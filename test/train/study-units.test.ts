/** The built command line: runs of a study as units that many processes start, kill and start again. */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { folderWith } from '../support/folders.js';
import { MAIN } from '../support/main.js';

const study = (steps: number, more = '') => `name: tiny
base:
  threads: 1
  model: { hiddenSize: 8, numLayers: 2, numHeads: 2, intermediateSize: 16 }
  data: { kind: recall, numKeys: 4, numValues: 4, numFillers: 4 }
  train: { steps: ${steps}, seqLen: 16, batchSize: 4, warmupSteps: 2, evalEvery: 100, checkpointEvery: 50, logEvery: 2${more} }
  eval: { batches: 1, recall: { batches: 1, bins: [4, 16] }, trace: false }
architectures: { full: full, small: 'swa:4 full' }
seeds: [1]
`;

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function start(cwd: string, ...args: string[]): { readonly child: ChildProcess; readonly ended: Promise<Ended> } {
  const child = spawn(process.execPath, [MAIN, 'study', ...args], { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
  const text = { out: '', err: '' };
  child.stdout.on('data', (part) => (text.out += String(part)));
  child.stderr.on('data', (part) => (text.err += String(part)));
  return { child, ended: new Promise((done) => child.on('close', (code) => done({ code, ...text }))) };
}

const longsight = (cwd: string, ...args: string[]): Promise<Ended> => start(cwd, ...args).ended;

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((done) => setTimeout(done, 20));
}

interface Listed {
  readonly id: string;
  readonly state: string;
  readonly step: number;
  readonly holder: { readonly pid: number } | null;
  readonly after: unknown;
}

async function unitsOf(cwd: string, ...args: string[]): Promise<Listed[]> {
  const { code, out } = await longsight(cwd, ...args, '--json');
  expect(code).toBe(0);
  return (JSON.parse(out) as { runs: Listed[] }).runs;
}

const weights = (study: string, run: string, step: number): string =>
  readFileSync(
    join(study, 'runs', run, 'checkpoints', `step-${String(step).padStart(6, '0')}`, 'model.safetensors'),
  ).toString('hex');

const steps = (study: string, run: string): number[] =>
  readFileSync(join(study, 'runs', run, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, number>)
    .flatMap((line) => ('train/loss' in line ? [line['step'] ?? -1] : []));

describe('the runs of a study as units', () => {
  it('are planned, claimed by one process each, and end as the whole study does', async () => {
    const folder = folderWith({ 's.yaml': study(300) });
    const planned = await unitsOf(folder, 'plan', 's.yaml', '--out', 'units');
    expect(planned).toMatchObject([
      { id: 'full_seed-1', state: 'planned', step: 0, after: null },
      { id: 'small_seed-1', state: 'planned', step: 0, after: null },
    ]);
    expect(existsSync(join(folder, 'units', 'runs'))).toBe(false);

    // Four processes for two runs: each run is claimed once, and whoever comes second is told to try again.
    const ids = ['full_seed-1', 'small_seed-1', 'full_seed-1', 'small_seed-1'];
    const ended = await Promise.all(ids.map((id) => longsight(folder, 'run', 'units', id)));
    expect(ended.filter(({ code }) => code !== 0 && code !== 75)).toEqual([]);
    for (const { code, err } of ended) if (code === 75) expect(err).toMatch(/is in use by process \d+ on host/);
    for (const run of ['full_seed-1', 'small_seed-1']) {
      expect(ended.filter(({ code }, i) => ids[i] === run && code === 0).length).toBeGreaterThan(0);
      const logged = steps(join(folder, 'units'), run);
      expect(logged).toEqual([...new Set(logged)]);
    }
    expect((await unitsOf(folder, 'status', 'units')).map(({ state }) => state)).toEqual(['done', 'done']);

    // Done runs stay as they are, whoever asks.
    const again = await longsight(folder, 'run', 'units');
    expect([again.code, again.out]).toEqual([0, '']);
    expect((await longsight(folder, 'run', 'units', 'full_seed-1')).out).toBe('full_seed-1: done, 300 steps\n');

    const whole = await longsight(folder, 's.yaml', '--out', 'whole');
    expect(whole.code).toBe(0);
    for (const run of ['full_seed-1', 'small_seed-1'])
      expect(weights(join(folder, 'units'), run, 300)).toBe(weights(join(folder, 'whole'), run, 300));
    expect((await longsight(folder, 'report', 'units')).out).toContain('report: units/report.html');
  });

  it('are copied from a study that has trained them, as they would be trained here', async () => {
    const other = study(8).replace('name: tiny', 'name: other').replace('full: full', 'all: full');
    const folder = folderWith({ 's.yaml': study(8), 'o.yaml': other });
    expect((await longsight(folder, 'o.yaml', '--out', 'o', '--workers', '1')).code).toBe(0);
    const { code, err } = await longsight(folder, 's.yaml', '--out', 's', '--reuse', 'o', '--only', 'full');
    expect([code, err]).toEqual([
      0,
      expect.stringContaining(
        '2 runs copied from other studies: full_seed-1 (all_seed-1 of other), small_seed-1 (other)',
      ),
    ]);
    expect((await unitsOf(folder, 'status', 's')).map(({ state }) => state)).toEqual(['done', 'done']);
    expect((await longsight(folder, 's.yaml', '--out', 'own', '--only', 'full')).code).toBe(0);
    expect(weights(join(folder, 's'), 'full_seed-1', 8)).toBe(weights(join(folder, 'own'), 'full_seed-1', 8));
    expect(readFileSync(join(folder, 's', 'report.html'), 'utf8')).toContain(
      'full_seed-1 (other), small_seed-1 (other)',
    );
    // What is no study is refused before anything is written.
    const refused = await longsight(folder, 'plan', 's.yaml', '--out', 'none', '--reuse', 'nowhere');
    expect([refused.code, existsSync(join(folder, 'none'))]).toEqual([2, false]);
  });

  it('are not copied where their data have changed since, and it is said where nobody can know', async () => {
    const text = study(8).replace(
      '{ kind: recall, numKeys: 4, numValues: 4, numFillers: 4 }',
      '{ kind: text, files: a.txt }',
    );
    const only = text.replace("full: full, small: 'swa:4 full'", 'full: full').replace(/recall: \{.*?\}, /, '');
    const folder = folderWith({
      's.yaml': only,
      'o.yaml': only.replace('name: tiny', 'name: other'),
      'a.txt': 'abcd '.repeat(400),
    });
    expect((await longsight(folder, 'o.yaml', '--out', 'o')).code).toBe(0);
    const plan = (out: string) => longsight(folder, 'plan', 's.yaml', '--out', out, '--reuse', 'o');
    expect((await plan('same')).err).toContain('1 run copied from other studies: full_seed-1 (other)');
    writeFileSync(join(folder, 'a.txt'), 'abce '.repeat(400));
    expect((await plan('changed')).err).toContain(
      'full_seed-1 (other) is not copied: its data have other contents now',
    );
    expect(existsSync(join(folder, 'changed', 'runs'))).toBe(false);
    rmSync(join(folder, 'o', 'runs', 'full_seed-1', 'checkpoints'), { recursive: true });
    expect((await plan('unknown')).err).toContain('whether the data are what they were trained on is not known');
  });

  it('are refused together, before anything is written, where their engine cannot be made here', async () => {
    const folder = folderWith({ 's.yaml': study(8) });
    const { code, err } = await longsight(folder, 's.yaml', '--out', 's', '--engine', 'xla:tpu');
    expect([code, err]).toEqual([
      2,
      expect.stringMatching(/^longsight: no PJRT plugin for tpu was found .* install one: /),
    ]);
    expect(existsSync(join(folder, 's'))).toBe(false);
  });

  it('end with 75 on SIGTERM and SIGUSR1, their state saved, and go on to the same weights', async () => {
    const folder = folderWith({ 's.yaml': study(600) });
    await longsight(folder, 'plan', 's.yaml', '--out', 'units');
    const status = join(folder, 'units', 'runs', 'full_seed-1', 'status.json');
    const stateOf = () => (JSON.parse(readFileSync(status, 'utf8')) as Listed).state;
    const metrics = join(folder, 'units', 'runs', 'full_seed-1', 'metrics.jsonl');
    let stopped = 0;
    for (const signal of ['SIGTERM', 'SIGUSR1'] as const) {
      const lines = existsSync(metrics) ? readFileSync(metrics, 'utf8').length : 0;
      const { child, ended } = start(folder, 'run', 'units', 'full_seed-1');
      await until(
        () => child.exitCode !== null || (existsSync(metrics) && readFileSync(metrics, 'utf8').length > lines + 2000),
      );
      child.kill(signal);
      child.kill(signal); // as schedulers do
      const { code, err } = await ended;
      if (code === 0) break; // it was faster
      expect([code, err]).toEqual([75, expect.stringMatching(/training was stopped after step \d+/)]);
      expect(stateOf()).toBe('interrupted');
      expect((await unitsOf(folder, 'status', 'units'))[0]).toMatchObject({ state: 'interrupted', holder: null });
      stopped += 1;
    }
    expect(stopped).toBeGreaterThan(0);
    // A shard without a name: run 0 of 2.
    const shard = await longsight(folder, 'run', 'units', '--shard', '0/2');
    expect([shard.code, shard.out]).toEqual([0, 'full_seed-1: done, 600 steps\n']);
    expect((await longsight(folder, 's.yaml', '--out', 'whole', '--only', 'full')).code).toBe(0);
    expect(weights(join(folder, 'units'), 'full_seed-1', 600)).toBe(weights(join(folder, 'whole'), 'full_seed-1', 600));
  });

  it('end with 75 as a whole study too, however often a scheduler says so, and the same command goes on', async () => {
    const folder = folderWith({ 's.yaml': study(300) });
    const args = ['s.yaml', '--out', 'u', '--workers', '1', '--threads', '1'];
    const metrics = join(folder, 'u', 'runs', 'full_seed-1', 'metrics.jsonl');
    const size = () => (existsSync(metrics) ? readFileSync(metrics, 'utf8').length : 0);
    const { child, ended } = start(folder, ...args);
    await until(() => child.exitCode !== null || size() > 2000);
    for (const signal of ['SIGUSR1', 'SIGUSR1', 'SIGHUP'] as const) child.kill(signal);
    const { code, err } = await ended;
    expect([code, err]).toEqual([75, expect.stringContaining('the study was stopped; the same command continues it')]);
    expect((await unitsOf(folder, 'status', 'u')).map(({ state }) => state)).toEqual(['interrupted', 'planned']);
    expect((await longsight(folder, ...args)).code).toBe(0);
    expect((await longsight(folder, 's.yaml', '--out', 'whole', '--workers', '1', '--threads', '1')).code).toBe(0);
    for (const run of ['full_seed-1', 'small_seed-1']) {
      expect(weights(join(folder, 'u'), run, 300)).toBe(weights(join(folder, 'whole'), run, 300));
      expect(steps(join(folder, 'u'), run)).toEqual(steps(join(folder, 'whole'), run));
    }
  });

  it('says that a run was killed, and takes it up', async () => {
    const folder = folderWith({ 's.yaml': study(600) });
    await longsight(folder, 'plan', 's.yaml', '--out', 'units');
    const { child, ended } = start(folder, 'run', 'units', 'full_seed-1');
    const checkpoint = join(folder, 'units', 'runs', 'full_seed-1', 'checkpoints', 'step-000050');
    await until(() => child.exitCode !== null || existsSync(checkpoint));
    child.kill('SIGSTOP'); // it might be done before the next command has looked
    const [held] = await unitsOf(folder, 'status', 'units');
    child.kill('SIGKILL');
    await ended;
    expect(held).toMatchObject({ state: 'running', holder: { pid: child.pid } });
    expect((await unitsOf(folder, 'status', 'units'))[0]).toMatchObject({ state: 'killed', holder: null });
    expect((await longsight(folder, 'run', 'units')).code).toBe(0);
    const logged = steps(join(folder, 'units'), 'full_seed-1');
    expect(logged).toEqual([...new Set(logged)]);
    expect((await unitsOf(folder, 'status', 'units')).map(({ state }) => state)).toEqual(['done', 'done']);
  });

  it('are left alone by the whole study while another process holds them', async () => {
    const folder = folderWith({ 's.yaml': study(2000) });
    await longsight(folder, 'plan', 's.yaml', '--out', 'units');
    const held = start(folder, 'run', 'units', 'full_seed-1');
    const status = join(folder, 'units', 'runs', 'full_seed-1', 'status.json');
    await until(() => held.child.exitCode !== null || existsSync(status));
    held.child.kill('SIGSTOP'); // it writes its own status again otherwise
    const whole = await longsight(folder, 's.yaml', '--out', 'units', '--only', 'full');
    const [now] = await unitsOf(folder, 'status', 'units');
    held.child.kill('SIGCONT');
    held.child.kill('SIGTERM');
    await held.ended;
    expect(whole.code).toBe(1);
    expect(whole.err).toMatch(/full_seed-1 failed \(.*is in use by process \d+ on host/);
    // Its own process says how it is.
    expect(now).toMatchObject({ state: 'running', holder: { pid: held.child.pid }, message: null });
    expect(JSON.parse(readFileSync(status, 'utf8'))).toMatchObject({ state: 'interrupted' });
  });

  it('wait for the run whose state they go on from', async () => {
    const grid = `grid: { train.steps: [100, 200] }\n`;
    const folder = folderWith({ 's.yaml': `${study(100, ', schedule: wsd')}${grid}` });
    const planned = await unitsOf(folder, 'plan', 's.yaml', '--out', 'units');
    const waiting = planned.filter(({ after }) => after !== null);
    expect(waiting.length).toBe(2);
    expect(waiting.map(({ state }) => state)).toEqual(['waiting', 'waiting']);
    const [first] = waiting;
    const early = await longsight(folder, 'run', 'units', first?.id ?? '');
    expect([early.code, early.err]).toEqual([75, expect.stringMatching(/goes on from step \d+ of .*; run that first/)]);
    expect((await longsight(folder, 'run', 'units')).code).toBe(0);
    expect((await unitsOf(folder, 'status', 'units')).map(({ state }) => state)).toEqual(Array(4).fill('done'));
    expect((await longsight(folder, 's.yaml', '--out', 'whole')).code).toBe(0);
    for (const { id } of planned) {
      const last = id.includes('100') ? 100 : 200;
      expect(weights(join(folder, 'units'), id, last)).toBe(weights(join(folder, 'whole'), id, last));
    }
  });

  it('refuse what is not there, each in one sentence', async () => {
    const folder = folderWith({ 's.yaml': study(8) });
    await longsight(folder, 'plan', 's.yaml', '--out', 'units');
    const refused: readonly (readonly [args: readonly string[], sentence: string])[] = [
      [['run', 'units', 'nope'], 'unknown run "nope"; there are: full_seed-1, small_seed-1'],
      [['run', 'units', '--shard', '2/2'], '--shard "2/2": give i/n with i from 0 to n - 1, such as 0/4'],
      [['run', 'units', 'full_seed-1', '--shard', '0/2'], '--shard goes without names of runs'],
      [['status', 'nowhere'], 'nowhere is no study folder; make one with longsight study plan FILE --out nowhere'],
    ];
    for (const [args, sentence] of refused) {
      const { code, err } = await longsight(folder, ...args);
      expect([code, err.split('\n').length], args.join(' ')).toEqual([2, 2]);
      expect(err).toContain(sentence);
    }
  });
});
