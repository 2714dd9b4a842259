/** Loss by position in the sequence: what more context is worth. */
import { maxOf, meanOf, minOf } from '../core/index.js';
import { dash, HALF, markers, type DrawnDesign } from './curves.js';
import { figure } from './html.js';
import { drawPlot, Plot, roomyDomain, tickLabel } from './plot.js';

/** Bins of positions to each doubling. */
const PER_DOUBLING = 2;

/** Positions of a bin, from 1 on, both ends included. */
interface Bin {
  readonly from: number;
  readonly to: number;
}

/** Bins that grow with the position, `PER_DOUBLING` to a doubling: 1, 2, 3, 4, 5 to 6, 7 to 8, 9 to 11, ... */
export function positionBins(length: number): Bin[] {
  const bins: Bin[] = [];
  for (let from = 1, i = 1; from <= length; i++) {
    const end = Math.round(2 ** (i / PER_DOUBLING));
    if (end < from) continue;
    const to = Math.min(length, end);
    bins.push({ from, to });
    from = to + 1;
  }
  return bins;
}

/** The mean of a list in each bin; NaN for a bin where nothing was measured. */
function binMeans(losses: readonly (number | null)[], bins: readonly Bin[]): number[] {
  return bins.map(({ from, to }) => {
    return meanOf(losses.slice(from - 1, to).filter((v) => v !== null));
  });
}

/** A point of a curve with its band. */
interface Spot {
  readonly at: number;
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/** The mean over seeds in each bin, and the least and the largest of them. */
export function positionCurve(lists: readonly (readonly (number | null)[])[]): Spot[] {
  // Runs of one design may differ in length; positions that only some have would mix different sets of seeds.
  const bins = positionBins(lists.length === 0 ? 0 : minOf(lists.map((l) => l.length)));
  const means = lists.map((losses) => binMeans(losses, bins));
  return bins.flatMap(({ from, to }, i) => {
    const values = means.flatMap((own) => (Number.isFinite(own[i]) ? [own[i] ?? 0] : []));
    if (values.length === 0) return [];
    return [{ at: Math.sqrt(from * to), value: meanOf(values), low: minOf(values), high: maxOf(values) }];
  });
}

/** Loss by position at the last evaluation of every design, on a logarithmic axis. */
export function positionFigure(designs: readonly DrawnDesign[]): string {
  const curves = designs.flatMap(({ style, runs }) => {
    const points = positionCurve(runs.flatMap(({ record }) => [record.evals.at(-1)?.perPositionLoss ?? []]));
    return points.length === 0 ? [] : [{ style, points }];
  });
  if (curves.length === 0) return '';
  // Most of what context is worth is gained in the first tokens, which a linear axis would hide.
  const drawn = curves.flatMap((curve) => curve.points);
  const losses = roomyDomain(drawn.map((p) => p.value));
  const last = maxOf(drawn.map((p) => p.at));
  const svg = drawPlot('Loss by position', {
    ...{ ...HALF, marginLeft: 62 },
    x: {
      ...{ type: 'log', base: 2, label: 'position in the sequence (tokens) →', grid: true, tickFormat: tickLabel },
      ...{ domain: [1, Math.max(2, last)], ticks: 6 },
    },
    y: {
      ...{ label: '↑ loss (nats per token)', grid: true, tickFormat: tickLabel },
      ...(losses === undefined ? { nice: true } : { domain: losses }),
    },
    marks: curves.flatMap(({ style, points }) => [
      Plot.areaY(points, {
        ...{ x: 'at', y1: 'low', y2: 'high', fill: style.color, fillOpacity: 0.16, className: style.className },
      }),
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
  const hasSeeds = designs.some(({ runs }) => runs.length > 1);
  return figure(
    'Loss by position',
    svg,
    'Held-out loss by place in the sequence at the last evaluation: what more context is worth. Means over stretches that grow ' +
      `with the position, as single positions are noisy${hasSeeds ? '; bands reach from the lowest to the highest seed' : ''}.`,
    'half',
  );
}
