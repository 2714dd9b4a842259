import { describe, expect, it } from 'vitest';
import { below, curvesOf, cutOf, lines, smoothed, tokensPlot, type DrawnDesign } from './curves.js';
import { seriesStyles } from './plot.js';
import { positionBins, positionCurve } from './position-figure.js';

/** Designs of so many seeds each; the curves ask nothing of a run but its name and seed. */
function designsOf(count: number, seeds: number): DrawnDesign[] {
  return seriesStyles(Array.from({ length: count }, (_, i) => `design ${i}`)).map((style) => ({
    style,
    runs: Array.from({ length: seeds }, (_, seed) => ({
      summary: { name: `${style.label} ${seed}`, seed } as DrawnDesign['runs'][number]['summary'],
      record: { seed } as DrawnDesign['runs'][number]['record'],
    })),
  }));
}

const seriesOf = ({ seed }: { seed: number }) =>
  Array.from({ length: 300 }, (_, i) => ({ step: i, tokens: 1000 * (i + 1), value: 1 / (i + 1 + seed) }));
const draw = (designs: readonly DrawnDesign[]) => tokensPlot('loss', 'loss', curvesOf(designs, seriesOf));
const pathsOf = (svg: string) => [...svg.matchAll(/<path [^>]*d="(M[^"]+L[^"]+)"/g)].map(([, d]) => d ?? '');
const longest = (svg: string) => Math.max(...pathsOf(svg).map((d) => d.split('L').length));

describe('an axis that the first steps would stretch', () => {
  const curve = (values: readonly number[]) => values.map((value, i) => ({ step: i, tokens: 100 * i, value }));

  it('is cut a little above all later values, and curves end where they cross the cut', () => {
    const points = curve([6, 4, 2, 1.9, 1.8, 1.7, 1.6, 1.5, 1.4, 1.3, 1.2, 1.1, 1]);
    const cut = cutOf([points]);
    expect(cut?.top).toBeCloseTo(2.1, 9);
    const shown = below(points, { top: 2.1 });
    expect(shown.filter(({ value }) => value > 2.1)).toEqual([]);
    expect(shown.find(({ value }) => value === 2.1)?.tokens).toBeCloseTo(195, 9);
    expect(shown.filter(({ value }) => !Number.isNaN(value))).toHaveLength(12);
  });

  it('is left as it is where nothing lies far above, or nothing changes', () => {
    expect(cutOf([curve([2.2, 2, 1.9, 1.8, 1.7, 1.6, 1.5, 1.4, 1.3, 1.2, 1])])).toBeNull();
    expect(cutOf([curve([1, 1, 1])])).toBeNull();
    expect(cutOf([])).toBeNull();
  });

  it('of a noisy series shows means of stretches that cover every point', () => {
    expect(smoothed(curve([1, 3, 5, 7, 9]), 3).map(({ tokens, value }) => [tokens, value])).toEqual([
      [100, 2],
      [300, 6],
      [400, 9],
    ]);
    expect(smoothed(curve([1, 2]), 3)).toHaveLength(2);
  });
});

describe('loss by position', () => {
  it('is averaged over stretches that grow with the position and leave none out', () => {
    const bins = positionBins(100);
    expect(bins.slice(0, 7)).toEqual([
      ...[1, 2, 3, 4].map((position) => ({ from: position, to: position })),
      ...[
        { from: 5, to: 6 },
        { from: 7, to: 8 },
        { from: 9, to: 11 },
      ],
    ]);
    expect(bins.flatMap(({ from, to }) => Array.from({ length: to - from + 1 }, (_, i) => from + i))).toEqual(
      Array.from({ length: 100 }, (_, i) => i + 1),
    );
  });

  it('is the mean over seeds, with the lowest and the highest; positions that were not measured are left out', () => {
    const curve = positionCurve([
      [4, 3, null, 2, 1, 2],
      [6, 3, null, 4, 3, 2, 7],
    ]);
    expect(curve).toEqual([
      { at: 1, value: 5, low: 4, high: 6 },
      { at: 2, value: 3, low: 3, high: 3 },
      { at: 4, value: 3, low: 2, high: 4 },
      { at: Math.sqrt(30), value: 2, low: 1.5, high: 2.5 },
    ]);
  });
});

describe('curves of many runs', () => {
  it('show every evaluation of a few', () => {
    const few = designsOf(2, 3);
    expect(longest(draw(few))).toBe(300);
    expect(lines(few)).toBe(' Thin: one seed; thick: mean over seeds.');
  });

  it('of a thousand runs fit into a plot of three quarters of a megabyte, a line for each run, and say that they skip evaluations', () => {
    const many = designsOf(50, 20);
    const svg = draw(many);
    expect(svg.length).toBeLessThan(750_000);
    expect(pathsOf(svg).filter((d) => d.split('L').length >= 10).length).toBeGreaterThanOrEqual(1050);
    expect(longest(svg)).toBeLessThanOrEqual(120);
    expect(lines(many)).toContain('Lines show at most 12 evaluations of a seed and 120 of a mean, evenly spread.');
  });
});
