/** What the figures of a report share: the runs of a design, and curves of them over training tokens. */
import type { Analysed } from './report-data.js';
import { drawPlot, Plot, type SeriesStyle } from './plot.js';
import type { Point, RunRecord, RunSummary } from '../study/index.js';
import { formatTokens, maxOf } from '../core/index.js';

/** Runs of one design within a group, with the style that they are drawn in. */
export interface DrawnDesign {
  readonly style: SeriesStyle;
  readonly runs: readonly { readonly summary: RunSummary; readonly record: RunRecord }[];
}

export const PANEL = { width: 256, height: 210, marginLeft: 34, marginRight: 12, marginTop: 26, marginBottom: 38 };
/** Points of a curve that carry a tooltip. */
const MAX_TIPS = 50;
export const WIDE = { width: 1040, marginLeft: 46, marginRight: 24, marginTop: 26, marginBottom: 40 };

/** The designs that have runs among `summaries`, in the order of the study. */
export function drawnDesigns(
  summaries: readonly RunSummary[],
  analysed: Analysed,
  styles: readonly SeriesStyle[],
): DrawnDesign[] {
  return styles.flatMap((style) => {
    const runs = summaries.flatMap((summary) => {
      const record = analysed.records.get(summary.name);
      return summary.architecture === style.label && record !== undefined ? [{ summary, record }] : [];
    });
    return runs.length === 0 ? [] : [{ style, runs }];
  });
}

/** What thin and thick lines are, where there are both. */
export function lines(designs: readonly DrawnDesign[]): string {
  return designs.some((design) => design.runs.length > 1) ? ' Thin: one seed; thick: mean over seeds.' : '';
}

/** Thin lines for the seeds and a thick one for their mean, for one design. */
export function curveMarks({ style, runs }: DrawnDesign, seriesOf: (r: RunRecord) => readonly Point[], width: number) {
  const seeds = runs.map(({ summary, record }) => ({ seed: summary.seed, points: seriesOf(record) }));
  const mean = runs.length === 1 ? (seeds[0]?.points ?? []) : meanOf(seeds.map((s) => s.points));
  const line = { x: 'tokens', y: 'value', stroke: style.color, className: style.className, ...dash(style) };
  const about = runs.length === 1 ? `seed ${seeds[0]?.seed}` : `mean of ${runs.length} seeds`;
  return [
    ...(runs.length === 1
      ? []
      : seeds.map(({ seed, points }) =>
          Plot.line(points, {
            ...{ ...line, strokeWidth: 1.1, strokeOpacity: 0.5 },
            title: () => `${style.label}, seed ${seed}`,
          }),
        )),
    Plot.line(mean, { ...line, strokeWidth: width + 0.4, title: () => `${style.label}, ${about}` }),
    Plot.dot(thin(mean, MAX_TIPS), {
      ...{ x: 'tokens', y: 'value', r: 5, fill: style.color, fillOpacity: 0, className: style.className },
      title: (p: Point) => `${style.label}, ${about}\n${formatTokens(p.tokens)} tokens: ${p.value.toFixed(3)}`,
    }),
  ];
}

/** At most `count` entries, evenly spread, the last among them. */
export function thin<T>(items: readonly T[], count: number): T[] {
  const step = Math.ceil(items.length / count);
  return items.filter((_, i) => (items.length - 1 - i) % step === 0);
}

/** The mean of several series at the tokens that all of them have. */
export function meanOf(series: readonly (readonly Point[])[]): Point[] {
  const [first = [], ...rest] = series;
  const maps = rest.map((points) => new Map(points.map((p) => [p.tokens, p.value])));
  return first.flatMap(({ tokens, value }) => {
    const others = maps.map((m) => m.get(tokens));
    if (others.some((v) => v === undefined)) return [];
    return [{ tokens, value: others.reduce<number>((sum, v) => sum + (v ?? 0), value) / series.length }];
  });
}

export function dash(style: SeriesStyle): { strokeDasharray?: string } {
  return style.dash === undefined ? {} : { strokeDasharray: style.dash };
}

export function tokensPlot(
  label: string,
  yLabel: string,
  marks: readonly Plot.Markish[],
  domain?: readonly [number, number],
  size: Plot.PlotOptions = PANEL,
): string {
  const ticks = size === PANEL ? 3 : 5;
  return drawPlot(`${label} against training tokens`, {
    ...size,
    x: { label: 'training tokens →', grid: true, nice: true, ticks, zero: true, tickFormat: tick },
    y: {
      ...(domain === undefined ? { nice: true } : { domain }),
      ...{ label: `↑ ${yLabel}`, grid: true, ticks: 5 },
    },
    marks: [...marks],
  });
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
