/** What training itself logs, drawn: loss, learning rate, gradient norm. */
import { metricTitle } from '../lab/index.js';
import type { RunRecord } from '../study/index.js';
import type { Point } from '../run/index.js';
import type { TrainingMetric } from '../train/index.js';
import { curvePlot, lines, PANEL_SIZE, smoothed, type DrawnDesign } from './curves.js';
import { figure, panel } from './html.js';

/** What is drawn, in this order: whether it is noisy, so that lines are means of stretches, and whether it falls. */
const DRAWN = {
  'train/loss': { isNoisy: true, isCut: true },
  'train/lr': { isNoisy: false, isCut: false },
  'train/grad_norm': { isNoisy: true, isCut: true },
} as const satisfies Partial<Record<TrainingMetric, { readonly isNoisy: boolean; readonly isCut: boolean }>>;

/** Points of a line of what is noisy. */
const STRETCHES = 60;

/** A panel for each metric of training that a run has; nothing where none has. */
export function trainingFigure(designs: readonly DrawnDesign[]): string {
  const panels = Object.entries(DRAWN).flatMap(([metric, { isNoisy, isCut }]) => {
    const series = ({ metrics }: RunRecord): readonly Point[] => {
      const points = metrics.get(metric) ?? [];
      return isNoisy ? smoothed(points, STRETCHES) : points;
    };
    if (designs.every(({ runs }) => runs.every(({ record }) => series(record).length === 0))) return [];
    const title = metricTitle(metric) ?? metric;
    const [name = title, unit = name] = title.split(/ \((.*)\)$/);
    const axis = unit === name ? name.toLowerCase() : unit;
    return [panel(name, curvePlot({ title: name, yLabel: axis, isCut, series }, designs, PANEL_SIZE))];
  });
  if (panels.length === 0) return '';
  return figure(
    'Training: loss, learning rate, gradient norm',
    panels.join(''),
    'What the training loop logs. Loss and gradient norm are noisy: each point is the mean of a stretch of steps. ' +
      `Axes are cut where the first steps lie far above all others.${lines(designs)}`,
  );
}
