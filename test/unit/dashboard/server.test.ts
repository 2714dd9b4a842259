/** The dashboard's server: what it answers, whom it refuses, what it tells of changes. */
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ChangeEvent, DashboardData, RunAnswer } from '../../../src/dashboard/api.js';
import { Catalog } from '../../../src/dashboard/catalog.js';
import { openRoots } from '../../../src/dashboard/folders.js';
import { Guard } from '../../../src/dashboard/guard.js';
import { Figures } from '../../../src/dashboard/figures.js';
import { Hub } from '../../../src/dashboard/hub.js';
import { makeRun } from '../../support/run-folders.js';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'longsight-dashboard-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function hubOf(...folders: string[]): Promise<Hub> {
  const hub = new Hub(openRoots(folders.length === 0 ? [folder] : folders), null, false);
  await hub.open();
  return hub;
}
const names = (state: DashboardData): string[] => state.runs.map(({ name }) => name);

describe('folders', () => {
  it('of runs are found at any place below the roots, each once', async () => {
    makeRun(join(folder, 'a'), { name: 'one' });
    makeRun(join(folder, 'deep', 'er', 'b'), { name: 'two' });
    symlinkSync(join(folder, 'a'), join(folder, 'again'));
    const hub = await hubOf(folder, join(folder, 'deep'));
    expect(names(hub.state())).toEqual(['one', 'two']);
    hub.close();
  });

  it('have their metrics in words', async () => {
    makeRun(join(folder, 'a'), { name: 'one' });
    const hub = await hubOf();
    await hub.store.settle(hub.catalog.ids, 60_000);
    await hub.look();
    expect(hub.state().metrics).toContain('train/loss');
    expect(await new Figures(hub).titles()).toMatchObject({ 'train/loss': 'Training loss (nats per token)' });
    hub.close();
  });

  it('outside of the roots are not read, wherever links lead', async () => {
    const outside = mkdtempSync(join(tmpdir(), 'longsight-outside-'));
    makeRun(join(outside, 'secret'), { name: 'secret' });
    symlinkSync(join(outside, 'secret'), join(folder, 'link'));
    makeRun(join(folder, 'own'), { name: 'own' });
    makeRun(join(folder, 'other'), { name: 'other' });
    rmSync(join(folder, 'other', 'metrics.jsonl'));
    symlinkSync(join(outside, 'secret', 'metrics.jsonl'), join(folder, 'other', 'metrics.jsonl'));
    const hub = new Hub(openRoots([folder]), null, false);
    const seen = new Set<string>();
    hub.listen(() => names(hub.state()).forEach((name) => seen.add(name)));
    await hub.open();
    expect(names(hub.state())).toEqual(['own']);
    expect([...seen]).toEqual(['own']);
    hub.close();
    rmSync(outside, { recursive: true });
  });

  it('that are not there are refused in a sentence', () => {
    expect(() => openRoots([join(folder, 'no')])).toThrow(/there is no folder .*no; give folders of runs or studies/);
    writeFileSync(join(folder, 'file'), '');
    expect(() => openRoots([join(folder, 'file')])).toThrow(/is a file; give folders/);
  });

  it('that are damaged are listed with what is wrong', async () => {
    mkdirSync(join(folder, 'bad'));
    writeFileSync(join(folder, 'bad', 'config.json'), '{"run": 3}');
    const hub = await hubOf();
    const [row] = hub.state().runs;
    expect(row?.state).toBe('unreadable');
    expect(row?.message).toMatch(/config\.json/);
    hub.close();
  });
});

describe('a first start', () => {
  it('lists runs before their configurations are read, with metrics to ask for, and says which are unread', async () => {
    for (const seed of [1, 2]) makeRun(join(folder, `a${seed}`), { name: `a ${seed}`, seed, lines: 3 });
    mkdirSync(join(folder, 'bad'));
    writeFileSync(join(folder, 'bad', 'config.json'), '{"run": 3}');
    makeRun(join(folder, 'status'), { name: 'status' });
    writeFileSync(join(folder, 'status', 'status.json'), '{"state":');
    const hub = new Hub(openRoots([folder]), null, false);
    expect(hub.state().runs).toEqual([]);
    const seen: DashboardData[] = [];
    hub.listen(() => seen.push(hub.state()));
    await hub.open();
    const [first, last] = [seen[0], hub.state()];
    expect([first?.read, first?.designs, first?.config]).toEqual([{ done: 0, all: 4 }, [], {}]);
    expect(first?.metrics).toEqual(['train/loss', 'train/tok_per_sec']);
    expect(last.runs.map(({ name, design }) => [name, design])).toEqual([
      ['a 1', 'swa:8 full'],
      ['a 2', 'swa:8 full'],
      ['bad', 'bad'],
      ['status', 'swa:8 full'],
    ]);
    expect(last.read).toEqual({ done: 4, all: 4 });
    expect(last.runs.map(({ parameters, budget, state }) => [(parameters ?? 0) > 0, budget, state])).toEqual([
      [true, 10_000, 'done'],
      [true, 10_000, 'done'],
      [false, 0, 'unreadable'],
      [true, 10_000, 'unreadable'],
    ]);
    // The same as a start reads that has looked at nothing before.
    expect(hub.catalog.ids.every((id) => !hub.catalog.isUnread(id))).toBe(true);
    hub.close();
    // Before that, whatever part of them pages were told of.
    const catalog = new Catalog(openRoots([folder]), null);
    catalog.begin();
    const states: ReturnType<Catalog['state']>[] = [];
    for await (const _ids of catalog.read()) states.push(catalog.state());
    const listed = states.findLast(({ read }) => read.done === 0)?.runs;
    // Those that are damaged wait for the reader, which says what is wrong.
    expect(listed?.map(({ name, design, seed, step, state }) => [name, design, seed, step, state])).toEqual([
      ['a 1', 'not read yet', 1, 3, 'done'],
      ['a 2', 'not read yet', 2, 3, 'done'],
    ]);
  });

  it('answers for a run that is not read yet once it is', async () => {
    makeRun(join(folder, 'a'), { name: 'a' });
    const hub = new Hub(openRoots([folder]), null, false);
    const answer = new Promise<RunAnswer | null>((done) => {
      const forget = hub.listen(() => {
        forget();
        done(hub.run(hub.state().runs[0]?.id ?? ''));
      });
    });
    await hub.open();
    expect((await answer)?.row).toMatchObject({ name: 'a', design: 'swa:8 full' });
    hub.close();
  });
});

describe('a second start', () => {
  it('knows runs and studies again by size and time of change, and reads what has changed', async () => {
    const cache = join(folder, 'cache');
    const runs = join(folder, 'runs');
    for (const name of ['a', 'b', 'c']) makeRun(join(runs, name), { name, lines: 3 });
    const first = new Hub(openRoots([runs]), cache, false);
    expect(first.state().read).toEqual({ done: 0, all: 3 });
    await first.open();
    await first.store.settle(first.catalog.ids, 5000);
    await first.look();
    const before = first.state();
    first.close();
    makeRun(join(runs, 'b'), { name: 'b', lines: 9 });
    rmSync(join(runs, 'c'), { recursive: true });
    makeRun(join(runs, 'd'), { name: 'd', lines: 3 });
    const second = new Hub(openRoots([runs]), cache, false);
    // Before anything is read: the one that has not changed, as it was.
    expect(second.state().runs).toEqual([before.runs[0]]);
    expect(second.state().read).toEqual({ done: 1, all: 3 });
    expect(second.catalog.found).toEqual({ runs: 3, studies: 0 });
    await second.open();
    expect(second.state().runs.map(({ name, step }) => [name, step])).toEqual([
      ['a', 3],
      ['b', 9],
      ['d', 3],
    ]);
    second.close();
  });
});

describe('changes', () => {
  it('of metrics, states and folders are told', async () => {
    makeRun(join(folder, 'a'), { name: 'a', lines: 3 });
    const hub = await hubOf();
    const id = hub.catalog.ids[0] ?? '';
    await hub.store.settle([id], 5000);
    await hub.look();
    const events: ChangeEvent[] = [];
    hub.listen((event) => events.push(event));
    appendFileSync(join(folder, 'a', 'metrics.jsonl'), '{"step":4,"tokens":400,"time":4,"train/loss":0.25}\n');
    await hub.look();
    await hub.store.settle([id], 5000);
    await hub.look();
    expect(events.flatMap(({ rows }) => rows.map((r) => r.last['train/loss']))).toContain(0.25);
    expect(events.flatMap(({ points }) => points)).toContain(id);
    expect(hub.store.column(id, 'train/loss')?.n).toBe(4);
    rmSync(join(folder, 'a'), { recursive: true });
    makeRun(join(folder, 'b'), { name: 'b' });
    await hub.catalog.round(Date.now() + 10_000);
    expect(names(hub.state())).toEqual(['b']);
    expect(await hub.run(id)).toBeNull();
    hub.close();
  });

  it('a run whose process is gone does not run', async () => {
    makeRun(join(folder, 'a'), { name: 'a', state: 'running' });
    const hub = await hubOf();
    expect(hub.state().runs[0]?.state).toBe('killed');
    const answer = (await hub.run(hub.catalog.ids[0] ?? '')) as RunAnswer;
    expect([answer.stop, answer.resume]).toEqual([null, null]);
    expect(answer.resumeCommand).toMatch(/^longsight train .* --resume$/);
    hub.close();
  });
});

describe('a run of a study', () => {
  it('that was stopped goes on by a command of the study, which the page says', async () => {
    const study = join(folder, 'study');
    makeRun(join(study, 'runs', 'a b'), { name: 'a b', state: 'interrupted' });
    writeFileSync(join(study, 'study.json'), '{}');
    const hub = new Hub(openRoots([folder]), null, true);
    await hub.open();
    const answer = (await hub.run(hub.catalog.ids[0] ?? '')) as RunAnswer;
    expect(answer.resumeArgs).toEqual(['study', 'run', study, 'a b']);
    expect(answer.resumeCommand).toBe(`longsight study run ${study} 'a b'`);
    expect(answer.resume).toContain(answer.resumeCommand);
    expect(answer.canSample).toBe(false);
    hub.close();
  });
});

describe('the guard', () => {
  const asked = { method: 'GET', host: '127.0.0.1:80', origin: undefined, token: undefined };
  const local = new Guard('127.0.0.1', 80, null);

  it.each([
    ['a name that leads here', { host: 'evil.example:80' }],
    ['another port', { host: '127.0.0.1:81' }],
    ['no host', { host: undefined }],
    ['a page of another origin', { origin: 'http://evil.example' }],
    ['a page of a file', { origin: 'null' }],
    ['a post without origin', { method: 'POST' }],
  ])('refuses %s', (_, change) => {
    expect(local.refusal({ ...asked, ...change })).not.toBeNull();
  });

  it('lets the page itself ask', () => {
    expect(local.refusal(asked)).toBeNull();
    expect(local.refusal({ ...asked, host: 'localhost:80', origin: 'http://localhost:80', method: 'POST' })).toBeNull();
  });

  it('wants the token where other machines can ask', () => {
    const open = new Guard('0.0.0.0', 80, 'secret');
    expect(open.refusal({ ...asked, host: 'box:80' })).toMatch(/token/);
    expect(open.refusal({ ...asked, host: 'box:80', token: 'secrex' })).toMatch(/token/);
    expect(open.refusal({ ...asked, host: 'box:80', token: 'secret' })).toBeNull();
  });
});
