import { describe, expect, it } from 'vitest';
import { ConfigError, parseConfig } from '../core/index.js';
import { isEvaluated, TrainConfigSchema, type TrainInput } from './config.js';
import { learningRate } from './schedule.js';

const parse = (input: TrainInput) => parseConfig(TrainConfigSchema, input, 'train');

describe('TrainConfigSchema', () => {
  it('fills in defaults that fit the number of steps, and parses its own result to the same', () => {
    const short = parse({ steps: 30 });
    expect(short).toMatchObject({
      warmupSteps: 3,
      decaySteps: 0,
      schedule: 'cosine',
      beta2: 0.98,
      keepCheckpoints: 'all',
    });
    expect(parse({ steps: 5000 }).warmupSteps).toBe(50);
    expect(parse({ steps: 100, schedule: 'wsd' }).decaySteps).toBe(20);
    expect(parse({ steps: 10, schedule: 'wsd', warmupSteps: 9 }).decaySteps).toBe(1);
    for (const config of [short, parse({ steps: 100, schedule: 'wsd' })]) expect(parse(config)).toEqual(config);
  });

  it.each<[TrainInput, RegExp]>([
    [{ steps: 5, batchSize: 6, accumulate: 4 }, /accumulate: must divide batchSize 6, and 4 does not/],
    [{ steps: 5, warmupSteps: 6 }, /warmupSteps: must be at most steps \(5\), got 6/],
    [
      { steps: 5, schedule: 'wsd', warmupSteps: 2, decaySteps: 4 },
      /decaySteps: and warmupSteps together .* got 4 \+ 2/,
    ],
    [{ steps: 5, decaySteps: 2 }, /decaySteps: is for schedule wsd only, and schedule is cosine/],
    [{ steps: 0 }, /steps must be at least 1, got 0/],
    [{ steps: 5, evalEvery: [] }, /evalEvery/],
    [{ steps: 5, evalEvery: [{ every: 1 }, { every: 2 }] }, /evalEvery\[0\]: needs until, the last step of the part/],
    [{ steps: 5, evalEvery: [{ every: 1, until: 3 }] }, /evalEvery\[0\]\.until: is left out of the last part/],
    [
      { steps: 5, evalEvery: [{ every: 1, until: 3 }, { every: 2, until: 3 }, { every: 2 }] },
      /evalEvery\[1\]\.until: must be more than 3, got 3/,
    ],
    [{ steps: 5, evalEvery: [{ every: 1, to: 3 } as never] }, /unknown key "to"/],
    [{ steps: 5, lr: 0 }, /lr must be more than 0/],
    [{ steps: 5, beta1: 1 }, /beta1 must be less than 1/],
    [{ steps: 5, keepCheckpoints: 0 }, /keepCheckpoints must be at least 1/],
    [{ steps: 5, schedule: 'cosin' as 'cosine' }, /did you mean "cosine"/],
    [{ steps: 5, batchsize: 3 } as TrainInput, /unknown key "batchsize"; did you mean "batchSize"/],
  ])('rejects %j', (input, message) => {
    expect(() => parse(input)).toThrow(ConfigError);
    expect(() => parse(input)).toThrow(message);
  });
});

describe('evaluations', () => {
  const due = (evalEvery: Exclude<TrainInput['evalEvery'], undefined>, steps: number): number[] => {
    const { evalEvery: parsed } = parse({ steps, evalEvery });
    return Array.from({ length: steps }, (_, i) => i + 1).filter((step) => isEvaluated(parsed, step));
  };

  it('are due every so many steps, or as parts of the run say, counted from where each begins', () => {
    expect(due(4, 12)).toEqual([4, 8, 12]);
    expect(due(0, 12)).toEqual([]);
    expect(due([{ every: 2, until: 6 }, { every: 4 }], 15)).toEqual([2, 4, 6, 10, 14]);
    expect(due([{ every: 2, until: 5 }, { every: 3, until: 9 }, { every: 0 }], 30)).toEqual([2, 4, 8]);
    expect(due([{ every: 5 }], 12)).toEqual([5, 10]);
  });
});

describe('learningRate', () => {
  const at = (input: TrainInput, steps: readonly number[]) => steps.map((s) => learningRate(parse(input), s));

  it('warms up linearly, then follows half a cosine to the floor at the last step', () => {
    const rates = at({ steps: 20, lr: 2, warmupSteps: 4, minLrRatio: 0.1 }, [1, 2, 4, 12, 20]);
    const expected = [0.5, 1, 2, 1.1, 0.2];
    rates.forEach((rate, i) => expect(rate).toBeCloseTo(expected[i] as number, 12));
  });

  it('stays at the peak and decays linearly at the end (wsd)', () => {
    const rates = at(
      { steps: 20, lr: 2, warmupSteps: 2, schedule: 'wsd', decaySteps: 4, minLrRatio: 0.5 },
      [1, 2, 16, 18, 20],
    );
    expect(rates).toEqual([1, 2, 2, 1.5, 1]);
    expect(at({ steps: 20, lr: 2, warmupSteps: 2, schedule: 'wsd', decaySteps: 0 }, [20])).toEqual([2]);
  });

  it('stays at the peak (constant), and never divides by zero', () => {
    expect(at({ steps: 5, lr: 3, warmupSteps: 0, schedule: 'constant' }, [1, 5])).toEqual([3, 3]);
    expect(at({ steps: 5, lr: 3, warmupSteps: 5 }, [4, 5])).toEqual([(3 * 4) / 5, 3]);
  });
});
