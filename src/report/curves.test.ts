import { describe, expect, it } from 'vitest';
import { curvesOf, lines, tokensPlot, type DrawnDesign } from './curves.js';
import { seriesStyles } from './plot.js';

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
