import { describe, expect, it } from 'vitest';
import { formatShare, wilson } from './statistics.js';

describe('the Wilson interval', () => {
  it.each([
    // Newcombe 1998, table I.
    [81, 263, 0.2553, 0.3662],
    [15, 148, 0.0624, 0.1605],
    [0, 20, 0, 0.1611],
    [1, 29, 0.0061, 0.1718],
    // By hand: for 0 of n the upper end is z² / (n + z²).
    [0, 2, 0, 0.6576],
    [2, 2, 0.3424, 1],
    [8, 10, 0.4902, 0.9433],
  ])('of %d of %d is %d to %d', (k, n, low, high) => {
    expect(wilson(k, n).low).toBeCloseTo(low, 4);
    expect(wilson(k, n).high).toBeCloseTo(high, 4);
  });

  it('ends at 0 and 1 exactly, holds the share, and is never empty', () => {
    for (let n = 1; n <= 40; n++) {
      for (let k = 0; k <= n; k++) {
        const { low, high } = wilson(k, n);
        expect(low).toBeLessThanOrEqual(k / n);
        expect(high).toBeGreaterThanOrEqual(k / n);
        expect(high - low).toBeGreaterThan(0.05);
      }
      expect([wilson(0, n).low, wilson(n, n).high]).toEqual([0, 1]);
    }
    expect(wilson(0, 0)).toEqual({ low: 0, high: 1 });
  });

  it('is shown beside the share', () => {
    expect(formatShare(0, 2)).toBe('0.00 (0.00 to 0.66)');
  });
});
