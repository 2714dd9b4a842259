import { describe, expect, it } from 'vitest';
import { Rng } from './rng.js';

describe('filling with normal numbers', () => {
  it('gives what as many single draws give, and leaves the stream where they do', () => {
    for (const length of [0, 1, 2, 7, 1000]) {
      for (const before of [0, 1, 2]) {
        const [one, other] = [Rng.of(3, 'fill', length), Rng.of(3, 'fill', length)];
        for (let i = 0; i < before; i++) expect(one.normal()).toBe(other.normal());
        const filled = new Float32Array(length);
        one.fillNormal(filled, 0.02);
        expect(filled).toEqual(Float32Array.from({ length }, () => 0.02 * other.normal()));
        expect(one.state()).toEqual(other.state());
      }
    }
  });
});
