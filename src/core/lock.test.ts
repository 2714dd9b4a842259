import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { StoreError } from './errors.js';
import { takeLock, thisProcess, type LockHolder } from './lock.js';

const folder = mkdtempSync(join(tmpdir(), 'longsight-lock-'));
afterAll(() => rmSync(folder, { recursive: true }));
const path = join(folder, 'sub', 'x.lock');

describe('takeLock', () => {
  it('keeps others out until it is released', () => {
    const release = takeLock(path, 'the folder');
    expect(() => takeLock(path, 'the folder')).toThrow(StoreError);
    expect(() => takeLock(path, 'the folder')).toThrow(
      `the folder is in use by process ${process.pid} on host ${hostname()} (this one); wait for it`,
    );
    release();
    expect(existsSync(path)).toBe(false);
  });

  it.each([
    ['a process that is gone', JSON.stringify({ pid: 2 ** 22 + 1, host: hostname(), start: null })],
    ['a process whose number another one has now', JSON.stringify({ pid: process.pid, host: hostname(), start: '1' })],
    ['nobody, having been cut off', '{"pid":'],
  ])('takes over the lock of %s', (_, content) => {
    writeFileSync(path, content);
    const release = takeLock(path, 'the folder');
    expect(JSON.parse(readFileSync(path, 'utf8'))).toMatchObject({ pid: process.pid });
    release();
  });

  const here = thisProcess();
  const hold = (holder: Partial<LockHolder>) => writeFileSync(path, JSON.stringify({ ...here, ...holder }));

  it.each<[string, Partial<LockHolder>]>([
    ['another host', { host: 'node-b' }],
    ['another host, the number of no process here', { host: 'node-b', pid: 2 ** 22 + 1, start: '1' }],
    ['another container of this host', { space: 'pid:[1]' }],
  ])('never takes over the lock of %s unless told to', (_, holder) => {
    hold(holder);
    const { pid, host } = { ...here, ...holder };
    expect(() => takeLock(path, 'the folder')).toThrow(
      `the folder is in use by process ${pid} on host ${host}, which cannot be seen from here; wait for it or stop it there. If ` +
        'it is gone, take the folder over with --take-over',
    );
    expect(JSON.parse(readFileSync(path, 'utf8'))).toMatchObject({ pid, host });
    const release = takeLock(path, 'the folder', { takeOver: true });
    expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual(here);
    release();
    expect(existsSync(path)).toBe(false);
  });

  it('keeps two hosts apart, whoever comes first', () => {
    const [a, b] = [
      { ...here, host: 'node-a' },
      { ...here, host: 'node-b' },
    ];
    const release = takeLock(path, 'it', { self: a });
    expect(() => takeLock(path, 'it', { self: b })).toThrow(`process ${process.pid} on host node-a`);
    expect(() => takeLock(path, 'it', { self: a, takeOver: true })).toThrow('(this one)');
    const taken = takeLock(path, 'it', { self: b, takeOver: true });
    release(); // the lock is no longer this one's
    expect(existsSync(path)).toBe(true);
    taken();
    expect(existsSync(path)).toBe(false);
  });

  it('does not take a living process of this host over, asked to or not, and knows a reboot', () => {
    hold({});
    expect(() => takeLock(path, 'it', { takeOver: true })).toThrow('is in use by process');
    hold({ boot: 'an earlier one' });
    if (here.boot !== null) takeLock(path, 'it')();
  });

  it('leaves no other file behind', () => {
    takeLock(path, 'it')();
    writeFileSync(path, 'half');
    takeLock(path, 'it')();
    expect(readdirSync(join(folder, 'sub'))).toEqual([]);
  });
});
