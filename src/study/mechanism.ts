/**
 * What analyses say of a design: its strongest heads, what is left under limits of reach, and who carries long range.
 */
import { pairNumbers } from './compare.js';
import type { CompareOptions } from './plan.js';
import { limitScore } from '../lab/index.js';
import type { RunRecord } from './read-run.js';
import type { DistanceBin } from '../lab/index.js';
import type { Verdict } from './verdicts.js';
import { formatRange, plural } from '../core/index.js';

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

/** What limiting one part of a run costs at the tightest limit that was measured. */
interface Cost {
  readonly keys: number;
  readonly what: 'recall' | 'ar' | 'needle' | 'loss';
  readonly before: number;
  readonly after: number;
}

function costOf(record: RunRecord, part: 'full' | 'efficient', far: readonly DistanceBin[]): Cost | null {
  const rows = record.findings.limits.at(-1)?.rows ?? [];
  const unlimited = rows.find((row) => row.part === null);
  const tightest = rows.filter((row) => row.part === part).sort((a, b) => (a.keys ?? 0) - (b.keys ?? 0))[0];
  if (unlimited === undefined || tightest === undefined) return null;
  const [before, after] = [limitScore(unlimited, far), limitScore(tightest, far)];
  if (before === null || after === null || before.what !== after.what) return null;
  return { keys: tightest.keys ?? 0, what: before.what, before: before.value, after: after.value };
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
  const seeds = records.flatMap((record) => {
    const [full, efficient] = [costOf(record, 'full', far), costOf(record, 'efficient', far)];
    return full === null || efficient === null ? [] : [{ full, efficient }];
  });
  const first = seeds[0];
  if (first === undefined) return null;
  const { what, keys } = first.full;
  const sign = what === 'loss' ? -1 : 1;
  const least = what === 'loss' ? compare.minLossDifference : compare.minRecallDifference;
  const lost = ({ before, after }: Cost): number => sign * (before - after);
  const range = (of: (seed: (typeof seeds)[number]) => number): string =>
    formatRange(seeds.map(of), (x) => x.toFixed(2));
  const text =
    `The ${NAMES[what]} is ${range((s) => s.full.before)} without a limit. With at most ${keys} visible keys it is ` +
    `${range((s) => s.full.after)} where the full layers are limited, and ${range((s) => s.efficient.after)} where the ` +
    `efficient ones are (${plural(seeds.length, 'seed')}).`;
  const base = { topic: 'carrier', a: label, b: label, text } as const;
  // A design that hardly does better than guessing has nothing that a limit could take away.
  const floor = what === 'recall' && chance !== null ? 2 * chance : least;
  if (what !== 'loss' && seeds.every(({ full }) => full.before <= floor)) {
    return { ...base, outcome: 'none', lead: `${label}: no long-range retrieval, so there is nothing to carry.` };
  }
  if (seeds.every(({ full, efficient }) => Math.max(lost(full), lost(efficient)) <= least)) {
    return { ...base, outcome: 'none', lead: `${label}: neither limit costs anything, so there is nothing to carry.` };
  }
  const [judged] = pairNumbers(
    seeds.flatMap(({ full, efficient }, seed) => [
      { design: 'full', seed, value: lost(full) },
      { design: 'efficient', seed, value: lost(efficient) },
    ]),
    [{ a: 'efficient', b: 'full' }],
    least,
  );
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
