/** The figures of a report. Each returns a complete `<figure>`, or nothing where its data were not measured. */
import { formatTokens, maxOf, minOf, significant } from '../core/index.js';
import type { CurvePlot, FigureSpec, FigureView, SpecialFigure } from '../lab/index.js';
import type { CompareOptions, RunSummary } from '../study/index.js';
import { viewOf, type Group } from './report-data.js';
import {
  curvesOf,
  dash,
  labelMargin,
  lines,
  markers,
  PANEL,
  tick,
  tokensPlot,
  WIDE,
  type DrawnDesign,
} from './curves.js';
import { headMapFigure, needleFigure } from './head-maps.js';
import { figure, panel } from './html.js';
import { measureFigures, outcomeOf, type MeasureFigure } from './measured.js';
import { drawPlot, Plot, roomyDomain, tickLabel } from './plot.js';

/** The figures of a group: those of every measure, and the end of the runs at long range against their loss. */
export function groupFigures(
  group: Group,
  designs: readonly DrawnDesign[],
  ended: readonly DrawnDesign[],
  compare: CompareOptions,
): string[] {
  const view: FigureView = { ...viewOf(group, compare), beyond: group.beyond, chance: group.chance };
  const drawn = measureFigures().map((figure) => ({
    order: figure.spec.order,
    html: drawFigure(figure, designs, ended, view),
  }));
  return [...drawn, { order: END_ORDER, html: endFigure(ended, view) }]
    .sort((a, b) => a.order - b.order)
    .map(({ html }) => html);
}

/** Where the ends of runs stand among the figures of measures. */
const END_ORDER = 50;

/** Figures whose drawing is their own. */
const SPECIAL: Readonly<
  Record<SpecialFigure, (designs: readonly DrawnDesign[], ended: readonly DrawnDesign[]) => string>
> = {
  'head maps': (designs) => headMapFigure(designs),
  'needle grid': (_, ended) => needleFigure(ended),
  'loss by position': (_, ended) => positionFigure(ended),
};

function drawFigure(
  { spec, runOf }: MeasureFigure,
  designs: readonly DrawnDesign[],
  ended: readonly DrawnDesign[],
  view: FigureView,
): string {
  const runs = designs.flatMap((design) => design.runs.map(({ record }) => runOf(record)));
  switch (spec.draw) {
    case 'curves': {
      if (runs.every((run) => spec.plot.series(run).length === 0)) return '';
      const size = { ...WIDE, width: 520, height: 330 };
      return figure(
        spec.heading,
        curvePlot(spec.plot, runOf, designs, size),
        `${spec.caption}${lines(designs)}`,
        'half',
      );
    }
    case 'panels': {
      const panels = spec.panels(runs, view).map((plot) => panel(plot.title, curvePlot(plot, runOf, designs, PANEL)));
      if (panels.length === 0) return '';
      return figure(spec.heading, panels.join(''), `${spec.caption(view)}${lines(designs)}`);
    }
    case 'against':
      return againstFigure(spec, runOf, designs);
    case 'crossings':
      return (spec.views?.(view) ?? [view]).map((own) => crossingsFigure(spec, designs, own)).join('');
    default:
      return SPECIAL[spec.draw](designs, ended);
  }
}

function curvePlot(
  { title, yLabel, domain, lines: dashed = [], dotted = [], series }: CurvePlot<unknown>,
  runOf: MeasureFigure['runOf'],
  designs: readonly DrawnDesign[],
  size: typeof PANEL,
): string {
  const base = { stroke: 'currentColor' };
  const rules = [
    ...dashed.map((y) => Plot.ruleY([y], { ...base, strokeOpacity: 0.55, strokeDasharray: '5,4' })),
    ...dotted.map((y) => Plot.ruleY([y], { ...base, strokeOpacity: 0.35, strokeDasharray: '1,4' })),
  ];
  const curves = curvesOf(designs, (record) => series(runOf(record)), rules);
  return tokensPlot(title, yLabel, curves, domain, size);
}

/** One number against another: a line per seed through its evaluations, in the design's color, marks in its shape. */
function againstFigure(
  spec: Extract<FigureSpec<unknown, RunSummary>, { readonly draw: 'against' }>,
  runOf: MeasureFigure['runOf'],
  designs: readonly DrawnDesign[],
): string {
  const measured = designs.flatMap(({ style, runs }) =>
    runs.map(({ summary, record }) => ({ style, seed: summary.seed, points: spec.points(runOf(record)) })),
  );
  const rise = maxOf(measured.flatMap(({ points }) => points.map((point) => point.y))) / 10;
  const drawn = measured.flatMap(({ points, ...run }) => {
    const first = points.findIndex((point) => point.y >= rise);
    const risen = first < 0 ? [] : points.slice(Math.max(0, first - 1));
    return risen.length < 2 ? [] : [{ ...run, points: risen }];
  });
  if (drawn.length === 0) return '';
  const x = roomyDomain(drawn.flatMap(({ points }) => points.map((point) => point.x)));
  const svg = drawPlot(spec.heading, {
    ...{ ...WIDE, width: 520, height: 330 },
    x: {
      ...{ tickFormat: tickLabel, label: spec.xLabel, grid: true, ticks: 6, reverse: spec.reversed ?? false },
      ...(x === undefined ? { nice: true } : { domain: x }),
    },
    y: { label: `↑ ${spec.yLabel}`, grid: true, ticks: 5, nice: true, tickFormat: tickLabel },
    marginLeft: 62,
    marks: drawn.flatMap(({ style, seed, points }) => {
      const base = { x: 'x', y: 'y', stroke: style.color, className: style.className };
      return [
        Plot.line(points, { ...base, ...dash(style), strokeWidth: 1.4, title: () => `${style.label}, seed ${seed}` }),
        Plot.dot(markers(points, style.index), { ...base, r: 3.2, fill: 'none', symbol: style.symbol }),
      ];
    }),
  });
  const about = 'One line per seed, from the evaluation before it reaches a tenth of the highest value on.';
  return figure(spec.heading, svg, `${spec.caption} ${about}`, 'half');
}

/** Tokens until runs reached a threshold: one mark per seed, open with an arrow where it did not. */
function crossingsFigure(
  spec: Extract<FigureSpec<unknown, RunSummary>, { readonly draw: 'crossings' }>,
  designs: readonly DrawnDesign[],
  view: FigureView,
): string {
  const rows = designs.flatMap(({ style, runs }) =>
    runs.flatMap(({ summary }) => {
      const at = spec.of(summary, view);
      return at === null ? [] : [{ style, summary, at }];
    }),
  );
  if (rows.length === 0) return '';
  const last = maxOf(rows.map((row) => Math.max(row.at.tokens, row.summary.tokens)));
  const labels = designs.map((design) => design.style.label);
  const offset = seedOffsets(designs);
  const marks = rows.flatMap(({ style, summary, at }) => {
    const dy = offset(summary);
    const base = { className: style.className, dy };
    const seed = `${style.label}, seed ${summary.seed}: `;
    // The crossing lies between two evaluations: the bar shows the gap, the mark the first one that had reached it.
    if (at.reached) {
      const title = `${seed}after more than ${formatTokens(at.after)} and at most ${formatTokens(at.tokens)} tokens`;
      const spot = { x: at.tokens, y: style.label };
      const bar = { from: at.after, to: at.tokens, y: style.label };
      return [
        Plot.ruleY([bar], {
          ...base,
          x1: 'from',
          x2: 'to',
          y: 'y',
          stroke: style.color,
          strokeWidth: 3,
          strokeOpacity: 0.4,
        }),
        Plot.dot([spot], {
          ...base,
          x: 'x',
          y: 'y',
          r: 5.5,
          fill: style.color,
          symbol: style.symbol,
          title: () => title,
        }),
      ];
    }
    const title = `${seed}not within ${formatTokens(at.tokens)} tokens`;
    const arrow = { x1: at.tokens, x2: at.tokens + 0.07 * last, y: style.label };
    return [
      Plot.arrow([arrow], {
        ...base,
        x1: 'x1',
        x2: 'x2',
        y1: 'y',
        y2: 'y',
        stroke: style.color,
        strokeWidth: 2,
        headLength: 9,
      }),
      Plot.dot([{ x: at.tokens, y: style.label }], {
        ...{ ...base, x: 'x', y: 'y', r: 5.5, stroke: style.color, strokeWidth: 2, fill: 'var(--card)' },
        ...{ symbol: style.symbol, title: () => title },
      }),
    ];
  });
  const svg = drawPlot(spec.label(view), {
    ...WIDE,
    marginLeft: labelMargin(labels),
    height: 70 + labels.length * Math.max(34, 16 * maxOf(designs.map((d) => d.runs.length))),
    x: { label: 'training tokens →', ticks: 7, tickFormat: tick, domain: [0, last === 0 ? 1 : 1.1 * last], grid: true },
    y: { type: 'point', domain: labels, label: null, tickSize: 0 },
    marks: [Plot.ruleX([last], { stroke: 'currentColor', strokeOpacity: 0.35, strokeDasharray: '5,4' }), ...marks],
  });
  return figure(
    spec.heading(view),
    svg,
    `${spec.caption(view)}; one mark per seed, at the first evaluation that reached it, with a bar back to the ` +
      'evaluation before. Open mark with an arrow: not reached by the last evaluation, so later than that or never.',
    'wide',
  );
}

/** Where the seeds of one design sit above and below its line. */
function seedOffsets(designs: readonly DrawnDesign[]): (run: RunSummary) => number {
  const offsets = new Map<string, number>();
  for (const { runs } of designs) {
    runs.forEach(({ summary }, i) => offsets.set(summary.name, (i - (runs.length - 1) / 2) * 14));
  }
  return (run) => offsets.get(run.name) ?? 0;
}

/** Final held-out loss against how runs do at long range in the end, one mark per run. */
function endFigure(designs: readonly DrawnDesign[], view: FigureView): string {
  const outcome = outcomeOf(designs.flatMap(({ runs }) => runs.map(({ summary }) => summary)));
  if (outcome === null) return '';
  const name = outcome.name(view);
  const dots = designs.flatMap(({ style, runs }) =>
    runs.flatMap(({ summary }) => {
      const y = outcome.of(summary);
      return summary.finalLoss === null || y === null ? [] : [{ style, seed: summary.seed, x: summary.finalLoss, y }];
    }),
  );
  if (dots.length < 2) return ''; // one run has nothing to lie beside
  const losses = roomyDomain(dots.map((dot) => dot.x));
  const marks = dots.map(({ style, seed, x, y }) =>
    Plot.dot([{ x, y }], {
      ...{ x: 'x', y: 'y', r: 6, stroke: style.color, strokeWidth: 2, fill: style.color, fillOpacity: 0.3 },
      ...{ symbol: style.symbol, className: style.className },
      title: () => `${style.label}, seed ${seed}: loss ${significant(x)} nats, ${name} ${y.toFixed(3)}`,
    }),
  );
  const svg = drawPlot(`Final loss against ${name}`, {
    ...{ ...WIDE, width: 520, height: 330, inset: 12 },
    x: {
      tickFormat: tickLabel,
      label: 'held-out loss at the end (nats per token) →',
      grid: true,
      ticks: 6,
      ...(losses === undefined ? { nice: true } : { domain: losses }),
    },
    y: { domain: [0, 1], label: `↑ ${outcome.axis} at the end`, grid: true, ticks: 5 },
    marks,
  });
  return figure(
    `Final loss against final ${outcome.short}`,
    svg,
    `One mark per run at its last evaluation: held-out loss, and ${name}. Up and to the left is better.`,
    'half',
  );
}

/** Loss by position in the sequence at the last evaluation, mean over seeds. */
function positionFigure(designs: readonly DrawnDesign[]): string {
  const curves = designs.flatMap(({ style, runs }) => {
    const lists = runs.flatMap(({ record }) => {
      const losses = record.evals.at(-1)?.perPositionLoss;
      return losses == null ? [] : [losses];
    });
    // Runs of one design may differ in length; positions that only some have would mix different sets of seeds.
    const length = minOf(lists.map((l) => l.length));
    if (lists.length === 0) return [];
    const mean = Array.from({ length }, (_, i) => lists.reduce((sum, l) => sum + (l[i] ?? NaN), 0) / lists.length);
    return [{ style, points: average(mean, 96) }];
  });
  if (curves.length === 0) return '';
  const drawn = curves.flatMap((curve) => curve.points);
  const losses = roomyDomain(drawn.map((p) => p.value));
  const places = roomyDomain(drawn.map((p) => p.at));
  const svg = drawPlot('Loss by position', {
    ...{ ...WIDE, width: 520, height: 330 },
    marginLeft: 62,
    x: {
      label: 'position in the sequence (tokens) →',
      grid: true,
      ...(places === undefined ? {} : { domain: places }),
    },
    y: {
      ...{ label: '↑ loss (nats per token)', grid: true, tickFormat: tickLabel },
      ...(losses === undefined ? { nice: true } : { domain: losses }),
    },
    marks: curves.flatMap(({ style, points }) => [
      Plot.lineY(points, {
        ...{ x: 'at', y: 'value', stroke: style.color, strokeWidth: 2, className: style.className },
        ...dash(style),
        title: () => style.label,
      }),
      Plot.dot(markers(points, style.index), {
        ...{ x: 'at', y: 'value', r: 3.6, stroke: style.color, fill: 'none', symbol: style.symbol },
        className: style.className,
      }),
    ]),
  });
  return figure(
    'Loss by position',
    svg,
    'Held-out loss by place in the sequence at the last evaluation, mean over seeds: what more context is worth.',
    'half',
  );
}

/** The means of at most `count` equal stretches. */
function average(values: readonly number[], count: number): { at: number; value: number }[] {
  const size = Math.max(1, Math.ceil(values.length / count));
  return Array.from({ length: Math.ceil(values.length / size) }, (_, i) => {
    const part = values.slice(i * size, (i + 1) * size).filter((v) => Number.isFinite(v));
    return { at: i * size + (size - 1) / 2, value: part.reduce((a, b) => a + b, 0) / part.length };
  });
}
