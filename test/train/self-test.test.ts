/** `longsight doctor --self-test` as users run it, from what is built in `dist`; `npm test` builds it first. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it, vi } from 'vitest';
import { temporaryFolder } from '../support/folders.js';

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const RACER = fileURLToPath(new URL('../../dist/cli/self-test/lock-race-worker.js', import.meta.url));

interface Line {
  readonly check: string;
  readonly state: string;
  readonly text: string;
}

it('finds nothing wrong, says what this machine does not allow, and leaves nothing behind', () => {
  const [home, temporary, current] = [temporaryFolder(), temporaryFolder(), temporaryFolder()];
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, 'doctor', '--self-test', '--json'], {
    cwd: current,
    env: { ...process.env, HOME: home, XDG_CACHE_HOME: join(home, 'cache'), TMPDIR: temporary },
    encoding: 'utf8',
    timeout: 540_000,
  });
  const lines = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);
  expect(lines.map(({ check }) => check).slice(0, 5)).toEqual([
    ...['kill and resume', 'lock race', 'disk full', 'windows on onnx', 'windows on reference'],
  ]);
  for (const { check, state, text } of lines) {
    if (check === 'disk full' && state === 'skipped')
      expect(text).toMatch(/^a small file system .*(not allowed|not here)/);
    else expect([check, state, text]).toEqual([check, 'ok', text]);
  }
  expect([status, stderr]).toEqual([0, '']);
  expect([readdirSync(temporary), readdirSync(current)]).toEqual([[], []]);
  // Nor does onnxruntime, which keeps data about its use there unless it is told not to.
  expect(existsSync(join(home, 'cache', 'Microsoft'))).toBe(false);
});

it.skipIf(!existsSync('/proc/self/stat'))(
  'does not count a process that was killed as inside while its parent has not asked for it',
  async () => {
    const folder = temporaryFolder();
    // The shell becomes a program that waits for no child.
    const script = `"${process.execPath}" "${RACER}" "${folder}" 5 1 & echo $!; exec sleep 600`;
    const parent = spawn('sh', ['-c', script], { stdio: ['ignore', 'pipe', 'ignore'] });
    try {
      const [text] = (await once(parent.stdout, 'data')) as [Buffer];
      const stat = `/proc/${text.toString().trim()}/stat`;
      await vi.waitFor(() => expect(readFileSync(stat, 'utf8')).toContain(') Z '), 300_000);
      expect(readlinkSync(join(folder, 'inside'))).not.toBe('');
      const { stdout } = spawnSync(process.execPath, [RACER, folder, '2', '0'], { encoding: 'utf8', timeout: 300_000 });
      expect(JSON.parse(stdout)).toEqual({ turns: 2, overlaps: 0 });
    } finally {
      parent.kill('SIGKILL');
    }
  },
);
