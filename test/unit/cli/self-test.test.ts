/** The self-test's own judgement: what must count as failed does, what is not possible is left out, nothing is left behind. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { runChecks } from '../../../src/cli/commands/doctor-self-test.js';
import type { SelfCheck } from '../../../src/cli/self-test/definition.js';
import { diskFull } from '../../../src/cli/self-test/disk-full.js';
import { killAndResume } from '../../../src/cli/self-test/kill-and-resume.js';
import { windowsOf } from '../../../src/cli/self-test/windows.js';
import { Output } from '../../../src/cli/terminal/output.js';
import { tensorFrom, toNumbers } from '../../../src/core/index.js';
import { createEngine, type Engine } from '../../../src/engine/index.js';
import { temporaryFolder } from '../../support/folders.js';

/** Runs checks with a command line made of these lines; what they print, and what they leave behind. */
async function tried(checks: readonly SelfCheck[], main = '', stop = new AbortController(), threads?: number) {
  const [temporary, place] = [temporaryFolder(), temporaryFolder()];
  vi.stubEnv('TMPDIR', temporary);
  onTestFinished(() => void vi.unstubAllEnvs());
  const mainPath = join(place, 'main.mjs');
  writeFileSync(mainPath, main);
  let stdout = '';
  const streams = { stdout: { write: (s: string) => (stdout += s) }, stderr: { write: () => undefined } };
  const context = {
    ...streams,
    env: {},
    signal: stop.signal,
    mainPath,
    isPreempted: () => false,
    endNow: () => undefined,
    exitWith: () => undefined,
  };
  const failed = await runChecks(checks, { engine: 'reference', threads }, new Output(streams, {}), context).catch(
    (error: unknown) => error,
  );
  return { failed, lines: stdout.trimEnd().split('\n'), left: readdirSync(temporary), place };
}

/** A training that leaves these numbers as its weights, and can be killed. */
const training = (weights: string) => `
  import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
  import { basename, join } from 'node:path';
  const out = process.argv[process.argv.indexOf('--out') + 1];
  // The two that are to be killed wait for it: the first behind its first file, the second behind its checkpoint.
  appendFileSync(out + '.starts', 'x');
  const starts = basename(out).startsWith('killed-') ? readFileSync(out + '.starts', 'utf8').length : 0;
  const killed = () => new Promise((done) => setTimeout(done, 600_000));
  const checkpoint = join(out, 'checkpoints', 'step-000008');
  mkdirSync(checkpoint, { recursive: true });
  if (starts === 1) await killed();
  writeFileSync(join(out, 'config.json'), '{}');
  writeFileSync(join(checkpoint, 'model.safetensors'), ${weights});
  writeFileSync(join(checkpoint, 'optimizer.safetensors'), '');
  writeFileSync(join(out, 'metrics.jsonl'), JSON.stringify({ step: 1, time: Math.random() }) + '\\n');
  writeFileSync(join(checkpoint, 'state.json'), '{}');
  if (starts === 2) await killed();`;

describe('the self-test', () => {
  it('counts what throws as failed, goes on, and leaves nothing behind', async () => {
    const checks: SelfCheck[] = [
      { name: 'throws', run: () => Promise.reject(new Error('what\nis wrong')) },
      { name: 'fails', run: () => Promise.resolve({ state: 'failed', text: 'no' }) },
      { name: 'cannot be', run: () => Promise.resolve({ state: 'skipped', text: 'not here' }) },
      {
        name: 'writes',
        run: ({ folder }) => {
          writeFileSync(join(folder, 'x'), '');
          return Promise.resolve({ state: 'ok', text: 'fine' });
        },
      },
    ];
    const { failed, lines, left } = await tried(checks);
    expect(failed).toEqual(['throws', 'fails']);
    expect(lines).toEqual([
      expect.stringMatching(/^FAILED {3}throws +what is wrong \(\d+\.\d s\)$/),
      expect.stringMatching(/^FAILED {3}fails +no \(/),
      expect.stringMatching(/^skipped {2}cannot be +not here \(/),
      expect.stringMatching(/^ok {7}writes +fine \(/),
    ]);
    expect(left).toEqual([]);
  });

  it('ends at a stop with its processes, and leaves nothing behind', async () => {
    const stop = new AbortController();
    const main = `import { writeFileSync } from 'node:fs'; writeFileSync(process.argv[2], '1'); setTimeout(() => {}, 60_000);`;
    const check: SelfCheck = {
      name: 'long',
      run: async (bench) => {
        const started = join(bench.folder, 'started');
        const { ended } = bench.script(bench.mainPath, [started]);
        while (!existsSync(started)) await new Promise((done) => setTimeout(done, 5));
        stop.abort(new Error('stopped'));
        await ended;
        return { state: 'ok', text: 'not reached' };
      },
    };
    const { failed, left } = await tried([check, check], main, stop);
    expect(failed).toEqual(new Error('stopped'));
    expect(left).toEqual([]);
  });

  it('tells trainings that differ after a kill from those that do not', async () => {
    expect((await tried([killAndResume], training("'w'"))).lines[0]).toMatch(
      /^ok .*killed at its first file and after a checkpoint, on reference: the same bits as without a kill/,
    );
    const { failed, lines } = await tried([killAndResume], training('String(Math.random())'));
    expect(failed).toEqual(['kill and resume']);
    expect(lines[0]).toMatch(/weights or metrics differ from those of a training without a kill/);
    const broken = await tried([killAndResume], "console.error('longsight: no such thing'); process.exit(2);");
    expect(broken.lines[0]).toMatch(/^FAILED .*a small training failed: longsight: no such thing/);
  });

  it('trains on the engine and the threads that were asked for', async () => {
    const found: unknown[] = [];
    const look: SelfCheck = {
      name: 'look',
      run: ({ runFile }) => {
        found.push(JSON.parse(readFileSync(runFile, 'utf8')));
        return Promise.resolve({ state: 'ok', text: '' });
      },
    };
    await tried([look], '', new AbortController(), 3);
    await tried([look]);
    expect(found).toEqual([
      expect.objectContaining({ engine: 'reference', threads: 3 }),
      expect.not.objectContaining({ threads: expect.anything() as number }),
    ]);
  });

  it('says why there is no small file system', async () => {
    vi.stubEnv('PATH', '');
    const { failed, lines } = await tried([diskFull]);
    expect(failed).toEqual([]);
    expect(lines[0]).toMatch(/^skipped {2}disk full +a small file system needs the program unshare/);
  });

  it('counts an engine that is off as failed, and one that is not installed as left out', async () => {
    const reference = createEngine('reference');
    expect(await windowsOf(() => ({ ...reference, dispose: async () => undefined }))).toMatchObject({
      state: 'ok',
      text: 'windows of 7, 8 and 9 keys, largest differences from float64: f32 0.0e+0 forward, 0.0e+0 backward',
    });
    const off: Engine = {
      ...reference,
      download: async (tensor) => {
        const host = await reference.download(tensor);
        return tensorFrom(
          host.dtype,
          host.shape,
          toNumbers(host).map((x) => x + 0.001),
        );
      },
    };
    expect(await windowsOf(() => off)).toMatchObject({
      state: 'failed',
      text: expect.stringMatching(/1\.0e-3 forward/) as string,
    });
    const missing = (): never => {
      throw new Error('it is not installed');
    };
    expect(await windowsOf(missing, true)).toEqual({ state: 'skipped', text: 'it is not installed' });
    expect(await windowsOf(missing)).toEqual({ state: 'failed', text: 'it is not installed' });
  });
});
