import { existsSync, statSync, writeFileSync } from 'node:fs';
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
