/** Curves of what is left of a model over limits of reach, one panel a design. */
import { at, maxOf, minOf } from '../core/index.js';
import type { LimitCurve, LimitsFigure } from '../lab/index.js';
import type { RunRecord } from '../study/index.js';
import { WIDE, type DrawnDesign } from './curves.js';
import { figure, panel } from './html.js';
import { drawPlot, Plot, roomyDomain, tickLabel, type SeriesStyle } from './plot.js';

const SIZE = { ...WIDE, width: 340, height: 250, marginLeft: 50, marginRight: 22 };

/** A mark of one run: its number under a limit of one part. */
interface Spot {
  readonly seed: number;
  readonly part: string;
  readonly keys: number;
  readonly value: number;
}

/** The runs of a design with their curves. */
interface Drawn {
  readonly style: SeriesStyle;
  readonly spots: readonly Spot[];
  /** The number of each run where nothing is limited. */
  readonly wholes: readonly number[];
}

/** Draws them; nothing where no run has such a finding. */
export function limitsFigure<F>(
  shown: LimitsFigure<F>,
  { designs, last }: { readonly designs: readonly DrawnDesign[]; readonly last: (record: RunRecord) => F | null },
  caption: string,
): string {
  const all = designs.flatMap((design) => drawnOf(shown, design, last));
  if (all.length === 0) return '';
  const values = all.flatMap(({ spots, wholes }) => [...spots.map((spot) => spot.value), ...wholes]);
  const domain = shown.isShare
    ? ([0, Math.max(0.05, 1.05 * maxOf(values))] as const)
    : (roomyDomain(values) ?? padded(values));
  const keys = [...new Set(all.flatMap(({ spots }) => spots.map((spot) => spot.keys)))].sort((a, b) => a - b);
  const panels = all.map(
    (drawn) => `<div class="${drawn.style.className}">${panelOf(shown, drawn, { domain, keys })}</div>`,
  );
  return figure(shown.title, panels.join(''), caption);
}

/** From the least to the largest value, with room for marks at both ends. */
function padded(values: readonly number[]): readonly [number, number] {
  const [low, high] = [minOf(values), maxOf(values)];
  const room = 0.05 * (high - low);
  return [low - room, high + room];
}

function drawnOf<F>(
  shown: LimitsFigure<F>,
  { style, runs }: DrawnDesign,
  last: (record: RunRecord) => F | null,
): Drawn[] {
  const found = runs.flatMap(({ summary, record }) => {
    const finding = last(record);
    const curves: readonly LimitCurve[] = finding === null ? [] : shown.curves(finding);
    return curves.length === 0 ? [] : [{ seed: summary.seed, curves }];
  });
  const spots = found.flatMap(({ seed, curves }) =>
    curves.flatMap(({ part, points }) => points.map((point) => ({ seed, part, ...point }))),
  );
  const wholes = found.flatMap(({ curves }) => at(curves, 0).whole ?? []);
  return spots.length === 0 ? [] : [{ style, spots, wholes }];
}

function panelOf(
  { title, axis }: Pick<LimitsFigure<never>, 'title' | 'axis'>,
  { style, spots, wholes }: Drawn,
  { domain, keys }: { readonly domain: readonly [number, number]; readonly keys: readonly number[] },
): string {
  const parts = [...new Set(spots.map((spot) => spot.part))];
  const whole = wholes.length === 0 ? [] : [wholes.reduce((a, b) => a + b, 0) / wholes.length];
  const rule = { stroke: 'currentColor', strokeOpacity: 0.55, strokeDasharray: '5,4' };
  const svg = drawPlot(`${title}, ${style.label}`, {
    ...SIZE,
    x: {
      type: 'log',
      base: 2,
      domain: [at(keys, 0), at(keys, keys.length - 1)],
      label: 'visible keys →',
      ticks: [...keys],
    },
    y: { domain: [...domain], label: `↑ ${axis}`, grid: true, ticks: 5, tickFormat: tickLabel },
    marks: [
      Plot.ruleY(whole, rule),
      ...parts.flatMap((part) =>
        partMarks(
          style,
          spots.filter((s) => s.part === part),
        ),
      ),
    ],
  });
  return panel(style.label, svg);
}

/** The mean over seeds as a line, and a mark a seed: filled where the full layers are limited, hollow else. */
function partMarks({ label, color, symbol }: SeriesStyle, spots: readonly Spot[]): Plot.Markish[] {
  const isFull = spots[0]?.part === 'full';
  const keys = [...new Set(spots.map((spot) => spot.keys))].sort((a, b) => a - b);
  const means = keys.map((own) => {
    const values = spots.filter((spot) => spot.keys === own).map((spot) => spot.value);
    return { keys: own, value: values.reduce((a, b) => a + b, 0) / values.length };
  });
  const place = { x: 'keys', y: 'value' };
  return [
    Plot.line(means, { ...place, stroke: color, strokeWidth: 2, strokeOpacity: isFull ? 1 : 0.6 }),
    Plot.dot(spots, {
      ...{ ...place, r: 4, stroke: color, fill: isFull ? color : 'var(--card)', symbol },
      title: ({ seed, part, keys: own, value }: Spot) =>
        `${label}, seed ${seed}, ${part} layers limited to ${own} keys: ${value.toFixed(3)}`,
    }),
  ];
}
