/** What the measures of the table have to show, as functions of whole summaries and records. */
import type { CsvCell } from '../core/index.js';
import {
  MEASURE_NAMES,
  MEASURES,
  type Column,
  type DistanceBin,
  type FigureSpec,
  type ForReaders,
  type MeasuredRun,
  type MeasureName,
  type Outcome,
  type StoredIn,
  type SummaryView,
} from '../lab/index.js';
import { measuredRun, type RunRecord, type RunSummary } from '../study/index.js';

/** A measure as the report sees it: its name has chosen the part of a summary, or of a record, that is its own. */
interface ShownMeasure {
  csv(runs: readonly RunSummary[], bins: readonly DistanceBin[]): readonly Column<RunSummary, CsvCell>[];
  cells(runs: readonly RunSummary[], view: SummaryView): readonly Column<RunSummary, string>[];
  readonly figures: readonly FigureSpec<unknown, RunSummary>[];
  readonly outcome: Outcome<RunSummary> | null;
  readonly stored: StoredIn;
  readonly metricWords: object;
  readonly forReaders: ForReaders;
  readonly metrics: (result: unknown) => Readonly<Record<string, number | null | undefined>>;
}

const shown = (name: MeasureName): ShownMeasure => MEASURES[name] as unknown as ShownMeasure;

/** Columns of `report.csv`, in the order of the table. */
export function measureColumns(
  runs: readonly RunSummary[],
  bins: readonly DistanceBin[],
): readonly Column<RunSummary, CsvCell>[] {
  return MEASURE_NAMES.flatMap((name) => shown(name).csv(runs, bins));
}

/** Columns of the report's table of numbers. */
export function measureCells(runs: readonly RunSummary[], view: SummaryView): readonly Column<RunSummary, string>[] {
  return MEASURE_NAMES.flatMap((name) => shown(name).cells(runs, view));
}

/** A figure with the function that reads its measure's part of a record. */
export interface MeasureFigure {
  readonly spec: FigureSpec<unknown, RunSummary>;
  readonly runOf: (record: RunRecord) => MeasuredRun<unknown>;
}

/** Every figure of every measure, in the order in which they stand in a report. */
export function measureFigures(): readonly MeasureFigure[] {
  const all = MEASURE_NAMES.flatMap((name) =>
    shown(name).figures.map((spec) => ({ spec, runOf: (record: RunRecord) => measuredRun(record, name) })),
  );
  return all.sort((a, b) => a.spec.order - b.spec.order);
}

/**
 * What tells best how runs do at long range: the first of recall, associative recall and needles that one of them
 * measured.
 */
export function outcomeOf(runs: readonly RunSummary[]): Outcome<RunSummary> | null {
  const order: readonly MeasureName[] = ['recall', 'ar', 'needle'];
  const outcomes = order.flatMap((name) => shown(name).outcome ?? []);
  return outcomes.find(({ of }) => runs.some((run) => of(run) !== null)) ?? null;
}

/** What the measures that any run has taken say to readers, in the order of the table. */
export function forReaders(records: readonly RunRecord[]): ForReaders[] {
  return MEASURE_NAMES.flatMap((name) => {
    const { stored, metricWords, metrics, forReaders: own } = shown(name);
    const isTaken = records.some((record) => {
      const { results } = measuredRun(record, name);
      if (stored !== 'record') return results.length > 0;
      const inFiles = results.some((result) => Object.values(metrics(result)).some((value) => value != null));
      return inFiles || Object.keys(metricWords).some((metric) => hasMetric(record, metric));
    });
    return isTaken ? [own] : [];
  });
}

function hasMetric({ metrics }: RunRecord, metric: string): boolean {
  if (metrics.has(metric)) return true;
  const [start = metric, rest] = metric.split('FROM-TO');
  return rest !== undefined && [...metrics.keys()].some((name) => name.startsWith(start));
}
