import { describe, expect, it } from 'vitest';
import { laptopModel, modelCost, resolveModelConfig } from '../model/index.js';
import { compareAtEqualCost, commonCost, tokensFor, valueAfter, type SpendingRun } from './equal-cost.js';
import { compareSchema } from './plan.js';
import { flopsSpent, trainingFlops } from './training-flops.js';

const options = compareSchema.parse({});
const pair = { a: 'dear', b: 'cheap', relation: 'other' } as const;

/** Recall that rises by a tenth every 100 tokens, measured every 100, of a design whose tokens cost so much each. */
function run(design: string, seed: number, perToken: number, shift = 0): SpendingRun {
  const marks = Array.from({ length: 10 }, (_, i) => 100 * (i + 1));
  return {
    ...{ design, seed },
    spent: [
      { tokens: 0, cost: 0 },
      { tokens: 1000, cost: 1000 * perToken },
    ],
    far: marks.map((tokens) => ({ tokens, value: tokens / 1000 + shift })),
    loss: marks.map((tokens) => ({ tokens, value: 3 - tokens / 1000 })),
  };
}

describe('designs at equal cost', () => {
  it('are read where all had spent what the cheapest did in all', () => {
    const runs = [1, 2, 3].flatMap((seed) => [run('dear', seed, 4), run('cheap', seed, 1.5, 0.01 * seed)]);
    expect(commonCost(runs)).toBe(1500);
    // 1,500 is what 375 tokens of the dear one cost, and all 1,000 of the cheap one.
    const [compared] = compareAtEqualCost('flops', 'far recall', runs, [pair], options);
    expect(compared).toMatchObject({ of: 'flops', cost: 1500, most: 4000, farName: 'far recall' });
    expect(compared?.far?.values).toEqual([1, 2, 3].map((seed) => ({ seed, a: 0.375, b: 1 + 0.01 * seed })));
    expect(compared?.loss?.values[0]).toEqual({ seed: 1, a: 3 - 0.375, b: 2 });
    expect(compared?.far?.finding).toBe('a');
    expect(compared?.far?.meanDifference).toBeCloseTo(0.645, 12);
    expect(compared?.loss?.finding).toBe('b');
  });

  it('leave out what was not measured yet, and say nothing of one design', () => {
    const dear = run('dear', 1, 40);
    // What the cheap one cost in all is 25 tokens of the dear one, before its first evaluation.
    expect(compareAtEqualCost('flops', 'far recall', [dear, run('cheap', 1, 1)], [pair], options)).toEqual([null]);
    expect(commonCost([run('dear', 1, 1), run('dear', 2, 1)])).toBeNull();
    const unmeasured = { ...run('cheap', 1, 1), far: [], loss: [] };
    expect(compareAtEqualCost('flops', 'far recall', [dear, unmeasured], [pair], options)).toEqual([null]);
  });

  it('lie on straight lines between measurements, and nowhere else', () => {
    const spent = [
      { tokens: 0, cost: 0 },
      { tokens: 10, cost: 100 },
      { tokens: 20, cost: 400 },
    ];
    expect([0, 50, 100, 250, 400, 401].map((cost) => tokensFor(spent, cost))).toEqual([0, 5, 10, 15, 20, null]);
    const series = [
      { tokens: 10, value: 1 },
      { tokens: 30, value: 2 },
    ];
    expect([9, 10, 20, 30, 31].map((tokens) => valueAfter(series, tokens))).toEqual([null, 1, 1.5, 2, null]);
  });
});

describe('FLOPs over a training', () => {
  it('grow stage by stage at the cost of each stage’s length', () => {
    const model = resolveModelConfig(laptopModel('swa-8'));
    const train = { seqLen: 32, batchSize: 4, steps: 10, stages: [{ from: 6, seqLen: 128, batchSize: 2 }] };
    const run = { seed: 1, model, data: [], train } as unknown as Parameters<typeof flopsSpent>[0];
    const first = 6 * 4 * 32 * modelCost(model, 32).trainFlops;
    const second = 4 * 2 * 128 * modelCost(model, 128).trainFlops;
    expect(flopsSpent(run)).toEqual([
      { tokens: 0, cost: 0 },
      { tokens: 768, cost: first },
      { tokens: 1792, cost: first + second },
    ]);
    expect(trainingFlops(run)).toBe(first + second);
  });
});
