/** Commands killed at random moments, twice each: what they leave in the end is the same. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder } from '../support/folders.js';
import { contentsOf, jobMakers, prepareInputs, type JobMaker } from './jobs.js';
import { amount, inParallel, run, seedOf, trialOf } from './support.js';

const shared = mkdtempSync(join(tmpdir(), 'longsight-torture-'));
afterAll(() => rmSync(shared, { recursive: true, force: true }));
const inputs = join(shared, 'inputs');
const makers = jobMakers(inputs);
beforeAll(() => prepareInputs(inputs));

/** A whole run: its contents and its milliseconds. */
async function whole(make: JobMaker): Promise<{ contents: Record<string, unknown>; ms: number }> {
  const job = make(temporaryFolder());
  const begin = performance.now();
  const ending = await run(job.args(false));
  expect(ending.code, ending.stderr).toBe(0);
  return { contents: contentsOf(job.root), ms: performance.now() - begin };
}

describe.each(Object.entries(makers))('%s', (name, make) => {
  it('killed twice at random moments ends as it would have', async () => {
    const { contents, ms } = await whole(make);
    const trials = Array.from({ length: amount(20) }, (_, trial) => trial);
    await inParallel(trials, 2, async (trial) => {
      const rng = trialOf('kills', `${name} ${trial}`);
      const job = make(join(temporaryFolder(), String(trial)));
      mkdirSync(join(job.root, '..'), { recursive: true });
      const moments = [rng, rng].map((r) => Math.round((0.1 + 0.9 * r.uniform()) * ms));
      const what = `seed ${seedOf('kills')}, trial ${trial}: killed after ${moments.join(' and ')} ms`;
      for (const killAfterMs of moments) await run(job.args(rng.int(2) === 0), { killAfterMs });
      const last = await run(job.args(rng.int(2) === 0));
      expect(last.code, `${what}: ${last.stderr}`).toBe(0);
      expect(contentsOf(job.root), what).toEqual(contents);
    });
  });
});
