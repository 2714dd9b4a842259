/** The figures of a report. Each returns a complete `<figure>`, or nothing where its data were not measured. */
import { formatTokens, maxOf, significant } from '../core/index.js';
import type { Crossing, CurvePlot, FigureSpec, FigureView, SpecialFigure } from '../lab/index.js';
import type { CompareOptions, RunSummary } from '../study/index.js';
import { viewOf, type Group } from './report-data.js';
import {
  curvePlot,
  dash,
  HALF,
  HERO,
  labelMargin,
  lines,
  markers,
  PANEL,
  tick,
  WIDE,
  type DrawnDesign,
  type RecordPlot,
} from './curves.js';
import { headMapFigure, needleFigure } from './head-maps.js';
import { figure, inTwoSizes, panel } from './html.js';
import { measureFigures, outcomeOf, type MeasureFigure } from './measured.js';
import { drawPlot, Plot, roomyDomain, tickLabel, type SeriesStyle } from './plot.js';
import { positionFigure } from './position-figure.js';
import { trainingFigure } from './training-figures.js';

/** The figures of a group: the one to be seen first, and all others in order. */
export interface GroupFigures {
  /** Empty where nothing was measured over training. */
  readonly hero: string;
  readonly others: readonly string[];
}

/** Where figures stand that are of no single measure: the ends of runs, and what training logs. */
const [END_ORDER, TRAINING_ORDER] = [50, 85];

/** The figures of a group: those of every measure, the end of the runs at long range against their loss, training. */
export function groupFigures(
  group: Group,
  designs: readonly DrawnDesign[],
  ended: readonly DrawnDesign[],
  compare: CompareOptions,
): GroupFigures {
  const view = figureView(group, compare);
  const all = measureFigures();
  const main = mainPlot(all, designs, view);
  const drawn = all.map((figure) => ({
    order: figure.spec.order,
    html: drawFigure(figure, { designs, ended, view, main: main?.figure === figure ? main.plot : null }),
  }));
  const others = [
    ...drawn,
    { order: END_ORDER, html: endFigure(ended, view) },
    { order: TRAINING_ORDER, html: trainingFigure(designs) },
  ]
    .sort((a, b) => a.order - b.order)
    .flatMap(({ html }) => (html === '' ? [] : [html]));
  return { hero: main === null ? '' : heroFigure(main, designs), others };
}

/** The main figure of one of many groups, small; empty where nothing was measured over training. */
export function briefFigure(
  group: Group,
  designs: readonly DrawnDesign[],
  compare: CompareOptions,
  groups: number,
): string {
  const main = mainPlot(measureFigures(), designs, figureView(group, compare));
  return main === null
    ? ''
    : figure(main.plot.title, curvePlot(main.plot, designs, HALF, groups), main.caption, 'half');
}

/** What figures need to know of a group. */
function figureView(group: Group, compare: CompareOptions): FigureView {
  return { ...viewOf(group, compare), beyond: group.beyond, chance: group.chance };
}

/** The plot that is drawn large, and the figure that it is taken from. */
interface Main {
  readonly figure: MeasureFigure;
  readonly plot: RecordPlot;
  readonly caption: string;
}

/** The first plot that its measure calls the main one, of those that have data. */
function mainPlot(figures: readonly MeasureFigure[], designs: readonly DrawnDesign[], view: FigureView): Main | null {
  const records = designs.flatMap((design) => design.runs.map(({ record }) => record));
  for (const figure of figures) {
    const { spec, runOf } = figure;
    if (spec.draw !== 'panels' && spec.draw !== 'curves') continue;
    const plots = spec.draw === 'curves' ? [spec.plot] : spec.panels(records.map(runOf), view);
    const plot = plots.find(({ isMain }) => isMain === true);
    if (plot === undefined || records.every((record) => plot.series(runOf(record)).length === 0)) continue;
    const caption = spec.draw === 'curves' ? spec.caption : spec.caption(view);
    return { figure, plot: ofRecords(plot, runOf), caption };
  }
  return null;
}

const ofRecords = (plot: CurvePlot<unknown>, runOf: MeasureFigure['runOf']): RecordPlot => ({
  ...plot,
  series: (record) => plot.series(runOf(record)),
});

/** The main plot in two sizes, of which a page shows the one that its width has room for. */
function heroFigure({ figure: { spec }, plot, caption }: Main, designs: readonly DrawnDesign[]): string {
  const heading = spec.draw === 'panels' ? `${spec.heading}: ${lowered(plot.title)}` : plot.title;
  const isLarge = designs.reduce((sum, { runs }) => sum + runs.length, 0) > MOST_TWICE;
  const wide = curvePlot(plot, designs, HERO);
  const plots = isLarge ? wide : inTwoSizes(wide, curvePlot(plot, designs, HALF));
  return figure(heading, plots, `${caption}${lines(designs)}`, 'hero');
}

/** Figures of more runs than this are drawn once. */
const MOST_TWICE = 100;

const lowered = (text: string): string => text.charAt(0).toLowerCase() + text.slice(1);

/** Figures whose drawing is their own. */
const SPECIAL: Readonly<
  Record<SpecialFigure, (designs: readonly DrawnDesign[], ended: readonly DrawnDesign[]) => string>
> = {
  'head maps': (designs) => headMapFigure(designs),
  'needle grid': (_, ended) => needleFigure(ended),
  'loss by position': (_, ended) => positionFigure(ended),
};

interface Drawing {
  readonly designs: readonly DrawnDesign[];
  readonly ended: readonly DrawnDesign[];
  readonly view: FigureView;
  /** The plot of this figure that is drawn elsewhere. */
  readonly main: RecordPlot | null;
}

function drawFigure({ spec, runOf }: MeasureFigure, { designs, ended, view, main }: Drawing): string {
  const runs = designs.flatMap((design) => design.runs.map(({ record }) => runOf(record)));
  switch (spec.draw) {
    case 'curves': {
      if (main !== null || runs.every((run) => spec.plot.series(run).length === 0)) return '';
      const plot = curvePlot(ofRecords(spec.plot, runOf), designs, HALF);
      return figure(spec.heading, plot, `${spec.caption}${lines(designs)}`, 'half');
    }
    case 'panels': {
      const panels = spec
        .panels(runs, view)
        .filter(({ title }) => title !== main?.title)
        .map((plot) => panel(plot.title, curvePlot(ofRecords(plot, runOf), designs, PANEL)));
      if (panels.length === 0) return '';
      const rest = main === null ? '' : `The other distances; ${lowered(main.title)} stands on top of the page. `;
      return figure(spec.heading, panels.join(''), `${rest}${spec.caption(view)}${lines(designs)}`);
    }
    case 'against':
      return againstFigure(spec, runOf, designs);
    case 'crossings':
      return (spec.views?.(view) ?? [view]).map((own) => crossingsFigure(spec, designs, own)).join('');
    default:
      return SPECIAL[spec.draw](designs, ended);
  }
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
    ...HALF,
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
  const shown = designs.filter(({ style }) => rows.some((row) => row.style === style));
  const wide = crossingsPlot(spec.label(view), rows, shown, true);
  return figure(
    spec.heading(view),
    rows.length > MOST_TWICE ? wide : inTwoSizes(wide, crossingsPlot(spec.label(view), rows, shown, false)),
    `${spec.caption(view)}; one mark per seed, at the first evaluation that reached it, with a bar back to the ` +
      'evaluation before. Open mark with an arrow: not reached by the last evaluation, so later than that or never.',
    'wide',
  );
}

/** A run and when it crossed a threshold. */
interface CrossingRow {
  readonly style: SeriesStyle;
  readonly summary: RunSummary;
  readonly at: Crossing;
}

/** A row a design: its name to the left, or above its marks where the page is narrow. */
function crossingsPlot(
  label: string,
  rows: readonly CrossingRow[],
  designs: readonly DrawnDesign[],
  isWide: boolean,
): string {
  const last = maxOf(rows.map((row) => Math.max(row.at.tokens, row.summary.tokens)));
  const labels = designs.map((design) => design.style.label);
  const seeds = maxOf(designs.map((d) => d.runs.length));
  const gap = Math.min(14, 70 / seeds);
  const offset = seedOffsets(designs, gap);
  const rowHeight = Math.max(34, (gap + 2) * seeds) + (isWide ? 0 : 26);
  const down = isWide ? 0 : 10;
  const names = Plot.text(labels, {
    ...{ x: () => 0, y: (text: string) => text, dy: 8 - rowHeight / 2, dx: 2, textAnchor: 'start', fontWeight: 600 },
  });
  return drawPlot(label, {
    ...(isWide ? WIDE : { ...HALF, marginLeft: 14 }),
    ...(isWide ? { marginLeft: labelMargin(labels), width: 880 } : {}),
    height: 70 + labels.length * rowHeight,
    x: {
      ...{ label: 'training tokens →', ticks: isWide ? 7 : 4, tickFormat: tick, grid: true },
      domain: [0, last === 0 ? 1 : 1.1 * last],
    },
    y: { type: 'point', domain: labels, label: null, tickSize: 0, ...(isWide ? {} : { axis: null }) },
    marks: [
      Plot.ruleX([last], { stroke: 'currentColor', strokeOpacity: 0.35, strokeDasharray: '5,4' }),
      ...(isWide ? [] : [names]),
      ...rows.flatMap((row) => crossingMarks(row, offset(row.summary) + down, last)),
    ],
  });
}

/** The crossing lies between two evaluations: the bar shows the gap, the mark the first one that had reached it. */
function crossingMarks({ style, summary, at }: CrossingRow, dy: number, last: number): Plot.Markish[] {
  const base = { className: style.className, dy };
  const seed = `${style.label}, seed ${summary.seed}: `;
  const spot = { x: at.tokens, y: style.label };
  const place = { x: 'x', y: 'y', r: 5.5, symbol: style.symbol };
  if (at.reached) {
    const title = `${seed}after more than ${formatTokens(at.after)} and at most ${formatTokens(at.tokens)} tokens`;
    const bar = { from: at.after, to: at.tokens, y: style.label };
    const line = { x1: 'from', x2: 'to', y: 'y', stroke: style.color, strokeWidth: 3, strokeOpacity: 0.4 };
    return [
      Plot.ruleY([bar], { ...base, ...line }),
      Plot.dot([spot], { ...base, ...place, fill: style.color, title: () => title }),
    ];
  }
  const title = `${seed}not within ${formatTokens(at.tokens)} tokens`;
  const arrow = { x1: at.tokens, x2: at.tokens + 0.07 * last, y: style.label };
  const line = { x1: 'x1', x2: 'x2', y1: 'y', y2: 'y', stroke: style.color, strokeWidth: 2, headLength: 9 };
  return [
    Plot.arrow([arrow], { ...base, ...line }),
    Plot.dot([spot], {
      ...base,
      ...place,
      stroke: style.color,
      strokeWidth: 2,
      fill: 'var(--card)',
      title: () => title,
    }),
  ];
}

/** Where the seeds of one design sit above and below its line, `gap` pixels apart. */
function seedOffsets(designs: readonly DrawnDesign[], gap: number): (run: RunSummary) => number {
  const offsets = new Map<string, number>();
  for (const { runs } of designs) {
    runs.forEach(({ summary }, i) => offsets.set(summary.name, (i - (runs.length - 1) / 2) * gap));
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
    ...{ ...HALF, inset: 12 },
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
