/**
 * Designs compared pair by pair, paired over seeds.
 *
 * The rule, the same for every quantity: a difference is shown when there are at least two common seeds and every seed of
 * the one design lies beyond every seed of the other by more than the quantity can resolve. Tokens to a threshold resolve
 * the interval between two measurements; recall and loss the smallest difference that the study cares about. A run that did
 * not get to the threshold counts as later than its last measurement and as nothing more.
 */
import { headGroups, type LayerPlan, type ModelConfig } from '../model/index.js';
import type { CompareOptions } from './plan.js';
import type { Crossing, RunSummary } from './summary.js';
import { differences, maxOf, minOf } from '../core/index.js';

/** The rule in one paragraph, for reports. */
export const RULE =
  'A difference is called shown when at least two seeds are common to both designs and every seed of the one lies beyond ' +
  'every seed of the other by more than the measurement resolves: the interval between two evaluations for tokens, the ' +
  'smallest difference of interest for recall and loss. A run that did not reach the threshold is known only to be later ' +
  'than its last evaluation, so ratios that involve it are lower bounds. If two designs were the same, seeds would still ' +
  'separate so cleanly by chance in 1 of 3 comparisons with two seeds each and in 1 of 10 with three: look at the size of ' +
  'a difference too, and add seeds to be surer.';

/** Which of a pair has the smaller value; `none` if no difference is shown, `unknown` if it could not be judged. */
export type Finding = 'a' | 'b' | 'none' | 'unknown';

export interface PairedValue {
  readonly seed: number;
  readonly a: number;
  readonly b: number;
}

export interface PairedNumber {
  readonly finding: Finding;
  /** Every seed differs in the same direction, though the ranges may overlap. */
  readonly allAgree: boolean;
  readonly values: readonly PairedValue[];
  /** Mean over the common seeds of b - a; null without common seeds. */
  readonly meanDifference: number | null;
}

export interface PairedCrossing {
  readonly finding: Finding;
  readonly allAgree: boolean;
  readonly values: readonly { readonly seed: number; readonly a: Crossing; readonly b: Crossing }[];
  /**
   * Smallest and largest over seeds of tokens(b) / tokens(a); a lower bound where `bound` is 'at least' (b censored), an
   * upper bound where 'at most' (a censored), null where some seed of neither design got there.
   */
  readonly ratio: {
    readonly low: number;
    readonly high: number;
    readonly bound: 'exact' | 'at least' | 'at most';
  } | null;
}

/** How two designs differ: in windows only (`a` has the smaller), in positions only (`a` has fewer), or otherwise. */
export type Relation = 'window' | 'positions' | 'other';

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
  readonly finalLoss: PairedNumber | null;
}

/** How design `a` relates to `b`; `swap` if the order should be turned so that `a` is the smaller window or without positions. */
export function relate(a: ModelConfig, b: ModelConfig): { relation: Relation; swap: boolean } {
  const other = { relation: 'other' as const, swap: false };
  if (differences({ ...a, layers: null }, { ...b, layers: null }).length > 0 || a.layers.length !== b.layers.length)
    return other;
  if (a.layers.some((layer, i) => layer.mixer !== b.layers[i]?.mixer)) return other;
  const pairs = a.layers.flatMap((layer, i) => {
    const [own, groups] = [headGroups(layer), headGroups(b.layers[i] as LayerPlan)];
    return own.map((group, j) => ({ a: group, b: groups[j], same: own.length === groups.length }));
  });
  const windows = new Set<number>();
  const positions = new Set<number>();
  for (const { a: x, b: y, same } of pairs) {
    if (y === undefined || !same || x.heads !== y.heads) return other;
    if (x.window !== y.window) windows.add(Math.sign((x.window ?? Infinity) < (y.window ?? Infinity) ? -1 : 1));
    if (x.rope !== y.rope) positions.add(x.rope ? 1 : -1);
  }
  if (windows.size === 1 && positions.size === 0) return { relation: 'window', swap: windows.has(1) };
  if (positions.size === 1 && windows.size === 0) return { relation: 'positions', swap: positions.has(1) };
  return other;
}

/** Compares the runs of two designs. Runs are matched by seed; seeds that only one has are left out. */
export function comparePair(
  a: readonly RunSummary[],
  b: readonly RunSummary[],
  relation: Relation,
  options: CompareOptions,
): PairComparison {
  const pairs = a.flatMap((run) => {
    const other = b.find((r) => r.seed === run.seed);
    return other === undefined ? [] : [{ seed: run.seed, a: run, b: other }];
  });
  const number = (of: (run: RunSummary) => number | null, resolution: number): PairedNumber | null => {
    const values = pairs.flatMap((pair) => {
      const [x, y] = [of(pair.a), of(pair.b)];
      return x === null || y === null ? [] : [{ seed: pair.seed, a: x, b: y }];
    });
    return values.length === 0 ? null : pairNumbers(values, resolution);
  };
  const crossings = pairs.flatMap((pair) => {
    const [x, y] = [pair.a.toThreshold, pair.b.toThreshold];
    return x === null || y === null ? [] : [{ seed: pair.seed, a: x, b: y }];
  });
  return {
    a: a[0]?.architecture ?? '',
    b: b[0]?.architecture ?? '',
    relation,
    tokensToThreshold: crossings.length === 0 ? null : pairCrossings(crossings),
    farRecall: number((run) => run.farRecall, options.minRecallDifference),
    meanFarRecall: number((run) => run.meanFarRecall, options.minRecallDifference),
    nearRecall: number((run) => run.nearRecall, options.minRecallDifference),
    needleAccuracy: number((run) => run.needleAccuracy, options.minRecallDifference),
    finalLoss: number((run) => run.finalLoss, options.minLossDifference),
  };
}

/** Applies the rule to plain numbers. */
export function pairNumbers(values: readonly PairedValue[], resolution: number): PairedNumber {
  const a = values.map((v) => v.a);
  const b = values.map((v) => v.b);
  const separated = (low: readonly number[], high: readonly number[]) => minOf(high) - maxOf(low) > resolution;
  const gaps = values.map((v) => v.b - v.a);
  return {
    finding: find(values.length, separated(a, b), separated(b, a)),
    allAgree: gaps.every((gap) => gap > resolution) || gaps.every((gap) => gap < -resolution),
    values,
    meanDifference: values.length === 0 ? null : gaps.reduce((x, y) => x + y, 0) / gaps.length,
  };
}

/** Applies the rule to crossings; a value lies in (after, tokens], or beyond tokens where not reached. */
export function pairCrossings(values: PairedCrossing['values']): PairedCrossing {
  const lower = (c: Crossing) => (c.reached ? c.after : c.tokens);
  const upper = (c: Crossing) => (c.reached ? c.tokens : Infinity);
  const separated = (early: readonly Crossing[], late: readonly Crossing[]) =>
    maxOf(early.map(upper)) <= minOf(late.map(lower));
  const [a, b] = [values.map((v) => v.a), values.map((v) => v.b)];
  const before = (x: Crossing, y: Crossing) => upper(x) <= lower(y);
  return {
    finding: find(values.length, separated(a, b), separated(b, a)),
    allAgree: values.every((v) => before(v.a, v.b)) || values.every((v) => before(v.b, v.a)),
    values,
    ratio: ratioOf(values),
  };
}

function find(seeds: number, aSmaller: boolean, bSmaller: boolean): Finding {
  if (seeds < 2) return 'unknown';
  return aSmaller ? 'a' : bSmaller ? 'b' : 'none';
}

function ratioOf(values: PairedCrossing['values']): PairedCrossing['ratio'] {
  const aLate = values.some((v) => !v.a.reached);
  const bLate = values.some((v) => !v.b.reached);
  if (values.length === 0 || (aLate && bLate)) return null;
  const ratios = values.map((v) => v.b.tokens / v.a.tokens);
  const bound = bLate ? 'at least' : aLate ? 'at most' : 'exact';
  return { low: minOf(ratios), high: maxOf(ratios), bound };
}
