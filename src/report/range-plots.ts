/** Curves over ranges of tokens, such as positions and distances: one panel a variant, one line a design. */
import { maxOf, meanOf, minOf } from '../core/index.js';
import type { RangeCurve, RangesFigure } from '../lab/index.js';
import { dash, HALF, PANEL_SIZE } from './curves.js';
import { figure, panel } from './html.js';
import { drawPlot, Plot, roomyDomain, tickLabel, type SeriesStyle } from './plot.js';

/** A design with the records of its runs. */
interface Measured<R> {
  readonly style: SeriesStyle;
  readonly runs: readonly { readonly record: R }[];
}

/** A point of a design: the mean over its runs, and the lowest and highest of them. */
interface Point {
  readonly tokens: number;
  readonly from: number;
  readonly to: number;
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/** A design in one panel. */
interface Line {
  readonly panel: string;
  readonly style: SeriesStyle;
  readonly points: readonly Point[];
}

/** Draws them; nothing where no run has such a finding. */
export function rangesFigure<F, R>(
  shown: RangesFigure<F>,
  { designs, last }: { readonly designs: readonly Measured<R>[]; readonly last: (record: R) => F | null },
  caption: string,
): string {
  const found = designs.map(({ style, runs }) => ({
    style,
    findings: runs.flatMap(({ record }) => last(record) ?? []),
  }));
  const drawn = found.flatMap(({ style, findings }) =>
    linesOf(
      style,
      findings.flatMap((own) => shown.curves(own)),
    ),
  );
  if (drawn.length === 0) return '';
  const marks = [...new Set(found.flatMap(({ findings }) => findings.flatMap((own) => shown.mark(own) ?? [])))];
  const values = drawn.flatMap(({ points }) => points.flatMap(({ low, high }) => [low, high]));
  const domain = shown.isShare ? [0, Math.max(0.05, 1.05 * maxOf(values))] : (roomyDomain(values) ?? padded(values));
  const names = [...new Set(drawn.map((line) => line.panel))];
  const [only] = names.length === 1 ? names : [];
  if (only !== undefined) {
    const svg = panelOf(shown, drawn, { name: only, domain, marks, size: HALF });
    return figure(shown.title, svg, caption, 'half');
  }
  const panels = names.map((name) => {
    const own = drawn.filter((line) => line.panel === name);
    return panel(name, panelOf(shown, own, { name, domain, marks, size: PANEL_SIZE }));
  });
  return figure(shown.title, panels.join(''), caption);
}

/** A number of tokens on an axis that doubles, as the options of commands spell it: 512, 1k, 16k. */
function rangeLabel(tokens: number): string {
  return tokens >= 1024 && tokens % 1024 === 0 ? `${tokens / 1024}k` : tickLabel(tokens);
}

/** From the least to the largest value, with room at both ends. */
function padded(values: readonly number[]): number[] {
  const [low, high] = [minOf(values), maxOf(values)];
  return [low - 0.05 * (high - low), high + 0.05 * (high - low)];
}

/** The curves of a design's runs as a line for each panel; a range that some run has no value for is of the others. */
function linesOf(style: SeriesStyle, curves: readonly RangeCurve[]): Line[] {
  return [...new Set(curves.map((curve) => curve.panel))].flatMap((name) => {
    const own = curves.filter((curve) => curve.panel === name).flatMap(({ points }) => points);
    const ranges = [...new Map(own.map(({ from, to }) => [`${from}-${to}`, { from, to }])).values()];
    const points = ranges.map(({ from, to }): Point => {
      const values = own.filter((point) => point.from === from && point.to === to).map(({ value }) => value);
      return { tokens: Math.sqrt(from * to), from, to, value: meanOf(values), low: minOf(values), high: maxOf(values) };
    });
    return points.length === 0 ? [] : [{ panel: name, style, points: points.sort((a, b) => a.tokens - b.tokens) }];
  });
}

function panelOf(
  { title, axis, xLabel }: Pick<RangesFigure<never>, 'title' | 'axis' | 'xLabel'>,
  drawn: readonly Line[],
  {
    name,
    domain,
    marks,
    size,
  }: {
    readonly name: string;
    readonly domain: readonly number[];
    readonly marks: readonly number[];
    readonly size: typeof HALF;
  },
): string {
  // Ranges double, so that the axis does too; a band reaches from the lowest to the highest run.
  return drawPlot(`${title}, ${name}`, {
    ...size,
    x: { type: 'log', base: 2, label: `${xLabel} →`, ticks: 5, tickFormat: rangeLabel },
    y: { domain: [...domain], label: `↑ ${axis}`, grid: true, ticks: 5, tickFormat: tickLabel },
    marks: [
      Plot.ruleX(marks, { stroke: 'currentColor', strokeOpacity: 0.55, strokeDasharray: '1,4' }),
      ...drawn.flatMap(({ style, points }) => [
        Plot.areaY(points, {
          ...{ x: 'tokens', y1: 'low', y2: 'high', fill: style.color, fillOpacity: 0.16, className: style.className },
        }),
        Plot.line(points, {
          ...{
            x: 'tokens',
            y: 'value',
            stroke: style.color,
            strokeWidth: 2,
            className: style.className,
            ...dash(style),
          },
        }),
        Plot.dot(points, {
          ...{ x: 'tokens', y: 'value', r: 3.6, stroke: style.color, fill: 'var(--card)', symbol: style.symbol },
          className: style.className,
          title: ({ from, to, value }: Point) =>
            `${style.label}, ${name}, ${from === to ? String(from) : `${from} to ${to}`} tokens: ${value.toFixed(4)}`,
        }),
      ]),
    ],
  });
}
