import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { ConfigError } from './errors.js';
import { fitsFloat32, realNumber } from './limits.js';
import { parseConfig } from './schema.js';

const LEAST = 2 ** -126;
const MOST = (2 - 2 ** -23) * 2 ** 127;

describe('a number of a configuration', () => {
  it('is 0 or one that float32 holds in full', () => {
    for (const value of [0, -0, 1, LEAST, -LEAST, MOST, -MOST])
      expect(realNumber().parse(value), `${value}`).toBe(value);
    expect(new Float32Array([LEAST, MOST])).toEqual(Float32Array.of(1.1754943508222875e-38, 3.4028234663852886e38));
    for (const value of [LEAST / 2, -LEAST / 2, 1e-300, MOST * (1 + 2 ** -50), 1e39, -1e300])
      expect([fitsFloat32(value), realNumber().safeParse(value).success], `${value}`).toEqual([false, false]);
  });

  it.each([
    [1e-39, 'lr: 1e-39 is too small for float32, in which models compute; the smallest is 1.18e-38'],
    [1e39, 'lr: 1e+39 is too large for float32, in which models compute; the largest is 3.40e+38'],
    [0, 'lr must be more than 0, got 0'],
  ])('of %f is refused in one sentence', (lr, message) => {
    const read = () => parseConfig(z.strictObject({ lr: realNumber().positive() }), { lr }, '');
    expect(read).toThrow(ConfigError);
    expect(read).toThrow(expect.objectContaining({ message }));
  });
});
