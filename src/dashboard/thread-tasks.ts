/** What the dashboard has a thread do: what it needs for that is loaded there, when it is asked for. */
import type { FiguresAnswer } from './api.js';
import type { FiguresTask } from './study-figures.js';

/** Figures of a study or run, or the words of metrics. */
export type ThreadTask = FiguresTask | { readonly kind: 'titles'; readonly metrics: readonly string[] };

/** What comes back: one of the two. */
export interface ThreadAnswer {
  readonly figures?: FiguresAnswer;
  readonly titles?: Readonly<Record<string, string>>;
}

/** Does a task. */
export async function workedOut(task: ThreadTask): Promise<ThreadAnswer> {
  if (task.kind === 'titles') return { titles: (await import('../lab/index.js')).metricTitles(task.metrics) };
  return { figures: (await import('./study-figures.js')).drawFigures(task) };
}
