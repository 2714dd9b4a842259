import { describe, expect, it } from 'vitest';
import { laptopModel, resolveModelConfig, type LaptopPattern } from '../model/index.js';
import { pairCrossings, pairNumbers, relate } from './compare.js';
import { crossing, farBins, largestWindow, lateChange, meanOverTokens, type Crossing } from '../lab/index.js';

const reached = (tokens: number, after = tokens - 100): Crossing => ({ reached: true, after, tokens });
const never = (tokens: number): Crossing => ({ reached: false, tokens });

/** One comparison of `a` and `b`; a value of each a seed. */
function crossings(...seeds: [Crossing, Crossing][]) {
  const values = seeds.flatMap(([a, b], seed) => [
    { design: 'a', seed, crossing: a },
    { design: 'b', seed, crossing: b },
  ]);
  return pairCrossings(values, [{ a: 'a', b: 'b' }])[0];
}

function numbers(least: number, ...seeds: [number, number][]) {
  const values = seeds.flatMap(([a, b], seed) => [
    { design: 'a', seed, value: a },
    { design: 'b', seed, value: b },
  ]);
  return pairNumbers(values, [{ a: 'a', b: 'b' }], least)[0];
}

describe('tokens to a threshold, compared', () => {
  const fine = (tokens: number) => reached(tokens, tokens - 10);

  it('shows a difference that is large against the scatter of its seeds, in both directions', () => {
    const seeds: [Crossing, Crossing][] = [
      [fine(1000), fine(2000)],
      [fine(1200), fine(2440)],
      [fine(1100), fine(2180)],
    ];
    const result = crossings(...seeds);
    expect(result).toMatchObject({ finding: 'a', allAgree: true, df: 2 });
    expect(result?.ratio?.estimate).toBeCloseTo(2.0, 1);
    expect(result?.ratio?.low).toBeGreaterThan(1.8);
    expect(result?.ratio?.high).toBeLessThan(2.2);
    expect(crossings(...seeds.map(([a, b]): [Crossing, Crossing] => [b, a]))?.finding).toBe('b');
  });

  it('says that seeds are too few where every seed leans the same way and chance is not ruled out', () => {
    const result = crossings([fine(1000), fine(1300)], [fine(1500), fine(3000)]);
    expect(result).toMatchObject({ finding: 'few', allAgree: true, df: 2 });
    expect(crossings([fine(1000), fine(1300)], [fine(1500), fine(3000)], [fine(1000), fine(1050)])?.finding).toBe(
      'few',
    );
  });

  it('shows none where seeds disagree', () => {
    const result = crossings([fine(1000), fine(1100)], [fine(1200), fine(1100)], [fine(1100), fine(1120)]);
    expect(result).toMatchObject({ finding: 'none', allAgree: false });
    expect(result?.ratio?.low).toBeLessThan(1);
    expect(result?.ratio?.high).toBeGreaterThan(1);
  });

  it('counts every place between two evaluations as possible', () => {
    // Next to each other in every seed: the crossings may be one token apart.
    const close = crossings(
      [reached(1000), reached(1100)],
      [reached(1000), reached(1100)],
      [reached(1000), reached(1100)],
    );
    expect(close).toMatchObject({ finding: 'few', allAgree: true });
    expect(close?.ratio?.low).toBeLessThan(1);
    // Both in one interval: nothing leans.
    expect(
      crossings([reached(1000), reached(1000)], [reached(1000), reached(1000)], [reached(1000), reached(1000)]),
    ).toMatchObject({
      finding: 'none',
      allAgree: false,
    });
  });

  it('takes a run that did not get there as later than its last evaluation, with no upper end', () => {
    const late = crossings([fine(500), never(2500)], [fine(520), never(2500)], [fine(510), never(2500)]);
    expect(late).toMatchObject({ finding: 'a', allAgree: true, ratio: { estimate: null, high: null }, df: 2 });
    expect(late?.ratio?.low).toBeGreaterThan(4);
    expect(late?.ratio?.low).toBeLessThan(2500 / 500);
    expect(crossings([never(2500), fine(500)], [never(2500), fine(520)], [never(2500), fine(510)])).toMatchObject({
      finding: 'b',
      ratio: { estimate: null, low: 0 },
    });
    // One late seed among three leaves the mean open at its upper end.
    expect(crossings([fine(500), fine(900)], [fine(520), never(2500)], [fine(510), fine(950)])?.ratio?.high).toBeNull();
  });

  it('knows nothing between two that did not get there, or where each lacks a seed', () => {
    const neither = crossings([never(2500), never(2500)], [never(2500), never(2500)]);
    expect(neither).toMatchObject({ finding: 'none', allAgree: false, ratio: null });
    const crossed = crossings([fine(1000), never(2500)], [never(2500), fine(1000)], [fine(1000), fine(1000)]);
    expect(crossed).toMatchObject({ finding: 'none', ratio: { low: 0, high: null } });
  });

  it('does not judge one seed', () => {
    expect(crossings([reached(1000), reached(9000)])).toMatchObject({ finding: 'unknown', ratio: null });
  });
});

describe('numbers, compared', () => {
  it('gives the interval of the t distribution for one pair', () => {
    // scipy.stats.t.interval(0.95, 2, mean, sem) of b - a = 0.30, 0.34, 0.35
    const result = numbers(0.02, [1.0, 1.3], [1.1, 1.44], [1.05, 1.4]);
    expect(result).toMatchObject({ finding: 'a', df: 2 });
    expect(result?.meanDifference).toBeCloseTo(0.33, 10);
    expect(result?.interval?.low).toBeCloseTo(0.26428, 2);
    expect(result?.interval?.high).toBeCloseTo(0.39572, 2);
  });

  it('shows no difference smaller than the least of interest, however sure', () => {
    const result = numbers(0.1, [1, 1.05], [2, 2.0501], [3, 3.0499]);
    expect(result?.interval?.low).toBeGreaterThan(0);
    expect(result?.finding).toBe('none');
    expect(numbers(0.01, [1, 1.05], [2, 2.0501], [3, 3.0499])?.finding).toBe('a');
  });

  it('gives the mean difference, and judges no single seed', () => {
    expect(numbers(0, [1, 2], [1, 4])?.meanDifference).toBe(2);
    expect(numbers(0, [1, 2])?.finding).toBe('unknown');
    expect(numbers(0)).toBeNull();
  });

  it('takes the scatter from all designs and widens intervals for many pairs', () => {
    const noise = [0.02, -0.03, 0.01, 0.04, -0.02, -0.01, 0.03, 0, -0.04, 0.01, 0.02, -0.03];
    const values = ['a', 'b', 'c', 'd'].flatMap((design, d) =>
      [0, 1, 2].map((seed) => ({
        design,
        seed,
        value: (design === 'd' ? 0.3 : 0) + 0.1 * seed + (noise[d * 3 + seed] ?? 0),
      })),
    );
    const all = ['a', 'b', 'c', 'd'].flatMap((a, i, names) => names.slice(i + 1).map((b) => ({ a, b })));
    const family = pairNumbers(values, all, 0.01);
    expect(family.map((p) => p?.df)).toEqual(all.map(() => 6));
    expect(family.map((p) => p?.finding)).toEqual(['none', 'none', 'a', 'none', 'a', 'a']);
    const alone = pairNumbers(values, [{ a: 'a', b: 'd' }], 0.01)[0];
    const width = (p: typeof alone) => (p?.interval?.high ?? NaN) - (p?.interval?.low ?? NaN);
    // Tukey's studentized range of 4 means over root 2 against Student's t, both with df 6: 3.462 and 2.447.
    expect(width(family[2] ?? null) / width(alone)).toBeCloseTo(3.462 / 2.447, 1);
  });

  it('pairs seeds that both have, and uses seeds that others lack', () => {
    const value = (design: string, seed: number, v: number) => ({ design, seed, value: v });
    const values = [
      ...[value('a', 1, 0), value('a', 2, 0.01), value('a', 3, 0.02)],
      ...[value('b', 1, 1), value('b', 2, 1.02), value('b', 3, 1.01)],
      ...[value('c', 1, 2), value('c', 2, 2.01)],
    ];
    const [ab, ac, none] = pairNumbers(
      values,
      [
        { a: 'a', b: 'b' },
        { a: 'a', b: 'c' },
        { a: 'a', b: 'x' },
      ],
      0,
    );
    expect([ab?.values.length, ac?.values.length, none]).toEqual([3, 2, null]);
    expect([ab?.df, ac?.df]).toEqual([3, 3]); // 8 values less 3 designs, 3 seeds, and the common mean once
    expect([ab?.finding, ac?.finding]).toEqual(['a', 'a']);
  });
});

describe('how two designs relate', () => {
  const model = (pattern: LaptopPattern, change = {}) => resolveModelConfig({ ...laptopModel(pattern), ...change });

  it.each([
    ['swa-8', 'swa-64', 'window', false],
    ['swa-64', 'swa-8', 'window', true],
    ['swa-8', 'full', 'window', false],
    ['full', 'swa-8', 'window', true],
    ['swa-8-nope', 'swa-8', 'positions', false],
    ['swa-8', 'swa-8-nope', 'positions', true],
    ['swa-8-nope', 'swa-64', 'other', false],
    ['swa-8', 'swa-8', 'other', false],
  ] as const)('%s and %s: %s', (a, b, relation, swap) => {
    expect(relate(model(a), model(b))).toEqual({ relation, swap });
  });

  it('is other when anything else differs, or windows differ both ways', () => {
    expect(relate(model('swa-8'), model('swa-64', { qkNorm: true })).relation).toBe('other');
    const mixed = (layers: string) => model('full', { layers });
    expect(relate(mixed('swa:8 swa:64'), mixed('swa:64 swa:8')).relation).toBe('other');
    expect(relate(mixed('swa:8/full'), mixed('swa:8')).relation).toBe('other');
    // Windows that move in training are no larger or smaller ones.
    expect(relate(mixed('swa:2~8 full'), mixed('swa:4 full')).relation).toBe('other');
    expect(relate(mixed('swa:8/full'), mixed('swa:16/full'))).toEqual({ relation: 'window', swap: false });
  });
});

describe('measures of one run', () => {
  const series = (...values: number[]) => values.map((value, i) => ({ tokens: 100 * (i + 1), value }));

  it('finds the first measurement at or above the threshold, and the one before', () => {
    expect(crossing(series(0.1, 0.9, 0.5, 1), 0.9)).toEqual({ reached: true, after: 100, tokens: 200 });
    expect(crossing(series(0.95), 0.9)).toEqual({ reached: true, after: 0, tokens: 100 });
    expect(crossing(series(0.1, 0.89), 0.9)).toEqual({ reached: false, tokens: 200 });
    expect(crossing([], 0.9)).toBeNull();
  });

  it('takes the change over the last quarter of the tokens', () => {
    expect(lateChange(series(4, 3, 2, 1.5))).toBe(-0.5);
    expect(lateChange(series(4, 3, 2, 1.75, 1.5))).toBeCloseTo(-0.5, 12); // from 300 of 500 tokens, the last before 375
    expect(lateChange(series(1))).toBeNull();
    expect(lateChange([])).toBeNull();
  });

  it('takes the mean over tokens as the area under the curve', () => {
    expect(meanOverTokens(series(0, 1, 1))).toBeCloseTo(0.75, 12);
    expect(meanOverTokens(series(0.3))).toBe(0.3);
    expect(meanOverTokens([])).toBeNull();
    const uneven = [
      { tokens: 0, value: 0 },
      { tokens: 100, value: 1 },
      { tokens: 400, value: 1 },
    ];
    expect(meanOverTokens(uneven)).toBeCloseTo(350 / 400, 12);
  });

  it('takes the bins that no window reaches into', () => {
    const bins = [
      { from: 1, to: 16 },
      { from: 17, to: 64 },
      { from: 65, to: 128 },
    ];
    expect(farBins(bins, 64)).toEqual({ bins: [bins[2]], beyond: true });
    expect(farBins(bins, 65)).toEqual({ bins: [bins[2]], beyond: false });
    expect(farBins(bins, 16)).toEqual({ bins: [bins[1], bins[2]], beyond: true });
    expect(farBins(bins, 8)).toEqual({ bins: [bins[1], bins[2]], beyond: true });
    expect(farBins(bins, null)).toEqual({ bins: [bins[2]], beyond: false });
    const windows = ['full', 'swa-8', 'swa-64'].map((p) => resolveModelConfig(laptopModel(p as LaptopPattern)));
    expect(largestWindow(windows)).toBe(64);
    expect(largestWindow(windows.slice(0, 1))).toBeNull();
  });
});
