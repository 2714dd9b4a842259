import { describe, expect, it } from 'vitest';
import { FAKE_DESIGNS, writeFakeStudy } from '../../test/support/fake-study.js';
import { temporaryFolder } from '../../test/support/folders.js';
import { adviseOn, longestContext, type AdviceRequest } from './advice.js';
import type { Analyzed } from './report-data.js';
import { analyzeStudyFolder } from './report.js';
import { laptopModel, resolveModelConfig } from '../model/index.js';

/** Far recall is formed with `swa:8`, forming with `gdn` and not with others. */
const DESIGNS = [
  ...FAKE_DESIGNS.slice(0, 3),
  { label: 'gdn + full', pattern: 'gdn', formsAt: [2.4e6, 2.41e6] },
] as const;

function study(seeds: number): Analyzed {
  const dir = temporaryFolder();
  const runs = DESIGNS.flatMap(({ label, pattern, formsAt }) =>
    Array.from({ length: seeds }, (_, i) => {
      const finalLoss = pattern === 'gdn' ? 1.2 : pattern === 'full' ? 1.5 : 1.8;
      const own = { architecture: label, pattern, seed: i + 1, formsAt: formsAt[i % 2] ?? Infinity, finalLoss };
      return { name: `${pattern}_${i + 1}`, ...own };
    }),
  );
  writeFakeStudy(dir, runs);
  return analyzeStudyFolder(dir);
}

const asked = (change: Partial<AdviceRequest> = {}): AdviceRequest => ({
  ...{ context: 65_536, cacheDtype: 'bf16', kvBudget: null, params: null, flops: null, by: 'recall' },
  ...change,
});

describe('advice', () => {
  // Keys and values of 64 channels each, bf16, in four full layers.
  const full = 4 * 65_536 * 2 * 64 * 2;

  it('ranks what fits by far recall or by loss, and says whether the first is separated', () => {
    const analyzed = study(3);
    const advice = adviseOn(analyzed, asked({ kvBudget: full - 1 }));
    expect(advice.designs.map(({ label, fits }) => [label, fits])).toEqual([
      ['swa:8 + full', true],
      ['gdn + full', true],
      ['swa:64 + full', true],
      ['full', false],
    ]);
    expect(advice).toMatchObject({ separated: true, basis: 'measured', isHighBest: true });
    expect(advice.answer).toMatch(
      /^swa:8 \+ full ranks first of those that fit 64\.0 MiB of cache at 65,536 tokens: recall at distances 65 to 128 0\.9\d\d, and is separated from the second, gdn \+ full/,
    );
    expect(advice.designs[1]?.toFirst?.finding).toBe('b');
    expect(advice.sureness).toContain('Measured with 3 seeds of each design that fits.');
    expect(advice.sureness).toContainEqual(
      expect.stringMatching(/^65,536 tokens are 512 × the 128 of a training sequence/),
    );
    expect(advice.settle).toEqual([]);
    // By loss another is first; at exactly its bytes, full attention fits too.
    const byLoss = adviseOn(analyzed, asked({ kvBudget: full, by: 'loss' }));
    expect(byLoss.designs.map(({ label }) => label).slice(0, 2)).toEqual(['gdn + full', 'full']);
    expect(byLoss.designs.every(({ fits }) => fits)).toBe(true);
    expect(byLoss.isHighBest).toBe(false);
  });

  it('is not sure of one seed, says which seeds are missing, and that sizes are extrapolated', () => {
    const advice = adviseOn(study(1), asked({ params: 10e6, flops: 1e15 }));
    expect(advice.separated).toBe(false);
    expect(advice.sureness.join(' ')).toMatch(
      /Measured with 1 seed .* 10\.0 M parameters are 4\d × the 22\d k that were measured, and the study has no law over sizes: the ranking is of the measured size\..* 1\.00e15 training FLOPs are \d+/,
    );
    expect(advice.settle[0]).toMatch(/^More seeds of swa:8 \+ full and gdn \+ full: three of each at least/);
    expect(advice.settle[1]).toMatch(
      /^A study of swa:8 \+ full and gdn \+ full at the size asked for: \d+ layers of width \d+, /,
    );
    // The cache is that of the scaled design: keys and values as wide as the model, in every layer of full attention.
    const own = advice.designs.find(({ label }) => label === 'full');
    expect(own?.cacheBytes).toBe((own?.model?.layers ?? 0) * 65_536 * 2 * (own?.model?.hiddenSize ?? 0) * 2);
    expect(own?.tokens).toBe(Math.floor(1e15 / (own?.model?.trainFlops ?? 0)));
    expect(Math.abs((own?.model?.parameters ?? 0) / 10e6 - 1)).toBeLessThan(0.02);
  });

  it('says so where nothing fits, and how long a sequence would', () => {
    const advice = adviseOn(study(2), asked({ kvBudget: 1e6 }));
    expect(advice.answer).toMatch(
      /^No design of the study fits 977 KiB of cache at 65,536 tokens; the smallest is .* with 32\.0 MiB\.$/,
    );
    // 256 bytes a token in each of four layers; two of them hold 8 tokens where windows are 8.
    expect(advice.designs.find(({ label }) => label === 'full')?.longest).toBe(Math.floor(1e6 / (4 * 256)));
    expect(advice.designs.find(({ label }) => label === 'swa:8 + full')?.longest).toBe(
      Math.floor((1e6 - 2 * 8 * 256) / (2 * 256)),
    );
    const windows = resolveModelConfig({ ...laptopModel('full'), layers: 'swa:8' });
    expect([4 * 8 * 256 - 1, 4 * 8 * 256].map((budget) => longestContext(windows, budget, 'bf16'))).toEqual([
      7,
      Infinity,
    ]);
  });

  it('ranks by laws over size and tokens where the study has them', () => {
    // The one with the higher loss at every measured size has the better exponent.
    const law = (label: string, N: number, D: number) =>
      label === 'full' ? 20 * N ** -0.2 + 90 * D ** -0.25 : 100 * N ** -0.3 + 90 * D ** -0.25;
    const { analysis, ...rest } = study(1);
    const groups = [1e4, 4e4, 1.6e5].flatMap((N) =>
      [1e6, 5e6, 2.5e7].flatMap((D) =>
        analysis.groups.map((group) => ({
          ...group,
          title: `N ${N}, D ${D}`,
          runs: group.runs
            .filter(({ architecture }) => architecture === 'full' || architecture === 'swa:8 + full')
            .map((run) => {
              const finalLoss = law(run.architecture, N, D);
              return { ...run, nonEmbeddingParameters: N, parameters: N + 8192, tokens: D, finalLoss };
            }),
        })),
      ),
    );
    const analyzed = { ...rest, analysis: { ...analysis, groups } };
    const small = adviseOn(analyzed, asked({ by: 'loss' }));
    expect(small).toMatchObject({ basis: 'measured', setting: 'N 160000, D 25000000' });
    expect(small.designs[0]?.label).toBe('full');
    const large = adviseOn(analyzed, asked({ by: 'loss', params: 200e6 }));
    expect(large.basis).toBe('law');
    const [first, second] = large.designs;
    expect([first?.label, second?.label]).toEqual(['swa:8 + full', 'full']);
    expect(first?.value).toBeCloseTo(law('swa:8 + full', first?.model?.nonEmbedding ?? 0, 2.5e7), 2);
    expect(large.sureness.join(' ')).toContain('The ranking is that of laws over size and tokens');
  });

  it('cuts intervals of shares at 0 and 1, and those of the loss nowhere', () => {
    const dir = temporaryFolder();
    const runs = DESIGNS.slice(0, 2).flatMap(({ label, pattern, formsAt }) =>
      [0.2, 3].map((finalLoss, i) => ({
        ...{ name: `${pattern}_${i + 1}`, architecture: label, pattern, seed: i + 1, finalLoss },
        formsAt: i === 0 ? formsAt[0] : Infinity,
      })),
    );
    writeFakeStudy(dir, runs);
    const analyzed = analyzeStudyFolder(dir);
    expect(adviseOn(analyzed, asked()).designs[0]?.interval).toEqual({ low: 0, high: 1 });
    expect(adviseOn(analyzed, asked({ by: 'loss' })).designs[0]?.interval?.low).toBeLessThan(0);
  });

  it('says which designs were not measured, and where none recalls better than guessing', () => {
    const { analysis, ...rest } = study(2);
    const only = (labels: readonly string[]): Analyzed => ({
      ...rest,
      analysis: {
        ...analysis,
        groups: analysis.groups.map((group) => ({
          ...group,
          chance: 1 / 16,
          runs: group.runs
            .filter(({ architecture }) => labels.includes(architecture))
            .map((run) => (run.architecture === 'full' ? { ...run, farRecall: 2 / 16 } : run)),
        })),
      },
    });
    const guessed = adviseOn(only(['full']), asked()).sureness.join(' ');
    expect(guessed).toContain('Guessing comes to 0.063: no design that fits does clearly better');
    expect(guessed).toMatch(
      /Not ranked: swa:8 \+ full, swa:64 \+ full and gdn \+ full, of which the study has no finished run with that measurement\./,
    );
    const all = adviseOn(only(DESIGNS.map(({ label }) => label)), asked()).sureness.join(' ');
    expect(all).not.toMatch(/Guessing|Not ranked/);
  });

  it('has no model of a size that no shape of the design has', () => {
    const advice = adviseOn(study(2), asked({ params: 1 }));
    expect(advice.designs.every(({ fits, model }) => !fits && model === null)).toBe(true);
    expect(advice.designs[0]?.why).toMatch(
      /^no shape of it has about 1 parameters \(the nearest has 7248\); ask for more$/,
    );
    expect(advice.answer).toBe('No design of the study fits at 65,536 tokens.');
    expect(advice.settle).toEqual([
      'Ask for a size and a context that some design can have: the reasons above say what they can.',
    ]);
  });

  it('refuses a study without finished runs, in one sentence', () => {
    const { analysis, ...rest } = study(1);
    const groups = analysis.groups.map((group) => ({ ...group, runs: [] }));
    expect(() => adviseOn({ ...rest, analysis: { ...analysis, groups } }, asked())).toThrow(
      'study Demo has no finished run; train it first: longsight study FILE',
    );
  });
});
