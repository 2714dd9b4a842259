import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseHTML } from 'linkedom';
import { describe, expect, it } from 'vitest';
import { writeFakeStudy } from '../../test/support/fake-study.js';
import { temporaryFolder } from '../../test/support/folders.js';
import { effectsOf } from './effects.js';
import { gridHeadline, gridsOf } from './grid.js';
import { analyzeStudyFolder, reportHtml } from './report.js';

describe('effects of factors', () => {
  const value = (a: number, b: number, value: number) => ({ levels: [a, b], value });

  it('are the shares of the sum of squares, as worked out by hand', () => {
    // Means of a: 2 and 6, of b: 3 and 5; grand mean 4. Cells 1, 3, 5, 7, each with seeds 1 apart from its mean.
    const values = [
      ...[value(0, 0, 0), value(0, 0, 2), value(0, 1, 2), value(0, 1, 4)],
      ...[value(1, 0, 4), value(1, 0, 6), value(1, 1, 6), value(1, 1, 8)],
    ];
    const effects = effectsOf(values, [2, 2]);
    // Sums of squares: a 8·4 = 32, b 8·1 = 8, together nothing more, seeds 8·1 = 8; total 48.
    expect(effects?.main[0]).toBeCloseTo(32 / 48, 12);
    expect(effects?.main[1]).toBeCloseTo(8 / 48, 12);
    expect(effects?.pairs).toEqual([{ a: 0, b: 1, share: 0 }]);
    expect(effects?.seeds).toBeCloseTo(8 / 48, 12);
    expect(effects?.higher).toBe(0);
  });

  it('of an exclusive or are an interaction and nothing else', () => {
    const effects = effectsOf([value(0, 0, 1), value(0, 1, 0), value(1, 0, 0), value(1, 1, 1)], [2, 2]);
    expect(effects).toEqual({ main: [0, 0], pairs: [{ a: 0, b: 1, share: 1 }], higher: 0, seeds: 0 });
  });

  it('are not told of a grid with holes or with unequal seeds, nor where nothing varies', () => {
    expect(effectsOf([value(0, 0, 1), value(0, 1, 0), value(1, 0, 0)], [2, 2])).toBeNull();
    expect(effectsOf([value(0, 0, 1), value(0, 0, 2), value(1, 0, 0)], [2, 1])).toBeNull();
    expect(effectsOf([value(0, 0, 1), value(1, 0, 1)], [2, 1])).toBeNull();
  });
});

const RATES = [0.002, 0.004, 0.008];

/** Two designs at three learning rates; the middle one is the only one at which far recall forms. */
function gridStudy(missing = 0): string {
  const dir = temporaryFolder();
  const runs = (['swa-8', 'full'] as const).flatMap((pattern) =>
    RATES.flatMap((lr) =>
      [1, 2].map((seed) => ({
        ...{ name: `${pattern}_lr-${lr}_seed-${seed}`, architecture: pattern, pattern, seed, lr, steps: 200 },
        formsAt: pattern === 'swa-8' && lr === 0.004 ? 0.3e6 : Infinity,
      })),
    ),
  );
  writeFakeStudy(
    dir,
    runs.map((run, i) => (i < missing ? { ...run, state: 'failed' as const } : run)),
  );
  const path = join(dir, 'study.json');
  const plan = JSON.parse(readFileSync(path, 'utf8')) as { runs: { point: object }[] };
  runs.forEach(({ lr }, i) => Object.assign(plan.runs[i] ?? {}, { point: { 'train.lr': lr } }));
  writeFileSync(path, JSON.stringify(plan));
  return dir;
}

describe('the report of a grid', () => {
  it('has one map and one table over all points, the best setting of each design, and effects', () => {
    const analyzed = analyzeStudyFolder(gridStudy());
    const [grid] = gridsOf(analyzed.analysis);
    if (grid === undefined) throw new Error('there is a grid');
    expect(grid.points).toEqual(['lr = 0.002', 'lr = 0.004', 'lr = 0.008']);
    expect(gridHeadline(grid)).toMatch(
      /^Best recall at distances 17 to 128 at the end over 3 settings: swa-8 at lr = 0\.004 \((?:0\.99\d|1\.00)\); full at .*goes with the design, \d+ % goes with lr, 0 % with the seed/,
    );
    const { document } = parseHTML(reportHtml(analyzed, { repeat: [] })) as unknown as {
      readonly document: { querySelectorAll(s: string): Iterable<{ readonly textContent: string }> };
    };
    const texts = (selector: string) => [...document.querySelectorAll(selector)].map((e) => e.textContent);
    expect(texts('.headline')).toEqual([gridHeadline(grid)]);
    expect(texts('table.map tbody td')).toHaveLength(6);
    expect(texts('table.map td.best')).toHaveLength(2);
    expect(texts('.question tbody tr')).toContainEqual(expect.stringMatching(/^swa-8lr = 0\.004(?:0\.99\d|1\.00)/));
    expect(texts('.question tbody tr')).toContainEqual(expect.stringMatching(/^design with lr.*\(interaction\)\d+ %$/));
    // Each point stands below, folded away, with one figure and its numbers.
    expect(texts('details > summary').filter((text) => text.startsWith('Main arm'))).toHaveLength(3);
    expect(texts('details figure')).toHaveLength(3);
    expect(texts('table.sortable tbody tr')).toHaveLength(12);
  });

  it('of which runs are missing says why it tells no shares', () => {
    const analyzed = analyzeStudyFolder(gridStudy(1));
    expect(gridsOf(analyzed.analysis)[0]?.effects).toBeNull();
    expect(reportHtml(analyzed, { repeat: [] })).toContain('Shares need a grid without holes');
  });
});
