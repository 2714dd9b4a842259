import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { documentedScenarios, ratesMarkdown, simulate, type DocumentedRates, type Scenario } from './calibration.js';

const ROOT = join(import.meta.dirname, '..', '..');
const stored = JSON.parse(readFileSync(join(ROOT, 'bench', 'results', 'verdicts.json'), 'utf8')) as {
  readonly studies: number;
  readonly rates: DocumentedRates[];
};

const scenario = (change: Partial<Scenario>): Scenario => ({
  ...{ designs: 4, seeds: 3, noise: 0.1, effect: 1, tails: 'equal', center: 0.4, evaluations: 50, measure: 'tokens' },
  ...change,
});

describe('verdicts on made-up studies', () => {
  it.each([
    ['two seeds', { seeds: 2 }],
    ['three seeds', { seeds: 3 }],
    ['plain numbers', { measure: 'exact' }],
    ['runs that stop before', { center: 1 }],
  ] as const)('err in about 5 %% of studies without a difference, or fewer: %s', (_, change) => {
    const rates = simulate(scenario(change), 300);
    expect(rates.false).toBeLessThan(0.05 + 3 * Math.sqrt((0.05 * 0.95) / 300));
  });

  it('find a factor of two with three seeds, in the right direction', () => {
    const rates = simulate(scenario({ effect: 2 }), 100);
    expect(rates.found).toBeGreaterThan(0.9);
    expect(rates.false).toBeLessThan(0.1);
  });

  it('say more often that seeds are too few than that two seeds show a small factor', () => {
    const rates = simulate(scenario({ effect: 1.2, seeds: 2 }), 100);
    expect(rates.few).toBeGreaterThan(rates.found);
  });

  it('are the same for the same scenario', () => {
    expect(simulate(scenario({ effect: 1.5 }), 20)).toEqual(simulate(scenario({ effect: 1.5 }), 20));
  });
});

describe('the documented rates', () => {
  it('are those of every documented scenario', () => {
    const what = (rates: readonly Pick<DocumentedRates, 'kind' | 'title' | 'scenario'>[]) =>
      rates.map(({ kind, title, scenario: s }) => ({ kind, title, scenario: s }));
    expect(what(stored.rates)).toEqual(what(documentedScenarios()));
    expect(stored.studies).toBe(2000);
  });

  it('stand in docs/method.md as they were stored', () => {
    const page = readFileSync(join(ROOT, 'docs', 'method.md'), 'utf8');
    const table = page.split('<!-- verdicts: begin -->')[1]?.split('<!-- verdicts: end -->')[0]?.trim();
    const plain = (text: string | undefined) => text?.replace(/ *\| */g, '|').replace(/-+:?/g, '-');
    expect(plain(table)).toBe(plain(ratesMarkdown(stored.rates)));
  });

  it('keep what they promise: about 5 % of errors or fewer wherever noise is the same in all designs', () => {
    for (const { kind, title, scenario: s, false: share } of stored.rates) {
      if (kind === 'error') expect(share, `${title}, ${s.designs} designs, ${s.seeds} seeds`).toBeLessThan(0.075);
      if (kind === 'error' && s.tails === 'equal') expect(share, title).toBeLessThan(0.065);
    }
  });
});
