/** Power cuts: what was not synced is lost, or there in part, or zeros. The same command goes on, and ends as it would have. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder } from '../support/folders.js';
import { DiskModel, recordedCalls, type Survival } from './disk-model.js';
import { again, contentsOf, jobMakers, prepareInputs } from './jobs.js';
import { FULL, inParallel, run, seedOf, trialOf } from './support.js';

const shared = mkdtempSync(join(tmpdir(), 'longsight-torture-'));
afterAll(() => rmSync(shared, { recursive: true, force: true }));
const inputs = join(shared, 'inputs');
const makers = jobMakers(inputs);
beforeAll(() => prepareInputs(inputs));

/** Commands whose calls one process makes, so that their order is known. */
const JOBS = FULL ? ['recall', 'stages', 'shards', 'tokenizer', 'export', 'ruler'] : ['recall', 'export'];

describe.each(JOBS)('%s', (name) => {
  const make = makers[name];
  if (make === undefined) throw new Error(`there is no job ${name}`);

  it('goes on after a power cut at any call, and loses nothing once it has ended', async () => {
    const [folder, notes] = [temporaryFolder(), temporaryFolder()];
    const job = make(folder);
    const record = join(notes, 'calls');
    mkdirSync(record);
    const ending = await run(job.args(false), { shim: { root: folder, counter: join(notes, 'counter'), record } });
    expect(ending.code, ending.stderr).toBe(0);
    const contents = contentsOf(job.root);
    const calls = recordedCalls(record);

    /** Leaves what a power cut after `count` calls would, in a fresh folder. */
    const cutAfter = (count: number, survival: Survival) => {
      const model = new DiskModel(folder);
      for (const call of calls.slice(0, count)) model.apply(call);
      const left = temporaryFolder();
      model.leave(left, survival);
      return make(left);
    };

    expect(contentsOf(cutAfter(calls.length, 'nothing').root), 'cut once the command has ended').toEqual(contents);
    const trials = Array.from({ length: FULL ? 30 : 3 }, (_, trial) => trial);
    await inParallel(trials, 2, async (trial) => {
      const rng = trialOf('kills', `${name} power ${trial}`);
      const count = 1 + rng.int(calls.length - 1);
      const [kind, survival] = (
        [
          ['nothing', 'nothing'],
          ['names', 'names'],
          ['drawn', rng],
        ] as const
      )[trial % 3] ?? ['', rng];
      const what = `seed ${seedOf('kills')}, trial ${trial}: cut after call ${count} of ${calls.length}, ${kind} survives`;
      const cut = cutAfter(count, survival);
      const last = await again(cut, rng.int(2) === 0);
      expect(last.code, `${what}: ${last.stderr}`).toBe(0);
      expect(contentsOf(cut.root), what).toEqual(contents);
    });
    expect(readFileSync(join(notes, 'counter')).length).toBeGreaterThan(10);
  });
});
