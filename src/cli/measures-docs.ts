/** `docs/measures.md`, made from the definitions of the measures and of what training logs. */
import { MEASURE_NAMES, MEASURES, type MeasureName } from '../lab/index.js';
import type { MetricWords } from '../run/index.js';
import { TRAINING_METRICS } from '../train/index.js';
import { beside, cell, fieldsTable, markdownTable } from './docs-tables.js';

/** The page, complete. */
export function measuresMarkdown(): string {
  return `# Measures

<!-- Made by \`npm run docs\` from the definitions of measures; a test compares. -->

A measure is what a run is asked while it trains: at every evaluation (\`train.evalEvery\`) or at checkpoints alone. Its options stand under
\`eval.NAME\` in the [run file](${beside('config')}). Its numbers go to \`metrics.jsonl\` and to \`evals/step-N.json\` of the [run folder](${beside('run-folders')}), or to a
finding of its own. \`longsight eval\` and \`trace\` take them again afterwards. [Method](${beside('method')}) says how designs are compared by them.

${MEASURE_NAMES.map(section).join('\n\n')}

## What training logs

These numbers are no measures of held-out data. Training writes them to \`metrics.jsonl\` every \`train.logEvery\` steps. Every line there has
\`step\`, \`tokens\` (training tokens seen) and \`time\` (seconds of run time, resumes included) too. A value that is not finite is stored as null.

${metricsTable(TRAINING_METRICS)}
`;
}

/** One measure of the table. */
function section(name: MeasureName): string {
  const { reference, about, when, options, stored, metricWords, schema } = MEASURES[name];
  const { title, measures, formula, unit, range, interval, source } = reference;
  const where =
    stored === 'record' ? 'Fields of `evals/step-N.json`' : `Fields of \`analysis/${stored.finding}-step-N.json\``;
  const facts: (readonly [string, string])[] = [
    ['Name', `\`${name}\``],
    ['In the run file', options === null ? 'always measured where data are held out' : `\`eval.${name}\`: ${about}`],
    ['Taken', when === 'always' ? 'at every evaluation and checkpoint' : 'at checkpoints'],
    ['Formula', formula],
    ['Unit', unit],
    ['Range', range],
    ['Interval', interval],
    ['Source', source],
  ];
  const metrics: Readonly<Record<string, MetricWords>> = metricWords;
  const logged =
    Object.keys(metrics).length === 0
      ? 'It writes nothing to `metrics.jsonl`.'
      : `Metrics in \`metrics.jsonl\`:\n\n${metricsTable(metrics)}`;
  return `## ${title}

${measures}

${facts.map(([what, text]) => `- **${what}**: ${text}`).join('\n')}

${logged}

${where}:

${fieldsTable(schema)}`;
}

/** Metrics with their units, ranges and meanings. */
function metricsTable(metrics: Readonly<Record<string, MetricWords>>): string {
  const rows = Object.entries(metrics).map(([name, { unit, range, meaning }]) => [
    `\`${name}\``,
    cell(unit ?? 'none'),
    cell(range),
    cell(meaning),
  ]);
  return markdownTable(['metric', 'unit', 'range', 'meaning'], rows);
}
