/**
 * Numbers over training tokens: when a series reached a threshold, its mean, and distances that results are told by.
 */
import { at, formatRange, formatTokens, maxOf } from '../../core/index.js';
import { headGroups, type ModelConfig } from '../../model/index.js';
import type { Point } from '../../run/index.js';

/** Distances, in tokens, both ends included. */
export interface DistanceBin {
  /** The first distance, in tokens. */
  readonly from: number;
  /** The last distance, in tokens. */
  readonly to: number;
}

/**
 * When a series first reached a threshold. It is measured at intervals: reached means after more than `after` and at
 * most `tokens` tokens; not reached means not at any measurement up to `tokens`.
 */
export type Crossing =
  | { readonly reached: true; readonly after: number; readonly tokens: number }
  | { readonly reached: false; readonly tokens: number };

/** The largest window of models that have one; null if every layer is full. */
export function largestWindow(models: readonly ModelConfig[]): number | null {
  const windows = models.flatMap((m) => m.layers).flatMap((l) => headGroups(l).flatMap((g) => g.window ?? []));
  return windows.length === 0 ? null : maxOf(windows);
}

/**
 * The bins that lie wholly beyond a window. The value to recall stands right after its key, so at a distance of d
 * tokens from key to key it is d - 1 tokens back, and a window of w shows it up to d = w. Without such a bin (or
 * without a window) the farthest bin stands in; `beyond` says which it is.
 */
export function farBins(bins: readonly DistanceBin[], window: number | null): { bins: DistanceBin[]; beyond: boolean } {
  const beyond = window === null ? [] : bins.filter((bin) => bin.from > window);
  return beyond.length > 0 ? { bins: beyond, beyond: true } : { bins: bins.slice(-1), beyond: false };
}

/** When `series` first reached `threshold`; null for an empty series. */
export function crossing(series: readonly Point[], threshold: number): Crossing | null {
  const last = series.at(-1);
  if (last === undefined) return null;
  const at = series.findIndex((p) => p.value >= threshold);
  const point = series[at];
  if (point === undefined) return { reached: false, tokens: last.tokens };
  return { reached: true, after: series[at - 1]?.tokens ?? 0, tokens: point.tokens };
}

/** The mean of a series over its tokens (trapezoids); its only value if it has one; null if empty. */
export function meanOverTokens(series: readonly Point[]): number | null {
  const first = series[0];
  const last = series.at(-1);
  if (first === undefined || last === undefined) return null;
  if (last.tokens === first.tokens) return last.value;
  let area = 0;
  for (let i = 1; i < series.length; i++) {
    const [a, b] = [at(series, i - 1), at(series, i)];
    area += ((a.value + b.value) / 2) * (b.tokens - a.tokens);
  }
  return area / (last.tokens - first.tokens);
}

/** The change of a series over the last quarter of its tokens; null where no measurement lies before that quarter. */
export function lateChange(series: readonly Point[]): number | null {
  const last = series.at(-1);
  const before = series.findLast((p) => last !== undefined && p.tokens <= 0.75 * last.tokens);
  return last === undefined || before === undefined ? null : last.value - before.value;
}

/** The middle value, or the mean of the two in the middle; null for no values. */
export function median(values: readonly number[]): number | null {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  const half = Math.floor(sorted.length / 2);
  const upper = at(sorted, half);
  return sorted.length % 2 === 1 ? upper : (at(sorted, half - 1) + upper) / 2;
}

/** `1.02 M tokens`, or `not within 2.46 M tokens`. */
export function formatCrossing(crossing: Crossing): string {
  const tokens = `${formatTokens(crossing.tokens)} tokens`;
  return crossing.reached ? tokens : `not within ${tokens}`;
}

/**
 * Several crossings in one phrase: `1.02 M to 1.13 M tokens`, `not within 2.46 M tokens`, `1.02 M tokens on 1 of 2
 * seeds`.
 */
export function formatCrossings(crossings: readonly Crossing[]): string {
  const reached = crossings.filter((c) => c.reached).map((c) => c.tokens);
  const missed = crossings.filter((c) => !c.reached).map((c) => c.tokens);
  const range = formatRange(reached, formatTokens);
  if (missed.length === 0) return `${range} tokens`;
  const never = `not within ${formatRange(missed, formatTokens)} tokens`;
  if (reached.length === 0) return never;
  return `${range} tokens on ${reached.length} of ${crossings.length} seeds, ${never} on the rest`;
}
