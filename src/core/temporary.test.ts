import { spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../test/support/folders.js';
import { openPart } from './disk.js';
import { raiseFence } from './fence.js';
import { AtomicFile, AtomicFolder, writeFileAtomic } from './files.js';
import { isTemporary, namesIn, removeLeftovers, temporaryPath } from './temporary.js';

/** A process that has ended, as a name has it. */
function dead(path: string): string {
  const { pid } = spawnSync(process.execPath, ['-e', '0']);
  return temporaryPath(path).replace(/\.\d+-\d*-/, `.${pid}-1-`);
}

describe('a temporary name', () => {
  it('is another each time, says so itself, and stays short', () => {
    const path = join('/a', `${'\u{1f600}'.repeat(80)}.json`);
    const [a, b] = [temporaryPath(path), temporaryPath(path)];
    expect(a).not.toBe(b);
    expect(isTemporary(basename(a))).toBe(true);
    expect(Buffer.byteLength(basename(a))).toBeLessThan(255);
    expect(['config.json', 'step-000004', 'data.tmp', 'x.1-2.tmp'].some(isTemporary)).toBe(false);
    expect(['config.json.77.tmp', '.77.export.tmp', '.step-000004.77.tmp'].every(isTemporary)).toBe(true);
  });

  it('of a dead process goes with the next write, of a living one stays, of another host after a week', () => {
    const folder = temporaryFolder();
    const [mine, gone, goneFolder] = [
      temporaryPath(join(folder, 'a')),
      dead(join(folder, 'b')),
      dead(join(folder, 'c')),
    ];
    const elsewhere = dead(join(folder, 'd')).replace(/-[0-9a-f]{8}-/, '-00000000-');
    for (const path of [mine, gone, elsewhere]) writeFileSync(path, 'x');
    mkdirSync(join(goneFolder, 'inside'), { recursive: true });
    expect(namesIn(folder)).toEqual([]);
    writeFileAtomic(join(folder, 'new'), 'y');
    expect(readdirSync(folder).sort()).toEqual([mine, elsewhere, 'new'].map((p) => basename(p)).sort());
    const old = Date.now() / 1000 - 8 * 24 * 3600;
    utimesSync(elsewhere, old, old);
    removeLeftovers(folder);
    expect(readdirSync(folder).sort()).toEqual([mine, 'new'].map((p) => basename(p)).sort());
  });

  it('of an earlier version goes where the lock is held, beside what it was to become, once its process is dead', () => {
    const folder = temporaryFolder();
    const { pid } = spawnSync(process.execPath, ['-e', '0']);
    const [gone, living, alone] = [`status.json.${pid}.tmp`, `status.json.${process.pid}.tmp`, `notes.${pid}.tmp`];
    for (const name of ['status.json', gone, living, alone]) writeFileSync(join(folder, name), 'x');
    writeFileAtomic(join(folder, 'status.json'), 'y');
    expect(readdirSync(folder).sort()).toEqual(['status.json', gone, living, alone].sort());
    const lower = raiseFence({ folder, check: () => undefined });
    writeFileAtomic(join(folder, 'status.json'), 'z');
    lower();
    expect(readdirSync(folder).sort()).toEqual(['status.json', living, alone].sort());
  });

  it('is never written through a link', () => {
    const folder = temporaryFolder();
    const victim = join(folder, 'victim');
    writeFileSync(victim, 'precious');
    using file = new AtomicFile(join(folder, 'new'));
    const temporary = join(folder, readdirSync(folder).find(isTemporary) ?? '');
    expect(() => {
      symlinkSync(victim, temporary);
    }).toThrow('EEXIST'); // it is there before anybody can know its name
    file.write('y');
    file.commit();
    expect(readFileSync(victim, 'utf8')).toBe('precious');
  });
});

describe('a file that is written over several starts', () => {
  it('goes on at its end, begins anew, and is never a link', () => {
    const folder = temporaryFolder();
    const [part, victim, link] = ['part', 'victim', 'link'].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ];
    const add = (path: string, how: 'anew' | 'go on', text: string) => {
      const fd = openPart(path, how);
      writeSync(fd, text);
      closeSync(fd);
    };
    add(part, 'anew', 'ab');
    add(part, 'go on', 'c');
    expect(readFileSync(part, 'utf8')).toBe('abc');
    add(part, 'anew', 'd');
    expect(readFileSync(part, 'utf8')).toBe('d');
    writeFileSync(victim, 'precious');
    symlinkSync(victim, link);
    for (const how of ['anew', 'go on'] as const) expect(() => add(link, how, 'x')).toThrow('ELOOP');
    expect(readFileSync(victim, 'utf8')).toBe('precious');
  });
});

describe('a folder that appears whole', () => {
  it('is nowhere before, replaces an older one only if asked, and leaves nothing when it fails', () => {
    const folder = temporaryFolder();
    const path = join(folder, 'out');
    {
      using made = new AtomicFolder(path);
      writeFileAtomic(join(made.inside, 'a'), '1');
      expect(existsSync(path)).toBe(false);
      made.commit('keep');
    }
    {
      using made = new AtomicFolder(path);
      writeFileAtomic(join(made.inside, 'a'), '2');
      expect(() => made.commit('keep')).toThrow(/cannot write .*out: a folder that is not empty is there/);
    }
    expect(readFileSync(join(path, 'a'), 'utf8')).toBe('1');
    using made = new AtomicFolder(path);
    writeFileAtomic(join(made.inside, 'a'), '3');
    made.commit('replace');
    expect(readFileSync(join(path, 'a'), 'utf8')).toBe('3');
    expect(readdirSync(folder)).toEqual(['out']);
  });
});
