/**
 * How often the rule of `compare.ts` errs and what it finds: made-up studies whose truth is known, judged as real ones
 * are.
 *
 * A made-up run gets to the threshold after `center × effect of its design × exp(seed effect + noise)` of its tokens,
 * and is evaluated at equal steps up to its end; all else is as in a study.
 */
import { Rng } from '../core/index.js';
import { pairCrossings, pairNumbers, type Finding } from './compare.js';
import type { Crossing } from '../lab/index.js';

/** Made-up studies of one kind. */
export interface Scenario {
  /** The number of designs. */
  readonly designs: number;
  /** Seeds of each design. */
  readonly seeds: number;
  /** Standard deviation of the noise of a run, in log tokens; 0.1 is about 10 % of the tokens. */
  readonly noise: number;
  /** How many times fewer tokens the first design takes; 1: no design differs. */
  readonly effect: number;
  /**
   * `equal`: normal noise; `unequal`: three times as much in the last design; `heavy`: Student's t with 3 degrees of
   * freedom.
   */
  readonly tails: 'equal' | 'unequal' | 'heavy';
  /** Where crossings lie, as a share of the tokens of a run; near or beyond 1, runs stop before. */
  readonly center: number;
  /** Evaluations of a run, at equal steps. */
  readonly evaluations: number;
  /** `tokens`: crossings between evaluations; `exact`: plain numbers, such as a loss. */
  readonly measure: 'tokens' | 'exact';
}

/** How often verdicts are wrong in simulated studies of one scenario. */
export interface Rates {
  readonly scenario: Scenario;
  readonly studies: number;
  /**
   * Share of studies with at least one difference that is called shown though there is none, or in the wrong direction.
   */
  readonly false: number;
  /** The same by asking whether every seed of the one design lies beyond every seed of the other. */
  readonly falseBySeparation: number;
  /** The share of pairs of the first design with others whose difference is shown in the right direction. */
  readonly found: number;
  /** The share of those pairs that is left to more seeds. */
  readonly few: number;
}

/** How much all designs share of a seed's luck, in log tokens. */
const SEED_EFFECT = 0.1;
const BUDGET = 1e8;

/** Judges `studies` made-up studies; the same numbers for the same scenario and count. */
export function simulate(scenario: Scenario, studies: number): Rates {
  const count = { false: 0, separated: 0, found: 0, few: 0, pairs: 0 };
  const names = Array.from({ length: scenario.designs }, (_, i) => `design ${i}`);
  const pairs = names.flatMap((a, i) => names.slice(i + 1).map((b) => ({ a, b })));
  for (let study = 0; study < studies; study++) {
    const values = runsOf(scenario, Rng.of(study, 'calibration', JSON.stringify(scenario)), names);
    const findings = findingsOf(scenario, values, pairs);
    const separated = pairs.map(({ a, b }) => separation(values, a, b));
    const isWrong = (finding: Finding, i: number) => {
      const real = scenario.effect !== 1 && i < names.length - 1; // pairs of the first design come first
      return real ? finding === 'b' : finding === 'a' || finding === 'b';
    };
    if (findings.some(isWrong)) count.false++;
    if (separated.some(isWrong)) count.separated++;
    const own = findings.slice(0, names.length - 1);
    count.found += own.filter((f) => f === 'a').length;
    count.few += own.filter((f) => f === 'few').length;
    count.pairs += own.length;
  }
  return {
    scenario,
    studies,
    ...{ false: count.false / studies, falseBySeparation: count.separated / studies },
    ...{ found: count.found / count.pairs, few: count.few / count.pairs },
  };
}

interface MadeRun {
  readonly design: string;
  readonly seed: number;
  readonly crossing: Crossing;
  /** The logarithm of the true place. */
  readonly value: number;
}

function runsOf(scenario: Scenario, rng: Rng, names: readonly string[]): MadeRun[] {
  const { seeds, noise, effect, tails, center, evaluations } = scenario;
  return Array.from({ length: seeds }, (_, seed) => {
    const luck = SEED_EFFECT * rng.normal();
    return names.map((design, i): MadeRun => {
      const scale = noise * (tails === 'unequal' && i === names.length - 1 ? 3 : 1);
      const value =
        Math.log(center / (i === 0 ? effect : 1)) + luck + scale * (tails === 'heavy' ? heavy(rng) : rng.normal());
      const at = Math.ceil(Math.exp(value) * evaluations);
      const tokens = (k: number) => (BUDGET * k) / evaluations;
      const crossing: Crossing =
        at > evaluations
          ? { reached: false, tokens: BUDGET }
          : { reached: true, after: tokens(at - 1), tokens: tokens(at) };
      return { design, seed, crossing, value };
    });
  }).flat();
}

/** Student's t with 3 degrees of freedom, scaled to variance 1. */
function heavy(rng: Rng): number {
  const chi = rng.normal() ** 2 + rng.normal() ** 2 + rng.normal() ** 2;
  return rng.normal() / Math.sqrt(chi / 3) / Math.sqrt(3);
}

function findingsOf(
  { measure }: Scenario,
  values: readonly MadeRun[],
  pairs: readonly { readonly a: string; readonly b: string }[],
): Finding[] {
  const judged = measure === 'tokens' ? pairCrossings(values, pairs) : pairNumbers(values, pairs, 0);
  return judged.map((pair) => pair?.finding ?? 'unknown');
}

/** Whether every seed of one design lies before every seed of the other, as far as evaluations tell. */
function separation(values: readonly MadeRun[], a: string, b: string): Finding {
  const of = (design: string) => values.filter((v) => v.design === design).map((v) => v.crossing);
  const upper = (c: Crossing) => (c.reached ? c.tokens : Infinity);
  const lower = (c: Crossing) => (c.reached ? c.after : c.tokens);
  const before = (x: Crossing[], y: Crossing[]) => x.every((c) => y.every((d) => upper(c) <= lower(d)));
  return before(of(a), of(b)) ? 'a' : before(of(b), of(a)) ? 'b' : 'none';
}

const BASE = { noise: 0.1, effect: 1, tails: 'equal', center: 0.4, evaluations: 50, measure: 'tokens' } as const;
const SEEDS = [2, 3, 5] as const;
const DESIGNS = [2, 4, 8] as const;

/** Ways in which no design differs from another. */
const NULLS: readonly (readonly [string, Partial<Scenario>])[] = [
  ['same noise everywhere', {}],
  ['noise below the spacing of evaluations', { noise: 0.02 }],
  ['three times the noise in one design', { tails: 'unequal' }],
  ['heavy tails', { tails: 'heavy' }],
  ['half of the runs stop before', { center: 1 }],
  ['plain numbers', { measure: 'exact' }],
];
const EFFECTS = [1.2, 1.5, 2, 3] as const;
const NOISES = [0.05, 0.1, 0.2] as const;

/** The scenarios of the documentation, with the title of their row. */
export function documentedScenarios(): {
  readonly kind: 'error' | 'power';
  readonly title: string;
  readonly scenario: Scenario;
}[] {
  const grid = DESIGNS.flatMap((designs) => SEEDS.map((seeds) => ({ designs, seeds })));
  const errors = NULLS.flatMap(([title, change]) =>
    grid.map((size) => ({ kind: 'error' as const, title, scenario: { ...BASE, ...change, ...size } })),
  );
  const powers = NOISES.flatMap((noise) =>
    EFFECTS.flatMap((effect) =>
      grid.map((size) => ({
        ...{ kind: 'power' as const, title: `${effect} × fewer tokens, runs scatter by ${Math.round(100 * noise)} %` },
        scenario: { ...BASE, noise, effect, ...size },
      })),
    ),
  );
  return [...errors, ...powers];
}

/** A documented scenario with what was found. */
export type DocumentedRates = ReturnType<typeof documentedScenarios>[number] &
  Pick<Rates, 'false' | 'falseBySeparation' | 'found' | 'few'>;

/** The tables of the documentation, as Markdown. */
export function ratesMarkdown(rates: readonly DocumentedRates[]): string {
  const columns = DESIGNS.flatMap((designs) => SEEDS.map((seeds) => ({ designs, seeds })));
  const head = [
    `| | ${columns.map(({ designs, seeds }) => `${designs} designs, ${seeds} seeds`).join(' | ')} |`,
    `| --- |${' ---: |'.repeat(columns.length)}`,
  ];
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  const table = (kind: DocumentedRates['kind'], of: (rates: DocumentedRates) => string) => {
    const own = rates.filter((r) => r.kind === kind);
    const titles = [...new Set(own.map((r) => r.title))];
    const cell = (title: string, size: (typeof columns)[number]) => {
      const found = own.find(
        (r) => r.title === title && r.scenario.designs === size.designs && r.scenario.seeds === size.seeds,
      );
      return found === undefined ? '–' : of(found);
    };
    return [
      ...head,
      ...titles.map((title) => `| ${title} | ${columns.map((size) => cell(title, size)).join(' | ')} |`),
    ];
  };
  return [
    'Studies in which any difference is called shown though no design differs:',
    '',
    ...table('error', (r) => percent(r.false)),
    '',
    'The same, if a difference were called shown wherever every seed of one design is before every seed of the other:',
    '',
    ...table('error', (r) => percent(r.falseBySeparation)),
    '',
    'Pairs of a design that takes fewer tokens with one that does not: called shown (in parentheses: "too few seeds to say"):',
    '',
    ...table('power', (r) => `${percent(r.found)} (${percent(r.few)})`),
  ].join('\n');
}
