import { isStudyFolder } from '../core/index.js';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { messageOf, temporaryFolder } from '../../test/support/folders.js';
import { expandStudy, loadStudy, type LoadOptions } from './plan.js';
import { openStudyFolder, readPlan } from './store.js';
import { parseYaml } from '../lab/index.js';

const STUDY = `name: demo
base:
  model: { hiddenSize: 16, numHeads: 2 }
  data: { kind: recall }
  train: { steps: 100, seqLen: 32, batchSize: 4 }
architectures: { full: full, small: 'swa:8 full' }
seeds: [1]
long: { architectures: [full], set: { train.steps: 1000 } }
`;

const plan = (text = STUDY, options: LoadOptions = {}) => expandStudy(parseYaml(text, 's.yaml'), options);

async function open(dir: string, ...args: Parameters<typeof plan>) {
  const { plan: merged, lock } = await openStudyFolder(dir, plan(...args));
  lock.release();
  return merged;
}

describe('a study folder', () => {
  it('holds the plan, and a study file that repeats it', async () => {
    const dir = join(temporaryFolder(), 'new');
    await open(dir);
    expect(isStudyFolder(dir)).toBe(true);
    expect(readPlan(dir).runs.map((run) => run.name)).toEqual(['full_seed-1', 'small_seed-1']);
    const again = loadStudy(join(dir, 'study.yaml'));
    expect(again.runs.map((run) => run.config)).toEqual(plan().runs.map((run) => run.config));
  });

  it('that another host has locked is refused, and taken over when told to', async () => {
    const dir = temporaryFolder();
    writeFileSync(join(dir, 'study.lock'), JSON.stringify({ pid: 77, host: 'node-b', start: '1' }));
    await expect(openStudyFolder(dir, plan())).rejects.toThrow(/in use by process 77 on host node-b.*--take-over/);
    (await openStudyFolder(dir, plan(), { takeOver: true })).lock.release();
    expect(readdirSync(join(dir, 'study.lock'))).toEqual(['1']);
  });

  it.each(['../../x', 'a/b', '..', '', 'a\\b', '.hidden'])(
    'with a run named %j in its plan is refused',
    async (name) => {
      const dir = temporaryFolder();
      await open(dir);
      const stored = readPlan(dir);
      const runs = stored.runs.map((run, i) => (i === 0 ? { ...run, name } : run));
      writeFileSync(join(dir, 'study.json'), JSON.stringify({ ...stored, runs }));
      expect(messageOf(() => readPlan(dir))).toMatch(
        /study\.json is not a study plan: name of run .* is wrong or missing$/,
      );
      await expect(openStudyFolder(dir, plan())).rejects.toThrow('is not a study plan');
    },
  );

  it('in which a process died at once is begun again', async () => {
    const dir = temporaryFolder();
    writeFileSync(join(dir, 'study.json.77.tmp'), '{');
    expect((await open(dir)).runs).toHaveLength(2);
  });

  it('continues the same study, and one that has grown', async () => {
    const dir = temporaryFolder();
    await open(dir);
    expect((await open(dir)).runs).toHaveLength(2);
    expect((await open(dir, STUDY.replace('seeds: [1]', 'seeds: [1, 2]'))).runs).toHaveLength(4);
    expect((await open(dir, STUDY.replace('seeds: [1]', 'seeds: [1, 2]'), { long: true })).runs).toHaveLength(6);
  });

  it('keeps the names of runs when a grid grows by values that look like theirs', async () => {
    const dir = temporaryFolder();
    const grid = (values: string) => `${STUDY}grid: { model.normOffset: [${values}] }\n`;
    expect((await open(dir, grid('-1'))).runs.map((r) => r.name)).toEqual([
      'full_normoffset-1_seed-1',
      'small_normoffset-1_seed-1',
    ]);
    const grown = (await open(dir, grid('-1, 1'))).runs;
    expect(grown.map((r) => [r.config.model.normOffset, r.name, r.config.name === r.name])).toEqual(
      [
        [-1, 'full_normoffset-1_seed-1', true],
        [-1, 'small_normoffset-1_seed-1', true],
        [1, expect.stringMatching(/^full_normoffset-1_seed-1-[0-9a-f]{8}$/), true],
        [1, expect.stringMatching(/^small_normoffset-1_seed-1-[0-9a-f]{8}$/), true],
      ].sort(
        (a, b) =>
          grown.findIndex((r) => r.config.model.normOffset === a[0]) -
          grown.findIndex((r) => r.config.model.normOffset === b[0]),
      ),
    );
    expect((await open(dir, grid('1, -1'))).runs.map((r) => r.name).sort()).toEqual(grown.map((r) => r.name).sort());
  });

  it('gives a run that shared its folder with another a folder of its own', async () => {
    const dir = temporaryFolder();
    const text = `${STUDY}grid: { model.normOffset: [-1, 1] }\n`;
    await open(dir, text);
    // As it was before names were unique: one name for both points.
    const stored = readPlan(dir);
    const shared = stored.runs.map((run) => {
      const name = run.name.replace('minus-', '');
      return { ...run, name, config: { ...run.config, name } };
    });
    writeFileSync(join(dir, 'study.json'), JSON.stringify({ ...stored, runs: shared }));
    const { runs } = await open(dir, text);
    expect(new Set(runs.map((run) => run.name)).size).toBe(4);
    expect(runs.find((run) => run.name === 'full_normoffset-1_seed-1')?.config.model.normOffset).toBe(-1);
  });

  it('goes on that was begun before models and training had settings that its runs leave at their defaults', async () => {
    const dir = temporaryFolder();
    await open(dir);
    const stored = readPlan(dir);
    const earlier = stored.runs.map((run) => {
      const { mlpGate: _gate, queryScaling: _scaling, ...model } = run.config.model;
      const { optimizer: _adamw, ...train } = run.config.train;
      return { ...run, config: { ...run.config, model, train } };
    });
    writeFileSync(join(dir, 'study.json'), JSON.stringify({ ...stored, runs: earlier }));
    expect((await open(dir)).runs).toEqual(stored.runs);
  });

  it('keeps the runs of a long arm that is not asked for again', async () => {
    const dir = temporaryFolder();
    await open(dir, STUDY, { long: true });
    expect((await open(dir)).runs.map((run) => run.name)).toContain('full_long_seed-1');
  });

  it.each([
    [['steps: 100', 'steps: 200'], 'run full_seed-1: train.steps was 100, now 200; train.warmupSteps was 10, now 20'],
    [['seeds: [1]', 'seeds: [2]'], 'its run full_seed-1 is not in this plan'],
    [['name: demo', 'name: other'], 'it is named "demo", this one "other"'],
  ])('refuses another study: %j', async ([from, to], what) => {
    const dir = temporaryFolder();
    await open(dir);
    const before = readPlan(dir);
    await expect(open(dir, STUDY.replace(from as string, to as string))).rejects.toThrow(
      `${dir} holds another study (${what}); choose another folder (--out), or remove it to start again`,
    );
    expect(readPlan(dir)).toEqual(before);
  });

  it('refuses a folder that holds other things, or is a file, and writes nothing', async () => {
    const dir = temporaryFolder();
    writeFileSync(join(dir, 'thesis.txt'), 'precious');
    await expect(open(dir)).rejects.toThrow(`${dir} exists and is not a study folder; choose another folder (--out)`);
    await expect(open(join(dir, 'thesis.txt'))).rejects.toThrow(/is a file; choose another folder \(--out\)$/);
    expect(readdirSync(dir)).toEqual(['thesis.txt']);
  });

  it('is for one process at a time', async () => {
    const dir = temporaryFolder();
    const { lock } = await openStudyFolder(dir, plan());
    await expect(openStudyFolder(dir, plan())).rejects.toThrow(`is in use by process ${process.pid}`);
    lock.release();
    (await openStudyFolder(dir, plan())).lock.release();
  });

  it('says when its plan is damaged', () => {
    const dir = temporaryFolder();
    writeFileSync(join(dir, 'study.json'), '{"format": 1, "name": "x"}');
    expect(messageOf(() => readPlan(dir))).toMatch(/study\.json is not a study plan: title is wrong or missing$/);
    for (const text of ['null', '[]']) {
      writeFileSync(join(dir, 'study.json'), text);
      expect(messageOf(() => readPlan(dir))).toMatch(/study\.json is not a study plan: the whole is wrong or missing$/);
    }
    const whole = plan();
    const runs = whole.runs.map((run, i) => (i === 1 ? { ...run, config: { seed: 1 } } : run));
    writeFileSync(join(dir, 'study.json'), JSON.stringify({ ...whole, runs }));
    expect(messageOf(() => readPlan(dir))).toMatch(/config\.model of run "small_seed-1" is wrong or missing$/);
  });
});
