import { spawnSync } from 'node:child_process';
import { existsSync, lstatSync, readdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { messageOf, temporaryFolder } from '../../test/support/folders.js';
import { makeFolder, writeFileAtomic } from './files.js';

describe('folders', () => {
  it('are made with those above them, and stay as they are if they exist', () => {
    const folder = join(temporaryFolder(), 'a', 'b', 'c');
    makeFolder(folder);
    expect(statSync(folder).isDirectory()).toBe(true);
    writeFileSync(join(folder, 'kept'), '');
    makeFolder(folder);
    expect(existsSync(join(folder, 'kept'))).toBe(true);
  });

  it.each(['file', 'file/below'])('are not made where a file is: %s', (path) => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'file'), '');
    const file = join(folder, path, 'out.json');
    expect(messageOf(() => writeFileAtomic(file, 'x'))).toMatch(
      /^cannot write .*out\.json: a (file is where a folder should be|part of the path is a file)/,
    );
    expect(() => makeFolder(join(folder, path))).toThrow();
  });

  it.runIf(existsSync('/proc/self'))('fail at once where the file system makes none, as under /proc', () => {
    const file = '/proc/longsight/run/out.json';
    expect(messageOf(() => writeFileAtomic(file, 'x'))).toBe(
      `cannot write ${file}: no files can be made there; choose another folder`,
    );
  });
});

describe.skipIf(process.platform === 'win32')('a file', () => {
  const message = (path: string) =>
    `cannot write ${path}: it is a device, a pipe or a socket, which a file would replace; choose another path`;

  it('does not take the place of a pipe, nor of a link to one', () => {
    const folder = temporaryFolder();
    const [pipe, link] = [join(folder, 'pipe'), join(folder, 'link')];
    spawnSync('mkfifo', [pipe]);
    symlinkSync(pipe, link);
    for (const path of [pipe, link]) expect(messageOf(() => writeFileAtomic(path, 'x'))).toBe(message(path));
    expect(lstatSync(pipe).isFIFO()).toBe(true);
    expect(lstatSync(link).isSymbolicLink()).toBe(true);
    expect(readdirSync(folder).sort()).toEqual(['link', 'pipe']);
  });

  // Root may write there: /dev/stdout is a link, and would be a file for everybody from then on.
  it.runIf(existsSync('/dev/null'))('is not made among devices', () => {
    const path = '/dev/longsight-test.json';
    expect(messageOf(() => writeFileAtomic(path, 'x'))).toBe(message(path));
    expect(existsSync(path)).toBe(false);
  });
});
