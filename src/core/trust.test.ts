import { chmodSync, chownSync, mkdirSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../test/support/folders.js';
import { findProgram, homeFolder, isPrivateGroup, thisUser, writableByOthers } from './trust.js';

/** A file in a folder, with these modes. */
function file({ folder = 0o755, mode = 0o644 }: { folder?: number; mode?: number } = {}): string {
  const at = realpathSync(temporaryFolder());
  const path = join(at, 'plugin.so');
  writeFileSync(path, '');
  chmodSync(path, mode);
  chmodSync(at, folder);
  return path;
}

describe('who could have written a file', () => {
  it('nobody else, where only the user may write it and the folders above', () => {
    expect(writableByOthers(file())).toBeNull();
    expect(writableByOthers(file({ folder: 0o1777 }))).toBeNull(); // like /tmp: each may replace only what is his
  });

  it('everybody, by the mode of the file, of a folder above or of what a link leads to', () => {
    const open = file({ mode: 0o646 });
    expect(writableByOthers(open)).toBe(
      `every user may write ${open}; if you trust what is there, run "chmod go-w ${open}"`,
    );
    const inside = file({ folder: 0o757 });
    expect(writableByOthers(inside)).toMatch(/^every user may write .*longsight[^/]*; .* "chmod go-w /);
    const link = join(realpathSync(temporaryFolder()), 'link.so');
    symlinkSync(inside, link);
    expect(writableByOthers(link)).toBe(writableByOthers(inside));
  });

  it('by a link in a folder that all may write', () => {
    const target = file();
    const shared = realpathSync(temporaryFolder());
    chmodSync(shared, 0o777);
    symlinkSync(target, join(shared, 'link.so'));
    expect(writableByOthers(join(shared, 'link.so'))).toBe(
      `every user may write ${shared}; if you trust what is there, run "chmod go-w ${shared}"`,
    );
    const round = join(realpathSync(temporaryFolder()), 'round');
    symlinkSync(round, round);
    expect(writableByOthers(round)).toMatch(/is a link without end/);
  });

  it('a group, unless nobody else is in it', () => {
    const path = file({ mode: 0o664 });
    const users = thisUser();
    expect(writableByOthers(path, { ...users, isPrivate: () => true })).toBeNull();
    expect(writableByOthers(path, { ...users, isPrivate: () => false })).toMatch(
      /a group with other members \(number \d+\) may write .*; .* "chmod g-w /,
    );
  });

  it('another user, whose file it is', () => {
    const path = file();
    const users = { ...thisUser(), isTrusted: (uid: number) => uid === 4242 };
    expect(writableByOthers(path, users)).toMatch(/^\/ belongs to another user \(number 0\); make it your own/);
    if (process.getuid?.() !== 0) return;
    chownSync(path, 4242, 0);
    expect(writableByOthers(path)).toMatch(/plugin\.so belongs to another user \(number 4242\)/);
  });
});

describe('a private group', () => {
  const groups = [
    ['root', 'x', '0', ''],
    ['ann', 'x', '1000', ''],
    ['lab', 'x', '2000', 'ann,bob'],
    ['staff', 'x', '50', ''],
  ];
  const users = [
    ['root', 'x', '0', '0'],
    ['ann', 'x', '1000', '1000'],
    ['bob', 'x', '1001', '50'],
  ];
  it.each([
    [1000, true],
    [0, true],
    [2000, false], // bob is a member
    [50, false], // bob's own group
    [7, false], // unknown
  ])('%i of ann: %s', (gid, expected) => {
    expect(isPrivateGroup(gid, 1000, groups, users)).toBe(expected);
  });
});

describe('programs and homes', () => {
  it('come from absolute paths only', () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'tool'), '', { mode: 0o755 });
    mkdirSync(join(folder, 'sub'));
    const before = process.cwd();
    process.chdir(folder);
    try {
      expect(findProgram('tool', { PATH: `:.:sub/..:${join(folder, 'sub')}` })).toBeNull();
      expect(findProgram('tool', { PATH: `.:${folder}` })).toBe(join(folder, 'tool'));
    } finally {
      process.chdir(before);
    }
    expect(homeFolder({ HOME: '/h' })).toBe('/h');
    expect(homeFolder({ HOME: '' })).toMatch(/^\//);
  });
});
