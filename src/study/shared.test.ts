import { describe, expect, it } from 'vitest';
import { parseYaml } from '../lab/index.js';
import { expandStudy, type StudyPlan } from './plan.js';
import { branchSteps, sharedBeginnings, sharedTokens } from './shared.js';

const STUDY = `name: budgets
base:
  model: { hiddenSize: 16, numLayers: 2, numHeads: 2, intermediateSize: 32 }
  data: { kind: recall }
  train: { steps: 100, seqLen: 32, batchSize: 4, warmupSteps: 10, schedule: wsd }
architectures: { full: full, small: swa:8 full }
seeds: [1, 2]
grid: { train.steps: [100, 200, 400] }
`;
const plan = (text: string, long = false): StudyPlan => expandStudy(parseYaml(text, 's.yaml'), { long });
const sharedOf = (text: string, long = false) => Object.fromEntries(sharedBeginnings(plan(text, long).runs));

describe('runs that begin alike', () => {
  it('take over from the one that decays last, up to their own decay, each design and seed by itself', () => {
    const { runs } = plan(STUDY);
    const shared = sharedBeginnings(runs);
    expect(Object.fromEntries(shared)).toEqual(
      Object.fromEntries(
        ['full', 'small'].flatMap((design) =>
          [1, 2].flatMap((seed) =>
            // A fifth of the steps is decay.
            [100, 200].map((steps) => [
              `${design}_steps-${steps}_seed-${seed}`,
              { run: `${design}_steps-400_seed-${seed}`, step: 0.8 * steps },
            ]),
          ),
        ),
      ),
    );
    expect(branchSteps('full_steps-400_seed-1', shared)).toEqual([80, 160]);
    expect(branchSteps('full_steps-100_seed-1', shared)).toEqual([]);
    const saved = runs.reduce((sum, run) => sum + sharedTokens(run, shared), 0);
    expect(saved).toBe(4 * (80 + 160) * 32 * 4);
  });

  it('may differ in how long and how far they decay, and be of the long arm', () => {
    const decays = STUDY.replace('train.steps: [100, 200, 400]', 'train.minLrRatio: [0, 0.1]');
    expect(sharedOf(decays)).toMatchObject({
      'full_minlrratio-0.1_seed-1': { run: 'full_minlrratio-0_seed-1', step: 80 },
    });
    const arms = STUDY.replace('grid: { train.steps: [100, 200, 400] }', 'long: { set: { train.steps: 1000 } }');
    expect(sharedOf(arms, true)).toMatchObject({ 'full_seed-1': { run: 'full_long_seed-1', step: 80 } });
  });

  it('take their last step themselves where they do not decay', () => {
    const flat = STUDY.replace('warmupSteps: 10', 'warmupSteps: 10, decaySteps: 0');
    expect(sharedOf(flat)).toMatchObject({
      'full_steps-100_seed-1': { run: 'full_steps-400_seed-1', step: 99 },
      'full_steps-200_seed-1': { run: 'full_steps-400_seed-1', step: 199 },
    });
  });

  it.each([
    ['another schedule', STUDY.replace('schedule: wsd', 'schedule: cosine')],
    // The default is a tenth of the steps.
    ['another warm-up', STUDY.replace(', warmupSteps: 10', '')],
    ['another batch', STUDY.replace('train.steps: [100, 200, 400]', 'train.batchSize: [4, 8]')],
    ['other evaluations', STUDY.replace('train.steps: [100, 200, 400]', 'train.evalEvery: [4, 8]')],
    [
      'a decay from the first step on',
      STUDY.replace('warmupSteps: 10', 'warmupSteps: 0, decaySteps: 100').replace(
        'train.steps: [100, 200, 400]',
        'train.minLrRatio: [0, 0.1]',
      ),
    ],
    ['stages', STUDY.replace('schedule: wsd', 'schedule: wsd, stages: [{ from: 50, seqLen: 64 }]')],
  ])('are not those with %s', (_what, text) => {
    expect(sharedOf(text)).toEqual({});
  });
});
