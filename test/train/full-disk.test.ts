/**
 * A disk that is really full: a small tmpfs, mounted in namespaces of its own, so that nothing is left behind and no rights are
 * needed where the kernel lets users have such namespaces. Runs what is built in `dist`.
 */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { temporaryFolder, tinyRun } from './support.js';

const CHILD = fileURLToPath(new URL('child.mjs', import.meta.url));
const NAMESPACES = ['--user', '--map-root-user', '--mount', 'bash', '-c'];

const canMount =
  spawnSync('unshare', [...NAMESPACES, 'mount -t tmpfs -o size=64k none /mnt'], { encoding: 'utf8' }).status === 0;
if (!canMount) {
  console.log('the test on a full disk is left out: no tmpfs can be mounted here (unshare --user --mount)');
}

/** Parameters and moments take about 120 kB a checkpoint. */
const run = tinyRun({
  model: { hiddenSize: 32, intermediateSize: 64 },
  train: { steps: 12, checkpointEvery: 2, keepCheckpoints: 20, evalEvery: 0 },
});

describe.runIf(canMount)('a full disk', () => {
  it('ends the run with the reason and its checkpoints whole; with more room it goes on from the last one', () => {
    const folder = temporaryFolder();
    const runFile = join(folder, 'run.json');
    writeFileSync(runFile, JSON.stringify(run));
    const disk = join(folder, 'disk');
    const train = `"${process.execPath}" "${CHILD}" "${disk}/run" "${runFile}" 1`;
    const script = [
      `mkdir "${disk}" && mount -t tmpfs -o size=400k none "${disk}"`,
      `${train}; echo "exit $?"; echo --`,
      `ls -A "${disk}/run/checkpoints"; echo --`,
      `mount -o remount,size=16m "${disk}" && ${train}; echo "exit $?"`,
    ].join('\n');
    const { stdout } = spawnSync('unshare', [...NAMESPACES, script], { encoding: 'utf8' });
    const [full, listing, after] = stdout.split('--\n') as [string, string, string];
    expect(full).toMatch(
      /StoreError: cannot .*: the disk is full; free some space or choose another folder\nexit 2\n$/,
    );
    const names = listing.trim().split('\n');
    expect(names.every((name) => /^step-\d{6}$/.test(name))).toBe(true);
    const last = Number(names.at(-1)?.slice('step-'.length));
    expect(after).toContain(`done 12 ${last}\nexit 0\n`);
  });
});
