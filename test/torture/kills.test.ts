/** Commands killed at random moments, twice each, and at every first and n-th call on files: what they leave in the end is the same. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder } from '../support/folders.js';
import { again, contentsOf, jobMakers, ONLY_FULL, prepareInputs, type JobMaker } from './jobs.js';
import { amount, FULL, inParallel, run, seedOf, trialOf } from './support.js';

const shared = mkdtempSync(join(tmpdir(), 'longsight-torture-'));
afterAll(() => rmSync(shared, { recursive: true, force: true }));
const inputs = join(shared, 'inputs');
const makers = jobMakers(inputs);
beforeAll(() => prepareInputs(inputs));

/** A whole run: its contents, its calls on files, and its milliseconds. */
async function whole(make: JobMaker): Promise<{ contents: Record<string, unknown>; calls: number; ms: number }> {
  const folder = temporaryFolder();
  const job = make(folder);
  const counter = join(folder, 'counter');
  const begin = performance.now();
  const ending = await run(job.args(false), { shim: { root: job.root, counter } });
  expect(ending.code, ending.stderr).toBe(0);
  return { contents: contentsOf(job.root), calls: readFileSync(counter).length, ms: performance.now() - begin };
}

// A tenth has no time for every kind of training.
const chosen = Object.entries(makers).filter(([name]) => FULL || !ONLY_FULL.includes(name));

describe.each(chosen)('%s', (name, make) => {
  let known: ReturnType<typeof whole> | undefined;
  const wholeOnce = () => (known ??= whole(make));

  it('killed twice at random moments ends as it would have', async () => {
    const { contents, ms } = await wholeOnce();
    const trials = Array.from({ length: amount(20, 1) }, (_, trial) => trial);
    await inParallel(trials, 2, async (trial) => {
      const rng = trialOf('kills', `${name} ${trial}`);
      const job = make(join(temporaryFolder(), String(trial)));
      mkdirSync(join(job.root, '..'), { recursive: true });
      const moments = [rng, rng].map((r) => Math.round((0.1 + 0.9 * r.uniform()) * ms));
      const what = `seed ${seedOf('kills')}, trial ${trial}: killed after ${moments.join(' and ')} ms`;
      for (const killAfterMs of moments) await again(job, rng.int(2) === 0, { killAfterMs });
      const last = await again(job, rng.int(2) === 0);
      expect(last.code, `${what}: ${last.stderr}`).toBe(0);
      expect(contentsOf(job.root), what).toEqual(contents);
    });
  });

  it('killed at its first and at every n-th call on files ends as it would have', async () => {
    const { contents, calls } = await wholeOnce();
    expect(calls).toBeGreaterThan(5);
    const every = Math.max(1, Math.ceil(calls / 100));
    const each = Array.from({ length: Math.ceil(calls / every) }, (_, i) => 1 + i * every);
    const drawn = 3 + trialOf('kills', `${name} calls`).int(calls - 2);
    const numbers = new Set([1, ...(FULL ? [2, ...each] : [drawn])]);
    const begin = performance.now();
    await inParallel([...numbers], 2, async (n) => {
      const folder = temporaryFolder();
      const job = make(folder);
      const killed = await run(job.args(false), {
        shim: { root: job.root, counter: join(folder, 'counter'), kill: [n] },
      });
      expect(killed.signal, `call ${n}: ${killed.stderr}`).toBe('SIGKILL');
      const last = await again(job, n % 2 === 0);
      expect(last.code, `killed at call ${n}: ${last.stderr}`).toBe(0);
      expect(contentsOf(job.root), `killed at call ${n}`).toEqual(contents);
    });
    const seconds = Math.round((performance.now() - begin) / 1000);
    process.stderr.write(`${name}: killed at ${numbers.size} of ${calls} calls on files, ${seconds} s\n`);
  });
});
