import { readFileSync, writeFileSync } from 'node:fs';
import { parseHTML } from 'linkedom';
import { describe, expect, it } from 'vitest';
import { canonicalJson, configPath, isPlain, planPath, Rng } from '../core/index.js';
import { resolveModelConfig } from '../model/index.js';
import { runFolder } from '../study/index.js';
import { FAKE_DESIGNS, writeFakeStudy } from '../../test/support/fake-study.js';
import { temporaryFolder } from '../../test/support/folders.js';
import { meansOver, paretoFront } from './costs.js';
import { analyzeStudyFolder, reportParts } from './report.js';

/** Every design of the recall study and one with a recurrent mixer, two seeds each, none beside another. */
function study(change: (i: number) => object = () => ({})): string {
  const dir = temporaryFolder();
  const gdn = { label: 'gdn + full', pattern: 'gdn', formsAt: [1.4e6, 1.5e6] } as const;
  const runs = [...FAKE_DESIGNS, gdn].flatMap(({ label, pattern, formsAt }) =>
    formsAt.map((tokens, i) => ({
      name: `${pattern}_${i + 1}`,
      architecture: label,
      pattern,
      seed: i + 1,
      formsAt: tokens,
    })),
  );
  writeFakeStudy(
    dir,
    runs.map((run, i) => ({ ...run, startedAt: `2026-01-${10 + i}T00:00:00.000Z`, ...change(i) })),
  );
  return dir;
}

const groupOf = (dir: string, context?: number) => analyzeStudyFolder(dir, context).analysis.groups[0];

describe('what designs cost', () => {
  // Four layers of 64 channels for keys and 64 for values, bf16; windows hold 8 or 64 tokens.
  const token = 2 * 64 * 2;
  const full = 65_536 * token;
  // Gated DeltaNet has 2 heads with a state of 16 x 32, and the last 3 inputs of a convolution over 2 (16 + 16 + 32)
  // channels.
  const gdn = 4 * 2 * 16 * 32 + 2 * 3 * 2 * (16 + 16 + 32);

  it('is the cache of each layer, by hand', () => {
    const costs = groupOf(study())?.costs;
    const bytes = Object.fromEntries(costs?.runs.map(({ name, cacheBytes }) => [name, cacheBytes]) ?? []);
    expect(bytes).toEqual({
      ...{ full_1: 4 * full, full_2: 4 * full },
      ...{ 'swa-8_1': 2 * full + 2 * 8 * token, 'swa-8_2': 2 * full + 2 * 8 * token },
      ...{ 'swa-64_1': 2 * full + 2 * 64 * token, 'swa-64_2': 2 * full + 2 * 64 * token },
      ...{ 'swa-8-nope_1': 2 * full + 2 * 8 * token, 'swa-8-nope_2': 2 * full + 2 * 8 * token },
      ...{ gdn_1: 2 * full + 2 * gdn, gdn_2: 2 * full + 2 * gdn },
    });
    const short = groupOf(study(), 8)?.costs?.runs ?? [];
    expect(new Set(short.filter(({ name }) => !name.startsWith('gdn')).map((run) => run.cacheBytes))).toEqual(
      new Set([4 * 8 * token]),
    );
  });

  it('is the same where earlier versions wrote the models, without the fields that they did not know', () => {
    const dir = study();
    const before = groupOf(dir)?.costs?.runs;
    expect(before?.map(({ flops }) => flops > 0)).toEqual(Array.from({ length: 10 }, () => true));
    writeOlder(planPath(dir));
    for (const { name } of before ?? []) writeOlder(configPath(runFolder(dir, name)));
    expect(groupOf(dir)?.costs?.runs).toEqual(before);
  });

  /** Leaves out of the models in a file what they are without it as well. */
  function writeOlder(path: string): void {
    const older = (value: unknown): unknown => {
      if (Array.isArray(value)) return value.map(older);
      if (!isPlain(value)) return value;
      if (!('hiddenSize' in value))
        return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, older(inner)]));
      const whole = resolveModelConfig(value);
      const needed = Object.entries(value).filter(([key]) => {
        const { [key]: _left, ...others } = value;
        try {
          return canonicalJson(resolveModelConfig(others)) !== canonicalJson(whole);
        } catch {
          return true;
        }
      });
      expect(needed.length).toBeLessThan(15);
      return Object.fromEntries(needed);
    };
    writeFileSync(path, JSON.stringify(older(JSON.parse(readFileSync(path, 'utf8')))));
  }

  it('is the time of runs that trained alone, on one device', () => {
    const costs = groupOf(study())?.costs;
    // 600 steps of 32 x 128 tokens at 35,000 a second.
    expect(costs?.runs.map(({ seconds }) => seconds)).toEqual(
      Array.from({ length: 10 }, () => (600 * 32 * 128) / 35_000),
    );
    expect(costs).toMatchObject({ device: 'Some CPU, 2 cores; onnx, 1 thread', notes: [] });
    // The first two trained at the same time.
    const some = groupOf(study((i) => (i < 2 ? { startedAt: '2026-01-01T00:00:00.000Z' } : {})));
    expect(some?.costs?.runs.map(({ seconds }) => seconds === null)).toEqual(
      Array.from({ length: 10 }, (_, i) => i < 2),
    );
    expect(some?.costs?.notes).toEqual([expect.stringMatching(/^2 of 10 runs trained beside others .* left out\.$/)]);
  });

  it('joins every comparison: what pairs came to for the same FLOPs, and in the same time', () => {
    const group = groupOf(study());
    const pair = group?.pairs.find(({ a, b }) => a === 'swa:8 + full' && b === 'full');
    const [flops, seconds] = pair?.atEqualCost ?? [];
    const costs = new Map(group?.costs?.runs.map((run) => [run.name, run.flops]));
    // The cheapest design is there at its end, the dearest earlier; at one speed, equal time is equal tokens.
    expect(flops).toMatchObject({ of: 'flops', cost: Math.min(...costs.values()), most: Math.max(...costs.values()) });
    expect(seconds).toMatchObject({ of: 'seconds', cost: (600 * 32 * 128) / 35_000 });
    expect(seconds?.far?.values).toEqual(pair?.farRecall?.values);
    expect(flops?.far?.finding).toBe('b');
    const verdicts = group?.verdicts.filter(({ topic, b }) => topic === 'cost' && b === 'full').map(({ lead }) => lead);
    expect(verdicts).toContain('swa:8 + full has more far recall than full for the same training FLOPs.');
  });

  it('is drawn with its front, and told in a table', () => {
    const { costs } = reportParts(analyzeStudyFolder(study()));
    const { document } = parseHTML(`<html><body>${costs}</body></html>`) as unknown as {
      document: { querySelectorAll(selector: string): { readonly textContent: string }[] };
    };
    const texts = (selector: string) => [...document.querySelectorAll(selector)].map((e) => e.textContent);
    expect(texts('figure .panel h4')).toEqual([
      ...['By training FLOPs', 'By training time', 'By cache in use'],
      ...['By training FLOPs', 'By training time', 'By cache in use'],
    ]);
    const rows = texts('table.costs tbody tr');
    expect(rows).toHaveLength(5);
    expect(rows[0]).toMatch(/^ full2\d\.\d\de1270\.264\.0 MiB0\.\d{3} \(0\.\d{3} to 0\.\d{3}\)1\.\d{4} .*–$/);
    expect(texts('figure title')).toContainEqual(
      expect.stringMatching(/, on the front\n.*\n.* mean of 2 seeds\n95 %: /),
    );
    // Runs beside others have no panel and no column.
    const beside = reportParts(analyzeStudyFolder(study(() => ({ startedAt: '2026-01-01T00:00:00.000Z' })))).costs;
    expect(beside).not.toContain('By training time');
    expect(beside).not.toContain('training steps (s)');
    expect(beside).toContain('10 of 10 runs trained beside others');
  });
});

describe('the front', () => {
  it('is that of a comparison of all with all', () => {
    const rng = Rng.of(1, 'front');
    for (let round = 0; round < 300; round++) {
      const count = 1 + Math.floor(rng.uniform() * 9);
      // Few distinct numbers, so that many tie in one or in both.
      const designs = Array.from({ length: count }, () => ({
        cost: Math.floor(rng.uniform() * 5),
        value: Math.floor(rng.uniform() * 5),
      }));
      for (const isHighBest of [true, false]) {
        const better = (x: number, y: number) => (isHighBest ? x >= y : x <= y);
        const expected = designs.map(
          (own) =>
            !designs.some(
              (other) =>
                other.cost <= own.cost &&
                better(other.value, own.value) &&
                (other.cost < own.cost || other.value !== own.value),
            ),
        );
        expect(paretoFront(designs, isHighBest)).toEqual(expected);
      }
    }
  });
});

describe('the mean over seeds', () => {
  it('has Student’s interval, from the scatter of all designs', () => {
    // Squares 2 and 2 with 2 + 1 degrees of freedom; t(0.975, 3) = 3.1824, and the second scatters more by itself.
    const [first, second, third] = meansOver([[1, 2, 3], [4, 6], [5]]);
    expect(first?.mean).toBe(2);
    expect(first?.interval?.high).toBeCloseTo(2 + 3.1824 * Math.sqrt(4 / 3 / 3), 1);
    expect(second?.interval?.low).toBeCloseTo(5 - 3.1824 * Math.sqrt(2 / 2), 1);
    expect(third).toEqual({ mean: 5, interval: null });
    expect(meansOver([[1, 2]])[0]?.interval).toBeNull();
  });
});
