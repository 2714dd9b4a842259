/** The answers of a study in plain words, each computed from the paired comparisons. */
import type { AtEqualCost, Finding, PairComparison, PairedCrossing, PairedNumber } from './compare.js';
import {
  capitalized,
  formatBins,
  formatFactor,
  formatFlops,
  formatRange,
  formatRatio,
  list,
  plural,
  significant,
} from '../core/index.js';
import { formatCrossings, type DistanceBin } from '../lab/index.js';

/**
 * `shown`: a difference is shown; `none`: none is; `few`: too few seeds to say; `open`: not judged (one seed, no data).
 */
type Outcome = 'shown' | 'none' | 'few' | 'open';

/** What verdicts are about, in the order of a report. */
export const TOPICS = ['window', 'positions', 'other', 'equal', 'end', 'cost', 'carrier'] as const;

/** A sentence about two designs, and what it rests on. */
export interface Verdict {
  readonly topic: (typeof TOPICS)[number];
  readonly a: string;
  readonly b: string;
  readonly outcome: Outcome;
  /** The answer in one sentence. */
  readonly lead: string;
  /** The numbers behind it. */
  readonly text: string;
  /** What of the text is no number of the comparison: which way seeds lean, what still moved; left out for nothing. */
  readonly remark?: string;
}

/** What verdicts are about. */
export interface VerdictContext {
  /** The recall, 0 to 1, that counts as having formed. */
  readonly threshold: number;
  readonly near: DistanceBin | null;
  readonly far: readonly DistanceBin[];
  /** False where no bin lies beyond the largest window and the farthest stands in. */
  readonly beyond: boolean;
  /** Associative recall on text: the distances that count as far, and the top-1 accuracies that count as formed. */
  readonly ar: (DistanceBin & { readonly thresholds: readonly number[] }) | null;
  /** The smallest differences of interest, of recall (a share or probability) and of loss (nats). */
  readonly least: { readonly recall: number; readonly loss: number };
}

/** The questions that verdicts answer, in the order of a report. */
export const QUESTIONS: Readonly<Record<Verdict['topic'], string>> = {
  window: 'Does a smaller window bring long-range retrieval earlier?',
  positions: 'Does leaving positions out (NoPE) help?',
  other: 'Does one design get there sooner than another?',
  equal: 'Does a design recall more than another that has learned as much otherwise?',
  end: 'Do the designs end at the same place?',
  cost: 'Do the designs differ at equal cost of training?',
  carrier: 'Who carries long-range retrieval?',
};

/** How the far distances are called in sentences. */
function farName({ far, beyond }: VerdictContext): string {
  return beyond ? `beyond every window (${formatBins(far)})` : `at the farthest distances (${formatBins(far)})`;
}

/** What a crossing of far recall, or of far associative recall, is called at the start of a sentence. */
const reaching = (context: VerdictContext): string => `Recall ${farName(context)} reaches ${context.threshold}`;
const arName = ({ from, to }: DistanceBin): string => `associative recall at ${formatBins([{ from, to }])}`;

/**
 * Verdicts on when recall forms, one per pair and threshold (or on loss without recall data), then one per pair on
 * associative recall at equal loss and one on where the designs end.
 */
export function verdictsOf(pairs: readonly PairComparison[], context: VerdictContext): Verdict[] {
  const each = pairs.flatMap((pair) => {
    switch (pair.relation) {
      case 'window':
      case 'other':
        return formation(pair, context, '');
      case 'positions':
        return formation(pair, context, shortContextCost(pair, context));
    }
  });
  return [
    ...each,
    ...pairs.flatMap((pair) => atEqualLoss(pair, context)),
    ...pairs.flatMap((pair) => ending(pair, context)),
    ...pairs.flatMap(atEqualCost),
  ];
}

type Answer = Pick<Verdict, 'outcome' | 'lead' | 'text' | 'remark'>;

/** A remark as a field; nothing for an empty one. */
const remarked = (text: string): Pick<Verdict, 'remark'> => (text === '' ? {} : { remark: text.trim() });

function formation(pair: PairComparison, context: VerdictContext, extra: string): Verdict[] {
  const { a, b, relation, tokensToThreshold, arTokens } = pair;
  const recalled =
    tokensToThreshold !== null
      ? [onTokens(pair, tokensToThreshold, reaching(context))]
      : arTokens !== null && context.ar !== null
        ? onAssociativeRecall(pair, arTokens, context.ar)
        : [onLoss(pair)];
  const answers = [...onLossThresholds(pair), ...recalled];
  return answers.map((answer, i) => {
    const text = extra === '' || i > 0 ? answer.text : `${answer.text} ${extra}`;
    return { topic: relation, a, b, ...answer, text };
  });
}

/** An answer for each loss that the study asks for. */
function onLossThresholds(pair: PairComparison): Answer[] {
  return (pair.lossTokensAt ?? []).flatMap(({ threshold, tokens }) =>
    tokens === null ? [] : [onTokens(pair, tokens, `Held-out loss is at most ${threshold} nats`)],
  );
}

/** An answer for each threshold that a run of the pair got to; those beyond are named once. */
function onAssociativeRecall(
  pair: PairComparison,
  lowest: PairedCrossing,
  ar: NonNullable<VerdictContext['ar']>,
): Answer[] {
  const { a, b } = pair;
  const [first = 0] = ar.thresholds;
  const all = (pair.arTokensAt ?? [{ threshold: first, tokens: lowest }]).flatMap(({ threshold, tokens }) =>
    tokens === null ? [] : [{ threshold, tokens }],
  );
  const reached = all.filter(({ tokens }) => tokens.values.some((v) => v.a.reached || v.b.reached));
  const told = reached.length > 0 ? reached : all.slice(0, 1);
  const beyond = all.slice(told.length).map(({ threshold }) => String(threshold));
  const answers = told.map(({ threshold, tokens }) =>
    onTokens(pair, tokens, `${capitalized(arName(ar))} is right in ${threshold} of the cases`),
  );
  return answers.map((answer, i) =>
    beyond.length === 0 || i < answers.length - 1
      ? answer
      : {
          ...answer,
          text: `${answer.text} No run of theirs gets to ${beyond.join(' or ')}.`,
          ...remarked(`${answer.remark ?? ''} No run of ${a} or ${b} gets to ${beyond.join(' or ')}.`),
        },
  );
}

function onTokens({ a, b }: PairComparison, crossing: PairedCrossing, what: string): Answer {
  const { values, finding, ratio } = crossing;
  const seeds = plural(values.length, 'seed');
  const times = { a: formatCrossings(values.map((v) => v.a)), b: formatCrossings(values.map((v) => v.b)) };
  if (values.every((v) => !v.a.reached && !v.b.reached)) {
    return { ...unshown(finding, a, b), text: `${what} with neither of them (${times.a}; ${seeds}).` };
  }
  if (finding !== 'a' && finding !== 'b') {
    const both = `${what} with ${a} after ${times.a}, with ${b} after ${times.b} (${seeds}).`;
    const lean = leaning(crossing, a, b);
    const text = `${both.replaceAll('after not', 'not')}${lean}${tokenSpan(ratio, a, b)}`;
    return { ...unshown(finding, a, b), text, ...remarked(lean) };
  }
  const [first, second] = finding === 'a' ? [a, b] : [b, a];
  const [early, late] = finding === 'a' ? [times.a, times.b] : [times.b, times.a];
  return {
    outcome: 'shown',
    lead: `${first} gets there with ${fewerTokens(ratio, finding)} than ${second}.`,
    text: `${what} after ${early}, against ${late} (${seeds}, paired).`,
  };
}

type Unshown = Exclude<Finding, 'a' | 'b'>;

/** Outcome and first sentence of a comparison that shows no difference. */
function unshown(finding: Finding, a: string, b: string): Pick<Answer, 'outcome' | 'lead'> {
  const leads: Readonly<Record<Unshown, Pick<Answer, 'outcome' | 'lead'>>> = {
    none: { outcome: 'none', lead: `${a} and ${b}: no difference shown.` },
    few: { outcome: 'few', lead: `${a} and ${b}: too few seeds to say.` },
    unknown: { outcome: 'open', lead: `${a} and ${b}: one seed, so not judged.` },
  };
  return leads[finding as Unshown];
}

function leaning({ finding, allAgree, values }: PairedCrossing, a: string, b: string): string {
  if (finding !== 'few' || !allAgree) return '';
  const before = ({ a: x, b: y }: PairedCrossing['values'][number]) => x.reached && (!y.reached || x.tokens <= y.after);
  return ` ${values.every(before) ? a : b} is earlier in every seed, but so few seeds do not rule out chance.`;
}

/** ` With 95 % confidence b takes 0.8 to 1.3 × the tokens of a.` */
function tokenSpan(ratio: PairedCrossing['ratio'], a: string, b: string): string {
  if (ratio === null || (ratio.low === 0 && ratio.high === null)) return '';
  const { low, high } = ratio;
  const span =
    high === null
      ? `at least ${formatFactor(low)}`
      : low === 0
        ? `at most ${formatFactor(high)}`
        : `${formatRange([low, high], formatRatio)} ×`;
  return ` With 95 % confidence, ${b} takes ${span} the tokens of ${a}.`;
}

/**
 * `1.4 × fewer tokens (1.3 to 1.6 ×)` for the design that `finding` names; `at least` where the other did not get
 * there.
 */
function fewerTokens(ratio: PairedCrossing['ratio'], finding: 'a' | 'b'): string {
  if (ratio === null) return 'fewer tokens';
  const { estimate, low, high } = finding === 'a' ? ratio : inverse(ratio);
  const to = high === null ? 'or more' : `to ${formatFactor(high)}`;
  if (estimate === null) return `at least ${formatFactor(low)} fewer tokens`;
  return `${formatFactor(estimate)} fewer tokens (${formatRatio(low)} ${to})`;
}

function inverse({ estimate, low, high }: NonNullable<PairedCrossing['ratio']>): NonNullable<PairedCrossing['ratio']> {
  return {
    estimate: estimate === null ? null : 1 / estimate,
    low: high === null ? 0 : 1 / high,
    high: low === 0 ? null : 1 / low,
  };
}

function onLoss({ a, b, finalLoss }: PairComparison): Answer {
  if (finalLoss === null)
    return { outcome: 'open', lead: `${a} and ${b}: not judged.`, text: 'They have no measurement in common.' };
  const { finding, values } = finalLoss;
  const r = ranges(finalLoss);
  const [first, second] = finding === 'b' ? [b, a] : [a, b];
  const shown = { outcome: 'shown', lead: `${first} ends at a lower loss than ${second}.` } as const;
  const text = `Held-out loss ends at ${r.a} nats with ${a}, at ${r.b} with ${b} (${plural(values.length, 'seed')}${difference(finalLoss)}).`;
  return { ...(outcomeOf(finalLoss) === 'shown' ? shown : unshown(finding, a, b)), text };
}

/** `; b - a is -0.010 to 0.020 with 95 % confidence`. */
function difference({ interval }: PairedNumber): string {
  if (interval === null) return '';
  return `; the second less the first is ${formatRange([interval.low, interval.high], (x) => x.toFixed(3))} with 95 % confidence`;
}

/**
 * What short range pays, where a distance was measured that is not the far one; the loss is told where the designs end.
 */
function shortContextCost({ a, b, nearRecall }: PairComparison, { near, far }: VerdictContext): string {
  if (nearRecall === null || near === null || far.some((bin) => bin.from === near.from)) return '';
  return `At short range, the cost at the end: ${clause(`recall at distances ${near.from} to ${near.to}`, nearRecall, a, b, '')}.`;
}

/** Recall for what was learned otherwise: tells a design that recalls late from one that learns everything late. */
function atEqualLoss({ a, b, arAtEqualLoss: value }: PairComparison, { ar }: VerdictContext): Verdict[] {
  if (value === null || ar === null) return [];
  const { low, high } = value.range;
  const where = `Where the loss of tokens whose bigram is new is ${formatRange([low, high], (x) => x.toFixed(2))} nats`;
  const text = `${where}, the mean of ${clause(`${arName(ar)} (top-1) is`, value, a, b, '')}; ${plural(value.values.length, 'seed')}.`;
  const { finding } = value;
  if (finding !== 'a' && finding !== 'b') return [{ topic: 'equal', a, b, ...unshown(finding, a, b), text }];
  const [more, less] = finding === 'a' ? [b, a] : [a, b];
  return [{ topic: 'equal', a, b, outcome: 'shown', lead: `${more} recalls more at equal loss than ${less}.`, text }];
}

/** What a cost of training is called. */
export const formatCost = ({ of, cost }: Pick<AtEqualCost, 'of' | 'cost'>): string =>
  of === 'flops' ? `${formatFlops(cost)} training FLOPs` : `${significant(cost)} s of training`;

/** Runs that spend this much more than another in all were on their way when they had spent as much. */
const SPENT_MORE = 1.01;

/** What the designs had come to for the same FLOPs, and in the same time: one answer a cost. */
function atEqualCost({ a, b, atEqualCost: all = [] }: PairComparison): Verdict[] {
  return all.map((own) => {
    const { of, cost, most, farName, far, loss } = own;
    const parts = [
      ...(far === null ? [] : [clause(farName, far, a, b, '')]),
      ...(loss === null ? [] : [clause('held-out loss', loss, a, b, ' nats')]),
    ];
    const same = of === 'flops' ? 'for the same training FLOPs' : 'in the same training time';
    const note =
      most > SPENT_MORE * cost
        ? ` Runs that spent more in all are read where they had spent as much, their schedules unfinished.`
        : '';
    const text = `After ${formatCost(own)}, ${list(parts)}.${note}`;
    const base = { topic: 'cost' as const, a, b, text };
    // Far recall is what designs are compared for; the loss decides where it does not.
    const [first, second] = [far, loss].map((value) => value?.finding ?? 'unknown');
    if (first === 'a' || first === 'b') {
      const [more, less] = first === 'a' ? [b, a] : [a, b];
      return { ...base, outcome: 'shown', lead: `${more} has more ${farName} than ${less} ${same}.` };
    }
    if (second === 'a' || second === 'b') {
      const [lower, higher] = second === 'a' ? [a, b] : [b, a];
      return { ...base, outcome: 'shown', lead: `${lower} has a lower loss than ${higher} ${same}.` };
    }
    const finding = (['few', 'none', 'unknown'] as const).find((f) => far?.finding === f || loss?.finding === f);
    const { outcome, lead } = unshown(finding ?? 'unknown', a, b);
    return { ...base, outcome, lead: `${lead.slice(0, -1)} ${same}.` };
  });
}

function ending(pair: PairComparison, context: VerdictContext): Verdict[] {
  const { a, b, farRecall, finalLoss, needleAccuracy, arAccuracy, arLoss, freshLoss } = pair;
  const parts: string[] = [];
  const outcomes: Outcome[] = [];
  const add = (name: string, value: PairedNumber | null, unit: string) => {
    if (value === null) return;
    parts.push(clause(name, value, a, b, unit));
    outcomes.push(outcomeOf(value));
  };
  add(`recall ${farName(context)}`, farRecall, '');
  add('needle accuracy', needleAccuracy, '');
  if (context.ar !== null) {
    add(`${arName(context.ar)} (top-1)`, arAccuracy, '');
    add('its loss', arLoss, ' nats');
    add('the loss of tokens whose bigram is new', freshLoss, ' nats');
  }
  add('held-out loss', finalLoss, ' nats');
  if (parts.length === 0) return [];
  const outcome = (['shown', 'few', 'none', 'open'] as const).find((o) => outcomes.includes(o)) ?? 'open';
  const finding = ({ shown: 'a', few: 'few', none: 'none', open: 'unknown' } as const)[outcome];
  const lead = outcome === 'shown' ? `${a} and ${b} end apart.` : unshown(finding, a, b).lead;
  const moving = stillMoving(pair, context);
  return [{ topic: 'end', a, b, outcome, lead, text: `${capitalized(list(parts))}.${moving}`, ...remarked(moving) }];
}

/** Where training stopped before the measures stood still, where the designs would end is not known. */
function stillMoving({ a, b, lateChange }: PairComparison, { least }: VerdictContext): string {
  const moved = (
    [
      ['a', a],
      ['b', b],
    ] as const
  ).flatMap(([side, name]) => {
    const changes = (
      [
        ['loss', 'held-out loss'],
        ['farRecall', 'far recall'],
        ['ar', 'far associative recall'],
      ] as const
    ).flatMap(([key, what]) => {
      const change = lateChange[side][key];
      if (change === null || Math.abs(change) <= (key === 'loss' ? least.loss : least.recall)) return [];
      return [`${what} ${change > 0 ? 'rose' : 'fell'} by ${Math.abs(change).toFixed(2)}`];
    });
    return changes.length === 0 ? [] : [`${list(changes)} with ${name}`];
  });
  if (moved.length === 0) return '';
  return ` Still moving when training stopped (over the last quarter of the tokens ${moved.join('; ')}), so where they would end is not known.`;
}

function outcomeOf({ finding }: PairedNumber): Outcome {
  return ({ a: 'shown', b: 'shown', none: 'none', few: 'few', unknown: 'open' } as const)[finding];
}

function ranges({ values }: PairedNumber): { a: string; b: string } {
  const range = (of: (v: PairedNumber['values'][number]) => number) => formatRange(values.map(of), (x) => x.toFixed(2));
  return { a: range((v) => v.a), b: range((v) => v.b) };
}

/** `recall ... 0.99 against 1.00 (no difference shown: -0.004 to 0.010)`. */
function clause(name: string, value: PairedNumber, a: string, b: string, unit: string): string {
  const r = ranges(value);
  const { finding, interval } = value;
  const range = (sign: 1 | -1) =>
    interval === null ? '' : formatRange([sign * interval.low, sign * interval.high], (x) => x.toFixed(3));
  const judged = {
    a: `lower with ${a} by ${range(1)}`,
    b: `lower with ${b} by ${range(-1)}`,
    none: `no difference shown: ${range(1)}`,
    few: `too few seeds to say${interval === null ? '' : `: ${range(1)}`}`,
    unknown: 'one seed, not judged',
  }[finding];
  return `${name} ${r.a} against ${r.b}${unit} (${judged})`;
}
