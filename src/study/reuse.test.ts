import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { messageOf, temporaryFolder } from '../../test/support/folders.js';
import { got } from '../core/index.js';
import { parseYaml } from '../lab/index.js';
import { expandStudy, type StudyPlan } from './plan.js';
import { openReusable, reuseRuns } from './reuse.js';
import { openStudyFolder, runFolder } from './store.js';

const study = (name: string, architectures: string, steps = 100) => `name: ${name}
base:
  model: { hiddenSize: 16, numHeads: 2 }
  data: { kind: recall }
  train: { steps: ${steps}, seqLen: 32, batchSize: 4 }
architectures: { ${architectures} }
seeds: [1]
`;

interface Planned {
  readonly dir: string;
  readonly plan: StudyPlan;
}

/** A study folder with its plan and no runs. */
async function planned(text: string): Promise<Planned> {
  const dir = join(temporaryFolder(), 'study');
  const { plan, lock } = await openStudyFolder(dir, expandStudy(parseYaml(text, 's.yaml')));
  lock.release();
  return { dir, plan };
}

/** Writes the files of a run as if it had been trained, with so many steps where it went on. */
function train({ dir, plan }: Planned, name: string, state = 'done', steps = 100): void {
  const folder = runFolder(dir, name);
  const { name: _name, ...config } = got(new Map(plan.runs.map((run) => [run.name, run.config])), name);
  for (const sub of ['analysis', 'run.lock', 'branches/step-000050']) mkdirSync(join(folder, sub), { recursive: true });
  const put = (path: string, value: object) => writeFileSync(join(folder, path), JSON.stringify(value));
  put('config.json', {
    ...{ format: 1, name, run: { ...config, train: { ...config.train, steps } } },
    startedAt: '2026-01-01T00:00:00Z',
    resumes: [],
  });
  put('status.json', { state, step: 100, tokens: 12800 });
  put('analysis/entropy-step-000100.json', { step: 100, of: 'x' });
  put('run.lock/1', {});
  put('.metrics.1.tmp', {});
}

const namesOf = (dir: string) => readdirSync(dir, { recursive: true, encoding: 'utf8' }).sort();

describe('runs that another study has trained', () => {
  it('are copied whole under their name here, and say where they come from', async () => {
    const [other, own] = [
      await planned(study('first', "layers: full, small: 'swa:8 full'")),
      await planned(study('second', "full: full, wide: 'swa:16 full'")),
    ];
    train(other, 'layers_seed-1');
    train(other, 'small_seed-1');
    expect(reuseRuns(own.dir, own.plan, openReusable([other.dir], own.dir))).toEqual({
      reused: [{ run: 'full_seed-1', study: 'first', from: 'layers_seed-1', isDataCompared: true }],
      left: [],
    });
    const copy = runFolder(own.dir, 'full_seed-1');
    expect(namesOf(copy)).toEqual(['analysis', 'analysis/entropy-step-000100.json', 'config.json', 'status.json']);
    const config = JSON.parse(readFileSync(join(copy, 'config.json'), 'utf8')) as object;
    const before = readFileSync(join(runFolder(other.dir, 'layers_seed-1'), 'config.json'), 'utf8');
    expect(config).toEqual({
      ...(JSON.parse(before) as object),
      name: 'full_seed-1',
      reused: { study: 'first', run: 'layers_seed-1' },
    });
    expect(readdirSync(join(own.dir, 'runs'))).toEqual(['full_seed-1']);
  });

  it('are left where one setting differs, where they have not finished, and where the run has begun here', async () => {
    const other = await planned(study('first', 'full: full'));
    const longer = await planned(study('second', 'full: full', 101));
    const own = await planned(study('third', 'full: full'));
    train(other, 'full_seed-1');
    const reused = (of: Planned) => reuseRuns(of.dir, of.plan, openReusable([other.dir], of.dir)).reused;
    expect(reused(longer)).toEqual([]);
    expect(existsSync(join(longer.dir, 'runs'))).toBe(false);
    train(other, 'full_seed-1', 'running');
    expect(reused(own)).toEqual([]);
    train(other, 'full_seed-1');
    train(own, 'full_seed-1', 'interrupted');
    expect(reused(own)).toEqual([]);
    expect(readFileSync(join(runFolder(own.dir, 'full_seed-1'), 'status.json'), 'utf8')).toContain('interrupted');
  });

  it('are left where they went on to other steps than planned, and that is said', async () => {
    const [other, own] = [await planned(study('first', 'full: full')), await planned(study('second', 'full: full'))];
    train(other, 'full_seed-1', 'done', 200);
    const { reused, left } = reuseRuns(own.dir, own.plan, openReusable([other.dir], own.dir));
    expect(reused).toEqual([]);
    expect(left).toMatchObject([{ run: 'full_seed-1', study: 'first', from: 'full_seed-1' }]);
    expect(left[0]?.why).toMatch(/^it went on otherwise than planned: .*train\.steps was 200, now 100/);
    expect(existsSync(join(own.dir, 'runs'))).toBe(false);
  });

  it('are not looked for in what is no study, or in the study itself', async () => {
    const own = await planned(study('first', 'full: full'));
    expect(messageOf(() => openReusable(['nowhere'], own.dir))).toMatch(/"nowhere", which is no study folder/);
    expect(messageOf(() => openReusable([own.dir], `${own.dir}/../study`))).toMatch(/the folder of this study itself/);
  });
});
