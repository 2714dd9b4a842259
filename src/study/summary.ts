/** What one run came to, in numbers that can be compared between runs. */
import {
  arSeries,
  lateChange,
  meanRecallSeries,
  MEASURE_NAMES,
  MEASURES,
  median,
  type MeasuredRun,
  type MeasureSummaries,
  type SummaryView,
} from '../lab/index.js';
import { modelCost, printPeriod } from '../model/index.js';
import { trainingTokens, windowShares } from '../train/index.js';
import type { RunRecord } from './read-run.js';

/** A run's summary: what it is, how far it got, and what each measure of `MEASURES` came to. */
export type RunSummary = MeasureSummaries & {
  readonly name: string;
  readonly architecture: string;
  /** The layer pattern. */
  readonly layers: string;
  readonly seed: number;
  readonly state: string;
  /** Tokens trained, and tokens planned. */
  readonly tokens: number;
  readonly budget: number;
  readonly parameters: number;
  readonly nonEmbeddingParameters: number;
  readonly trainFlopsPerToken: number;
  /**
   * How much held-out loss, far recall and top-1 accuracy of far associative recall changed over the last quarter of
   * the tokens; null where not measured.
   */
  readonly lateChange: { readonly loss: number | null; readonly farRecall: number | null; readonly ar: number | null };
  /** Median of the measured training speeds, tokens a second. */
  readonly tokPerSec: number | null;
};

/** How a run is summarized: under which label, and what it is compared by. */
export interface SummaryOptions extends SummaryView {
  readonly architecture: string;
}

/** A run as one measure sees it: its metrics, and its own results at checkpoints. */
export function measuredRun(run: RunRecord, name: keyof typeof MEASURES): MeasuredRun<never> {
  // The name has chosen the measure whose results these are: `readRun` has read them by its schema.
  const results = (MEASURES[name].stored === 'record' ? run.evals : run.heads) as readonly unknown[];
  return { metrics: run.metrics, results: results as MeasuredRun<never>['results'] };
}

/** The numbers of one run. */
export function summarize(run: RunRecord, { architecture, ...view }: SummaryOptions): RunSummary {
  const cost = modelCost(run.model, run.train.seqLen, { windowShares: windowShares(run.train) });
  const measured = MEASURE_NAMES.flatMap((name) =>
    Object.entries(MEASURES[name].summarize(measuredRun(run, name), view)),
  );
  return {
    name: run.name,
    architecture,
    layers: printPeriod(run.model.layers),
    seed: run.seed,
    state: run.status.state,
    tokens: run.status.tokens,
    budget: trainingTokens(run.train),
    parameters: cost.parameters.total,
    nonEmbeddingParameters: cost.parameters.nonEmbedding,
    trainFlopsPerToken: cost.trainFlops,
    ...(Object.fromEntries(measured) as unknown as MeasureSummaries),
    lateChange: {
      loss: lateChange(run.metrics.get('eval/loss') ?? []),
      farRecall: lateChange(meanRecallSeries(run, view.far)),
      ar: lateChange(arSeries(run)),
    },
    tokPerSec: median((run.metrics.get('train/tok_per_sec') ?? []).map((p) => p.value)),
  };
}
