/** Scaling laws of a study whose runs differ in size and budget, and figures of laws with their bands. */
import {
  analyzeScaling,
  computeOptimal,
  extrapolate,
  groupBySize,
  isoLoss,
  type ScalingAnalysis,
  type ScalingOptions,
  type ScalingPoint,
} from '../analysis/index.js';
import type { RunSummary } from '../study/index.js';
import type { Analyzed } from './report-data.js';
import { tick, WIDE } from './curves.js';
import { escapeHtml, figure, pageHtml, panel, table } from './html.js';
import { drawPlot, Plot } from './plot.js';
import { NUM_COLORS } from './report-style.js';
import { at, formatTokens, significant, maxOf, minOf } from '../core/index.js';

/** Points that a law needs. */
const LEAST_POINTS = 5;

/** Measured points with a label. */
export interface NamedPoints {
  readonly label: string;
  readonly points: readonly ScalingPoint[];
}

/** What laws are fitted to, by the name that `fit --measure` takes: the value of a run, and what it is. */
export const FITTED = {
  loss: { of: (run: RunSummary) => run.finalLoss, about: 'held-out loss (nats per token)' },
  ar: { of: (run: RunSummary) => run.ar?.loss ?? null, about: 'loss of far associative recall (nats per hit)' },
} as const satisfies Readonly<Record<string, { of: (run: RunSummary) => number | null; about: string }>>;

/** A measure that laws are fitted to. */
export type FittedMeasure = keyof typeof FITTED;

/** The names of `FITTED`. */
export const FITTED_MEASURES = Object.keys(FITTED) as FittedMeasure[];

/**
 * A design's finished runs as points: N non-embedding parameters, D training tokens, y the measure at the end. Designs
 * whose runs are fewer than five, or do not differ in both N and D, are left out.
 */
export function studyPoints({ analysis }: Analyzed, measure: FittedMeasure = 'loss'): NamedPoints[] {
  return analysis.architectures.flatMap(({ label }) => {
    const runs = analysis.groups.flatMap((g) => g.runs).filter((run) => run.architecture === label);
    const points = runs.flatMap((run) => {
      const { nonEmbeddingParameters: N, tokens: D } = run;
      const y = FITTED[measure].of(run);
      return y === null || !(y > 0) ? [] : [{ size: formatTokens(N), N, D, y }];
    });
    const differ = (of: (p: ScalingPoint) => number): boolean => new Set(points.map(of)).size > 1;
    return points.length < LEAST_POINTS || !differ((p) => p.N) || !differ((p) => p.D) ? [] : [{ label, points }];
  });
}

/** The same study without the runs that are named: what laws are then fitted to. */
export function withoutRuns(analyzed: Analyzed, names: readonly string[]): Analyzed {
  if (names.length === 0) return analyzed;
  const out = new Set(names);
  const groups = analyzed.analysis.groups.map((g) => ({ ...g, runs: g.runs.filter(({ name }) => !out.has(name)) }));
  return { ...analyzed, analysis: { ...analyzed.analysis, groups } };
}

/** A design's law. */
export interface NamedFit {
  readonly label: string;
  readonly result: ScalingAnalysis;
}

/** A law for each design that has points enough. */
export function fitStudy(analyzed: Analyzed, options: ScalingOptions, measure: FittedMeasure = 'loss'): NamedFit[] {
  return studyPoints(analyzed, measure).map(({ label, points }) => ({
    label,
    result: analyzeScaling(points, options),
  }));
}

/** Loss against tokens, a curve with its band for every size; one panel a law. `yLabel` says what y is. */
export function scalingFigure(fits: readonly NamedFit[], yLabel: string): string {
  if (fits.length === 0) return '';
  const alone = fits.length === 1;
  const panels = fits.map(({ label, result }) => {
    const svg = lawPlot(result, yLabel, alone);
    return alone ? svg : panel(label, svg);
  });
  return figure(
    'Scaling laws',
    panels.join(''),
    'Lines: the law for each size; bands: its 95 % bootstrap interval; marks: trained models (hollow: held out of the fit). ' +
      'Where bands widen beyond the marks the data do not decide.',
    alone ? 'wide' : 'panels',
  );
}

function lawPlot({ fit, rows, bootstrap }: ScalingAnalysis, yLabel: string, wide: boolean): string {
  const sizes = [...groupBySize(rows)].sort((a, b) => (a[1][0]?.N ?? 0) - (b[1][0]?.N ?? 0));
  const [low, high] = [minOf(rows.map((r) => r.D)), maxOf(rows.map((r) => r.D))];
  // Half a decade beyond the last mark, to show what the law promises there.
  const reach = high * Math.sqrt(10);
  const budgets = Array.from({ length: 48 }, (_, i) => low * (reach / low) ** (i / 47));
  const marks = sizes.flatMap(([size, points], i) => {
    const N = points[0]?.N ?? 0;
    const curve = extrapolate(
      fit.parameters,
      budgets.map((D) => ({ N, D })),
      bootstrap ?? undefined,
    );
    // Points that the fit has not seen are hollow, so that a reader can tell prediction from fit.
    const color = `var(--c${i % NUM_COLORS})`;
    const own = rows.filter((r) => r.size === size);
    const title = (r: (typeof own)[number]) =>
      `${size}, ${formatTokens(r.D)} tokens: ${r.y.toFixed(4)}, law ${r.predicted.toFixed(4)}`;
    const dot = { x: 'D', y: 'y', r: 3.5, stroke: color, title };
    return [
      ...(bootstrap === null
        ? []
        : [
            Plot.areaY(curve, {
              ...{ x: 'D', y1: (e: (typeof curve)[number]) => e.interval?.low, fill: color, fillOpacity: 0.14 },
              y2: (e: (typeof curve)[number]) => e.interval?.high,
            }),
          ]),
      Plot.line(curve, {
        x: 'D',
        y: 'y',
        stroke: color,
        strokeWidth: 1.8,
        strokeDasharray: at(DASHES, i % DASHES.length),
      }),
      Plot.dot(
        own.filter((r) => r.split === 'train'),
        { ...dot, fill: color },
      ),
      Plot.dot(
        own.filter((r) => r.split === 'held-out'),
        { ...dot, fill: 'var(--card)' },
      ),
      // In the corner that falling curves leave free: names at the ends of equal curves would lie on each other.
      Plot.text([size], {
        ...{ frameAnchor: 'top-right', dx: -2, dy: 4 + 15 * i, text: () => size, textAnchor: 'end', fill: color },
      }),
    ];
  });
  const size = wide ? { ...WIDE, height: 420 } : { ...WIDE, width: 340, height: 270 };
  return drawPlot('Scaling law', {
    ...{ ...size, marginLeft: 52, marginRight: 20 },
    x: {
      type: 'log',
      label: 'training tokens →',
      tickFormat: wide ? tick : halfDecade,
      ticks: wide ? 6 : 3,
      grid: true,
    },
    y: { type: 'log', label: `↑ ${yLabel}`, grid: true, ticks: 6, tickFormat: (v: number) => significant(v) },
    marks,
  });
}

/** Dashes of sizes, for eyes that confuse colors, and so that equal curves show through. */
const DASHES = ['none', '8,4', '2,3', '10,3,2,3'] as const;

/** Names of ticks in a narrow figure: those at 1 and 3 times a power of ten, which have room beside each other. */
const halfDecade = (tokens: number): string => (/^[13]/.test(tokens.toExponential(0)) ? tick(tokens) : '');

/** Sizes and tokens of equal loss, and the best use of compute, as the laws have them. */
export function impliedFigures(fits: readonly NamedFit[]): string {
  const usable = fits.filter(({ result }) => result.fit.parameters.alpha > 0 && result.fit.parameters.beta > 0);
  if (usable.length === 0) return '';
  const alone = usable.length === 1;
  const size = alone ? { ...SMALL, width: 520, height: 330 } : SMALL;
  const panels = (draw: (result: ScalingAnalysis, size: PlotSize) => string): string =>
    usable.map(({ label, result }) => (alone ? draw(result, size) : panel(label, draw(result, size)))).join('');
  return (
    figure(
      'Sizes and tokens of equal loss',
      panels(isoLossPlot),
      'Each line: the tokens that a model of each size needs for one loss, as the law has it; marks: the trained models.',
      alone ? 'half' : 'panels',
    ) +
    figure(
      'Best size for a budget',
      panels(optimumPlot),
      'The size that ends at the lowest loss for 6 N D training FLOPs, with its 95 % bootstrap interval; dots: the FLOPs and ' +
        'sizes of the trained models.',
      alone ? 'half' : 'panels',
    )
  );
}

type PlotSize = typeof SMALL;
const SMALL = { ...WIDE, width: 340, height: 270, marginLeft: 52, marginRight: 56 };

/** `from` to `to` in equal ratios. */
const spread = (from: number, to: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => from * (to / from) ** (i / (count - 1)));

function isoLossPlot({ fit, rows }: ScalingAnalysis, size: PlotSize): string {
  const ys = rows.map((r) => r.y).sort((a, b) => a - b);
  const [low, high] = [minOf(rows.map((r) => r.N)), maxOf(rows.map((r) => r.N))];
  const levels = [0.1, 0.3, 0.5, 0.7, 0.9].map((q) => at(ys, Math.round(q * (ys.length - 1))));
  const most = 10 * maxOf(rows.map((r) => r.D));
  const least = minOf(rows.map((r) => r.D)) / 10;
  const marks = [...new Set(levels)].flatMap((level, i) => {
    const points = isoLoss(fit.parameters, level, spread(low, high, 40)).flatMap(({ N, D }) =>
      D === null || D > most || D < least ? [] : [{ N, D }],
    );
    const color = `var(--c${i % NUM_COLORS})`;
    const end = points.at(-1);
    return [
      Plot.line(points, { x: 'N', y: 'D', stroke: color, strokeWidth: 1.8 }),
      Plot.text(end === undefined ? [] : [end], {
        ...{ x: 'N', y: 'D', text: () => significant(level), dx: 5, textAnchor: 'start', fill: color },
      }),
    ];
  });
  return drawPlot('Sizes and tokens of equal loss', {
    ...size,
    x: { type: 'log', label: 'parameters →', tickFormat: tick, ticks: 3, grid: true },
    y: { type: 'log', label: '↑ training tokens', tickFormat: tick, ticks: 4, grid: true },
    marks: [...marks, Plot.dot(rows, { x: 'N', y: 'D', r: 2.5, fill: 'currentColor', fillOpacity: 0.5 })],
  });
}

function optimumPlot({ fit, rows, bootstrap }: ScalingAnalysis, size: PlotSize): string {
  const flops = rows.map((r) => ({ flops: 6 * r.N * r.D, N: r.N }));
  const [low, high] = [minOf(flops.map((f) => f.flops)), maxOf(flops.map((f) => f.flops))];
  const optimum = computeOptimal(fit.parameters, spread(low, 10 * high, 32), bootstrap ?? undefined);
  type Optimum = (typeof optimum)[number];
  return drawPlot('Best size for a budget', {
    ...size,
    x: { type: 'log', label: 'training FLOPs →', tickFormat: '.0e', ticks: 3, grid: true },
    y: { type: 'log', label: '↑ parameters', tickFormat: tick, ticks: 4, grid: true },
    marks: [
      ...(bootstrap === null
        ? []
        : [
            Plot.areaY(optimum, {
              ...{ x: 'flops', y1: (o: Optimum) => o.intervals?.N.low, fill: 'var(--c0)', fillOpacity: 0.16 },
              y2: (o: Optimum) => o.intervals?.N.high,
            }),
          ]),
      Plot.line(optimum, { x: 'flops', y: 'N', stroke: 'var(--c0)', strokeWidth: 2 }),
      Plot.dot(flops, { x: 'flops', y: 'N', r: 2.5, fill: 'currentColor', fillOpacity: 0.5 }),
    ],
  });
}

/** The parameters of laws with their intervals, and the warnings of each. */
export function scalingTable(fits: readonly NamedFit[]): string {
  const rows = fits.map(({ label, result }) => {
    const { parameters } = result.fit;
    const cell = (name: 'alpha' | 'beta'): string => {
      const interval = result.bootstrap?.intervals[name];
      const band = interval === undefined ? '' : ` (${significant(interval.low)} to ${significant(interval.high)})`;
      return `${significant(parameters[name])}${band}`;
    };
    return [label, cell('alpha'), cell('beta'), String(result.train.points), result.train.r2.toFixed(4)];
  });
  const warned = fits.filter(({ result }) => result.warnings.length > 0);
  const list = warned
    .map(({ label, result }) => `<p class="note">${escapeHtml(`${label}: ${result.warnings.join('; ')}.`)}</p>`)
    .join('');
  const head = ['', 'exponent of N (95 %)', 'exponent of D (95 %)', 'points', 'R²'];
  return table(head, rows, new Set([1, 2, 3, 4])) + list;
}

/** A self-contained page of laws, for `longsight fit --html`. */
export function scalingPage(title: string, fits: readonly NamedFit[], yLabel: string, repeat: string): string {
  const forms = [...new Set(fits.map(({ result }) => result.fit.form))];
  const form = forms[0] === 'default' ? 'y = a + b N^-alpha + c D^-beta' : 'y = b N^-alpha + c D^-beta';
  const body =
    `<h2>Law</h2><p>${escapeHtml(`${form}, the sum of Huber terms of ln y minimized from many starts.`)}</p>` +
    `<div class="figures">${scalingFigure(fits, yLabel)}${impliedFigures(fits)}</div><h2>Exponents</h2>${scalingTable(fits)}` +
    `<h2>How to repeat this</h2><pre>${escapeHtml(repeat)}</pre>`;
  return pageHtml({
    title,
    lead: null,
    headline: '',
    links: [],
    overview: `${fits.length === 1 ? 'One law' : `${fits.length} laws`}.`,
    body,
  });
}
