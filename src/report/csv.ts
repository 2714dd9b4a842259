/** The numbers of a report as CSV (RFC 4180): one line a run, empty fields where nothing was measured. */
import { csvText, type CsvCell } from '../core/index.js';
import { allRuns, type Analysis, type Group } from './report-data.js';
import type { RunSummary } from '../study/index.js';

/** The runs of a report as CSV, one row each. */
export function csvOf({ groups }: Analysis): string {
  const paths = [...new Set(groups.flatMap((group) => Object.keys(group.point)))];
  const bins = [...new Map(groups.flatMap((g) => g.bins).map((bin) => [`${bin.from}-${bin.to}`, bin])).values()];
  const columns: [string, (run: RunSummary, group: Group) => CsvCell][] = [
    ['run', (run) => run.name],
    ['arm', (_, group) => group.arm],
    ...paths.map((path): [string, (run: RunSummary, group: Group) => CsvCell] => [
      path,
      (_, group) => (typeof group.point[path] === 'string' ? group.point[path] : JSON.stringify(group.point[path])),
    ]),
    ['architecture', (run) => run.architecture],
    ['layers', (run) => run.layers],
    ['seed', (run) => run.seed],
    ['state', (run) => run.state],
    ['tokens', (run) => run.tokens],
    ['parameters', (run) => run.parameters],
    ['non_embedding_parameters', (run) => run.nonEmbeddingParameters],
    ['train_flops_per_token', (run) => run.trainFlopsPerToken],
    ['final_loss', (run) => run.finalLoss],
    ...bins.map((bin): [string, (run: RunSummary) => CsvCell] => [
      `recall_${bin.from}_${bin.to}`,
      (run) => run.finalRecall.find((r) => r.from === bin.from && r.to === bin.to)?.probability ?? null,
    ]),
    ['far_recall', (run) => run.farRecall],
    ['mean_far_recall', (run) => run.meanFarRecall],
    ['threshold_reached', (run) => run.toThreshold?.reached ?? null],
    // Where not reached: the last measurement, which the crossing is later than.
    ['tokens_to_threshold', (run) => run.toThreshold?.tokens ?? null],
    ['tokens_before_threshold', (run) => (run.toThreshold?.reached === true ? run.toThreshold.after : null)],
    ['needle_accuracy', (run) => run.needleAccuracy],
    ['strongest_head_layer', (run) => run.strongestHead?.layer ?? null],
    ['strongest_head', (run) => run.strongestHead?.head ?? null],
    ['strongest_head_score', (run) => run.strongestHead?.score ?? null],
    ['tokens_per_second', (run) => run.tokPerSec],
    ['needle_low', (run) => run.needleInterval?.low ?? null],
    ['needle_high', (run) => run.needleInterval?.high ?? null],
    ['ran_beside_others', (run, group) => group.sideBySide.includes(run.name)],
  ];
  return csvText(
    columns.map(([name]) => name),
    groups.flatMap((group) => allRuns(group).map((run) => columns.map(([, of]) => of(run, group)))),
  );
}
