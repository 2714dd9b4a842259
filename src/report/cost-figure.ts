/** Designs by what they cost and what they came to, with the Pareto front: which of them to build for a budget. */
import {
  capitalized,
  formatBytes,
  formatFlops,
  formatCount,
  maxOf,
  meanOf,
  minOf,
  significant,
  type Interval,
} from '../core/index.js';
import type { FigureView } from '../lab/index.js';
import type { CompareOptions, RunSummary } from '../study/index.js';
import { meansOver, paretoFront, type GroupCosts, type RunCost } from './costs.js';
import { PANEL_SIZE } from './curves.js';
import { escapeHtml, figure, panel } from './html.js';
import { outcomeOf } from './measured.js';
import { drawPlot, Plot, roomyDomain, tickLabel, type SeriesStyle } from './plot.js';
import { viewOf, type Group } from './report-data.js';

/** A kind of cost: an axis of its own. */
interface Axis {
  readonly title: string;
  /** Below the axis, without the unit. */
  readonly label: (costs: GroupCosts) => string;
  readonly of: (cost: RunCost) => number | null;
  /** The unit of an axis that reaches up to `most`: its size, and its name behind the label. */
  readonly unit: (most: number, isLog: boolean) => { readonly size: number; readonly name: string };
  /** A value as a table has it, with its unit where the heading does not say it. */
  readonly text: (value: number) => string;
}

const BYTES = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];

const AXES: Readonly<Record<'flops' | 'seconds' | 'cacheBytes', Axis>> = {
  flops: {
    title: 'By training FLOPs',
    label: () => 'training FLOPs',
    of: ({ flops }) => flops,
    unit: (most, isLog) => {
      // Ticks of logarithms are powers themselves.
      if (isLog) return { size: 1, name: '' };
      const power = most > 0 ? Math.floor(Math.log10(most)) : 0;
      return { size: 10 ** power, name: ` (1e${power})` };
    },
    text: formatFlops,
  },
  seconds: {
    title: 'By training time',
    label: () => 'training steps (s)',
    of: ({ seconds }) => seconds,
    unit: () => ({ size: 1, name: '' }),
    text: significant,
  },
  cacheBytes: {
    title: 'By cache in use',
    label: ({ context, cacheDtype }) => `cache at ${formatCount(context)} tokens, ${cacheDtype}`,
    of: ({ cacheBytes }) => cacheBytes,
    unit: (most) => {
      const power = Math.max(
        0,
        BYTES.findLastIndex((_, i) => most >= 1024 ** i),
      );
      return { size: 1024 ** power, name: ` (${BYTES[power] ?? 'bytes'})` };
    },
    text: (value) => formatBytes(Math.round(value)),
  },
};

type AxisName = keyof typeof AXES;

const AXIS_NAMES: readonly AxisName[] = ['flops', 'seconds', 'cacheBytes'];

/** What designs are judged by. */
interface Judged {
  readonly title: string;
  /** In the heading of a column. */
  readonly short: string;
  readonly yLabel: string;
  readonly of: (run: RunSummary) => number | null;
  readonly isHighBest: boolean;
  readonly domain?: readonly [number, number];
  readonly text: (value: number) => string;
}

/** A design, or one at a point of a grid, with its finished runs. */
interface CostedDesign {
  readonly style: SeriesStyle;
  readonly name: string;
  readonly runs: readonly { readonly summary: RunSummary; readonly cost: RunCost }[];
}

/** A design in one panel. */
interface Spot {
  readonly design: CostedDesign;
  readonly cost: number;
  readonly mean: number;
  readonly interval: Interval | null;
  readonly seeds: readonly { readonly seed: number; readonly cost: number; readonly value: number }[];
  readonly onFront: boolean;
}

function judgedOf(groups: readonly Group[], view: FigureView): Judged[] {
  const runs = groups.flatMap((group) => group.runs);
  const outcome = outcomeOf(runs);
  const loss: Judged = {
    ...{ title: 'Held-out loss', yLabel: 'loss (nats per token)', of: (run) => run.finalLoss },
    ...{ short: 'held-out loss (nats)', isHighBest: false, text: (value) => value.toFixed(4) },
  };
  if (outcome === null) return [loss];
  const far: Judged = {
    ...{ title: capitalized(outcome.name(view)), yLabel: outcome.axis, of: outcome.of },
    ...{ short: outcome.short, isHighBest: true, domain: [0, 1] as const, text: (value) => value.toFixed(3) },
  };
  return [far, loss];
}

function spotsOf(designs: readonly CostedDesign[], axis: Axis, { of, isHighBest }: Judged): Spot[] {
  const measured = designs.flatMap((design) => {
    const seeds = design.runs.flatMap(({ summary, cost }) => {
      const [x, value] = [axis.of(cost), of(summary)];
      return x === null || value === null ? [] : [{ seed: summary.seed, cost: x, value }];
    });
    return seeds.length === 0 ? [] : [{ design, seeds }];
  });
  const means = meansOver(measured.map(({ seeds }) => seeds.map(({ value }) => value)));
  const spots = measured.flatMap(({ design, seeds }, i) => {
    const known = means[i];
    const cost = meanOf(seeds.map((seed) => seed.cost));
    return known === undefined ? [] : [{ design, seeds, cost, ...known }];
  });
  const front = paretoFront(
    spots.map(({ cost, mean }) => ({ cost, value: mean })),
    isHighBest,
  );
  return spots.map((spot, i) => ({ ...spot, onFront: front[i] === true }));
}

/** Costs that differ by more than this factor have a logarithmic axis. */
const LOG_FROM = 4;

/** The x axis of a panel, with room beside the outermost marks, and the unit that it counts in. */
function xScale(
  costs: readonly number[],
  axis: Axis,
  label: string,
): { readonly x: Plot.ScaleOptions & { readonly domain: [number, number] }; readonly size: number } {
  const isLog = maxOf(costs) > LOG_FROM * minOf(costs);
  const { size, name } = axis.unit(maxOf(costs), isLog);
  const [low, high] = [minOf(costs) / size, maxOf(costs) / size];
  const base = { label: `${label}${name} →`, grid: true, ticks: 4, tickFormat: tickLabel };
  if (isLog) return { x: { ...base, type: 'log', domain: [low / 1.25, high * 1.25] }, size };
  const room = high === low ? 0.1 * high : 0.12 * (high - low);
  return { x: { ...base, domain: [Math.max(0, low - room), high + room] }, size };
}

/** The stair of the best means that at most each cost has come to, up to the right edge. */
function stairOf(spots: readonly Spot[], to: number): { readonly cost: number; readonly mean: number }[] {
  const best = spots.filter(({ onFront }) => onFront).sort((a, b) => a.cost - b.cost);
  const end = best.at(-1);
  return [...best, ...(end === undefined ? [] : [{ cost: to, mean: end.mean }])].map(({ cost, mean }) => ({
    cost,
    mean,
  }));
}

function panelPlot(all: readonly Spot[], axis: Axis, judged: Judged, label: string): string {
  const { x, size } = xScale(
    all.flatMap(({ seeds }) => seeds.map(({ cost }) => cost)),
    axis,
    label,
  );
  const spots = all.map((spot) => ({
    ...{ ...spot, cost: spot.cost / size, about: aboutSpot(spot, axis, judged) },
    seeds: spot.seeds.map((seed) => ({ ...seed, cost: seed.cost / size })),
  }));
  const values = spots.flatMap(({ seeds, mean }) => [mean, ...seeds.map(({ value }) => value)]);
  const spread = maxOf(values) - minOf(values);
  const roomy = roomyDomain(values) ?? [minOf(values) - 0.08 * spread, maxOf(values) + 0.08 * spread];
  const [bottom, top] = judged.domain ?? roomy;
  const within = (value: number) => Math.min(top, Math.max(bottom, value));
  // Those off the front stand in front: hollow, they hide nothing that lies beneath.
  const ordered = [...spots.filter(({ onFront }) => onFront), ...spots.filter(({ onFront }) => !onFront)];
  const marks = ordered.flatMap(({ design: { style, name }, about, seeds, cost, mean, interval, onFront }) => {
    const base = { className: style.className, opacity: onFront ? 1 : 0.45 };
    return [
      ...(interval === null
        ? []
        : [
            Plot.ruleX([{ cost, low: within(interval.low), high: within(interval.high) }], {
              ...{ ...base, x: 'cost', y1: 'low', y2: 'high', stroke: style.color, strokeWidth: 1.6 },
            }),
          ]),
      Plot.dot(seeds.length > 1 ? seeds : [], {
        ...{ ...base, x: 'cost', y: 'value', r: 2.2, fill: style.color },
        title: ({ seed, value }: (typeof seeds)[number]) => `${name}, seed ${seed}: ${judged.text(value)}`,
      }),
      Plot.dot([{ cost, mean }], {
        ...{ ...base, x: 'cost', y: 'mean', r: 6, symbol: style.symbol, stroke: style.color, strokeWidth: 2 },
        ...{ fill: style.color, fillOpacity: onFront ? 0.45 : 0, title: () => about },
      }),
    ];
  });
  return drawPlot(`${judged.title} ${axis.title.toLowerCase()}`, {
    ...{ ...PANEL_SIZE, marginLeft: 58, x },
    y: { domain: [bottom, top], inset: 6, label: `↑ ${judged.yLabel}`, grid: true, ticks: 5, tickFormat: tickLabel },
    marks: [
      Plot.line(stairOf(spots, x.domain[1]), {
        ...{ x: 'cost', y: 'mean', curve: 'step-after', stroke: 'currentColor', strokeOpacity: 0.5, strokeWidth: 1.4 },
        strokeDasharray: '4,3',
      }),
      ...marks,
    ],
  });
}

/** What a mark says to those who point at it. */
function aboutSpot({ design, cost, mean, seeds, interval, onFront }: Spot, axis: Axis, judged: Judged): string {
  const count = seeds.length > 1 ? `, mean of ${seeds.length} seeds` : '';
  const band = interval === null ? '' : `\n95 %: ${intervalText(interval, judged)}`;
  return `${design.name}${onFront ? ', on the front' : ''}\n${axis.title.slice(3)}: ${axis.text(cost)}\n${judged.text(mean)}${count}${band}`;
}

/** An interval within what can be measured. */
function intervalText(
  { low, high }: Interval,
  { domain: [least, most] = [-Infinity, Infinity], text }: Judged,
): string {
  return `${text(Math.max(least, low))} to ${text(Math.min(most, high))}`;
}

/** The designs of groups; of several, each at each point of the grid. */
function designsOf(groups: readonly Group[], styles: readonly SeriesStyle[]): CostedDesign[] {
  return styles.flatMap((style) =>
    groups.flatMap((group): CostedDesign[] => {
      const runs = group.runs.flatMap((summary) => {
        const cost = group.costs?.runs.find(({ name }) => name === summary.name);
        return summary.architecture !== style.label || cost === undefined ? [] : [{ summary, cost }];
      });
      const name = groups.length > 1 ? `${style.label}, ${group.title.replace(/^(Main|Long) arm, /, '')}` : style.label;
      return runs.length === 0 ? [] : [{ style, name, runs }];
    }),
  );
}

/**
 * Figures and table of what designs cost and what they came to; empty where fewer than two are to be compared.
 *
 * @param groups groups whose runs were measured on the same data: one, or all points of a grid
 */
export function costFigures(groups: readonly Group[], styles: readonly SeriesStyle[], compare: CompareOptions): string {
  const [first] = groups;
  const designs = designsOf(groups, styles);
  if (first === undefined || designs.length < 2) return '';
  const { costs } = first;
  if (costs === null) return '';
  const view: FigureView = { ...viewOf(first, compare), beyond: first.beyond, chance: first.chance };
  const judged = judgedOf(groups, view);
  const drawn = judged.map((own) => ({
    own,
    axes: AXIS_NAMES.flatMap((name) => {
      const spots = spotsOf(designs, AXES[name], own);
      return spots.length < 2 ? [] : [{ name, spots }];
    }),
  }));
  const figures = drawn.flatMap(({ own, axes }) => {
    if (axes.length === 0) return [];
    const panels = axes.map(({ name, spots }) =>
      panel(AXES[name].title, panelPlot(spots, AXES[name], own, AXES[name].label(costs))),
    );
    return [figure(`${own.title} for what it costs`, panels.join(''), captionOf(costs, own, designs))];
  });
  if (figures.length === 0) return '';
  return `<div class="figures">${figures.join('')}</div>${costTable(designs, drawn, groups, costs)}`;
}

function captionOf({ device }: GroupCosts, { isHighBest }: Judged, designs: readonly CostedDesign[]): string {
  const seeds = designs.some(({ runs }) => runs.length > 1)
    ? ' Small dots: seeds; large marks: their mean, with its 95 % interval, cut at the edge, where there are seeds enough.'
    : ' One mark per run.';
  return (
    `Left and ${isHighBest ? 'up' : 'down'} is better. Dashed: the front, the best mean that at most this cost has come to; designs off it are pale and hollow, ` +
    `and may lie as far off it by chance as their intervals reach.${seeds}${device === null ? '' : ` Time is that of training steps on ${device}.`}`
  );
}

/**
 * The numbers of the figures: a row a design. Columns follow the figures, so that one that has no panel, such as time
 * where runs shared a machine, has no column either.
 */
function costTable(
  designs: readonly CostedDesign[],
  drawn: readonly {
    readonly own: Judged;
    readonly axes: readonly { readonly name: AxisName; readonly spots: readonly Spot[] }[];
  }[],
  groups: readonly Group[],
  costs: GroupCosts,
): string {
  const shown = AXIS_NAMES.filter((name) => drawn.some(({ axes }) => axes.some((own) => own.name === name)));
  // A design may be missing from some panels: its cells there say so.
  const numbers = [
    'seeds',
    ...shown.map((name) => AXES[name].label(costs)),
    ...drawn.map(({ own }) => `${own.short}, mean (95 %)`),
  ];
  const rows = designs.map((design) => {
    const all = drawn.map(({ axes }) =>
      axes.flatMap(({ name, spots }) => spots.filter((spot) => spot.design === design).map((spot) => ({ name, spot }))),
    );
    const costOf = (name: AxisName) => {
      const found = all.flat().find((own) => own.name === name);
      return found === undefined ? '–' : AXES[name].text(found.spot.cost);
    };
    const means = drawn.map(({ own }, i) => {
      const spot = all[i]?.[0]?.spot;
      if (spot === undefined) return '–';
      return spot.interval === null
        ? own.text(spot.mean)
        : `${own.text(spot.mean)} (${intervalText(spot.interval, own)})`;
    });
    const fronts = drawn.flatMap(({ own, axes }, i) => {
      const on = (all[i] ?? []).filter(({ spot }) => spot.onFront).map(({ name }) => WORDS[name]);
      if (on.length === 0) return [];
      return [
        `${own.short.replace(/ \(.*/, '')}: ${on.length === axes.length && on.length > 1 ? 'all' : on.join(', ')}`,
      ];
    });
    const key = `<svg width="14" height="10" aria-hidden="true" class="key"><rect width="12" height="10" rx="2" fill="${design.style.color}"/></svg>`;
    const cells = [String(design.runs.length), ...shown.map(costOf), ...means].map(
      (text) => `<td class="n">${escapeHtml(text)}</td>`,
    );
    return `<tr><th scope="row">${key} ${escapeHtml(design.name)}</th>${cells.join('')}<td>${escapeHtml(fronts.join('; ') || '–')}</td></tr>`;
  });
  const head = numbers.map((text) => `<th scope="col" class="n">${escapeHtml(text)}</th>`).join('');
  return (
    `<div class="question"><h3>What each design cost, and came to</h3><div class="scroll"><table class="costs"><thead><tr><th scope="col">design</th>${head}` +
    `<th scope="col">on the front</th></tr></thead><tbody>${rows.join('')}</tbody></table></div>${notesOf(groups)}</div>`
  );
}

const WORDS: Readonly<Record<AxisName, string>> = { flops: 'FLOPs', seconds: 'time', cacheBytes: 'cache' };

/** What the figures leave out, each sentence once. */
function notesOf(groups: readonly Group[]): string {
  const notes = [...new Set(groups.flatMap(({ costs }) => costs?.notes ?? []))];
  return notes.map((text) => `<p class="footnote">${escapeHtml(text)}</p>`).join('');
}
