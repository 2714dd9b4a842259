/** The answers of a study in plain words, each computed from the paired comparisons. */
import type { PairComparison, PairedCrossing, PairedNumber } from './compare.js';
import { formatBins, formatFactor, formatRange, list, plural } from '../core/index.js';
import { formatCrossings, type DistanceBin } from './summary.js';

/** `shown`: a difference is shown; `none`: none is; `open`: cannot be judged (one seed, no data). */
export type Outcome = 'shown' | 'none' | 'open';

export interface Verdict {
  readonly topic: 'window' | 'positions' | 'other' | 'end' | 'carrier';
  readonly a: string;
  readonly b: string;
  readonly outcome: Outcome;
  /** The answer in one sentence. */
  readonly lead: string;
  /** The numbers behind it. */
  readonly text: string;
}

export interface VerdictContext {
  readonly threshold: number;
  readonly near: DistanceBin | null;
  readonly far: readonly DistanceBin[];
  /** False where no bin lies beyond the largest window and the farthest stands in. */
  readonly beyond: boolean;
}

/** The questions that verdicts answer, in the order of a report. */
export const QUESTIONS: Readonly<Record<Verdict['topic'], string>> = {
  window: 'Does a smaller window bring long-range retrieval earlier?',
  positions: 'Does leaving positions out (NoPE) help?',
  other: 'How do the other designs compare?',
  end: 'Do the designs end at the same place?',
  carrier: 'Who carries long-range retrieval?',
};

/** How the far distances are called in sentences. */
export function farName({ far, beyond }: VerdictContext): string {
  return beyond ? `beyond every window (${formatBins(far)})` : `at the farthest distances (${formatBins(far)})`;
}

/** One verdict per pair on when recall forms (or on loss without recall data), then one on where the designs end. */
export function verdictsOf(pairs: readonly PairComparison[], context: VerdictContext): Verdict[] {
  const each = pairs.map((pair) => {
    switch (pair.relation) {
      case 'window':
      case 'other':
        return formation(pair, context, '');
      case 'positions':
        return formation(pair, context, shortContextCost(pair, context));
    }
  });
  return [...each, ...pairs.flatMap((pair) => ending(pair, context))];
}

type Answer = Pick<Verdict, 'outcome' | 'lead' | 'text'>;

function formation(pair: PairComparison, context: VerdictContext, extra: string): Verdict {
  const { a, b, relation, tokensToThreshold } = pair;
  const answer = tokensToThreshold === null ? onLoss(pair) : onTokens(pair, tokensToThreshold, context);
  const text = extra === '' ? answer.text : `${answer.text} ${extra}`;
  return { topic: relation, a, b, ...answer, text };
}

function onTokens({ a, b }: PairComparison, crossing: PairedCrossing, context: VerdictContext): Answer {
  const { values, finding, allAgree, ratio } = crossing;
  const seeds = plural(values.length, 'seed');
  const times = { a: formatCrossings(values.map((v) => v.a)), b: formatCrossings(values.map((v) => v.b)) };
  const what = `Recall ${farName(context)} reaches ${context.threshold}`;
  const open = { outcome: 'open', lead: `${a} and ${b}: one seed, so not judged.` } as const;
  const none = { outcome: 'none', lead: `${a} and ${b}: no difference shown.` } as const;
  if (values.every((v) => !v.a.reached && !v.b.reached))
    return { ...(finding === 'unknown' ? open : none), text: `${what} with neither of them (${times.a}; ${seeds}).` };
  if (finding === 'unknown' || finding === 'none') {
    const lean = finding === 'none' && allAgree ? ' Every seed leans the same way, but the ranges overlap.' : '';
    const text = `${what} with ${a} after ${times.a}, with ${b} after ${times.b} (${seeds}).${lean}`;
    return { ...(finding === 'unknown' ? open : none), text: text.replaceAll('after not', 'not') };
  }
  const [first, second] = finding === 'a' ? [a, b] : [b, a];
  const [early, late] = finding === 'a' ? [times.a, times.b] : [times.b, times.a];
  return {
    outcome: 'shown',
    lead: `${first} gets there ${speedUp(ratio, finding)} than ${second}.`,
    text: `${what} after ${early}, against ${late} (${seeds}, paired).`,
  };
}

/** `1.3 to 1.6 × earlier` for the design that `finding` names; `at least` where the other is censored. */
function speedUp(ratio: PairedCrossing['ratio'], finding: 'a' | 'b'): string {
  if (ratio === null) return 'earlier';
  const [low, high] = finding === 'a' ? [ratio.low, ratio.high] : [1 / ratio.high, 1 / ratio.low];
  if (ratio.bound !== 'exact') return `at least ${formatFactor(low)} earlier`;
  return `${formatRange([low, high], (x) => x.toPrecision(2))} × earlier`;
}

function onLoss({ a, b, finalLoss }: PairComparison): Answer {
  if (finalLoss === null)
    return { outcome: 'open', lead: `${a} and ${b}: not judged.`, text: 'They have no measurement in common.' };
  const { finding, values } = finalLoss;
  const r = ranges(finalLoss);
  const [first, second] = finding === 'b' ? [b, a] : [a, b];
  const lead = {
    shown: `${first} ends at a lower loss than ${second}.`,
    none: `${a} and ${b}: no difference shown.`,
    open: `${a} and ${b}: one seed, so not judged.`,
  };
  const outcome = outcomeOf(finalLoss);
  const text = `Held-out loss ends at ${r.a} nats with ${a}, at ${r.b} with ${b} (${plural(values.length, 'seed')}).`;
  return { outcome, lead: lead[outcome], text };
}

/** What short range pays, where a distance was measured that is not the far one; the loss is told where the designs end. */
function shortContextCost({ a, b, nearRecall }: PairComparison, { near, far }: VerdictContext): string {
  if (nearRecall === null || near === null || far.some((bin) => bin.from === near.from)) return '';
  return `At short range, the cost at the end: ${clause(`recall at distances ${near.from} to ${near.to}`, nearRecall, a, b, '')}.`;
}

function ending(pair: PairComparison, context: VerdictContext): Verdict[] {
  const { a, b, farRecall, finalLoss, needleAccuracy } = pair;
  const parts: string[] = [];
  const outcomes: Outcome[] = [];
  const add = (name: string, value: PairedNumber | null, unit: string) => {
    if (value === null) return;
    parts.push(clause(name, value, a, b, unit));
    outcomes.push(outcomeOf(value));
  };
  add(`recall ${farName(context)}`, farRecall, '');
  add('needle accuracy', needleAccuracy, '');
  add('held-out loss', finalLoss, ' nats');
  if (parts.length === 0) return [];
  const outcome = outcomes.includes('shown') ? 'shown' : outcomes.includes('none') ? 'none' : 'open';
  const lead = {
    shown: `${a} and ${b} end apart.`,
    none: `${a} and ${b}: no difference shown.`,
    open: `${a} and ${b}: one seed, so not judged.`,
  };
  return [{ topic: 'end', a, b, outcome, lead: lead[outcome], text: `${capital(list(parts))}.` }];
}

function outcomeOf({ finding }: PairedNumber): Outcome {
  return finding === 'unknown' ? 'open' : finding === 'none' ? 'none' : 'shown';
}

function ranges({ values }: PairedNumber): { a: string; b: string } {
  const range = (of: (v: PairedNumber['values'][number]) => number) => formatRange(values.map(of), (x) => x.toFixed(2));
  return { a: range((v) => v.a), b: range((v) => v.b) };
}

/** `recall ... 0.99 against 1.00 (no difference shown)`. */
function clause(name: string, value: PairedNumber, a: string, b: string, unit: string): string {
  const r = ranges(value);
  const lower = value.finding === 'a' ? a : b;
  const judged = {
    shown: `lower with ${lower}`,
    none: 'no difference shown',
    open: 'one seed, not judged',
  }[outcomeOf(value)];
  return `${name} ${r.a} against ${r.b}${unit} (${judged})`;
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
