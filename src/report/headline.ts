/** The headline of a report: what was found, in words, made from the measurements and the verdicts. */
import { capitalized, formatBins, list, maxOf, meanOf, minOf, significant } from '../core/index.js';
import {
  arCrossing,
  arThresholds,
  formatCrossings,
  lossCrossing,
  lossThresholds,
  type Crossing,
} from '../lab/index.js';
import type { CompareOptions, RunSummary, Verdict } from '../study/index.js';
import { viewOf, type Group } from './report-data.js';

/** Designs that a sentence names; the others are counted. */
const MOST_NAMED = 4;

/** When designs got to a threshold: what is reached, as the beginning of a sentence, and the crossing of a run. */
interface Milestone {
  /** `Recall ... reached 0.9`. */
  readonly reached: string;
  readonly of: (run: RunSummary) => Crossing | null;
}

/** The first milestone that runs measure: recall, associative recall, a loss that the study asks for. */
function milestoneOf(group: Group, compare: CompareOptions): Milestone | null {
  const { far, beyond, runs } = group;
  const view = viewOf(group, compare);
  const [ar] = arThresholds(view);
  const [loss] = lossThresholds(view);
  const where = `${formatBins(far).replace('distances ', '')} tokens back${beyond ? ', beyond every window,' : ''}`;
  const all: readonly Milestone[] = [
    { reached: `Recall ${where} reached ${compare.threshold}`, of: (run) => run.toThreshold },
    ...(ar === undefined
      ? []
      : [{ reached: `Far associative recall reached ${ar}`, of: (run: RunSummary) => arCrossing(run.ar, ar) }]),
    ...(loss === undefined
      ? []
      : [{ reached: `Held-out loss fell to ${loss} nats`, of: (run: RunSummary) => lossCrossing(run, loss) }]),
  ];
  return all.find(({ of }) => runs.some((run) => of(run) !== null)) ?? null;
}

/** `a, b, c, d and 46 other designs`. */
function named(labels: readonly string[]): string {
  const rest = labels.length - MOST_NAMED;
  if (rest <= 1) return list(labels);
  return `${labels.slice(0, MOST_NAMED).join(', ')} and ${rest} other designs`;
}

/** What a design came to: its crossings, one a seed. */
interface Reached {
  readonly label: string;
  readonly crossings: readonly Crossing[];
}

const median = ({ crossings }: Reached): number => {
  const sorted = crossings.map((c) => (c.reached ? c.tokens : Infinity)).sort((x, y) => x - y);
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? Infinity;
};

/** When each design got there, soonest first, and which did not. */
function formation(group: Group, labels: readonly string[], { reached, of }: Milestone): string[] {
  const all = labels.flatMap((label): Reached[] => {
    const own = group.runs.filter((run) => run.architecture === label);
    const crossings = own.flatMap((run) => of(run) ?? []);
    return crossings.length === 0 ? [] : [{ label, crossings }];
  });
  const some = all.filter(({ crossings }) => crossings.some((c) => c.reached)).sort((x, y) => median(x) - median(y));
  const none = all.filter(({ crossings }) => crossings.every((c) => !c.reached));
  const parts = some
    .slice(0, MOST_NAMED)
    .map(({ label, crossings }) => `after ${formatCrossings(crossings)} with ${label}`);
  const later = some.slice(MOST_NAMED).map(({ label }) => label);
  const more =
    later.length === 0 ? [] : [`later with ${later.length === 1 ? later.join('') : `${later.length} other designs`}`];
  const out = some.length === 0 ? [] : [`${reached} ${list([...parts, ...more])}.`];
  if (none.length === 0) return out;
  const within = formatCrossings(none.flatMap(({ crossings }) => crossings));
  const names = named(none.map(({ label }) => label));
  return [...out, some.length === 0 ? `${reached} with no design, ${within}.` : `With ${names} it did ${within}.`];
}

/** Where designs ended, lowest first, for studies that measure a loss alone. */
function endings({ runs }: Group, labels: readonly string[]): string[] {
  const all = labels.flatMap((label) => {
    const losses = runs.flatMap((r) => (r.architecture === label && r.finalLoss !== null ? [r.finalLoss] : []));
    return losses.length === 0 ? [] : [{ label, losses, mean: meanOf(losses) }];
  });
  if (all.length === 0) return [];
  const sorted = all.sort((x, y) => x.mean - y.mean);
  const text = ({ label, losses }: (typeof all)[number]) => {
    const [low, high] = [significant(minOf(losses)), significant(maxOf(losses))];
    return `at ${low === high ? low : `${low} to ${high}`} nats with ${label}`;
  };
  const [first, last] = [sorted[0], sorted.length > 1 ? sorted.at(-1) : undefined];
  if (first === undefined) return [];
  return [`Held-out loss ended ${text(first)}${last === undefined ? '' : `, ${text(last)}`}.`];
}

/** What is no question of its own in the headline: where designs end, what they cost, and who carries. */
const BESIDE: readonly Verdict['topic'][] = ['end', 'cost', 'carrier'];

/** What the verdicts settle, and what they leave open. */
function judged(verdicts: readonly Verdict[], runs: readonly RunSummary[]): string[] {
  const asked = verdicts.filter(({ topic }) => !BESIDE.includes(topic));
  const shown = asked.filter(({ outcome }) => outcome === 'shown');
  const few = asked.filter(({ outcome }) => outcome === 'few');
  const seeds = new Set(runs.map(({ seed }) => seed)).size;
  const leads = [...new Set(shown.map(({ lead }) => lead))];
  const out =
    leads.length <= 3 ? [...leads] : [`${leads.length} differences between designs are shown; the first: ${leads[0]}`];
  if (few.length > 0) {
    const what =
      shown.length === 0
        ? 'which design is earlier'
        : few.length === 1
          ? 'the other comparison'
          : `the other ${few.length} comparisons`;
    out.push(`${capitalized(numbered(seeds))} are too few to settle ${what}.`);
  } else if (asked.length > 0 && shown.length === 0) {
    out.push(
      asked.every(({ outcome }) => outcome === 'open') ? 'One seed settles nothing.' : 'No difference is shown.',
    );
  }
  if (verdicts.some(({ topic, remark }) => topic === 'end' && remark !== undefined))
    out.push('Some designs were still learning when training stopped: where they would end is not known.');
  return out;
}

const numbered = (seeds: number): string =>
  seeds === 2 ? 'two seeds' : seeds === 3 ? 'three seeds' : `${seeds} seeds`;

/** The headline of a group of finished runs; empty where none has finished. */
export function headlineOf(group: Group, labels: readonly string[], compare: CompareOptions): string {
  if (group.runs.length === 0) return '';
  const milestone = milestoneOf(group, compare);
  const found = milestone === null ? endings(group, labels) : formation(group, labels, milestone);
  return [...found, ...judged(group.verdicts, group.runs)].join(' ');
}
