/**
 * Designs compared pair by pair, paired over seeds.
 *
 * Every measure is judged by the simultaneous interval of `pairedDifferences`: tokens to a threshold as logarithms,
 * each known between two evaluations (or beyond the last one); recall and loss as they are, with the smallest
 * difference that the study cares about.
 */
import { headGroups, type HeadGroup, type ModelConfig } from '../model/index.js';
import { pairedDifferences, type Cell, type PairedDifference } from './paired.js';
import type { CompareOptions } from './plan.js';
import { arCrossing, arThresholds, lossCrossing, lossThresholds, type Crossing } from '../lab/index.js';
import { recallAtEqualLoss } from './equal-loss.js';
import type { RunSummary } from './summary.js';
import { present, at, differences, minOf, type Interval } from '../core/index.js';

/** The rule in one paragraph, for reports. */
export const RULE =
  'Designs are compared seed by seed, and every difference has a 95 % interval that holds for all pairs of a measure at once: if ' +
  'no design differed from another, any difference at all would be called shown in at most about 1 of 20 studies. How much seeds scatter is ' +
  'estimated from all designs together. A difference is shown when its interval leaves out zero and it is ' +
  'larger than the smallest difference of interest (recall and loss). Tokens to a threshold are known only to lie between two ' +
  'evaluations, or beyond the last one; intervals hold for every place in between. Where the seeds lean the same way but the ' +
  'interval does not leave out zero, or where seeds are too few for an interval, the answer is "too few seeds to say".';

/**
 * Which of a pair has the smaller value; `none` if no difference is shown, `few` if seeds are too few to say, `unknown`
 * if there is one seed or none.
 */
export type Finding = 'a' | 'b' | 'none' | 'few' | 'unknown';

/** The values of two designs, `a` and `b`, under one seed. */
interface PairedValue {
  readonly seed: number;
  readonly a: number;
  readonly b: number;
}

/** A number of two designs compared seed by seed. */
export interface PairedNumber {
  readonly finding: Finding;
  /** Every seed differs in the same direction by more than the smallest difference of interest. */
  readonly allAgree: boolean;
  readonly values: readonly PairedValue[];
  /** Mean over the common seeds of b - a; null without common seeds. */
  readonly meanDifference: number | null;
  /** Simultaneous 95 % interval of b - a; null where seeds are too few for one. */
  readonly interval: Interval | null;
  /** Degrees of freedom of the estimated scatter. */
  readonly df: number;
}

/** The tokens until a threshold is crossed, of two designs compared seed by seed. */
export interface PairedCrossing {
  readonly finding: Finding;
  /** Every seed of the one design is there before the same seed of the other. */
  readonly allAgree: boolean;
  readonly values: readonly { readonly seed: number; readonly a: Crossing; readonly b: Crossing }[];
  /**
   * tokens(b) / tokens(a): the geometric mean over seeds (null where a run did not get there) and its simultaneous 95 %
   * interval (`high` null: no upper end is known); null where seeds are too few for one.
   */
  readonly ratio: { readonly estimate: number | null; readonly low: number; readonly high: number | null } | null;
  /** Degrees of freedom of the interval. */
  readonly df: number;
}

/** How two designs differ: in windows only (`a` has the smaller), in positions only (`a` has fewer), or otherwise. */
export type Relation = 'window' | 'positions' | 'other';

/** Two designs where all runs had spent as much of the training as the cheapest of them in all. */
export interface AtEqualCost {
  /** What is spent: FLOPs of matrix products, or seconds of training on one device. */
  readonly of: 'flops' | 'seconds';
  /** How much of it every run had spent. */
  readonly cost: number;
  /** How much the run that spent most had spent in all. */
  readonly most: number;
  /** What `far` is called in the middle of a sentence. */
  readonly farName: string;
  /** How well they did at long range, 0 to 1, between two evaluations on a straight line. */
  readonly far: PairedNumber | null;
  /** Held-out loss, in nats. */
  readonly loss: PairedNumber | null;
}

/** All comparisons of two designs. */
export interface PairComparison {
  readonly a: string;
  readonly b: string;
  readonly relation: Relation;
  readonly tokensToThreshold: PairedCrossing | null;
  readonly farRecall: PairedNumber | null;
  /** Mean far recall over the common budget: the difference is the area between the curves divided by the tokens. */
  readonly meanFarRecall: PairedNumber | null;
  readonly nearRecall: PairedNumber | null;
  readonly needleAccuracy: PairedNumber | null;
  /**
   * Associative recall on text, at long range: tokens until top-1 accuracy is there (of several thresholds the lowest),
   * accuracy and loss at the end.
   */
  readonly arTokens: PairedCrossing | null;
  readonly arAccuracy: PairedNumber | null;
  readonly arLoss: PairedNumber | null;
  /**
   * Mean far top-1 accuracy over the range of losses of new bigrams that all runs of the group went through, and that
   * range in nats.
   */
  readonly arAtEqualLoss: (PairedNumber & { readonly range: Interval }) | null;
  /** Loss at the end of tokens whose bigram is new in its document. */
  readonly freshLoss: PairedNumber | null;
  readonly finalLoss: PairedNumber | null;
  /** Tokens until held-out loss is at most each of the study's thresholds; the intervals hold for all at once. */
  readonly lossTokensAt?: readonly { readonly threshold: number; readonly tokens: PairedCrossing | null }[];
  /** How much each design still changed over the last quarter of its tokens, the mean over its runs. */
  readonly lateChange: { readonly a: RunSummary['lateChange']; readonly b: RunSummary['lateChange'] };
  /** Tokens until far associative recall is at each of several thresholds; the intervals hold for all at once. */
  readonly arTokensAt?: readonly { readonly threshold: number; readonly tokens: PairedCrossing | null }[];
  /** Where all runs had spent the same FLOPs, and the same time; left out where that is not known. */
  readonly atEqualCost?: readonly AtEqualCost[];
}

/**
 * How design `a` relates to `b`; `swap` if the order should be turned so that `a` is the smaller window or without
 * positions.
 */
export function relate(a: ModelConfig, b: ModelConfig): { relation: Relation; swap: boolean } {
  const other = { relation: 'other' as const, swap: false };
  if (differences({ ...a, layers: null }, { ...b, layers: null }).length > 0 || a.layers.length !== b.layers.length)
    return other;
  if (a.layers.some((layer, i) => layer.mixer !== b.layers[i]?.mixer)) return other;
  const pairs = a.layers.flatMap((layer, i) => {
    const [own, groups] = [headGroups(layer), headGroups(at(b.layers, i))];
    return own.map((group, j) => ({ a: group, b: groups[j], same: own.length === groups.length }));
  });
  const windows = new Set<number>();
  const positions = new Set<number>();
  for (const { a: x, b: y, same } of pairs) {
    if (y === undefined || !same || x.heads !== y.heads) return other;
    if ((x.chunk === undefined) !== (y.chunk === undefined) || differences(others(x), others(y)).length > 0)
      return other;
    if (x.window !== y.window) windows.add(Math.sign((x.window ?? Infinity) < (y.window ?? Infinity) ? -1 : 1));
    if (x.rope !== y.rope) positions.add(x.rope ? 1 : -1);
  }
  if (windows.size === 1 && positions.size === 0) return { relation: 'window', swap: windows.has(1) };
  if (positions.size === 1 && windows.size === 0) return { relation: 'positions', swap: positions.has(1) };
  return other;
}

/** What else a head group has beside window and positions. */
const others = ({ window: _window, chunk: _chunk, rope: _rope, ...rest }: HeadGroup): object => rest;

/** Two designs to compare; see `relate`. */
export interface DesignPair {
  readonly a: string;
  readonly b: string;
  readonly relation: Relation;
}

type CrossingMeasure = 'tokensToThreshold' | 'arTokens' | 'arTokensAt' | 'lossTokensAt';

type NumberMeasure = Exclude<
  keyof PairComparison,
  keyof DesignPair | CrossingMeasure | 'lateChange' | 'arAtEqualLoss' | 'atEqualCost'
>;

/** The measures that are plain numbers of a run: where each stands, and what counts as a difference of it. */
const NUMBER_MEASURES: Readonly<
  Record<NumberMeasure, readonly [of: (run: RunSummary) => number | null, least: (options: CompareOptions) => number]>
> = {
  farRecall: [(run) => run.farRecall, (options) => options.minRecallDifference],
  meanFarRecall: [(run) => run.meanFarRecall, (options) => options.minRecallDifference],
  nearRecall: [(run) => run.nearRecall, (options) => options.minRecallDifference],
  needleAccuracy: [(run) => run.needleAccuracy, (options) => options.minRecallDifference],
  arAccuracy: [(run) => run.ar?.accuracy ?? null, (options) => options.minRecallDifference],
  arLoss: [(run) => run.ar?.loss ?? null, (options) => options.minLossDifference],
  freshLoss: [(run) => run.ar?.freshLoss ?? null, (options) => options.minLossDifference],
  finalLoss: [(run) => run.finalLoss, (options) => options.minLossDifference],
};

/**
 * Compares designs pair by pair. Runs are matched by seed; seeds that only one of a pair has are left out of it. The
 * pairs are one family: the intervals of each measure hold for all of them at once.
 *
 * @param runs finished runs of one group, those of designs outside of the pairs too
 */
export function compareDesigns(
  runs: readonly RunSummary[],
  pairs: readonly DesignPair[],
  options: CompareOptions,
): PairComparison[] {
  const crossings = (of: (run: RunSummary) => Crossing | null, families = 1) => {
    const values = runs.flatMap((run) => {
      const crossing = of(run);
      return crossing === null ? [] : [{ design: run.architecture, seed: run.seed, crossing }];
    });
    return pairCrossings(values, pairs, families);
  };
  const formed = crossings((run) => run.toThreshold);
  const thresholds = arThresholds(options);
  const recalled = thresholds.map((threshold) => ({
    threshold,
    tokens: crossings((run) => arCrossing(run.ar, threshold), thresholds.length),
  }));
  const losses = lossThresholds(options);
  const learned = losses.map((threshold) => ({
    threshold,
    tokens: crossings((run) => lossCrossing(run, threshold), losses.length),
  }));
  const isSeveral = thresholds.length > 1 && runs.some((run) => run.ar !== undefined);
  const numbers = Object.entries(NUMBER_MEASURES).map(([name, [of, least]]) => {
    const values = runs.flatMap((run) => {
      const value = of(run);
      return value === null ? [] : [{ design: run.architecture, seed: run.seed, value }];
    });
    return [name as NumberMeasure, pairNumbers(values, pairs, least(options))] as const;
  });
  // Unlike the numbers above, which each run has by itself, this one needs the losses that all of them went through.
  const equal = atEqualLoss(runs, pairs, options);
  return pairs.map((pair, i) => {
    const ofNumbers = Object.fromEntries(numbers.map(([name, own]) => [name, own[i] ?? null]));
    const arTokensAt = recalled.map(({ threshold, tokens }) => ({ threshold, tokens: tokens[i] ?? null }));
    return {
      ...pair,
      tokensToThreshold: formed[i] ?? null,
      arTokens: arTokensAt[0]?.tokens ?? null,
      ...(ofNumbers as Record<NumberMeasure, PairedNumber | null>),
      arAtEqualLoss: equal[i] ?? null,
      lateChange: { a: lateChangeOf(runs, pair.a), b: lateChangeOf(runs, pair.b) },
      ...(isSeveral ? { arTokensAt } : {}),
      ...(losses.length === 0
        ? {}
        : { lossTokensAt: learned.map(({ threshold, tokens }) => ({ threshold, tokens: tokens[i] ?? null })) }),
    };
  });
}

/** Far associative recall at equal loss of new bigrams, for each pair; nothing where it was not measured. */
function atEqualLoss(
  runs: readonly RunSummary[],
  pairs: readonly DesignPair[],
  options: CompareOptions,
): PairComparison['arAtEqualLoss'][] {
  const measured = runs.flatMap(({ architecture, seed, ar }) =>
    ar === undefined ? [] : [{ design: architecture, seed, course: ar.course }],
  );
  const equal = recallAtEqualLoss(
    measured.map(({ course }) => course),
    minOf(arThresholds(options)),
  );
  if (equal === null) return [];
  const values = measured.map(({ design, seed }, i) => ({ design, seed, value: at(equal.values, i) }));
  const compared = pairNumbers(values, pairs, options.minRecallDifference);
  return compared.map((number) => (number === null ? null : { ...number, range: equal.range }));
}

function lateChangeOf(runs: readonly RunSummary[], design: string): RunSummary['lateChange'] {
  const own = runs.filter((run) => run.architecture === design).map((run) => run.lateChange);
  const meanOf = (values: readonly (number | null)[]) => {
    const known = values.filter((v) => v !== null);
    return known.length === 0 ? null : known.reduce((x, y) => x + y, 0) / known.length;
  };
  return {
    loss: meanOf(own.map((c) => c.loss)),
    farRecall: meanOf(own.map((c) => c.farRecall)),
    ar: meanOf(own.map((c) => c.ar)),
  };
}

/** Applies the rule to plain numbers; null for a pair without common seeds. */
export function pairNumbers(
  values: readonly { readonly design: string; readonly seed: number; readonly value: number }[],
  pairs: readonly Pick<DesignPair, 'a' | 'b'>[],
  least: number,
): (PairedNumber | null)[] {
  const cells = values.map(({ design, seed, value }) => ({ design, seed, low: value, high: value }));
  const of = (design: string, seed: number) => cells.find((c) => c.design === design && c.seed === seed)?.low ?? NaN;
  return pairedDifferences(cells, namesOf(pairs), least).map((difference, i) => {
    const { a, b } = pairs[i] as DesignPair;
    const { seeds, estimate, interval, df, lean } = difference;
    if (seeds.length === 0) return null;
    return {
      finding: findingOf(difference, least),
      allAgree: lean !== 0,
      values: seeds.map((seed) => ({ seed, a: of(a, seed), b: of(b, seed) })),
      ...{ meanDifference: estimate, interval, df },
    };
  });
}

/**
 * Applies the rule to crossings; null for a pair without common seeds.
 *
 * @param families so many thresholds of the same measure are judged together
 */
export function pairCrossings(
  values: readonly { readonly design: string; readonly seed: number; readonly crossing: Crossing }[],
  pairs: readonly Pick<DesignPair, 'a' | 'b'>[],
  families = 1,
): (PairedCrossing | null)[] {
  const cells = values.map(({ design, seed, crossing }): Cell => ({ design, seed, ...logOf(crossing) }));
  const of = (design: string, seed: number) =>
    present(values.find((v) => v.design === design && v.seed === seed)?.crossing);
  return pairedDifferences(cells, namesOf(pairs), 0, families).map((difference, i) => {
    const { a, b } = pairs[i] as DesignPair;
    const { seeds, estimate, interval, df, lean } = difference;
    if (seeds.length === 0) return null;
    const both = seeds.map((seed) => ({ seed, a: of(a, seed), b: of(b, seed) }));
    // Where no run got there, nothing is known, and more seeds would not help.
    const nowhere = seeds.length > 1 && both.every((v) => !v.a.reached && !v.b.reached);
    return {
      finding: nowhere ? 'none' : findingOf(difference, 0),
      allAgree: lean !== 0,
      values: both,
      ratio:
        interval === null || nowhere
          ? null
          : { estimate: estimate === null ? null : Math.exp(estimate), ...ends(interval) },
      df,
    };
  });
}

const namesOf = (pairs: readonly Pick<DesignPair, 'a' | 'b'>[]) => pairs.map(({ a, b }) => [a, b] as const);

/**
 * Where the logarithm of the tokens lies: above the evaluation before, up to the one that was there; or beyond the
 * last.
 */
function logOf(crossing: Crossing): Interval {
  if (!crossing.reached) return { low: Math.log(crossing.tokens), high: Infinity };
  return { low: Math.log(crossing.after), high: Math.log(crossing.tokens) };
}

function ends({ low, high }: Interval): { low: number; high: number | null } {
  return { low: Math.exp(low), high: high === Infinity ? null : Math.exp(high) };
}

/** Fewer degrees of freedom than this make an interval that says next to nothing. */
const LEAST_DF = 2;

function findingOf({ seeds, estimate, interval, df, lean }: PairedDifference, least: number): Finding {
  if (seeds.length < 2) return 'unknown';
  if (interval === null) return 'few';
  const large = estimate === null || Math.abs(estimate) > least;
  if (interval.low > 0 && large) return 'a';
  if (interval.high < 0 && large) return 'b';
  if (interval.low >= -least && interval.high <= least) return 'none';
  return lean !== 0 || df < LEAST_DF ? 'few' : 'none';
}
