/**
 * What a measure inside runs is: one definition in a file of this folder, listed in `table.ts`; everything else
 * derives.
 */
import { z } from 'zod';
import { sizeUpTo, turn, type CsvCell, type Pending, realNumber } from '../../core/index.js';
import type { OpenedData } from '../../data/index.js';
import type { Engine, TensorMap } from '../../engine/index.js';
import type { HeldOutScores } from '../../eval/index.js';
import type { ModelConfig } from '../../model/index.js';
import type { MetricWords, Point } from '../../run/index.js';
import type { Crossing, DistanceBin } from './series.js';

/** A positive whole number. Descriptions come last in a chain: zod drops them under `optional` and `default`. */
export const count = sizeUpTo('batch');

/** Fractions of a length, at least one. */
export const fractions = z.array(realNumber().min(0).max(1)).min(1);

/** Upper ends of distance bins, in tokens, ascending. */
export const binEnds = z
  .array(count)
  .min(1)
  .refine((values) => values.every((v, i) => i === 0 || v > (values[i - 1] ?? 0)), { message: 'must ascend' });

/** The options of `eval` that are no single measure's. */
export const sharedEvalSchema = z.strictObject({
  batches: count.default(4).describe('held-out batches for the loss'),
  batchSize: count.optional().describe('sequences per batch (default: that of training)'),
  perPosition: z.boolean().default(true).describe('loss by position in the sequence'),
  precision: z
    .enum(['f32', 'bf16'])
    .optional()
    .describe('precision of what is measured (default: that of training on accelerators, else f32)'),
});

/** The options of `eval` that are no single measure's, defaults filled in. */
export type SharedEvalConfig = z.output<typeof sharedEvalSchema>;

/** A value as a schema reads it, that nobody changes. */
export type Stored<S extends z.ZodType> = Frozen<z.output<S>>;

type Frozen<T> = T extends readonly (infer E)[]
  ? readonly Frozen<E>[]
  : T extends object
    ? { readonly [K in keyof T]: Frozen<T[K]> }
    : T;

/** Where in training something was measured. */
export interface TrainingPoint {
  /** Optimizer steps done. */
  readonly step: number;
  /** Training tokens seen. */
  readonly tokens: number;
}

/** What a measure is asked, before anything is compiled. */
export interface PlanRequest<Options> {
  readonly data: OpenedData;
  /** The options under the measure's name, defaults filled in. */
  readonly options: Options;
  /** Whether the run file switches the measure on; otherwise it is measured where the data allow. */
  readonly asked: boolean;
  readonly shared: SharedEvalConfig;
  /** What the run file says of each measure, by name: a switch or options; nothing where it is silent. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** Called with one sentence about what is left out although nothing switched it off, and why. */
  readonly note: (text: string) => void;
}

/** What a measure is prepared with. */
export interface PrepareContext {
  readonly engine: Engine;
  readonly model: ModelConfig;
  readonly data: OpenedData;
  readonly shared: SharedEvalConfig;
  /** Sequences of a batch of an evaluation. */
  readonly batchSize: number;
  /** Scores of held-out batches, each computed once an evaluation, whichever measures read it. */
  readonly scores: HeldOutScores;
  /** Called with one sentence about what takes long or cannot be kept. */
  readonly note: (text: string) => void;
  /**
   * Work that no evaluation needs before it has started: one after another, behind what is needed at once. Training may
   * go on meanwhile where the engine works beside the host, so it should be done in short pieces (`inTurns`). What it
   * fails with is thrown by the promise, which may be left alone until somebody waits for it.
   */
  readonly later: <T>(work: () => Promise<T>) => Promise<T>;
}

/** A measure on an engine, compiled once and taken again and again on the same held-out data. */
export interface PreparedMeasure<Result> {
  /**
   * Starts to measure a model. Once the promise settles, the engine has been given all that reads `tensors`, the
   * model's parameters on it, perhaps among others; they are left as they are.
   */
  start(tensors: TensorMap, at: TrainingPoint): Promise<Pending<Result>>;
  dispose(): Promise<void>;
}

/**
 * Work of the host that does not wait for a compilation: begun after whatever was called before it has given its
 * program to the engine.
 */
export async function whileCompiling<T>(work: () => T): Promise<T> {
  await turn();
  return work();
}

/** What a run measured over training: its metrics, and a measure's results at checkpoints, in order of steps. */
export interface MeasuredRun<Result> {
  readonly metrics: ReadonlyMap<string, readonly Point[]>;
  readonly results: readonly (Result & TrainingPoint)[];
}

/** What runs are compared by: the same for all runs of a group. */
export interface SummaryView {
  /** The distances at which recall was measured, nearest first. */
  readonly bins: readonly DistanceBin[];
  /** The bins that count as far. */
  readonly far: readonly DistanceBin[];
  /** Recall from which it counts as formed. */
  readonly threshold: number;
  /** Top-1 accuracy of far associative recall from which it counts as formed; several ascend. */
  readonly arThreshold?: number | readonly number[] | undefined;
  /** Held-out loss in nats, up to which tokens are compared; several descend; left out for none. */
  readonly lossThreshold?: number | readonly number[] | undefined;
}

/** A column of a table: its heading, and the cell of a run's summary. */
export interface Column<Summary, Cell> {
  readonly name: string;
  readonly of: (summary: Summary) => Cell;
  /** Whether the column stands behind those of every measure. */
  readonly last?: boolean;
}

/** A curve over training tokens for each run, drawn for all designs in one plot. */
export interface CurvePlot<Result> {
  readonly title: string;
  readonly yLabel: string;
  /** The range of the values (default: theirs). */
  readonly domain?: readonly [number, number];
  /** Values at which a dashed line is drawn. */
  readonly lines?: readonly number[];
  /** Values at which a dotted line is drawn. */
  readonly dotted?: readonly number[];
  /** Whether the axis is cut where the first steps lie far above all others. */
  readonly isCut?: boolean;
  /** Whether this is what a reader should see first: the first such plot is drawn large, on top of a report. */
  readonly isMain?: boolean;
  readonly series: (run: MeasuredRun<Result>) => readonly Point[];
}

/** What a figure of a report may need to know of the runs that are compared. */
export interface FigureView extends SummaryView {
  /** Whether the far distances lie beyond the largest window compared. */
  readonly beyond: boolean;
  /** Recall of guessing; null where that is not known. */
  readonly chance: number | null;
}

/** Figures whose drawing is their own; the report holds a function for each. */
export type SpecialFigure = 'needle grid' | 'head maps' | 'loss by position';

/** A figure of a report, as data: the report draws it. Figures of a smaller `order` stand first. */
export type FigureSpec<Result, Summary> = { readonly order: number } & (
  | { readonly draw: SpecialFigure }
  | {
      /** One plot of curves. */
      readonly draw: 'curves';
      readonly heading: string;
      readonly caption: string;
      readonly plot: CurvePlot<Result>;
    }
  | {
      /** Several plots of curves side by side, as the runs that are compared call for. */
      readonly draw: 'panels';
      readonly heading: string;
      readonly caption: (view: FigureView) => string;
      readonly panels: (runs: readonly MeasuredRun<Result>[], view: FigureView) => readonly CurvePlot<Result>[];
    }
  | {
      /** One number against another, at every evaluation of each run. */
      readonly draw: 'against';
      readonly heading: string;
      readonly caption: string;
      readonly xLabel: string;
      readonly yLabel: string;
      /** Whether `x` falls from left to right. */
      readonly reversed?: boolean;
      readonly points: (run: MeasuredRun<Result>) => readonly { readonly x: number; readonly y: number }[];
    }
  | {
      /** When each run first got to a threshold. */
      readonly draw: 'crossings';
      readonly heading: (view: FigureView) => string;
      readonly label: (view: FigureView) => string;
      readonly caption: (view: FigureView) => string;
      readonly of: (summary: Summary, view: FigureView) => Crossing | null;
      /** The views of a figure for each of several thresholds (default: the one view). */
      readonly views?: (view: FigureView) => readonly FigureView[];
    }
);

/** How well a run does at long range, in one number from 0 to 1: what is drawn against the loss at the end. */
export interface Outcome<Summary> {
  readonly name: (view: FigureView) => string;
  /** In titles. */
  readonly short: string;
  readonly axis: string;
  readonly of: (summary: Summary) => number | null;
  /** The same over training; empty where it was not logged. */
  readonly series: (run: Pick<MeasuredRun<unknown>, 'metrics'>, view: SummaryView) => readonly Point[];
}

/** A picture of what is asked of a model: tokens in a row, from left to right. */
export interface TaskPicture {
  /** `key` and `value` are what is to be remembered, `ask` is where the model is asked, `other` is all else. */
  readonly tokens: readonly { readonly text: string; readonly role: 'key' | 'value' | 'ask' | 'other' }[];
  /** One or two sentences: what is to be done, and what is measured. */
  readonly caption: string;
}

/** What a measure is to somebody who has never heard of it. */
export interface ForReaders {
  readonly task: TaskPicture | null;
  /** Words of its figures and tables, each with a sentence that explains it. */
  readonly terms: Readonly<Record<string, string>>;
}

/** What docs/measures.md says of a measure, beside its options, metrics and fields. */
interface MeasureReference {
  /** The heading of its section. */
  readonly title: string;
  /** What it measures, in sentences. */
  readonly measures: string;
  /** Its formula in words. */
  readonly formula: string;
  /** Unit of its main number. */
  readonly unit: string;
  /** The values that its main number can take. */
  readonly range: string;
  /** How its interval is made, or that it has none. */
  readonly interval: string;
  /** Where it comes from: paper and section, and the files that compute it. */
  readonly source: string;
}

/** Where a measure's results are kept: in the evaluation record, or in findings of a kind of their own. */
export type StoredIn = 'record' | { readonly finding: string };

/** The options of a measure, defaults filled in; null for one without. */
type OptionsOf<S extends z.ZodType | null> = S extends z.ZodType ? z.output<S> : null;

/**
 * The definition of a measure: its options under `eval`, what it stores, how it is taken, and how it is shown. `Result`
 * is what it adds to the evaluation record, or a finding of its own.
 */
export interface Measure<
  Schema extends z.ZodType,
  Options extends z.ZodType | null,
  Where extends StoredIn,
  Plan,
  Summary extends object,
> {
  /** Options under `eval.NAME`; null for the loss, which is always measured and has those of `sharedEvalSchema`. */
  readonly options: Options;
  /** What `eval.NAME` is, for docs/config.md. */
  readonly about: string;
  /**
   * `record`: its fields are part of `evals/step-N.json`; otherwise the kind of a finding, `analysis/KIND-step-N.json`.
   */
  readonly stored: Where;
  /** The fields of the record, or the finding, with its `step` and `tokens`. */
  readonly schema: Schema;
  /** The fields of a record that was made without it. */
  readonly absent: Stored<Schema> | null;
  /** `checkpoints`: evaluations between checkpoints leave it out. */
  readonly when: 'always' | 'checkpoints';
  /**
   * What is to be measured on these data; null for nothing.
   *
   * @throws ConfigError if it is asked for and the data cannot give it
   */
  plan(request: PlanRequest<OptionsOf<Options>>): Plan | null;
  /**
   * Compiles it and draws its samples: the same for every run on the same data and options, whatever the run's seed.
   */
  prepare(plan: Plan, context: PrepareContext): Promise<PreparedMeasure<Stored<Schema>>>;
  /** Its numbers under their metric names; what is null was not measured. */
  metrics(result: Stored<Schema>): Readonly<Record<string, number | null | undefined>>;
  /** Each of `metrics` in words; `FROM` and `TO` stand for the distances in a name. */
  readonly metricWords: Readonly<Record<string, MetricWords>>;
  readonly reference: MeasureReference;
  readonly forReaders: ForReaders;
  /** A few words for the line of progress; null if it has none. */
  words(result: Stored<Schema>): string | null;
  /** What the progress event holds of it. */
  event(result: Stored<Schema>): Readonly<Record<string, unknown>>;
  /** A text of one or more lines for a terminal; null if it was not measured. */
  text(result: Stored<Schema>): string | null;
  /** What a run came to, in numbers that can be compared between runs. */
  summarize(run: MeasuredRun<Stored<Schema>>, view: SummaryView): Summary;
  /** Columns of `report.csv`; `bins` are the distances at which recall was measured. */
  csv(runs: readonly Summary[], bins: readonly DistanceBin[]): readonly Column<Summary, CsvCell>[];
  /** Columns of the report's table of numbers. */
  cells(runs: readonly Summary[], view: SummaryView): readonly Column<Summary, string>[];
  readonly figures: readonly FigureSpec<Stored<Schema>, Summary>[];
  readonly outcome: Outcome<Summary> | null;
}

/** Defines a measure; `table.ts` lists the definitions. */
export function defineMeasure<
  Schema extends z.ZodType,
  Options extends z.ZodType | null,
  const Where extends StoredIn,
  Plan,
  Summary extends object,
>(measure: Measure<Schema, Options, Where, Plan, Summary>): Measure<Schema, Options, Where, Plan, Summary> {
  return measure;
}
