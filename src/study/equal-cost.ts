/**
 * Designs at equal cost of training: what every run had come to when it had spent as many FLOPs, or seconds, as the
 * cheapest of them spent in all.
 */
import { at, maxOf, minOf } from '../core/index.js';
import type { Point } from '../run/index.js';
import { pairNumbers, type AtEqualCost, type DesignPair } from './compare.js';
import type { CompareOptions } from './plan.js';
import type { Spent } from './training-flops.js';

/** A run as it is compared at equal cost. */
export interface SpendingRun {
  readonly design: string;
  readonly seed: number;
  /** What it has spent, from 0 tokens on, in order of tokens; it grows evenly in between. */
  readonly spent: readonly Spent[];
  /** How well it did at long range, by tokens; empty where that was not measured. */
  readonly far: readonly Point[];
  /** Held-out loss in nats, by tokens. */
  readonly loss: readonly Point[];
}

/** A straight line through points in order of `x`; null before the first and behind the last. */
function between(points: readonly (readonly [x: number, y: number])[], x: number): number | null {
  const i = points.findIndex(([px]) => px >= x);
  if (i < 0) return null;
  const [x1, y1] = at(points, i);
  if (x1 === x) return y1;
  if (i === 0) return null;
  const [x0, y0] = at(points, i - 1);
  return y0 + ((x - x0) / (x1 - x0)) * (y1 - y0);
}

const costAfter = (spent: readonly Spent[], tokens: number): number | null =>
  between(
    spent.map((s) => [s.tokens, s.cost]),
    tokens,
  );

/** The tokens that a run had trained on when it had spent `cost`; null where it spent less in all. */
export function tokensFor(spent: readonly Spent[], cost: number): number | null {
  return between(
    spent.map((s) => [s.cost, s.tokens]),
    cost,
  );
}

/** A series at so many tokens, on the straight line between two measurements; null outside of them. */
export function valueAfter(series: readonly Point[], tokens: number): number | null {
  return between(
    series.map((p) => [p.tokens, p.value]),
    tokens,
  );
}

/** The largest cost up to which every run with measurements has some; null where there are fewer than two designs. */
export function commonCost(runs: readonly SpendingRun[]): number | null {
  const measured = runs.flatMap(({ spent, loss, far, design }) => {
    const end = Math.max(loss.at(-1)?.tokens ?? 0, far.at(-1)?.tokens ?? 0);
    const cost = end === 0 ? null : costAfter(spent, Math.min(end, spent.at(-1)?.tokens ?? 0));
    return cost === null ? [] : [{ design, cost }];
  });
  return new Set(measured.map(({ design }) => design)).size < 2 ? null : minOf(measured.map(({ cost }) => cost));
}

/**
 * Compares designs pair by pair where all runs had spent the same; null for pairs without common seeds.
 *
 * @param of what is spent
 * @param farName what the measure of long range is called in the middle of a sentence
 */
export function compareAtEqualCost(
  of: AtEqualCost['of'],
  farName: string,
  runs: readonly SpendingRun[],
  pairs: readonly DesignPair[],
  options: CompareOptions,
): (AtEqualCost | null)[] {
  const cost = commonCost(runs);
  if (cost === null) return pairs.map(() => null);
  const valuesOf = (series: (run: SpendingRun) => readonly Point[]) =>
    runs.flatMap((run) => {
      const tokens = tokensFor(run.spent, cost);
      const value = tokens === null ? null : valueAfter(series(run), tokens);
      return value === null ? [] : [{ design: run.design, seed: run.seed, value }];
    });
  const far = pairNumbers(
    valuesOf((run) => run.far),
    pairs,
    options.minRecallDifference,
  );
  const loss = pairNumbers(
    valuesOf((run) => run.loss),
    pairs,
    options.minLossDifference,
  );
  // Where a run spent more in all, its learning rate was still on its way down.
  const most = maxOf(runs.map(({ spent }) => spent.at(-1)?.cost ?? 0));
  return pairs.map((_, i) => {
    const [own, lost] = [far[i] ?? null, loss[i] ?? null];
    if (own === null && lost === null) return null;
    return { of, cost, most, farName, far: own, loss: lost };
  });
}
