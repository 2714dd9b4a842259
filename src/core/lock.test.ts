import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { LockLostError, StoreError } from './errors.js';
import { checkFence } from './fence.js';
import { AtomicFile, writeFileAtomic } from './files.js';
import { processOf, stateOf, thisProcess, type LockHolder } from './holder.js';
import { joinLock, takeLock, underLock, type LockOptions } from './lock.js';
import { temporaryPath } from './temporary.js';

const root = mkdtempSync(join(tmpdir(), 'longsight-lock-'));
afterAll(() => rmSync(root, { recursive: true }));
let folder = '';
let path = '';
beforeEach(() => {
  folder = mkdtempSync(join(root, 'x-'));
  path = join(folder, 'x.lock');
});

const here = thisProcess();
const take = (options: LockOptions = {}) => takeLock(path, 'the folder', options);
const otherHost = (host: string): LockHolder => ({ ...here, host });

/** What a process leaves that died with the lock in its hand. */
function leave(number: number, holder: Partial<LockHolder>, state = 'held'): void {
  mkdirSync(path, { recursive: true });
  const lease = { ...here, ...holder, number, token: `token-${number}`, seconds: 1 };
  writeFileSync(join(path, String(number)), `${JSON.stringify(lease)}\n000000000007 ${state}\n`);
}

const GONE = { pid: 2 ** 22 + 1 };

describe('takeLock', () => {
  it('keeps others out until it is released', async () => {
    const lock = await take();
    await expect(take()).rejects.toThrow(StoreError);
    await expect(take()).rejects.toThrow(
      `the folder is in use by process ${process.pid} on host ${hostname()} (this one); wait for it`,
    );
    lock.release();
    (await take()).release();
  });

  it('gives every holder a greater number, and keeps one file', async () => {
    for (const number of [1, 2, 3]) {
      const lock = await take();
      expect(lock.number).toBe(number);
      lock.release();
      expect(readdirSync(path)).toEqual([String(number)]);
      expect(readFileSync(join(path, String(number)), 'utf8')).toMatch(/\n0{12} free\n$/);
    }
    expect(readdirSync(folder)).toEqual(['x.lock']);
  });

  it.each<[string, Partial<LockHolder>]>([
    ['a process that is gone', GONE],
    ['a process whose number another one has now', { start: '1' }],
  ])('takes over the lock of %s at once', async (_, holder) => {
    leave(4, holder);
    const told: string[] = [];
    const lock = await take({ waiting: (text) => told.push(text) });
    expect(told).toEqual([]);
    expect(lock.number).toBe(5);
    expect(readdirSync(path)).toEqual(['5']);
    lock.release();
  });

  it('takes over what several that died have left, and refuses while one of them lives', async () => {
    leave(4, GONE);
    leave(5, GONE, 'free');
    leave(6, {});
    leave(7, GONE);
    await expect(take()).rejects.toThrow(`in use by process ${process.pid}`);
    rmSync(join(path, '6'));
    const lock = await take();
    expect(lock.number).toBe(8);
    expect(readdirSync(path)).toEqual(['8']);
    lock.release();
  });

  it('removes what takers that were killed left beside it', async () => {
    mkdirSync(`${path}.77-abc.tmp`);
    leave(1, GONE);
    writeFileSync(join(path, '77-abc.tmp'), '');
    (await take()).release();
    expect(readdirSync(folder)).toEqual(['x.lock']);
    expect(readdirSync(path)).toEqual(['2']);
  });

  it('knows the lock files of earlier versions', async () => {
    const hold = (holder: Partial<LockHolder>) => writeFileSync(path, JSON.stringify({ ...here, ...holder }));
    hold({});
    await expect(take({ takeOver: true })).rejects.toThrow(`in use by process ${process.pid}`);
    hold({ host: 'node-b' });
    await expect(take()).rejects.toThrow(/of an earlier version that .* take the folder over \(--take-over\)$/);
    (await take({ takeOver: true })).release();
    for (const text of [JSON.stringify({ ...here, ...GONE }), '{"pid":']) {
      rmSync(path, { recursive: true });
      writeFileSync(path, text);
      (await take()).release();
    }
  });
});

describe('the lock of a process that cannot be seen', () => {
  beforeAll(() => vi.stubEnv('LONGSIGHT_LOCK_SECONDS', '1'));
  afterAll(() => vi.unstubAllEnvs());

  it.each<[string, Partial<LockHolder>]>([
    ['another host', { host: 'node-b' }],
    ['another container of this host', { space: 'pid:[1]' }],
    ['an earlier boot, or another machine of the same name', { boot: 'another' }],
  ])('of %s is refused while its heart beats, told to take over or not', async (_, holder) => {
    const self = { ...here, ...holder };
    const lock = await take({ self });
    const told: string[] = [];
    for (const takeOver of [false, true])
      await expect(take({ takeOver, waiting: (text) => told.push(text) })).rejects.toThrow(
        `the folder is in use by process ${here.pid} on host ${self.host}, which is alive; wait for it`,
      );
    expect(told).toEqual(
      Array(2).fill(expect.stringContaining('cannot be seen from here; waiting up to 1 s for a sign')),
    );
    lock.check();
    lock.release();
    (await take()).release();
  });

  it.each([
    ['after the time that its holder stated', false, 1000],
    ['after a quarter of it when told to take over', true, 250],
  ])('is taken %s, and its holder notices', async (_, takeOver, ms) => {
    leave(3, { host: 'node-b' });
    const begin = performance.now();
    const lock = await take({ takeOver });
    expect(performance.now() - begin).toBeGreaterThanOrEqual(ms);
    expect(lock.number).toBe(4);
    lock.release();
  });

  it('is taken by one of many', async () => {
    leave(3, { host: 'node-b' });
    const takers = ['c', 'd', 'e', 'f', 'g'].map((host) => take({ self: otherHost(host) }));
    const ended = await Promise.allSettled(takers);
    const taken = ended.filter((end) => end.status === 'fulfilled');
    expect(taken).toHaveLength(1);
    for (const end of ended)
      if (end.status === 'rejected') expect(String(end.reason)).toMatch(/is in use by process .* which is alive/);
    taken[0]?.value.release();
  });

  it('stops waiting when asked to', async () => {
    leave(3, { host: 'node-b' });
    const abort = new AbortController();
    const waiting = take({ signal: abort.signal });
    abort.abort();
    await expect(waiting).rejects.toThrow('stopped while waiting for the folder');
  });

  it('refuses a time that is none', async () => {
    vi.stubEnv('LONGSIGHT_LOCK_SECONDS', '0');
    await expect(take()).rejects.toThrow('LONGSIGHT_LOCK_SECONDS must be a number of seconds from 1 to 86400, got "0"');
    vi.stubEnv('LONGSIGHT_LOCK_SECONDS', '1');
  });
});

describe('a holder whose lock was taken', () => {
  /** What another process does that takes the lock while this one is frozen. */
  async function lose(file = join(path, '1')): Promise<void> {
    const lock = readFileSync(file, 'utf8');
    rmSync(file);
    writeFileSync(
      join(path, '2'),
      lock
        .replace(/"pid":\d+/, '"pid":77')
        .replace(/"token":"\w+"/, '"token":"other"')
        .replace(hostname(), 'node-b'),
    );
    return Promise.resolve();
  }
  const message =
    'this process has lost the folder to process 77 on host node-b, having given no sign of life for too long; it writes nothing more there';

  it('writes nothing more below the folder, and says to whom it lost it', async () => {
    const lock = await take();
    const [state, elsewhere] = [join(folder, 'sub', 'state.json'), join(root, 'free.json')];
    writeFileAtomic(state, 'mine');
    const under = new AtomicFile(state);
    under.write('late');
    await lose();
    expect(() => under.commit()).toThrow(LockLostError);
    expect(() => writeFileAtomic(state, 'late')).toThrow(message);
    expect(() => checkFence(folder)).toThrow(message);
    expect(() => lock.check()).toThrow(message);
    expect(readFileSync(state, 'utf8')).toBe('mine');
    expect(readdirSync(join(folder, 'sub'))).toEqual(['state.json']);
    writeFileAtomic(elsewhere, 'x');
    lock.release();
    expect(readFileSync(join(path, '2'), 'utf8')).toMatch(/held\n$/);
    writeFileAtomic(state, 'as anybody');
  });

  it('is told by its heartbeat', async () => {
    vi.stubEnv('LONGSIGHT_LOCK_SECONDS', '1');
    const work = underLock(path, 'the folder', {}, async (_lock, signal) => {
      await lose();
      await new Promise((done) => signal.addEventListener('abort', done));
      throw new Error('stopped, whatever the reason');
    });
    await expect(work).rejects.toThrow(message);
  });
  afterEach(() => vi.unstubAllEnvs());

  it('has threads that stop, too', async () => {
    const lock = await take();
    joinLock(JSON.parse(JSON.stringify(lock.ticket)) as typeof lock.ticket);
    checkFence(join(folder, 'a'));
    lock.release();
    await lose();
    expect(() => checkFence(join(folder, 'a'))).toThrow(message);
    checkFence(root);
  });

  it('has its unfinished files removed, but those of others kept', async () => {
    leave(1, GONE);
    const [other, mine] = ['a.json', 'b.json'].map((name) => basename(temporaryPath(name))) as [string, string];
    const gone = other.replace(String(process.pid), String(GONE.pid));
    const names = [gone, mine, `c.${GONE.pid}.json`];
    mkdirSync(join(folder, 'runs', 'a', 'run.lock'), { recursive: true });
    for (const name of names) writeFileSync(join(folder, name), '');
    mkdirSync(join(folder, 'sub', gone), { recursive: true });
    writeFileSync(join(folder, 'runs', 'a', gone), '');
    (await take()).release();
    expect(readdirSync(folder).sort()).toEqual([mine, `c.${GONE.pid}.json`, 'runs', 'sub', 'x.lock']);
    expect(readdirSync(join(folder, 'sub'))).toEqual([]);
    expect(readdirSync(join(folder, 'runs', 'a')).sort()).toEqual([gone, 'run.lock']);
  });
});

describe('stateOf', () => {
  it('knows processes of this host', () => {
    expect(stateOf(here)).toBe('alive');
    expect(stateOf({ ...here, ...GONE })).toBe('gone');
    expect(stateOf({ ...here, boot: null, space: null })).toBe('alive');
  });

  it.skipIf(here.start === null)('knows a process that has ended though its parent has not asked for it', async () => {
    // The shell becomes a program that waits for no child.
    const script = 'cat <&3 >/dev/null & echo $!; exec sleep 600';
    const parent = spawn('sh', ['-c', script], { stdio: ['ignore', 'pipe', 'ignore', 'pipe'] });
    try {
      const [text] = (await once(parent.stdio[1] as Readable, 'data')) as [Buffer];
      const child = processOf(Number(text.toString()));
      expect(stateOf(child)).toBe('alive');
      (parent.stdio[3] as Writable).end();
      await vi.waitFor(() => expect(readFileSync(`/proc/${child.pid}/stat`, 'utf8')).toContain(') Z '), 25_000);
      expect(stateOf(child)).toBe('gone');
    } finally {
      parent.kill('SIGKILL');
    }
  });
});
