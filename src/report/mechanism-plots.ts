/**
 * Figures of what analyses found. The definition of an analysis says what is shown; here each form of figure is
 * drawn.
 */
import type { Group } from './report-data.js';
import { curvesOf, dash, HALF, labelMargin, lines, PANEL_SIZE, tokensPlot, type DrawnDesign } from './curves.js';
import { type RunRecord, STRONGEST_HEADS, strongestHeads } from '../study/index.js';
import {
  ANALYSES,
  FINDING_KINDS,
  type Analysis,
  type Bar,
  type BarsFigure,
  type DistanceFigure,
  type DotsFigure,
  type Figure,
  type FindingKind,
  type HeadsFigure,
  type LayersFigure,
  type LayerValue,
  type TokensFigure,
} from '../lab/index.js';
import { figure, panel } from './html.js';
import { limitsFigure } from './limit-plots.js';
import { rangesFigure } from './range-plots.js';
import { drawPlot, Plot, tickLabel, type SeriesStyle } from './plot.js';
import { formatBins, significant, maxOf } from '../core/index.js';
import type { Point, StepSchema } from '../run/index.js';

/** What every finding says of itself. */
interface Found {
  readonly step: number;
  readonly tokens: number;
}

/** The findings that a figure is of, with what they are drawn for. */
interface Drawing {
  readonly group: Group;
  readonly designs: readonly DrawnDesign[];
  /** Findings of a run in order of steps. */
  readonly of: (record: RunRecord) => readonly Found[];
  /** The last finding of a run; null where there is none. */
  readonly last: (record: RunRecord) => Found | null;
}

const TABLE: Readonly<Record<FindingKind, Analysis<object, StepSchema>>> = ANALYSES;

/** In which order figures stand, by their form; those of one form in the order of the table of analyses. */
const ORDER: { readonly [K in Figure<Found>['form']]: number } = {
  ...{ bars: 0, limits: 0, dots: 1, ranges: 1, layers: 2, distance: 3, heads: 4, tokens: 5 },
};

/** Every figure of what analyses found; figures without data, and in each the designs without, are left out. */
export function mechanismFigures(group: Group, designs: readonly DrawnDesign[]): string {
  const figures = FINDING_KINDS.flatMap((kind) => {
    const of = (record: RunRecord) => record.findings[kind];
    const measured = designs.filter(({ runs }) => runs.some(({ record }) => of(record).length > 0));
    const drawing: Drawing = { group, designs: measured, of, last: (record) => of(record).at(-1) ?? null };
    const first = measured.flatMap(({ runs }) => runs.flatMap(({ record }) => of(record).at(-1) ?? []))[0];
    return first === undefined ? [] : TABLE[kind].figures.map((shown) => ({ shown, drawing, first }));
  });
  figures.sort((a, b) => ORDER[a.shown.form] - ORDER[b.shown.form]);
  return figures.map(({ shown, drawing, first }) => draw(shown, drawing, first)).join('');
}

function draw(shown: Figure<Found>, drawing: Drawing, first: Found): string {
  switch (shown.form) {
    case 'heads':
      return headsFigure(shown, drawing, shown.caption(first));
    case 'tokens':
      return tokensFigure(shown, drawing, shown.caption(first));
    case 'bars':
      return barsFigure(shown, drawing);
    case 'limits':
      return limitsFigure(shown, drawing, shown.caption(first));
    case 'dots':
      return dotsFigure(shown, drawing, shown.caption(first));
    case 'layers':
      return layersFigure(shown, drawing, shown.caption(first));
    case 'ranges':
      return rangesFigure(shown, drawing, shown.caption(first));
    case 'distance':
      return distanceFigure(shown, drawing, shown.caption(first));
  }
}

/** Two panels over tokens: the heads that end as the strongest retrieval heads, and all others. */
function headsFigure(shown: HeadsFigure<Found>, { designs, of }: Drawing, caption: string): string {
  const panels = (['chosen', 'others'] as const).flatMap((wanted) => {
    const series = (record: RunRecord): Point[] => {
      const chosen = strongestHeads(record);
      return of(record).flatMap((found) => {
        const heads = shown.heads(found).filter((h) => chosen.has(`${h.layer}:${h.head}`) === (wanted === 'chosen'));
        const value = heads.reduce((sum, h) => sum + h.value, 0) / heads.length;
        return heads.length === 0 ? [] : [{ tokens: found.tokens, value }];
      });
    };
    if (designs.every((d) => d.runs.every((r) => series(r.record).length === 0))) return [];
    const name = wanted === 'chosen' ? `The ${STRONGEST_HEADS} strongest retrieval heads` : 'All other heads';
    const plot = tokensPlot(shown.title, shown.axis, curvesOf(designs, series), shown.domain, PANEL_SIZE);
    return [panel(name, plot)];
  });
  if (panels.length === 0) return '';
  const tracked = `Heads are chosen at the last checkpoint, by their retrieval-head score, and followed backwards.`;
  return figure(shown.title, panels.join(''), `${caption} ${tracked}${lines(designs)}`);
}

/** One curve over tokens for every design. */
function tokensFigure(shown: TokensFigure<Found>, { designs, of }: Drawing, caption: string): string {
  const seriesOf = (record: RunRecord): Point[] =>
    of(record).flatMap((found) => {
      const value = shown.value(found);
      return value === null ? [] : [{ tokens: found.tokens, value }];
    });
  if (designs.every((d) => d.runs.every((r) => seriesOf(r.record).length === 0))) return '';
  return figure(
    shown.title,
    tokensPlot(shown.label, shown.axis, curvesOf(designs, seriesOf), undefined, HALF),
    `${caption}${lines(designs)}`,
    'half',
  );
}

/** A panel of bars for every design. */
function barsFigure(shown: BarsFigure<Found>, { group, designs, last }: Drawing): string {
  const bars = designs.flatMap(({ style, runs }) =>
    runs.flatMap(({ summary, record }) => {
      const found = last(record);
      const own = found === null ? [] : shown.bars(found, group.far);
      return own.map((bar) => ({ ...bar, style, seed: summary.seed }));
    }),
  );
  const first = bars[0];
  if (first === undefined) return '';
  const same = bars.filter((bar) => bar.what === first.what);
  const names = [...new Set(same.map((bar) => bar.name))];
  const panels = designs.flatMap(({ style }) => {
    const own = same.filter((bar) => bar.style === style);
    if (own.length === 0) return [];
    const drawn = barPanel(shown, style, own, names);
    return [`<div class="${style.className}">${drawn}</div>`];
  });
  return figure(shown.title, panels.join(''), shown.caption(first.what, formatBins(group.far)));
}

function barPanel(
  { title, open }: BarsFigure<Found>,
  style: SeriesStyle,
  bars: readonly (Bar & { readonly seed: number })[],
  names: readonly string[],
): string {
  const what = bars[0]?.what ?? '';
  const means = names.flatMap((name) => {
    const values = bars.filter((bar) => bar.name === name).map((bar) => bar.value);
    return values.length === 0 ? [] : [{ name, value: values.reduce((a, b) => a + b, 0) / values.length }];
  });
  const svg = drawPlot(`${title.split(':')[0]} of ${style.label}`, {
    ...{ width: 340, height: 44 + 26 * names.length, marginLeft: 110, marginRight: 18, marginTop: 8, marginBottom: 34 },
    x: { label: `${what} →`, grid: true, ticks: 4, ...(open.includes(what) ? { zero: true } : { domain: [0, 1] }) },
    y: { domain: [...names], label: null, tickSize: 0 },
    marks: [
      Plot.barX(means, { x: 'value', y: 'name', fill: style.color, fillOpacity: 0.35, insetTop: 3, insetBottom: 3 }),
      Plot.dot(bars, {
        ...{ x: 'value', y: 'name', r: 3.5, fill: style.color, symbol: style.symbol },
        title: (bar: (typeof bars)[number]) => `${style.label}, seed ${bar.seed}, ${bar.name}: ${bar.value.toFixed(3)}`,
      }),
    ],
  });
  return panel(style.label, svg);
}

/** A panel a group of values, a row a design, a mark a value. */
function dotsFigure(shown: DotsFigure<Found>, { designs, last }: Drawing, caption: string): string {
  const dots = designs.flatMap(({ style, runs }) =>
    runs.flatMap(({ summary, record }) => {
      const found = last(record);
      return (found === null ? [] : shown.dots(found)).map(({ panel: key, value, about }) => ({
        ...{ style, key, value, label: style.label },
        title: `${style.label}, seed ${summary.seed}${about}: ${value.toFixed(3)}`,
      }));
    }),
  );
  if (dots.length === 0) return '';
  const labels = designs.map((d) => d.style.label);
  const domain = [0, shown.open === true ? Math.max(0.05, 1.05 * maxOf(dots.map((dot) => dot.value))) : 1];
  const axis = `${shown.axis.charAt(0).toUpperCase()}${shown.axis.slice(1)}`;
  const panels = shown.panels.map(([key, name]) =>
    panel(
      name,
      drawPlot(`${axis}, ${name}`, {
        ...{ width: 340, height: 56 + 30 * labels.length, marginTop: 8, marginBottom: 36, marginRight: 16 },
        marginLeft: labelMargin(labels),
        x: { domain, label: `${shown.axis} →`, grid: true, ticks: 4 },
        y: { type: 'point', domain: labels, label: null, tickSize: 0 },
        marks: dots
          .filter((dot) => dot.key === key)
          .map((dot) =>
            Plot.dot([dot], {
              ...{ x: 'value', y: 'label', r: 4, stroke: dot.style.color, fill: dot.style.color, fillOpacity: 0.25 },
              ...{ symbol: dot.style.symbol, className: dot.style.className, title: () => dot.title },
            }),
          ),
      }),
    ),
  );
  return figure(shown.title, panels.join(''), caption);
}

/** Shares by layer; filled marks stand on full layers, hollow ones on efficient layers. */
function layersFigure(shown: LayersFigure<Found>, { designs, last }: Drawing, caption: string): string {
  const all = designs.flatMap(({ style, runs }) =>
    runs.flatMap(({ summary, record }) => {
      const found = last(record);
      return (found === null ? [] : shown.lines(found)).map((line) => ({ ...line, style, seed: summary.seed }));
    }),
  );
  const ticks = [...new Set(all.flatMap((line) => line.layers.map((l) => l.layer)))].sort((a, b) => a - b);
  const panels = shown.panels.flatMap(([key, title]) => {
    const own = all.filter((line) => line.panel === key);
    const chance = own.at(-1)?.chance;
    if (chance === undefined) return [];
    const rule = Plot.ruleY([chance], { stroke: 'currentColor', strokeOpacity: 0.4, strokeDasharray: '1,4' });
    const svg = drawPlot(`Probe accuracy by layer, ${key}`, {
      ...PANEL_SIZE,
      x: { label: 'layer →', ticks, tickFormat: (d: number) => String(d) },
      y: { domain: [0, 1], label: `↑ ${shown.axis}`, grid: true, ticks: 5 },
      marks: [rule, ...own.flatMap(({ layers, style, seed }) => layerMarks(layers, style, seed))],
    });
    return [panel(title, svg)];
  });
  return panels.length === 0 ? '' : figure(shown.title, panels.join(''), caption);
}

function layerMarks(layers: readonly LayerValue[], style: SeriesStyle, seed: number): Plot.Markish[] {
  const base = { x: 'layer', y: 'accuracy', className: style.className };
  const interval = { x: 'layer', y1: 'low', y2: 'high', stroke: style.color, strokeOpacity: 0.35 };
  const title = (l: LayerValue) =>
    `${style.label}, seed ${seed}, layer ${l.layer} (${l.label}): ${l.accuracy.toFixed(3)} (95 %: ${l.low.toFixed(2)} to ${l.high.toFixed(2)})`;
  const isFull = (l: LayerValue) => l.label.includes('full');
  const [full, hollow] = [layers.filter(isFull), layers.filter((l) => !isFull(l))];
  return [
    Plot.ruleX(layers, { ...interval, className: style.className }),
    Plot.line(layers, { ...base, stroke: style.color, strokeWidth: 1.6, ...dash(style) }),
    Plot.dot(full, { ...base, r: 4.5, fill: style.color, symbol: style.symbol, title }),
    Plot.dot(hollow, { ...base, r: 4.5, fill: 'var(--card)', stroke: style.color, symbol: style.symbol, title }),
  ];
}

/** Curves over distances on two logarithmic axes, mean over seeds, in bins of growing width. */
function distanceFigure(shown: DistanceFigure<Found>, { designs, last }: Drawing, caption: string): string {
  const curves = designs.flatMap(({ style, runs }) => {
    const found = runs.flatMap((r) => last(r.record) ?? []);
    return found.length === 0 ? [] : [{ style, points: logBins(found.map((f) => shown.curve(f))), found }];
  });
  if (curves.length === 0) return '';
  const marks = curves.flatMap(({ style, points, found }) => {
    const floors = found.flatMap((f) => shown.mark(f) ?? []);
    const line = { x: 'distance', y: 'value', className: style.className };
    return [
      Plot.line(points, { ...line, stroke: style.color, strokeWidth: 2.2, ...dash(style), title: () => style.label }),
      Plot.dot(floors, {
        ...{ x: 'distance', y: 'level', r: 5, stroke: style.color, fill: 'var(--card)', symbol: style.symbol },
        ...{ className: style.className },
        title: (f: { distance: number; level: number }) =>
          `${style.label}: meets its floor (${significant(f.level)}) at distance ${f.distance}`,
      }),
    ];
  });
  const svg = drawPlot(`${shown.label} by distance`, {
    ...HALF,
    marginLeft: 56,
    x: { type: 'log', label: 'distance (tokens) →', grid: true, ticks: 5, tickFormat: tickLabel },
    y: { type: 'log', label: `↑ ${shown.axis}`, grid: true, ticks: 5, tickFormat: tickLabel },
    marks,
  });
  return figure(shown.title, svg, caption, 'half');
}

/**
 * Means of several curves over bins whose width grows with distance; distances from 1 on, non-positive values left out.
 */
function logBins(means: readonly (readonly (number | null)[])[]): { distance: number; value: number }[] {
  const length = maxOf(means.map((m) => m.length));
  const points: { distance: number; value: number }[] = [];
  for (let from = 1; from < length;) {
    const to = Math.min(length, Math.max(from + 1, Math.floor(from * 1.2)));
    const values = means.flatMap((m) => m.slice(from, to)).filter((v): v is number => v !== null && v > 0);
    if (values.length > 0)
      points.push({ distance: Math.sqrt(from * (to - 1)), value: values.reduce((a, b) => a + b, 0) / values.length });
    from = to;
  }
  return points;
}
