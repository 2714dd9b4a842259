/** The numbers of a report as CSV (RFC 4180): one line a run, empty fields where nothing was measured. */
import { csvText, type CsvCell } from '../core/index.js';
import { allRuns, type Analysis, type Group } from './report-data.js';
import { measureColumns } from './measured.js';
import type { RunSummary } from '../study/index.js';

/** The runs of a report as CSV, one row each. */
export function csvOf({ groups }: Analysis): string {
  const paths = [...new Set(groups.flatMap((group) => Object.keys(group.point)))];
  const bins = [...new Map(groups.flatMap((g) => g.bins).map((bin) => [`${bin.from}-${bin.to}`, bin])).values()];
  const runs = groups.flatMap(allRuns);
  const measured = measureColumns(runs, bins);
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
    ...measured.flatMap(({ name, of, last }): typeof columns => (last === true ? [] : [[name, of]])),
    ['tokens_per_second', (run) => run.tokPerSec],
    ...measured.flatMap(({ name, of, last }): typeof columns => (last === true ? [[name, of]] : [])),
    ['ran_beside_others', (run, group) => group.sideBySide.includes(run.name)],
  ];
  return csvText(
    columns.map(([name]) => name),
    groups.flatMap((group) => allRuns(group).map((run) => columns.map(([, of]) => of(run, group)))),
  );
}
