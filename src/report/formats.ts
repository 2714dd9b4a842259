/** The files of a report, as docs/formats.md describes them. */
import { z } from 'zod';
import { field, type FileFormat } from '../core/index.js';

const byRun = z.record(z.string(), z.unknown());

const report = z.strictObject({
  format: field(z.literal(1), 'version of the format'),
  kind: field(z.enum(['study', 'run']), 'what it is a report of'),
  name: field(z.string(), 'name of the study or run'),
  title: field(z.string(), 'title of the page'),
  question: field(z.string().nullable(), 'question of the study; null for none'),
  compare: field(byRun, 'how designs are compared; [its keys](config.md#study-files)'),
  rule: field(z.string(), 'when a difference counts, in words'),
  architectures: field(
    z.array(
      z.strictObject({
        label: field(z.string(), 'name of the design'),
        layers: field(z.string(), 'its layers as a pattern'),
      }),
    ),
    'the designs',
  ),
  groups: field(
    z.array(byRun),
    'runs that are compared with one another, with the numbers of each, pairs of designs and verdicts',
  ),
  environment: field(byRun, 'versions, engines and hardware of the runs'),
  curves: field(byRun, 'by run and metric: pairs of training tokens and value'),
  heads: field(byRun, 'by run: retrieval heads at each checkpoint, as stored'),
  needles: field(byRun, 'by run: the last needle grid; null for none'),
  scaling: field(z.array(byRun), 'fits of scaling laws, where the sizes and tokens of the runs allow'),
  findings: field(byRun, 'by run and kind: what analyses found, as stored'),
  times: field(byRun, 'by run: where its wall time went'),
});

/** The files that `longsight report` writes into a run or study folder. */
export const REPORT_FILES: readonly FileFormat[] = [
  { path: 'report.html', type: 'HTML, one file', holds: 'the page', fields: null },
  { path: 'report.json', type: 'JSON, one line', holds: 'everything that the page shows', fields: report },
  {
    path: 'report.csv',
    type: 'CSV',
    holds: 'a line for each run; the first line names the columns, empty fields were not measured',
    fields: null,
  },
];
