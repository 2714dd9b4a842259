import { describe, expect, it } from 'vitest';
import type { RunSummary } from '../study/index.js';
import type { Analyzed, Group } from './report-data.js';
import { fitStudy, scalingPage, studyPoints, withoutRuns } from './scaling.js';

/** A study whose runs follow `40 N^-0.3 + 90 D^-0.25` exactly. */
function study(sizes: readonly number[], budgets: readonly number[]): Analyzed {
  const runs = sizes.flatMap((N) =>
    budgets.map(
      (D) =>
        ({
          name: `${N}-${D}`,
          architecture: 'a',
          nonEmbeddingParameters: N,
          tokens: D,
          finalLoss: 40 * N ** -0.3 + 90 * D ** -0.25,
          ar: { loss: 60 * N ** -0.2 + 200 * D ** -0.35 },
        }) as unknown as RunSummary,
    ),
  );
  const group = { runs } as unknown as Group;
  return {
    analysis: { architectures: [{ label: 'a', layers: 'full' }], groups: [group] },
    records: new Map(),
  } as unknown as Analyzed;
}

describe('scaling laws of a study', () => {
  const laws = study([1e5, 4e5, 1.6e6], [1e6, 5e6, 2.5e7]);

  it('recover the law that made the losses', () => {
    const [fit] = fitStudy(laws, { form: 'no_constant', resamples: 20, profiles: false });
    expect(fit?.label).toBe('a');
    expect(fit?.result.fit.parameters.alpha).toBeCloseTo(0.3, 3);
    expect(fit?.result.fit.parameters.beta).toBeCloseTo(0.25, 3);
    const page = scalingPage('Laws', [fit!], 'loss', 'longsight fit x');
    expect(page).toContain('exponent of N');
    expect(page).not.toMatch(/https?:\/\/(?!www\.w3\.org)/);
  });

  it('are fitted to the loss of associative recall too', () => {
    const [fit] = fitStudy(laws, { form: 'no_constant', resamples: 0, profiles: false }, 'ar');
    expect(fit?.result.fit.parameters.alpha).toBeCloseTo(0.2, 3);
    expect(fit?.result.fit.parameters.beta).toBeCloseTo(0.35, 3);
  });

  it('are fitted without the runs that are named', () => {
    const fewer = withoutRuns(laws, ['400000-5000000']);
    expect(studyPoints(fewer)[0]?.points.map(({ N, D }) => `${N}-${D}`)).toEqual(
      studyPoints(laws)[0]?.points.flatMap(({ N, D }) => (N === 4e5 && D === 5e6 ? [] : `${N}-${D}`)),
    );
    expect(studyPoints(fewer)[0]?.points).toHaveLength(8);
    expect(withoutRuns(laws, [])).toBe(laws);
  });

  it('are left out where runs are few or do not differ in size and tokens', () => {
    expect(studyPoints(study([1e5, 4e5], [1e6, 5e6]))).toEqual([]);
    expect(studyPoints(study([1e5], [1, 2, 3, 4, 5]))).toEqual([]);
    expect(studyPoints(laws)[0]?.points).toHaveLength(9);
  });
});
