/** What the figures of a report share: the runs of a design, and curves of them over training tokens. */
import type { Analyzed } from './report-data.js';
import { drawPlot, Plot, roomyDomain, tickLabel, type SeriesStyle } from './plot.js';
import type { RunRecord, RunSummary } from '../study/index.js';
import { at, formatTokens, maxOf, minOf } from '../core/index.js';
import type { CurvePlot } from '../lab/index.js';
import { type Point } from '../run/index.js';

/** Runs of one design within a group, with the style that they are drawn in. */
export interface DrawnDesign {
  readonly style: SeriesStyle;
  readonly runs: readonly { readonly summary: RunSummary; readonly record: RunRecord }[];
}

/** Size and margins of one panel of a row of plots, in pixels. */
export const PANEL = { width: 300, height: 235, marginLeft: 38, marginRight: 14, marginTop: 28, marginBottom: 42 };
/** Panels of two or three in a row are drawn at the size that they are shown in. */
export const PANEL_SIZE = { ...PANEL, width: 340, height: 250, marginLeft: 50, marginRight: 22 };
/** A figure of half the page, as narrow as it can be read on a phone. */
export const HALF = { ...PANEL_SIZE, width: 440, height: 300 };
/** The main figure of a page, and the same for narrow screens. */
export const HERO = { ...PANEL_SIZE, width: 880, height: 380 };
/** Room for the longest label that `tickLabel` gives. */
const LABELED_MARGIN = 62;
const isDrawn = ({ value }: Point): boolean => !Number.isNaN(value);

/** Points of a curve that carry a tooltip, and of all curves of a plot together. */
const MAX_TIPS = 50;
const ALL_TIPS = 1000;
/** Points of all thin lines of a plot together, and of all thick ones: beyond them lines skip evaluations. */
const SEED_POINTS = 12_000;
const MEAN_POINTS = 6000;
/** With room for fewer points a line, captions say that lines skip evaluations. */
const MANY_POINTS = 200;
/** Points that a line has at least. */
const LEAST_POINTS = 12;
/** Width and margins of a plot as wide as the page, in pixels. */
export const WIDE = { width: 1040, marginLeft: 46, marginRight: 24, marginTop: 26, marginBottom: 40 };

/** The designs that have runs among `summaries`, in the order of the study. */
export function drawnDesigns(
  summaries: readonly RunSummary[],
  analyzed: Analyzed,
  styles: readonly SeriesStyle[],
): DrawnDesign[] {
  return styles.flatMap((style) => {
    const runs = summaries.flatMap((summary) => {
      const record = analyzed.records.get(summary.name);
      return summary.architecture === style.label && record !== undefined ? [{ summary, record }] : [];
    });
    return runs.length === 0 ? [] : [{ style, runs }];
  });
}

/** What thin and thick lines are, where there are both. */
export function lines(designs: readonly DrawnDesign[]): string {
  const { seed, mean } = budgetOf(designs);
  const skipped =
    seed >= MANY_POINTS
      ? ''
      : ` Lines show at most ${seed} evaluations of a seed and ${mean} of a mean, evenly spread.`;
  return designs.some((design) => design.runs.length > 1) ? ` Thin: one seed; thick: mean over seeds.${skipped}` : '';
}

/** How many points a line, and how many tips a curve, may have in a plot of so many. */
interface Budget {
  readonly seed: number;
  readonly mean: number;
  readonly tips: number;
}

/** Fewer points than this are marked one by one: between them nothing was measured. */
const FEW_POINTS = 12;

/** Above this value nothing is drawn. */
interface Cut {
  readonly top: number;
}

/**
 * Where an axis is cut, as the first steps would leave all others no room: a little above all values from a tenth of
 * the tokens on, if the largest lies twice as far above the least as that; null where nothing is to be cut.
 */
export function cutOf(series: readonly (readonly Point[])[]): Cut | null {
  const points = series.flat().filter(({ value }) => Number.isFinite(value));
  if (points.length === 0) return null;
  const from = 0.1 * maxOf(points.map((p) => p.tokens));
  const later = points.filter((p) => p.tokens >= from).map((p) => p.value);
  const [least, most] = [minOf(later), maxOf(later)];
  const top = most + 0.1 * (most - least);
  return most > least && maxOf(points.map((p) => p.value)) - least > 2 * (top - least) ? { top } : null;
}

/** The stretches of a curve below a cut, each from and to where it crosses the cut. */
export function below(points: readonly Point[], { top }: Cut): Point[] {
  return points.flatMap((point, i) => {
    const before = points[i - 1];
    const crosses = before !== undefined && before.value > top !== point.value > top;
    const share = crosses ? (top - before.value) / (point.value - before.value) : 0;
    const edge = crosses ? [{ tokens: before.tokens + share * (point.tokens - before.tokens), value: top }] : [];
    // What lies above is a gap, so that a line is not drawn across it.
    if (point.value <= top) return [...edge, point];
    return [...edge, { tokens: edge[0]?.tokens ?? point.tokens, value: NaN }];
  });
}

/** The means of at most `count` stretches of a noisy series, at their last points' tokens. */
export function smoothed(points: readonly Point[], count: number): readonly Point[] {
  const size = Math.ceil(points.length / count);
  if (size <= 1) return points;
  return Array.from({ length: Math.ceil(points.length / size) }, (_, i) => {
    const own = points.slice(i * size, (i + 1) * size);
    const value = own.reduce((sum, p) => sum + p.value, 0) / own.length;
    return { tokens: at(own, own.length - 1).tokens, value };
  });
}

/** A report of a thousand runs stays a few megabytes: a plot holds so many points whatever the number of its curves. */
function budgetOf(designs: readonly DrawnDesign[], plots = 1): Budget {
  const runs = designs.reduce((sum, design) => sum + design.runs.length, 0);
  const share = (all: number, count: number) => Math.max(LEAST_POINTS, Math.floor(all / Math.max(1, count)));
  return {
    seed: share(SEED_POINTS / plots, runs),
    mean: share(MEAN_POINTS / plots, designs.length),
    tips: Math.min(MAX_TIPS, share(ALL_TIPS / plots, designs.length)),
  };
}

/**
 * Thin lines for the seeds and a thick one for their mean, for one design. Marks in the design's shape stand on the
 * thick line, each design's at places of its own: designs with equal values are all seen. Runs that have not measured
 * yet are left out.
 */
function curveMarks(
  { style, runs }: DrawnDesign,
  seriesOf: (r: RunRecord) => readonly Point[],
  width: number,
  { budget, cut }: { readonly budget: Budget; readonly cut: Cut | null },
) {
  const shown = (points: readonly Point[]) => (cut === null ? points : below(points, cut));
  const all = runs.map(({ summary, record }) => ({ seed: summary.seed, points: seriesOf(record) }));
  const measured = all.filter(({ points }) => points.length > 0);
  const seeds = measured.map(({ seed, points }) => ({ seed, points: shown(points) }));
  const mean = shown(measured.length === 1 ? (measured[0]?.points ?? []) : meanOf(measured.map((s) => s.points)));
  const line = { x: 'tokens', y: 'value', stroke: style.color, className: style.className, ...dash(style) };
  const about = seeds.length === 1 ? `seed ${seeds[0]?.seed}` : `mean of ${seeds.length} seeds`;
  const dot = { x: 'tokens', y: 'value', className: style.className };
  // A line of one point would not be seen.
  const single = seeds.flatMap(({ points }) => (points.length === 1 ? points : []));
  const few = mean.length <= FEW_POINTS ? seeds.flatMap(({ points }) => points) : [];
  return [
    ...(seeds.length === 1
      ? []
      : [
          Plot.line(
            seeds.flatMap(({ seed, points }) => thin(points, budget.seed).map((point) => ({ ...point, seed }))),
            {
              ...{ ...line, z: 'seed', strokeWidth: 1.1, strokeOpacity: 0.5 },
              title: ({ seed }: { seed: number }) => `${style.label}, seed ${seed}`,
            },
          ),
        ]),
    Plot.line(thin(mean, budget.mean), { ...line, strokeWidth: width + 0.4, title: () => `${style.label}, ${about}` }),
    Plot.dot(few, { ...dot, r: 1.8, fill: style.color }),
    Plot.dot([...markers(mean, style.index), ...single].filter(isDrawn), {
      ...{ ...dot, r: 3.6, stroke: style.color, strokeWidth: 1.4, fill: 'none', symbol: style.symbol },
    }),
    Plot.dot(thin(mean.filter(isDrawn), budget.tips), {
      ...{ ...dot, r: 5, fill: style.color, fillOpacity: 0 },
      title: (p: Point) => `${style.label}, ${about}\n${formatTokens(p.tokens)} tokens: ${p.value.toFixed(3)}`,
    }),
  ];
}

/** Points of a curve that carry the design's shape: about one in each eighth, at a place that depends on the design. */
export function markers<T>(points: readonly T[], index: number): T[] {
  const step = Math.max(1, Math.ceil(points.length / 8));
  return points.filter((_, i) => i % step === (3 * index) % step);
}

/** At most `count` entries, evenly spread, the last among them, and the first where more than one is left. */
function thin<T>(items: readonly T[], count: number): readonly T[] {
  if (items.length <= count) return items;
  const step = (items.length - 1) / Math.max(1, count - 1);
  return Array.from({ length: count }, (_, i) => at(items, Math.round(items.length - 1 - (count - 1 - i) * step)));
}

/** The mean of several series at the tokens that all of them have. */
function meanOf(series: readonly (readonly Point[])[]): Point[] {
  const [first = [], ...rest] = series;
  const maps = rest.map((points) => new Map(points.map((p) => [p.tokens, p.value])));
  return first.flatMap(({ tokens, value }) => {
    const others = maps.map((m) => m.get(tokens));
    if (others.some((v) => v === undefined)) return [];
    return [{ tokens, value: others.reduce<number>((sum, v) => sum + (v ?? 0), value) / series.length }];
  });
}

/** The dash pattern of a series as a plot option; nothing for solid lines. */
export function dash(style: SeriesStyle): { strokeDasharray?: string } {
  return style.dash === undefined ? {} : { strokeDasharray: style.dash };
}

/** Curves over training tokens; `values` are what they hold, from which a scale without extent gets one. */
export function tokensPlot(
  label: string,
  yLabel: string,
  { marks, series }: Curves,
  domain?: readonly [number, number],
  size: Plot.PlotOptions & { readonly marginLeft: number } = PANEL,
): string {
  const ticks = size === PANEL ? 3 : 5;
  const points = series.flat();
  const fixed = domain ?? roomyDomain(points.map((p) => p.value));
  const anyTokens = points.length === 0 || points.some((p) => p.tokens > 0);
  return drawPlot(`${label} against training tokens`, {
    ...size,
    x: {
      ...{ label: 'training tokens →', grid: true, ticks, tickFormat: tick },
      ...(anyTokens ? { nice: true, zero: true } : { domain: [0, 1], ticks: [0] }),
    },
    y: {
      ...(fixed === undefined ? { nice: true } : { domain: fixed }),
      ...{ label: `↑ ${yLabel}`, grid: true, ticks: 5, tickFormat: tickLabel },
    },
    marginLeft: Math.max(size.marginLeft, domain === undefined ? LABELED_MARGIN : 0),
    marks: [...marks],
  });
}

/** Marks of curves with the points that they show. */
export interface Curves {
  readonly marks: readonly Plot.Markish[];
  readonly series: readonly (readonly Point[])[];
}

/** The curves of every design, over `under`, which is drawn first. */
export function curvesOf(
  designs: readonly DrawnDesign[],
  seriesOf: (r: RunRecord) => readonly Point[],
  {
    under = [],
    isCut = false,
    plots = 1,
  }: { readonly under?: readonly Plot.Markish[]; readonly isCut?: boolean; readonly plots?: number } = {},
): Curves {
  // Read once: of a thousand runs it takes a second.
  const known = new Map(designs.flatMap(({ runs }) => runs.map(({ record }) => [record, seriesOf(record)])));
  const series = [...known.values()];
  const knownOf = (record: RunRecord) => known.get(record) ?? [];
  const cut = isCut ? cutOf(series) : null;
  const how = { budget: budgetOf(designs, plots), cut };
  return {
    marks: [...under, ...designs.flatMap((design) => curveMarks(design, knownOf, 2, how))],
    series: cut === null ? series : series.map((points) => below(points, cut).filter(isDrawn)),
  };
}

/** A plot of curves whose series are read from whole records. */
export type RecordPlot = Omit<CurvePlot<unknown>, 'series'> & {
  readonly series: (record: RunRecord) => readonly Point[];
};

/**
 * The curves of every design over training tokens, with the levels that the plot asks for.
 *
 * @param plots so many plots of other runs are on the page, which share the points that a page has room for
 */
export function curvePlot(
  { title, yLabel, domain, lines: dashed = [], dotted = [], isCut = false, series }: RecordPlot,
  designs: readonly DrawnDesign[],
  size: typeof PANEL,
  plots = 1,
): string {
  const base = { stroke: 'currentColor' };
  const under = [
    ...dashed.map((y) => Plot.ruleY([y], { ...base, strokeOpacity: 0.55, strokeDasharray: '5,4' })),
    ...dotted.map((y) => Plot.ruleY([y], { ...base, strokeOpacity: 0.35, strokeDasharray: '1,4' })),
  ];
  return tokensPlot(title, yLabel, curvesOf(designs, series, { under, isCut, plots }), domain, size);
}

/** `0`, `500 k`, `1.5 M`. */
export function tick(tokens: number): string {
  if (tokens === 0) return '0';
  const [scale, unit] = tokens >= 1e9 ? [1e9, 'B'] : tokens >= 1e6 ? [1e6, 'M'] : tokens >= 1e3 ? [1e3, 'k'] : [1, ''];
  return `${Number((tokens / scale).toPrecision(3))}${unit === '' ? '' : ` ${unit}`}`;
}

/** Room for row labels, from their longest. */
export function labelMargin(labels: readonly string[]): number {
  return Math.min(220, 20 + 7 * Math.max(4, maxOf(labels.map((l) => l.length))));
}
