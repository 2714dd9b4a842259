/** The figures of a report. Each returns a complete `<figure>`, or nothing where its data were not measured. */
import { headSparsity, RETRIEVAL_HEAD_SCORE } from '../analysis/index.js';
import type { Group } from './report-data.js';
import { curvesOf, dash, labelMargin, lines, markers, tick, tokensPlot, WIDE, type DrawnDesign } from './curves.js';
import { figure, panel } from './html.js';
import { drawPlot, Plot, roomyDomain, tickLabel } from './plot.js';
import { recallSeries, type RunRecord, type RunSummary } from '../study/index.js';
import { formatBins, formatTokens, significant, maxOf, minOf } from '../core/index.js';
import { type Point } from '../run/index.js';

/** Recall probability against training tokens, one panel per distance bin. */
export function recallFigure(group: Group, designs: readonly DrawnDesign[], threshold: number): string {
  if (group.bins.length === 0) return '';
  const farthest = new Set(group.far.map((bin) => bin.from));
  const panels = group.bins.map((bin) => {
    const note = group.beyond && farthest.has(bin.from) ? ', beyond every window' : '';
    const title = `Distance ${bin.from} to ${bin.to}`;
    const marks = [
      Plot.ruleY([threshold], { stroke: 'currentColor', strokeOpacity: 0.55, strokeDasharray: '5,4' }),
      ...(group.chance === null
        ? []
        : [Plot.ruleY([group.chance], { stroke: 'currentColor', strokeOpacity: 0.35, strokeDasharray: '1,4' })]),
    ];
    const curves = curvesOf(designs, (record) => recallSeries(record, bin), marks);
    return panel(`${title}${note}`, tokensPlot(`Recall at ${title}`, 'recall probability', curves, [0, 1]));
  });
  const chance = group.chance === null ? '' : ` Dotted: guessing among the values (${significant(group.chance)}).`;
  return figure(
    'Recall by distance, while training',
    panels.join(''),
    `Mean probability of the right value, by how many tokens ago its key was last seen.${lines(designs)} Dashed: the ` +
      `threshold, ${threshold}.${chance}`,
  );
}

/** Tokens until far recall reached the threshold: one mark per seed, open with an arrow where it did not. */
export function thresholdFigure(group: Group, designs: readonly DrawnDesign[], threshold: number): string {
  const rows = designs.flatMap(({ style, runs }) =>
    runs.flatMap(({ summary }) => (summary.toThreshold === null ? [] : [{ style, summary, at: summary.toThreshold }])),
  );
  if (rows.length === 0) return '';
  const last = maxOf(rows.map((row) => Math.max(row.at.tokens, row.summary.tokens)));
  const labels = designs.map((design) => design.style.label);
  const offset = seedOffsets(designs);
  const marks = rows.flatMap(({ style, summary, at }) => {
    const dy = offset(summary);
    const base = { className: style.className, dy };
    const seed = `${style.label}, seed ${summary.seed}: `;
    if (at.reached) {
      const title = `${seed}after more than ${formatTokens(at.after)} and at most ${formatTokens(at.tokens)} tokens`;
      const spot = { x: at.tokens, y: style.label };
      const bar = { from: at.after, to: at.tokens, y: style.label };
      return [
        Plot.ruleY([bar], {
          ...base,
          x1: 'from',
          x2: 'to',
          y: 'y',
          stroke: style.color,
          strokeWidth: 3,
          strokeOpacity: 0.4,
        }),
        Plot.dot([spot], {
          ...base,
          x: 'x',
          y: 'y',
          r: 5.5,
          fill: style.color,
          symbol: style.symbol,
          title: () => title,
        }),
      ];
    }
    const title = `${seed}not within ${formatTokens(at.tokens)} tokens`;
    const arrow = { x1: at.tokens, x2: at.tokens + 0.07 * last, y: style.label };
    return [
      Plot.arrow([arrow], {
        ...base,
        x1: 'x1',
        x2: 'x2',
        y1: 'y',
        y2: 'y',
        stroke: style.color,
        strokeWidth: 2,
        headLength: 9,
      }),
      Plot.dot([{ x: at.tokens, y: style.label }], {
        ...{ ...base, x: 'x', y: 'y', r: 5.5, stroke: style.color, strokeWidth: 2, fill: 'var(--card)' },
        ...{ symbol: style.symbol, title: () => title },
      }),
    ];
  });
  const svg = drawPlot(`Tokens until recall reaches ${threshold}`, {
    ...WIDE,
    marginLeft: labelMargin(labels),
    height: 70 + labels.length * Math.max(34, 16 * maxOf(designs.map((d) => d.runs.length))),
    x: { label: 'training tokens →', ticks: 7, tickFormat: tick, domain: [0, last === 0 ? 1 : 1.1 * last], grid: true },
    y: { type: 'point', domain: labels, label: null, tickSize: 0 },
    marks: [Plot.ruleX([last], { stroke: 'currentColor', strokeOpacity: 0.35, strokeDasharray: '5,4' }), ...marks],
  });
  const where = group.beyond ? 'beyond every window' : 'at the farthest distances measured';
  return figure(
    `Tokens until recall ${where} reaches ${threshold}`,
    svg,
    `Recall at ${formatBins(group.far)}; one mark per seed, at the first evaluation that reached it, with a bar back to the ` +
      'evaluation before. Open mark with an arrow: not reached by the last evaluation, so later than that or never.',
    'wide',
  );
}

/** Where the seeds of one design sit above and below its line. */
function seedOffsets(designs: readonly DrawnDesign[]): (run: RunSummary) => number {
  const offsets = new Map<string, number>();
  for (const { runs } of designs) {
    runs.forEach(({ summary }, i) => offsets.set(summary.name, (i - (runs.length - 1) / 2) * 14));
  }
  return (run) => offsets.get(run.name) ?? 0;
}

/** Final held-out loss against final far recall (or needle accuracy), one mark per run. */
export function endFigure(group: Group, designs: readonly DrawnDesign[]): string {
  const recall = group.bins.length > 0;
  const valueOf = (run: RunSummary) => (recall ? run.farRecall : run.needleAccuracy);
  const name = recall ? `recall at ${formatBins(group.far)}` : 'needle accuracy';
  const dots = designs.flatMap(({ style, runs }) =>
    runs.flatMap(({ summary }) => {
      const y = valueOf(summary);
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
    ...{ ...WIDE, width: 520, height: 330, inset: 12 },
    x: {
      tickFormat: tickLabel,
      label: 'held-out loss at the end (nats per token) →',
      grid: true,
      ticks: 6,
      ...(losses === undefined ? { nice: true } : { domain: losses }),
    },
    y: { domain: [0, 1], label: `↑ ${recall ? 'recall probability' : 'accuracy'} at the end`, grid: true, ticks: 5 },
    marks,
  });
  return figure(
    `Final loss against final ${recall ? 'far recall' : 'needle accuracy'}`,
    svg,
    `One mark per run at its last evaluation: held-out loss, and ${name}. Up and to the left is better.`,
    'half',
  );
}

/** Held-out loss against training tokens. */
export function lossFigure(designs: readonly DrawnDesign[]): string {
  const seriesOf = (record: RunRecord) => record.metrics.get('eval/loss') ?? record.metrics.get('train/loss') ?? [];
  if (designs.every((d) => d.runs.every((r) => seriesOf(r.record).length === 0))) return '';
  const svg = tokensPlot('Held-out loss', 'loss (nats per token)', curvesOf(designs, seriesOf), undefined, {
    ...WIDE,
    width: 520,
    height: 330,
  });
  return figure(
    'Held-out loss, while training',
    svg,
    `Weighted mean over held-out sequences.${lines(designs)}`,
    'half',
  );
}

/** The score of the strongest retrieval head against training tokens. */
export function strongestHeadFigure(designs: readonly DrawnDesign[]): string {
  const seriesOf = (record: RunRecord): Point[] =>
    record.heads.map(({ tokens, layers }) => ({
      tokens,
      value: maxOf(layers.flatMap((layer) => layer.heads.map((head) => head.score))),
    }));
  if (designs.every((d) => d.runs.every((r) => r.record.heads.length === 0))) return '';
  const curves = curvesOf(designs, seriesOf, [
    Plot.ruleY([RETRIEVAL_HEAD_SCORE], { stroke: 'currentColor', strokeOpacity: 0.55, strokeDasharray: '5,4' }),
  ]);
  const size = { ...WIDE, width: 520, height: 330 };
  return figure(
    'Strongest retrieval head, while training',
    tokensPlot('Score of the strongest retrieval head', 'retrieval-head score', curves, [0, 1], size),
    'The largest mean attention mass that any head puts on the needle. Dashed: the score from which we count a head as a ' +
      `retrieval head, ${RETRIEVAL_HEAD_SCORE}.`,
    'half',
  );
}

/** How many heads count as retrieval heads, against training tokens. */
export function headCountFigure(designs: readonly DrawnDesign[]): string {
  const seriesOf = (record: RunRecord): Point[] =>
    record.heads.map(({ tokens, layers }) => ({ tokens, value: headSparsity(layers).retrievalHeads }));
  if (designs.every((d) => d.runs.every((r) => r.record.heads.length === 0))) return '';
  return figure(
    'Number of retrieval heads, while training',
    tokensPlot('Number of retrieval heads', 'heads', curvesOf(designs, seriesOf), undefined, {
      ...WIDE,
      width: 520,
      height: 330,
    }),
    `Heads with a score of at least ${RETRIEVAL_HEAD_SCORE} at each checkpoint.${lines(designs)}`,
    'half',
  );
}

/** Loss by position in the sequence at the last evaluation, mean over seeds. */
export function positionFigure(designs: readonly DrawnDesign[]): string {
  const curves = designs.flatMap(({ style, runs }) => {
    const lists = runs.flatMap(({ record }) => {
      const losses = record.evals.at(-1)?.perPositionLoss;
      return losses == null ? [] : [losses];
    });
    const length = minOf(lists.map((l) => l.length));
    if (lists.length === 0) return [];
    const mean = Array.from({ length }, (_, i) => lists.reduce((sum, l) => sum + (l[i] ?? NaN), 0) / lists.length);
    return [{ style, points: average(mean, 96) }];
  });
  if (curves.length === 0) return '';
  const drawn = curves.flatMap((curve) => curve.points);
  const losses = roomyDomain(drawn.map((p) => p.value));
  const places = roomyDomain(drawn.map((p) => p.at));
  const svg = drawPlot('Loss by position', {
    ...{ ...WIDE, width: 520, height: 330 },
    marginLeft: 62,
    x: {
      label: 'position in the sequence (tokens) →',
      grid: true,
      ...(places === undefined ? {} : { domain: places }),
    },
    y: {
      ...{ label: '↑ loss (nats per token)', grid: true, tickFormat: tickLabel },
      ...(losses === undefined ? { nice: true } : { domain: losses }),
    },
    marks: curves.flatMap(({ style, points }) => [
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
  return figure(
    'Loss by position',
    svg,
    'Held-out loss by place in the sequence at the last evaluation, mean over seeds: what more context is worth.',
    'half',
  );
}

/** The means of at most `count` equal stretches. */
function average(values: readonly number[], count: number): { at: number; value: number }[] {
  const size = Math.max(1, Math.ceil(values.length / count));
  return Array.from({ length: Math.ceil(values.length / size) }, (_, i) => {
    const part = values.slice(i * size, (i + 1) * size).filter((v) => Number.isFinite(v));
    return { at: i * size + (size - 1) / 2, value: part.reduce((a, b) => a + b, 0) / part.length };
  });
}
