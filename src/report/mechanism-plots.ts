/** Figures of what analyses found: entropy, drift, limits of reach, masking, probes, gradient influence, LongPPL. */
import type { Group } from './report-data.js';
import { curvesOf, dash, labelMargin, lines, tokensPlot, WIDE, type DrawnDesign } from './curves.js';
import { type Finding, limitScore, type RunRecord, STRONGEST_HEADS, strongestHeads } from '../study/index.js';
import { figure, panel } from './html.js';
import { drawPlot, Plot, type SeriesStyle } from './plot.js';
import { formatBins, significant, maxOf } from '../core/index.js';
import { type Point } from '../run/index.js';

const HALF = { ...WIDE, width: 520, height: 330 };
/** Panels of two or three in a row are drawn at the size that they are shown in. */
const PANEL_SIZE = { ...WIDE, width: 340, height: 250, marginRight: 14 };

/** Every figure of what analyses found, those without data left out. */
export function mechanismFigures(group: Group, designs: readonly DrawnDesign[]): string {
  return [
    limitsFigure(group, designs),
    maskingFigure(designs),
    probesFigure(designs),
    influenceFigure(designs),
    entropyFigure(designs),
    driftFigure(designs),
    longPplFigure(designs),
  ].join('');
}

type HeadValue = { readonly layer: number; readonly head: number };

/** The mean over chosen heads, or over all others, at every finding. */
function headSeries<H extends HeadValue>(
  found: readonly { readonly tokens: number; readonly heads: readonly H[] }[],
  chosen: ReadonlySet<string>,
  wanted: 'chosen' | 'others',
  valueOf: (head: H) => number,
): Point[] {
  return found.flatMap(({ tokens, heads }) => {
    const own = heads.filter((h) => chosen.has(`${h.layer}:${h.head}`) === (wanted === 'chosen'));
    return own.length === 0 ? [] : [{ tokens, value: own.reduce((sum, h) => sum + valueOf(h), 0) / own.length }];
  });
}

/** Two panels over tokens: the heads that end as the strongest retrieval heads, and all others. */
function headFigure(
  designs: readonly DrawnDesign[],
  about: { readonly title: string; readonly axis: string; readonly caption: string },
  seriesOf: (record: RunRecord, chosen: ReadonlySet<string>, wanted: 'chosen' | 'others') => readonly Point[],
  domain?: readonly [number, number],
): string {
  const panels = (['chosen', 'others'] as const).flatMap((wanted) => {
    const series = (record: RunRecord) => seriesOf(record, strongestHeads(record), wanted);
    if (designs.every((d) => d.runs.every((r) => series(r.record).length === 0))) return [];
    const name = wanted === 'chosen' ? `The ${STRONGEST_HEADS} strongest retrieval heads` : 'All other heads';
    return [panel(name, tokensPlot(about.title, about.axis, curvesOf(designs, series), domain, PANEL_SIZE))];
  });
  if (panels.length === 0) return '';
  const tracked = `Heads are chosen at the last checkpoint, by their retrieval-head score, and followed backwards.`;
  return figure(about.title, panels.join(''), `${about.caption} ${tracked}${lines(designs)}`);
}

function entropyFigure(designs: readonly DrawnDesign[]): string {
  return headFigure(
    designs,
    {
      title: 'Attention entropy, while training',
      axis: 'entropy, share of uniform',
      caption:
        'Mean entropy of attention over the last positions of held-out sequences, divided by that of equal attention to all ' +
        'keys that a head can see: 1 is spread evenly, 0 is one key.',
    },
    (record, chosen, wanted) => headSeries(record.findings.entropy, chosen, wanted, (h) => h.normalisedVisible),
    [0, 1],
  );
}

function driftFigure(designs: readonly DrawnDesign[]): string {
  return headFigure(
    designs,
    {
      title: 'Distance of query and key weights from their end',
      axis: 'relative distance',
      caption:
        'How far the products of query and key weights (Wq Wk^T, which positions leave out of account) are from those of the ' +
        'last checkpoint, relative to its norm.',
    },
    (record, chosen, wanted) => headSeries(record.findings.drift, chosen, wanted, (h) => h.scoreRel),
  );
}

/** What is left when only the full, or only the efficient layers see few keys. */
function limitsFigure(group: Group, designs: readonly DrawnDesign[]): string {
  const bars = designs.flatMap(({ style, runs }) =>
    runs.flatMap(({ summary, record }) => {
      const found = record.findings.limits.at(-1);
      const rows = found?.rows ?? [];
      return rows.flatMap((row) => {
        const value = limitScore(row, group.far);
        const name = row.part === null ? 'nothing limited' : `${row.part}: ${row.keys} keys`;
        return value === null ? [] : [{ style, seed: summary.seed, name, value: value.value, what: value.what }];
      });
    }),
  );
  const first = bars[0];
  if (first === undefined) return '';
  const same = bars.filter((bar) => bar.what === first.what);
  const names = [...new Set(same.map((bar) => bar.name))];
  const panels = designs.flatMap(({ style }) => {
    const own = same.filter((bar) => bar.style === style);
    return own.length === 0
      ? []
      : [`<div class="${style.className}">${limitPanel(style, own, names, first.what)}</div>`];
  });
  const what = {
    recall: `recall at ${formatBins(group.far)}`,
    needle: 'needle accuracy',
    loss: 'loss (nats per token)',
  };
  return figure(
    'Limits of reach: who carries long range',
    panels.join(''),
    `What is left of ${what[first.what]} when only the full, or only the efficient layers see no more than so many keys, the ` +
      'weights as they are. Bars: mean over seeds; marks: each seed. A bar that falls belongs to layers that carry long range.',
  );
}

function limitPanel(
  style: SeriesStyle,
  bars: readonly { readonly name: string; readonly value: number; readonly seed: number }[],
  names: readonly string[],
  what: 'recall' | 'needle' | 'loss',
): string {
  const means = names.flatMap((name) => {
    const values = bars.filter((bar) => bar.name === name).map((bar) => bar.value);
    return values.length === 0 ? [] : [{ name, value: values.reduce((a, b) => a + b, 0) / values.length }];
  });
  const svg = drawPlot(`Limits of reach of ${style.label}`, {
    ...{ width: 340, height: 44 + 26 * names.length, marginLeft: 110, marginRight: 18, marginTop: 8, marginBottom: 34 },
    x: { label: `${what} →`, grid: true, ticks: 4, ...(what === 'loss' ? { zero: true } : { domain: [0, 1] }) },
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

/** Needle accuracy with the strongest heads off, and with random others off. */
function maskingFigure(designs: readonly DrawnDesign[]): string {
  const dots = designs.flatMap(({ style, runs }) =>
    runs.flatMap(({ summary, record }) => {
      const found = record.findings.masking.at(-1);
      return found === undefined ? [] : maskingDots(style, summary.seed, found);
    }),
  );
  if (dots.length === 0) return '';
  const labels = designs.map((d) => d.style.label);
  const kinds = ['none', 'strongest', 'random'] as const;
  const names = { none: 'no head off', strongest: 'the strongest off', random: 'random others off' };
  const panels = kinds.map((kind) =>
    panel(
      names[kind],
      drawPlot(`Needle accuracy, ${names[kind]}`, {
        ...{ width: 340, height: 56 + 30 * labels.length, marginTop: 8, marginBottom: 36, marginRight: 16 },
        marginLeft: labelMargin(labels),
        x: { domain: [0, 1], label: 'needle accuracy →', grid: true, ticks: 4 },
        y: { type: 'point', domain: labels, label: null, tickSize: 0 },
        marks: dots
          .filter((dot) => dot.kind === kind)
          .map((dot) =>
            Plot.dot([dot], {
              ...{ x: 'accuracy', y: 'label', r: 4, stroke: dot.style.color, fill: dot.style.color, fillOpacity: 0.25 },
              ...{ symbol: dot.style.symbol, className: dot.style.className, title: () => dot.title },
            }),
          ),
      }),
    ),
  );
  const count = designs.flatMap((d) => d.runs).find((r) => r.record.findings.masking.length > 0);
  const heads = count?.record.findings.masking.at(-1)?.heads.length ?? 0;
  return figure(
    'Needle accuracy with heads switched off',
    panels.join(''),
    `Left: the model as it is; middle: without the ${heads} heads that copy most; right: without as many others, each mark one ` +
      'draw. A random draw may hit a head that builds the keys which retrieval needs, so look at single draws.',
  );
}

function maskingDots(style: SeriesStyle, seed: number, found: Finding<'masking'>) {
  const names = (heads: readonly HeadValue[]) => heads.map((h) => `${h.layer}:${h.head}`).join(' ');
  const dot = (kind: 'none' | 'strongest' | 'random', accuracy: number, which: string) => ({
    ...{ style, kind, accuracy, label: style.label },
    title: `${style.label}, seed ${seed}${which === '' ? '' : `, without ${which}`}: ${accuracy.toFixed(3)}`,
  });
  return [
    dot('none', found.baseline.accuracy, ''),
    dot('strongest', found.masked.accuracy, names(found.heads)),
    ...found.random.map(({ heads, score }) => dot('random', score.accuracy, names(heads))),
  ];
}

/** Probe accuracy by layer; filled marks stand on full layers, hollow ones on efficient layers. */
function probesFigure(designs: readonly DrawnDesign[]): string {
  const kinds = ['residual', 'delta'];
  const titles: Readonly<Record<string, string>> = { residual: 'State after the layer', delta: 'What the layer added' };
  // Intervals are drawn behind lines and marks; chance is that of the samples, the same in both panels.
  let chance = 0;
  const panels = kinds.flatMap((kind) => {
    const marks = designs.flatMap(({ style, runs }) =>
      runs.flatMap(({ summary, record }) => {
        const found = record.findings.probes.at(-1)?.probes.find((p) => p.kind === kind);
        if (found === undefined) return [];
        chance = found.chance;
        const base = { x: 'layer', y: 'accuracy', className: style.className };
        const title = (l: (typeof found.layers)[number]) =>
          `${style.label}, seed ${summary.seed}, layer ${l.layer} (${l.label}): ${l.accuracy.toFixed(3)} (95 %: ${l.low.toFixed(2)} to ${l.high.toFixed(2)})`;
        const isFull = (l: { readonly label: string }) => l.label.includes('full');
        return [
          Plot.ruleX(found.layers, {
            x: 'layer',
            y1: 'low',
            y2: 'high',
            stroke: style.color,
            strokeOpacity: 0.35,
            className: style.className,
          }),
          Plot.line(found.layers, { ...base, stroke: style.color, strokeWidth: 1.6, ...dash(style) }),
          Plot.dot(found.layers.filter(isFull), { ...base, r: 4.5, fill: style.color, symbol: style.symbol, title }),
          Plot.dot(
            found.layers.filter((l) => !isFull(l)),
            { ...base, r: 4.5, fill: 'var(--card)', stroke: style.color, symbol: style.symbol, title },
          ),
        ];
      }),
    );
    if (marks.length === 0) return [];
    const rule = Plot.ruleY([chance], { stroke: 'currentColor', strokeOpacity: 0.4, strokeDasharray: '1,4' });
    const svg = drawPlot(`Probe accuracy by layer, ${kind}`, {
      ...PANEL_SIZE,
      x: { label: 'layer →', ticks: [...layersOf(designs)], tickFormat: (d: number) => String(d) },
      y: { domain: [0, 1], label: '↑ accuracy', grid: true, ticks: 5 },
      marks: [rule, ...marks],
    });
    return [panel(titles[kind] ?? kind, svg)];
  });
  if (panels.length === 0) return '';
  return figure(
    'From which layer on the last token knows the needle',
    panels.join(''),
    'Share of held-out samples whose needle a linear probe reads from the state of the last token, one line a seed, with 95 % ' +
      `intervals. Filled marks: layers with full attention; hollow: efficient layers. Dotted: guessing (${significant(chance)}).`,
  );
}

function layersOf(designs: readonly DrawnDesign[]): ReadonlySet<number> {
  const found = designs.flatMap((d) => d.runs.flatMap((r) => r.record.findings.probes.at(-1)?.probes ?? []));
  return new Set(found.flatMap((p) => p.layers.map((l) => l.layer)).sort((a, b) => a - b));
}

/** Gradient norms by distance on two logarithmic axes, mean over seeds, in bins of growing width. */
function influenceFigure(designs: readonly DrawnDesign[]): string {
  const curves = designs.flatMap(({ style, runs }) => {
    const found = runs.flatMap((r) => r.record.findings.influence.at(-1) ?? []);
    return found.length === 0 ? [] : [{ style, points: logBins(found.map((f) => f.mean)), found }];
  });
  if (curves.length === 0) return '';
  const marks = curves.flatMap(({ style, points, found }) => {
    const floors = found.flatMap((f) =>
      f.floor?.distance == null ? [] : [{ distance: f.floor.distance, level: f.floor.level }],
    );
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
  const svg = drawPlot('Gradient influence by distance', {
    ...HALF,
    marginLeft: 56,
    x: { type: 'log', label: 'distance (tokens) →', grid: true, ticks: 5, tickFormat: '~s' },
    y: { type: 'log', label: '↑ gradient norm', grid: true, ticks: 5, tickFormat: '.0e' },
    marks,
  });
  const target = curves[0]?.found[0]?.target ?? '';
  return figure(
    'How far back inputs matter',
    svg,
    `Norm of the gradient of the output (${target}) with respect to the embedding of the token so far back, mean over held-out ` +
      'sequences and seeds. Open marks: where a run meets its floor.',
    'half',
  );
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

function longPplFigure(designs: readonly DrawnDesign[]): string {
  const seriesOf = (record: RunRecord): Point[] =>
    record.findings.longppl.flatMap(({ tokens, longPpl }) => (longPpl === null ? [] : [{ tokens, value: longPpl }]));
  if (designs.every((d) => d.runs.every((r) => seriesOf(r.record).length === 0))) return '';
  return figure(
    'LongPPL, while training',
    tokensPlot('LongPPL', 'perplexity over key tokens', curvesOf(designs, seriesOf), undefined, HALF),
    `Perplexity over the tokens that need a long context.${lines(designs)}`,
    'half',
  );
}
