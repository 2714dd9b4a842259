/** What one run came to, in numbers that can be compared between runs. */
import { formatRange, formatTokens, wilson, type Interval } from '../core/index.js';
import { headGroups, modelCost, printPeriod, type ModelConfig } from '../model/index.js';
import { trainingTokens } from '../train/index.js';
import type { Point } from '../run/index.js';
import type { RunRecord } from './read-run.js';
import { maxOf } from '../core/index.js';

/** Distances `from` to `to`, in tokens, both ends included. */
export interface DistanceBin {
  readonly from: number;
  readonly to: number;
}

/**
 * When a series first reached a threshold. It is measured at intervals: reached means after more than `after` and at
 * most `tokens` tokens; not reached means not at any measurement up to `tokens`.
 */
export type Crossing =
  | { readonly reached: true; readonly after: number; readonly tokens: number }
  | { readonly reached: false; readonly tokens: number };

/** Recall at the distances of one bin. */
interface BinRecall extends DistanceBin {
  /** Mean probability of the right value. */
  readonly probability: number;
}

/** The head that attends to needles most, `head` of `layer`. */
interface StrongestHead {
  readonly layer: number;
  readonly label: string;
  readonly head: number;
  /** Mean attention mass on the needle, 0 to 1. */
  readonly score: number;
}

/** What the report says of one run. */
export interface RunSummary {
  readonly name: string;
  readonly architecture: string;
  /** The layer pattern. */
  readonly layers: string;
  readonly seed: number;
  readonly state: string;
  /** Tokens trained, and tokens planned. */
  readonly tokens: number;
  /** Training tokens of the whole run. */
  readonly budget: number;
  /** Parameters of the model. */
  readonly parameters: number;
  /** Parameters without embedding and untied head. */
  readonly nonEmbeddingParameters: number;
  /** FLOPs of a training step per token. */
  readonly trainFlopsPerToken: number;
  /** Held-out loss at the last measurement, nats per token. */
  readonly finalLoss: number | null;
  /** Recall by distance at the last measurement. */
  readonly finalRecall: readonly BinRecall[];
  /** Final recall in the nearest bin, and mean final recall of the bins beyond every window. */
  readonly nearRecall: number | null;
  /** Recall beyond every window at the end, 0 to 1; null where it was not measured. */
  readonly farRecall: number | null;
  /** Mean over the tokens of the run of far recall: the area under its curve divided by the tokens. */
  readonly meanFarRecall: number | null;
  /** When far recall first reached the threshold; null without recall data. */
  readonly toThreshold: Crossing | null;
  /**
   * How much held-out loss and far recall changed over the last quarter of the tokens; null where that was not
   * measured.
   */
  readonly lateChange: { readonly loss: number | null; readonly farRecall: number | null };
  /** Mean of the last needle grid, 0 to 1. */
  readonly needleAccuracy: number | null;
  /** 95 % interval of the needle accuracy over all samples of the grid; null where their number was not stored. */
  readonly needleInterval: Interval | null;
  /** The head with the highest retrieval score at the last trace. */
  readonly strongestHead: StrongestHead | null;
  /** Median of the measured training speeds, tokens a second. */
  readonly tokPerSec: number | null;
}

const RECALL_METRIC = /^eval\/recall\/(\d+)-(\d+)$/;

/** The distance bins that runs measured, nearest first. */
export function distanceBins(runs: readonly RunRecord[]): DistanceBin[] {
  const bins = new Map<string, DistanceBin>();
  for (const name of runs.flatMap((run) => [...run.metrics.keys()])) {
    const match = RECALL_METRIC.exec(name);
    if (match !== null) bins.set(name, { from: Number(match[1]), to: Number(match[2]) });
  }
  return [...bins.values()].sort((a, b) => a.from - b.from || a.to - b.to);
}

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

/** Recall in one bin of distances over training. */
export function recallSeries(run: RunRecord, bin: DistanceBin): readonly Point[] {
  return run.metrics.get(`eval/recall/${bin.from}-${bin.to}`) ?? [];
}

/** The mean of several bins' recall at every measurement that has them all. */
function meanRecallSeries(run: RunRecord, bins: readonly DistanceBin[]): Point[] {
  const series = bins.map((bin) => new Map(recallSeries(run, bin).map((p) => [p.tokens, p.value])));
  const [first, ...rest] = series;
  if (first === undefined) return [];
  return [...first].flatMap(([tokens, value]) => {
    const others = rest.map((s) => s.get(tokens));
    if (others.some((v) => v === undefined)) return [];
    const total = others.reduce<number>((sum, v) => sum + (v ?? 0), value);
    return [{ tokens, value: total / series.length }];
  });
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
    const [a, b] = [series[i - 1] as Point, series[i] as Point];
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

/** What a run's summary looks at. */
export interface SummaryOptions {
  readonly architecture: string;
  readonly bins: readonly DistanceBin[];
  readonly far: readonly DistanceBin[];
  /** The recall, 0 to 1, whose first crossing is found. */
  readonly threshold: number;
}

/** The numbers of one run. */
export function summarise(run: RunRecord, options: SummaryOptions): RunSummary {
  const { bins, far, threshold } = options;
  const cost = modelCost(run.model, run.train.seqLen);
  const farSeries = meanRecallSeries(run, far);
  const near = bins[0];
  return {
    name: run.name,
    architecture: options.architecture,
    layers: printPeriod(run.model.layers),
    seed: run.seed,
    state: run.status.state,
    tokens: run.status.tokens,
    budget: trainingTokens(run.train),
    parameters: cost.parameters.total,
    nonEmbeddingParameters: cost.parameters.nonEmbedding,
    trainFlopsPerToken: cost.trainFlops,
    finalLoss: run.metrics.get('eval/loss')?.at(-1)?.value ?? run.evals.at(-1)?.loss ?? null,
    finalRecall: bins.flatMap((bin) => {
      const last = recallSeries(run, bin).at(-1);
      return last === undefined ? [] : [{ ...bin, probability: last.value }];
    }),
    nearRecall: near === undefined ? null : (recallSeries(run, near).at(-1)?.value ?? null),
    farRecall: farSeries.at(-1)?.value ?? null,
    meanFarRecall: meanOverTokens(farSeries),
    toThreshold: crossing(farSeries, threshold),
    lateChange: { loss: lateChange(run.metrics.get('eval/loss') ?? []), farRecall: lateChange(farSeries) },
    ...needleAccuracy(run),
    strongestHead: strongestHead(run),
    tokPerSec: median((run.metrics.get('train/tok_per_sec') ?? []).map((p) => p.value)),
  };
}

function needleAccuracy(run: RunRecord): Pick<RunSummary, 'needleAccuracy' | 'needleInterval'> {
  const needle = run.evals.at(-1)?.needle;
  const cells = (needle?.accuracy.flat() ?? []).filter((cell) => cell !== null);
  if (cells.length === 0) return { needleAccuracy: null, needleInterval: null };
  const share = cells.reduce((a, b) => a + b, 0) / cells.length;
  const count = cells.length * (needle?.samples ?? 0);
  return { needleAccuracy: share, needleInterval: count === 0 ? null : wilson(Math.round(share * count), count) };
}

function strongestHead(run: RunRecord): StrongestHead | null {
  const heads = (run.heads.at(-1)?.layers ?? []).flatMap(({ layer, label, heads: list }) =>
    list.map(({ head, score }) => ({ layer, label, head, score })),
  );
  return heads.reduce<StrongestHead | null>((best, h) => (best === null || h.score > best.score ? h : best), null);
}

function median(values: readonly number[]): number | null {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  const half = Math.floor(sorted.length / 2);
  const upper = sorted[half] as number;
  return sorted.length % 2 === 1 ? upper : ((sorted[half - 1] as number) + upper) / 2;
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
