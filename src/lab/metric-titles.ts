/** What metrics are called for readers: from the definitions of the measures, and of what training logs. */
import { TRAINING_METRICS } from '../train/index.js';
import { MEASURE_NAMES, MEASURES } from './measures/table.js';

const DISTANCES = /(\d+)-(\d+)$/;

const TITLES: ReadonlyMap<string, string> = new Map([
  ...Object.entries(TRAINING_METRICS),
  ...MEASURE_NAMES.flatMap((name) => Object.entries<string>(MEASURES[name].titles)),
]);

/** A metric in words with its unit, such as `Held-out loss (nats per token)`; null for one that nothing here logs. */
export function metricTitle(metric: string): string | null {
  const [, from = '', to = ''] = DISTANCES.exec(metric) ?? [];
  const title = TITLES.get(metric) ?? TITLES.get(metric.replace(DISTANCES, 'FROM-TO'));
  return title?.replace('FROM', from).replace('TO', to) ?? null;
}

/** The words of those metrics that have any, by name. */
export function metricTitles(metrics: Iterable<string>): Readonly<Record<string, string>> {
  const entries = [...metrics].flatMap((name) => {
    const title = metricTitle(name);
    return title === null ? [] : [[name, title] as const];
  });
  return Object.fromEntries(entries);
}
