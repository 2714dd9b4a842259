import { describe, expect, it } from 'vitest';
import { Rng } from '../core/index.js';
import { mqarExample, type MqarOptions } from './mqar.js';

const OPTIONS: MqarOptions = { vocabSize: 8192, length: 64, numPairs: 4, power: 0.01, randomFiller: false };
const examples = (options: MqarOptions, count: number) =>
  Array.from({ length: count }, (_, i) => mqarExample(Rng.of(1, 'mqar', i), options));

describe('multi-query recall', () => {
  it('asks for every key once, after all pairs, and the answer is its value', () => {
    for (const { tokens, targets } of examples(OPTIONS, 50)) {
      const pairs = new Map([0, 1, 2, 3].map((j) => [tokens[2 * j] as number, tokens[2 * j + 1] as number]));
      expect(pairs.size).toBe(4);
      for (const [key, value] of pairs) {
        expect(key >= 1 && key < 4096 && value >= 4096 && value < 8192).toBe(true);
      }
      const asked = [...targets].flatMap((t, i) => (t === -1 ? [] : [i]));
      expect(asked).toHaveLength(4);
      for (const i of asked) {
        expect(i >= 8 && i % 2 === 0).toBe(true);
        expect(targets[i]).toBe(pairs.get(tokens[i] as number));
      }
      expect(tokens.filter((t) => t === 0)).toHaveLength(64 - 12);
    }
  });

  it('draws slots by the power law without replacement: mean gaps as drawn by NumPy', () => {
    const count = 8000;
    const sums = [0, 0, 0, 0];
    let first = 0;
    for (const { tokens, targets } of examples({ ...OPTIONS, vocabSize: 64 }, count)) {
      const gaps = [0, 1, 2, 3].map((j) => ([...tokens].indexOf(tokens[2 * j] as number, 8) - 8) / 2);
      gaps.forEach((gap, j) => (sums[j] = (sums[j] as number) + gap));
      if (gaps[0] === 0 && targets[8] !== -1) first += 1;
    }
    // numpy.random.choice(28, 4, replace=False, p), which the published code calls; three standard errors are 0.27.
    expect(Math.abs(first / count - 0.251)).toBeLessThan(0.0145);
    [6.21, 6.85, 7.42, 8.06].forEach((gap, j) =>
      expect(Math.abs((sums[j] as number) / count - gap)).toBeLessThan(0.27),
    );
  });

  it('uses every slot when pairs and repeats fill the length', () => {
    const [{ targets }] = examples({ ...OPTIONS, length: 16 }, 1) as [ReturnType<typeof mqarExample>];
    expect([...targets].map((t) => t !== -1)).toEqual(
      [8, 10, 12, 14].reduce((row, i) => row.with(i, true), new Array<boolean>(16).fill(false)),
    );
  });

  it('puts uniform ids in place of filler', () => {
    const [{ tokens }] = examples({ ...OPTIONS, length: 512, randomFiller: true }, 1) as [
      ReturnType<typeof mqarExample>,
    ];
    expect(tokens.filter((t) => t === 0).length).toBeLessThan(5);
    expect(tokens.some((t) => t >= 4096)).toBe(true);
  });

  it.each([
    [{ length: 63 }, 'length must be even'],
    [{ length: 14 }, '4 pairs and their repeats need 16 tokens, got 14'],
    [{ vocabSize: 8 }, 'need an even vocabSize of at least 10, got 8'],
    [{ numPairs: 0 }, 'numPairs must be a whole number of at least 1'],
    [{ power: 0 }, 'power must be above 0'],
  ])('refuses %o', (change, why) => {
    expect(() => mqarExample(Rng.of(1), { ...OPTIONS, ...change })).toThrow(why);
  });
});
