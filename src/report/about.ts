/** The end of a report: how to read it, how to repeat it, and where and when its runs ran. */
import { formatBins } from '../core/index.js';
import { toYaml } from '../lab/index.js';
import { printPattern } from '../model/index.js';
import { formatDuration, type RunRecord } from '../study/index.js';
import { details, escapeHtml, heading, table } from './html.js';
import { allRuns, type Analyzed } from './report-data.js';
import { timeTable } from './time.js';

/** What the numbers mean, and by which rule designs are compared. */
export function methodHtml({ analysis }: Analyzed): string {
  const group = analysis.groups[0];
  const window = group?.largestWindow ?? null;
  const recall = (group?.bins.length ?? 0) > 0;
  const { threshold, minLossDifference, minRecallDifference } = analysis.compare;
  const paragraphs = [
    'A window of w means that a query sees w keys, its own included.',
    ...(recall
      ? [
          'Recall is the mean probability of the right value after a key that was seen before; its distance is the number of ' +
            `tokens since the key was last used. Far recall is the mean over ${formatBins(group?.far ?? [])}` +
            (group?.beyond === true ? `, all beyond the largest window compared (${window}).` : '.') +
            ` Tokens to the threshold are counted to the first evaluation at or above ${threshold}; mean far recall is the ` +
            'area under its curve divided by the tokens.',
        ]
      : []),
    ...(analysis.kind === 'study'
      ? [
          analysis.rule,
          `Smallest differences of interest: ${minRecallDifference} in recall, ${minLossDifference} nats in loss.`,
        ]
      : []),
  ];
  return `<section>${heading('How to read this')}${paragraphs.map((text) => `<p>${escapeHtml(text)}</p>`).join('')}</section>`;
}

/** The commands, a configuration, the environment, and what it all took. */
export function environmentHtml({ analysis, records }: Analyzed, repeat: readonly string[]): string {
  const rows = Object.entries(analysis.environment).flatMap(([part, values]) =>
    Object.entries(values as Record<string, unknown>).map(([key, value]) => [
      part,
      WORDS[key] ?? key,
      shown(key, value),
    ]),
  );
  const first = [...records.values()][0];
  const config =
    first === undefined
      ? ''
      : details(`Configuration of run ${first.name}`, `<pre>${escapeHtml(toYaml(compact(first)))}</pre>`);
  const commands = `<pre>${escapeHtml(repeat.join('\n'))}</pre>`;
  const times = timeTable(records);
  const time = times === '' ? '' : details('Where runs ran, and seconds by what they did', times);
  return (
    `<section>${heading('How to repeat this')}${commands}${config}${time}` +
    `${heading('Environment')}${table(['', 'item', 'value'], [...effortOf({ analysis, records }), ...rows], new Set())}</section>`
  );
}

/** When the runs ran, for how long, and the arithmetic of their training. */
function effortOf({ analysis, records }: Pick<Analyzed, 'analysis' | 'records'>): string[][] {
  const ran = [...records.values()].flatMap((record) => record.ran ?? []);
  const seconds = [...records.values()].flatMap(({ ran: own, status }) => {
    if (status.timing?.total !== undefined) return [status.timing.total];
    return own === null ? [] : [(own.to - own.from) / 1000];
  });
  const flops = analysis.groups.flatMap(allRuns).reduce((sum, run) => sum + run.tokens * run.trainFlopsPerToken, 0);
  const reused = [...records].flatMap(([name, own]) =>
    own.reused === undefined ? [] : [`${name} (${own.reused.study})`],
  );
  const day = (at: number) => new Date(at).toISOString().slice(0, 16).replace('T', ' ');
  const ends = ran.map(({ from, to }) => [from, to] as const);
  const from = ends.reduce((least, [start]) => Math.min(least, start), Infinity);
  const to = ends.reduce((most, [, end]) => Math.max(most, end), -Infinity);
  return [
    ...(ends.length === 0 ? [] : [['runs', 'from, to (UTC)', `${day(from)}, ${day(to)}`]]),
    ...(seconds.length === 0
      ? []
      : [['runs', 'run time, all together', formatDuration(seconds.reduce((a, b) => a + b, 0))]]),
    ...(reused.length === 0 ? [] : [['runs', 'trained in another study', reused.join(', ')]]),
    ...(flops === 0 ? [] : [['runs', 'training FLOPs', flops.toExponential(2)]]),
  ];
}

/** A run's configuration with its layers in the short form. */
function compact({ config, model }: RunRecord): unknown {
  const { layers: _, ...rest } = model;
  return { ...config, model: { ...rest, layers: printPattern(model.layers) } };
}

const WORDS: Readonly<Record<string, string>> = { memoryBytes: 'memory' };

function shown(key: string, value: unknown): string {
  if (Array.isArray(value)) return value.map((own) => shown(key, own)).join('; ');
  if (key === 'memoryBytes' && typeof value === 'number') return `${(value / 1e9).toFixed(1)} GB`;
  return typeof value === 'string' ? value : JSON.stringify(value);
}
