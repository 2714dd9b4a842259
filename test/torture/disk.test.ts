/** Commands on disks that take no more, or nothing: one sentence, and the same command ends well once they do. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder } from '../support/folders.js';
import { again, contentsOf, jobMakers, prepareInputs } from './jobs.js';
import { MAIN } from '../support/main.js';
import { FULL, inParallel, run, trialOf } from './support.js';

const shared = mkdtempSync(join(tmpdir(), 'longsight-torture-'));
afterAll(() => rmSync(shared, { recursive: true, force: true }));
const inputs = join(shared, 'inputs');
const makers = jobMakers(inputs);
beforeAll(() => prepareInputs(inputs));

/** What a command says that was ended by a disk: one sentence behind what it had told of its progress, and no stack. */
function expectSentence({ code, stderr }: { code: number | null; stderr: string }, why: RegExp, what: string): void {
  expect(code, `${what}: ${stderr}`).toBe(2);
  const said = stderr.split('\n').filter((line) => line.startsWith('longsight: '));
  expect(said, `${what}: ${stderr}`).toHaveLength(1);
  expect(said[0], what).toMatch(why);
  expect(stderr, what).not.toMatch(/\n\s+at /);
}

// A tenth has time for a few commands.
const chosen = Object.entries(makers).filter(([name]) => FULL || ['recall', 'prepare', 'export'].includes(name));

describe.each(chosen)('%s', (name, make) => {
  it('on a disk that is full from some call on ends with a sentence, and well once there is room', async () => {
    const folder = temporaryFolder();
    const [job, counter] = [make(folder), join(folder, 'counter')];
    expect(await run(job.args(false), { shim: { root: job.root, counter } })).toMatchObject({ code: 0 });
    const [contents, calls] = [contentsOf(job.root), readFileSync(counter).length];
    const drawn = 2 + trialOf('kills', `${name} full`).int(calls - 2);
    const every = Math.ceil(calls / 30);
    const numbers = FULL ? Array.from({ length: Math.floor(calls / every) }, (_, i) => 1 + i * every) : [1, drawn];
    const begin = performance.now();
    await inParallel(numbers, 2, async (from) => {
      const here = temporaryFolder();
      const starved = make(here);
      const fail = { from, to: 1e9, code: 'ENOSPC' };
      const ending = await run(starved.args(false), {
        shim: { root: starved.root, counter: join(here, 'counter'), fail },
      });
      // The last calls of a command may need no room.
      if (ending.code !== 0) expectSentence(ending, /the disk is full; free some space/, `call ${from}`);
      const status = join(starved.root, 'status.json');
      if (existsSync(status)) expect(readFileSync(status, 'utf8'), `call ${from}`).not.toContain('"running"');
      const last = await again(starved, from % 2 === 0);
      expect(last.code, `full from call ${from}: ${last.stderr}`).toBe(0);
      expect(contentsOf(starved.root), `full from call ${from}`).toEqual(contents);
    });
    const seconds = Math.round((performance.now() - begin) / 1000);
    process.stderr.write(`${name}: full from ${numbers.length} of ${calls} calls on files, ${seconds} s\n`);
  });

  it.each(['EROFS', 'EACCES'] as const)('where nothing may be written (%s) says so', async (code) => {
    const here = temporaryFolder();
    const job = make(here);
    const shim = { root: job.root, counter: join(here, 'counter'), fail: { from: 1, to: 1e9, code } };
    const why = code === 'EROFS' ? /the file system is read-only/ : /permission denied/;
    expectSentence(await run(job.args(false), { shim }), why, code);
  });
});

const NAMESPACES = ['--user', '--map-root-user', '--mount', 'bash', '-c'];
const canMount =
  spawnSync('unshare', [...NAMESPACES, 'mount -t tmpfs -o size=64k none /mnt'], { encoding: 'utf8' }).status === 0;
if (!canMount) console.log('tests on a full tmpfs are left out: none can be mounted here (unshare --user --mount)');

describe.runIf(canMount)('standard output on a full disk', () => {
  const onFull = (folder: string, script: string) => {
    const disk = join(folder, 'disk');
    mkdirSync(disk);
    const fill = `mount -t tmpfs -o size=16k none "${disk}"; head -c 100000 /dev/zero > "${disk}/ballast" 2>/dev/null`;
    const ready = `truncate -s 12000 "${disk}/ballast"; touch "${disk}/out"`;
    const both = `${fill}; ${ready}; head -c 4096 /dev/zero > "${disk}/rest"; ${script}`;
    return spawnSync('unshare', [...NAMESPACES, both], { encoding: 'utf8' });
  };

  it('ends a run with a sentence and a checkpoint, from which it goes on', async () => {
    const folder = temporaryFolder();
    const root = join(folder, 'run');
    const train = `"${process.execPath}" "${MAIN}" train "${join(inputs, 'recall.yaml')}" --out "${root}" --json`;
    const { stdout, stderr } = onFull(folder, `${train} > "${folder}/disk/out"; echo "exit $?"`);
    expect(stdout, stderr).toContain('exit 2');
    expect(stderr).toMatch(/^longsight: cannot write to standard output: the disk is full; free some space.*\n$/);
    expect(readFileSync(join(root, 'status.json'), 'utf8')).toMatch(/"state": "failed"/);
    expect(await run(['train', join(inputs, 'recall.yaml'), '--out', root, '--resume'])).toMatchObject({ code: 0 });
    const whole = join(folder, 'whole');
    await run(['train', join(inputs, 'recall.yaml'), '--out', whole]);
    expect(contentsOf(root)).toEqual(contentsOf(whole));
  });

  it('is no success for a command that only prints', () => {
    const folder = temporaryFolder();
    const { stdout, stderr } = onFull(
      folder,
      `"${process.execPath}" "${MAIN}" --help > "${folder}/disk/out"; echo "exit $?"`,
    );
    expect(stdout, stderr).toContain('exit 2');
    expect(stderr).toMatch(/^longsight: cannot write to standard output: the disk is full.*\n$/);
  });

  it('and standard error with it is told by the exit code and the status of the run', () => {
    const folder = temporaryFolder();
    const root = join(folder, 'run');
    const train = `"${process.execPath}" "${MAIN}" train "${join(inputs, 'recall.yaml')}" --out "${root}"`;
    const { stdout } = onFull(folder, `${train} > "${folder}/disk/out" 2>&1; echo "exit $?"`);
    expect(stdout).toBe('exit 2\n');
    const status = readFileSync(join(root, 'status.json'), 'utf8');
    expect(status).toMatch(/"state": "failed"[^]*cannot write to standard (output|error): the disk is full/);
  });
});
