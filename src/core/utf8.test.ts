import { execFileSync, spawn } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { temporaryFolder } from '../../test/support/folders.js';
import { readBytes } from './utf8.js';

it('a file is read whole, and a pipe to its end', () => {
  const folder = temporaryFolder();
  const [file, pipe] = [join(folder, 'file'), join(folder, 'pipe')];
  writeFileSync(file, 'x'.repeat(100));
  expect(readBytes(file, 10)).toHaveLength(100);
  execFileSync('mkfifo', [pipe]);
  spawn('sh', ['-c', `head -c 3000000 /dev/zero > "${pipe}"`], { stdio: 'ignore' });
  expect(readBytes(pipe)).toHaveLength(3_000_000);
});

it.runIf(existsSync('/dev/zero'))('a device that never ends is read up to the limit', () => {
  expect(() => readBytes('/dev/zero', 5_000_000)).toThrow('it gives more than 5000000 bytes');
});
