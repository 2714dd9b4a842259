import { describe, expect, it } from 'vitest';
import { chiSquareAbove, MaxT, type Contrast } from './simultaneous.js';

/** All pairs of `k` values. */
const allPairs = (k: number): Contrast[] =>
  Array.from({ length: k }, (_, i) => i).flatMap((i) =>
    Array.from(
      { length: k - i - 1 },
      (_, j) =>
        [
          [i, 1],
          [i + 1 + j, -1],
        ] as const,
    ),
  );

describe('the chi-square distribution', () => {
  // scipy.stats.chi2.sf
  it.each([
    [3.841458820694124, 1, 0.05],
    [0.001, 1, 0.9747728793699604],
    [2, 2, 0.36787944117144245],
    [18.307038053275146, 10, 0.05],
    [40, 10, 1.694474393006737e-5],
    [100, 100, 0.48119168452795674],
  ])('above %f with df %i: %f', (x, df, p) => {
    expect(chiSquareAbove(x, df)).toBeCloseTo(p, 7);
  });

  it('is 1 at 0 and 0 at infinity', () => {
    expect([chiSquareAbove(0, 3), chiSquareAbove(Infinity, 3)]).toEqual([1, 0]);
  });
});

describe('the largest of several t', () => {
  // scipy.stats.t.ppf(0.975, df); for more values scipy.stats.studentized_range.ppf(0.95, k, df) / sqrt(2).
  it.each([
    [2, 1, 12.7062],
    [2, 2, 4.30265],
    [2, 14, 2.14479],
    [3, 2, 5.89075],
    [4, 3, 4.82567],
    [8, 14, 3.52867],
  ])('all pairs of %i values with df %i: %f', (k, df, critical) => {
    const found = new MaxT(allPairs(k), k).critical(df, 0.95);
    expect(found / critical).toBeGreaterThan(0.985);
    expect(found / critical).toBeLessThan(1.015);
  });

  it('gives the probability that belongs to a critical value', () => {
    const distribution = new MaxT(allPairs(4), 4);
    expect(distribution.above(distribution.critical(6, 0.95), 6)).toBeCloseTo(0.05, 6);
    expect(distribution.above(0, 6)).toBe(1);
  });
});
