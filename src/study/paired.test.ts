import { describe, expect, it } from 'vitest';
import { pairedDifferences, type Cell } from './paired.js';

const cell = (design: string, seed: number, value: number): Cell => ({ design, seed, low: value, high: value });

describe('differences of several families', () => {
  const cells = [
    ...[1, 1.2, 1.1].map((value, seed) => cell('a', seed, value)),
    ...[2, 2.1, 2.2].map((value, seed) => cell('b', seed, value)),
  ];

  // Student's t at 1 - 0.05 / 2k with 2 degrees of freedom: scipy.stats.t.ppf. The differences 1, 0.9 and 1.1 have a
  // standard deviation of 0.1, so their mean has one of 0.1 / sqrt(3).
  it.each([
    [1, 4.302652729749462],
    [2, 6.205346816570706],
    [3, 7.648803937915553],
  ])('each of %i gets its share of 5 %% of errors', (families, t) => {
    const [found] = pairedDifferences(cells, [['a', 'b']], 0, families);
    const half = (t * 0.1) / Math.sqrt(3);
    expect(found?.estimate).toBeCloseTo(1, 12);
    expect((found?.interval?.high ?? NaN) - 1).toBeGreaterThan(0.985 * half);
    expect((found?.interval?.high ?? NaN) - 1).toBeLessThan(1.015 * half);
    expect(1 - (found?.interval?.low ?? NaN)).toBeCloseTo((found?.interval?.high ?? NaN) - 1, 12);
  });
});
