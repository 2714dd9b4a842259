/** What metrics are called for readers: from the definitions of the measures, and of what training logs. */
import { metricLabel, type MetricWords } from '../run/index.js';
import { TRAINING_METRICS } from '../train/index.js';
import { MEASURE_NAMES, MEASURES } from './measures/table.js';

const DISTANCES = /(\d+)-(\d+)$/;

const WORDS: ReadonlyMap<string, MetricWords> = new Map([
  ...Object.entries<MetricWords>(TRAINING_METRICS),
  ...MEASURE_NAMES.flatMap((name) => Object.entries<MetricWords>(MEASURES[name].metricWords)),
]);

/** A metric in words with its unit, such as `Held-out loss (nats per token)`; null for one that nothing here logs. */
export function metricTitle(metric: string): string | null {
  const [, from = '', to = ''] = DISTANCES.exec(metric) ?? [];
  const words = WORDS.get(metric) ?? WORDS.get(metric.replace(DISTANCES, 'FROM-TO'));
  return words === undefined ? null : metricLabel(words).replace('FROM', from).replace('TO', to);
}

/** The words of those metrics that have any, by name. */
export function metricTitles(metrics: Iterable<string>): Readonly<Record<string, string>> {
  const entries = [...metrics].flatMap((name) => {
    const title = metricTitle(name);
    return title === null ? [] : [[name, title] as const];
  });
  return Object.fromEntries(entries);
}
