/**
 * What analyses say of a design: its strongest heads, what is left under limits of reach, and who carries long range.
 */
import { pairNumbers } from './compare.js';
import type { CompareOptions } from './plan.js';
import { limitScore } from '../lab/index.js';
import type { RunRecord } from './read-run.js';
import type { DistanceBin } from '../lab/index.js';
import type { Verdict } from './verdicts.js';
import { formatRange, maxOf, plural, type Interval } from '../core/index.js';

/** How many of a run's heads count as its strongest: the study's number. */
export const STRONGEST_HEADS = 4;

/** The strongest heads at the last trace as `LAYER:HEAD`; empty for runs that were not traced. */
export function strongestHeads(record: RunRecord): ReadonlySet<string> {
  const all = (record.heads.at(-1)?.layers ?? []).flatMap(({ layer, heads }) =>
    heads.map(({ head, score }) => ({ name: `${layer}:${head}`, score })),
  );
  const best = all.sort((a, b) => b.score - a.score).slice(0, STRONGEST_HEADS);
  return new Set(best.map((h) => h.name));
}

/** What limiting one part of a run costs at one limit. */
interface Cost {
  readonly keys: number;
  readonly what: 'recall' | 'ar' | 'needle' | 'loss';
  readonly before: number;
  readonly after: number;
}

type LimitRow = RunRecord['findings']['limits'][number]['rows'][number];

/** The costs of limiting each part of a run at one and the same limit; null where one of them was not measured. */
function costsOf(
  record: RunRecord,
  far: readonly DistanceBin[],
): { readonly full: Cost; readonly efficient: Cost } | null {
  const rows = record.findings.limits.at(-1)?.rows ?? [];
  const unlimited = rows.find((row) => row.part === null);
  const of = (part: 'full' | 'efficient') => rows.filter((row) => row.part === part && row.keys !== null);
  const chosen = unlimited === undefined ? null : judgedLimit(unlimited, of('full'), of('efficient'), far);
  const costOf = (part: 'full' | 'efficient'): Cost | null => {
    const limited = of(part).find((row) => row.keys === chosen);
    if (unlimited === undefined || limited === undefined) return null;
    const [before, after] = [limitScore(unlimited, far), limitScore(limited, far)];
    if (before === null || after === null || before.what !== after.what) return null;
    return { keys: limited.keys ?? 0, what: before.what, before: before.value, after: after.value };
  };
  const [full, efficient] = [costOf('full'), costOf('efficient')];
  return full === null || efficient === null ? null : { full, efficient };
}

/**
 * The limit that the parts are judged at. Of associative recall it is the widest that hides what far hits copy from:
 * with as many keys as the nearest far hit is away, less one, a layer does not see it, and what it does with the tokens
 * around a query is left as it is. Else it is the tightest.
 */
function judgedLimit(
  unlimited: LimitRow,
  full: readonly LimitRow[],
  efficient: readonly LimitRow[],
  far: readonly DistanceBin[],
): number | null {
  const keys = full.flatMap((row) => row.keys ?? []).filter((own) => efficient.some((row) => row.keys === own));
  const sorted = keys.sort((a, b) => a - b);
  const nearest = limitScore(unlimited, far)?.what === 'ar' ? (unlimited.ar?.from ?? 0) : 0;
  return sorted.findLast((own) => own < nearest) ?? sorted[0] ?? null;
}

/**
 * The widest limit under which a run is left with at most half of its score, by part: at this reach what it carries is
 * gone. Null where no limit that was measured takes so much.
 */
function halvedAt(record: RunRecord, part: 'full' | 'efficient'): number | null {
  const rows = record.findings.limits.at(-1)?.rows ?? [];
  const whole = rows.find((row) => row.part === null)?.ar?.accuracy ?? null;
  const keys = rows.flatMap((row) => {
    const left = row.part === part ? (row.ar?.accuracy ?? null) : null;
    return whole === null || left === null || left > whole / 2 ? [] : (row.keys ?? []);
  });
  return keys.length === 0 ? null : maxOf(keys);
}

const NAMES = { recall: 'far recall', ar: 'far associative recall', needle: 'needle accuracy', loss: 'loss' } as const;

/** What is needed to say which layers carry long-range retrieval. */
export interface CarrierContext {
  readonly far: readonly DistanceBin[];
  /** Recall of guessing among the values; null where it is not known. */
  readonly chance: number | null;
  readonly compare: CompareOptions;
}

/**
 * Which layers of a design carry long range, from limits of reach: those whose limit costs more, judged as
 * `pairNumbers` judges two designs, with the limits as the pair and the runs as its seeds. Null where a design has only
 * one kind of layer or was not analyzed.
 */
export function carrierVerdict(
  label: string,
  records: readonly RunRecord[],
  { far, chance, compare }: CarrierContext,
): Verdict | null {
  const measured = records.flatMap((record) => {
    const costs = costsOf(record, far);
    return costs === null ? [] : [{ record, ...costs }];
  });
  const first = measured[0];
  if (first === undefined) return null;
  const { what, keys } = first.full;
  // Runs that were limited otherwise say nothing about this limit.
  const seeds = measured.filter(({ full }) => full.what === what && full.keys === keys);
  const sign = what === 'loss' ? -1 : 1;
  const least = what === 'loss' ? compare.minLossDifference : compare.minRecallDifference;
  const lost = ({ before, after }: Cost): number => sign * (before - after);
  const range = (of: (seed: (typeof seeds)[number]) => number): string =>
    formatRange(seeds.map(of), (x) => x.toFixed(2));
  const [judged] = pairNumbers(
    seeds.flatMap(({ full, efficient }, seed) => [
      { design: 'full', seed, value: lost(full) },
      { design: 'efficient', seed, value: lost(efficient) },
    ]),
    [{ a: 'efficient', b: 'full' }],
    least,
  );
  const numbers =
    `The ${NAMES[what]} is ${range((s) => s.full.before)} without a limit. With at most ${keys} visible keys it is ` +
    `${range((s) => s.full.after)} where the full layers are limited, and ${range((s) => s.efficient.after)} where the ` +
    `efficient ones are (${plural(seeds.length, 'seed')}).`;
  const text = what === 'ar' ? `${numbers}${recallText(seeds, judged?.interval ?? null)}` : numbers;
  const base = { topic: 'carrier', a: label, b: label, text } as const;
  // A design that hardly does better than guessing has nothing that a limit could take away.
  const floor = what === 'recall' && chance !== null ? 2 * chance : least;
  if (what !== 'loss' && seeds.every(({ full }) => full.before <= floor)) {
    const lead = `${label}: no long-range retrieval, so there is nothing to carry.`;
    return { ...base, text: numbers, outcome: 'none', lead };
  }
  if (seeds.every(({ full, efficient }) => Math.max(lost(full), lost(efficient)) <= least)) {
    return { ...base, outcome: 'none', lead: `${label}: neither limit costs anything, so there is nothing to carry.` };
  }
  const finding = judged?.finding ?? 'unknown';
  const [fullCarry, efficientCarry] = ['the full layers carry long range', 'limiting the efficient layers costs more'];
  if (finding === 'unknown') {
    const gap = judged?.meanDifference ?? 0;
    const leads = Math.abs(gap) <= least ? 'no difference shown' : gap > 0 ? fullCarry : efficientCarry;
    return { ...base, outcome: 'open', lead: `${label}: ${leads} in the one seed there is.` };
  }
  const leads = {
    a: fullCarry,
    b: efficientCarry,
    none: 'no difference shown between its kinds of layers',
    few: 'too few seeds to say which kind of layers carries long range',
  } as const;
  const outcome = ({ a: 'shown', b: 'shown', none: 'none', few: 'few' } as const)[finding];
  return { ...base, outcome, lead: `${label}: ${leads[finding]}.` };
}

/** What else is told of associative recall: how much more one limit costs, and at which reach half of it is gone. */
function recallText(
  seeds: readonly { readonly record: RunRecord; readonly full: Cost }[],
  interval: Interval | null,
): string {
  const [first] = seeds;
  const from = first?.record.findings.limits.at(-1)?.rows.find((row) => row.part === null)?.ar?.from ?? 0;
  const hides =
    (first?.full.keys ?? 0) < from ? ` So many keys show nothing that hits ${from} tokens back or more copy from.` : '';
  const more =
    interval === null
      ? ''
      : ` Limiting the full layers costs ${formatRange([interval.low, interval.high], (x) => x.toFixed(3))} more, with 95 % confidence.`;
  const halved = (part: 'full' | 'efficient') => {
    const keys = seeds.flatMap(({ record }) => halvedAt(record, part) ?? []);
    const never = seeds.length - keys.length;
    if (keys.length === 0) return 'under no limit that was measured';
    return `at ${formatRange(keys, String)} keys${never === 0 ? '' : ` (under no limit in ${plural(never, 'seed')})`}`;
  };
  return `${hides}${more} Half of it or more is gone in the full layers ${halved('full')}, in the efficient ones ${halved('efficient')}.`;
}
