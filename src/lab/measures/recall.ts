/** `recall`: the probability of the right value in recall sequences, by how long ago its key was last used. */
import { z } from 'zod';
import {
  at,
  ConfigError,
  field,
  formatBins,
  formatShare,
  formatTokens,
  pending,
  significant,
  textTable,
} from '../../core/index.js';
import type { RecallOptions } from '../../data/index.js';
import { defaultBins, RecallTally } from '../../eval/index.js';
import type { Point } from '../../run/index.js';
import {
  binEnds,
  count,
  defineMeasure,
  whileCompiling,
  type FigureView,
  type MeasuredRun,
  type SummaryView,
} from './define.js';
import { crossing, meanOverTokens, type Crossing, type DistanceBin } from './series.js';

const options = z.strictObject({
  batches: count.default(4).describe('batches of recall sequences'),
  bins: binEnds
    .optional()
    .describe('upper ends of the distance bins, in tokens (default: 16, 32, 64, ... up to the sequence length)'),
});

const score = {
  probability: field(z.number().nullable(), 'mean probability of the right value; null without targets', 'probability'),
  accuracy: field(
    z.number().nullable(),
    'share of targets whose right value is the likeliest token; null without targets',
    'share',
  ),
  count: field(z.number(), 'targets', 'tokens'),
};

const schema = z.object({
  recall: field(
    z
      .object({
        bins: field(
          z.array(
            z.object({
              from: field(z.number(), 'smallest distance, from the last use of the key to this one', 'tokens'),
              to: field(z.number(), 'largest distance, included', 'tokens'),
              ...score,
            }),
          ),
          'recall by distance, nearest first',
        ),
        overall: field(
          z.object(score).partial({ accuracy: true, count: true }).optional(),
          'recall at all distances, those past the last bin included',
        ),
      })
      .nullish(),
    'recall in the recall stream; null where it is not measured',
  ),
});

/** What recall is measured on. */
export interface RecallPlan {
  readonly options: z.output<typeof options>;
  readonly recall: RecallOptions;
}

/** Final recall in one range of distances. */
interface BinRecall extends DistanceBin {
  /** Mean probability of the right value. */
  readonly probability: number;
}

/** What recall came to in one run. */
export interface RecallSummary {
  /** Recall by distance at the last measurement. */
  readonly finalRecall: readonly BinRecall[];
  /** Final recall in the nearest bin, a probability. */
  readonly nearRecall: number | null;
  /** Mean final recall of the bins beyond every window, a probability. */
  readonly farRecall: number | null;
  /** Mean over the tokens of the run of far recall: the area under its curve divided by the tokens. */
  readonly meanFarRecall: number | null;
  /** When far recall first reached the threshold; null without recall data. */
  readonly toThreshold: Crossing | null;
}

type Series = Pick<MeasuredRun<unknown>, 'metrics'>;

const METRIC = /^eval\/recall\/(\d+)-(\d+)$/;

/** The distances at which runs measured recall, nearest first. */
export function distanceBins(runs: readonly Series[]): DistanceBin[] {
  const bins = new Map<string, DistanceBin>();
  for (const name of runs.flatMap((run) => [...run.metrics.keys()])) {
    const match = METRIC.exec(name);
    if (match !== null) bins.set(name, { from: Number(match[1]), to: Number(match[2]) });
  }
  return [...bins.values()].sort((a, b) => a.from - b.from || a.to - b.to);
}

/** Recall at one range of distances over training. */
export function recallSeries(run: Series, bin: DistanceBin): readonly Point[] {
  return run.metrics.get(`eval/recall/${bin.from}-${bin.to}`) ?? [];
}

/** The mean of several bins' recall at every measurement that has them all. */
export function meanRecallSeries(run: Series, bins: readonly DistanceBin[]): Point[] {
  const series = bins.map((bin) => new Map(recallSeries(run, bin).map((p) => [p.tokens, p.value])));
  const [first, ...rest] = series;
  if (first === undefined) return [];
  return [...first].flatMap(([tokens, value]) => {
    const others = rest.map((s) => s.get(tokens));
    if (others.some((v) => v === undefined)) return [];
    const total = others.reduce<number>((sum, v) => sum + (v ?? 0), value);
    return [{ tokens, value: total / series.length }];
  });
}

function summarize(run: Series, { bins, far, threshold }: SummaryView): RecallSummary {
  const farSeries = meanRecallSeries(run, far);
  const near = bins[0];
  return {
    finalRecall: bins.flatMap((bin) => {
      const last = recallSeries(run, bin).at(-1);
      return last === undefined ? [] : [{ ...bin, probability: last.value }];
    }),
    nearRecall: near === undefined ? null : (recallSeries(run, near).at(-1)?.value ?? null),
    farRecall: farSeries.at(-1)?.value ?? null,
    meanFarRecall: meanOverTokens(farSeries),
    toThreshold: crossing(farSeries, threshold),
  };
}

const where = ({ beyond }: FigureView): string =>
  beyond ? 'beyond every window' : 'at the farthest distances measured';

/** Recall by distance. */
export const recallMeasure = defineMeasure({
  options,
  about: 'recall by distance; options, or true or false (default: on for recall data)',
  stored: 'record',
  schema,
  absent: { recall: null },
  when: 'always',
  plan: ({ data, options: given, asked }): RecallPlan | null => {
    if (data.recall !== null) return { options: given, recall: data.recall };
    if (asked) throw new ConfigError('eval.recall: the data has no recall source; add one or leave eval.recall out');
    return null;
  },
  prepare: async ({ options: { batches: number, bins }, recall }, { scores, data }) => {
    const [, batches] = await Promise.all([
      scores.compile(),
      whileCompiling(() => Array.from({ length: number }, (_, i) => scores.recall(recall, i))),
    ]);
    return {
      start: async (tensors) => {
        const started = await scores.start(tensors, batches);
        return pending(started.numbers, () => {
          const tally = new RecallTally(bins ?? defaultBins(data.train.seqLen));
          started.result().forEach((own, i) => tally.add(own, at(batches, i).host.distances));
          return { recall: tally.result() };
        });
      },
      dispose: async () => {},
    };
  },
  metrics: ({ recall }) => ({
    ...Object.fromEntries(
      (recall?.bins ?? []).map(({ from, to, probability }) => [`eval/recall/${from}-${to}`, probability]),
    ),
    'eval/recall/all': recall?.overall?.probability,
  }),
  metricWords: {
    'eval/recall/all': {
      title: 'Recall at all distances',
      unit: 'probability of the right value',
      range: '0 to 1',
      meaning: 'mean probability of the right value over all targets',
    },
    'eval/recall/FROM-TO': {
      title: 'Recall at distances FROM to TO',
      unit: 'probability of the right value',
      range: '0 to 1',
      meaning: 'the same where the key was last used FROM to TO tokens ago, both included',
    },
  },
  reference: {
    title: 'Recall',
    measures:
      'Whether the model can look up what a key stood for. The recall stream is made of keys, each followed by its value, and ' +
      'fillers. When a key comes back, its value is the one that followed it before. The distance is the number of tokens from ' +
      'the last use of the key to this one.',
    formula:
      'Mean, over the tokens that follow a key seen before in the sequence, of the probability that the model gives to the right ' +
      'value; by distance, over the targets of each bin. `accuracy` is the share of targets whose right value is the likeliest token.',
    unit: 'probability (and a share for `accuracy`)',
    range: '0 to 1; guessing among the values gives 1 / `numValues`',
    interval:
      'The Wilson score interval of `accuracy`, 95 %, as `longsight eval` prints it; targets count as independent. The mean probability has none in a run.',
    source:
      'A stream of our own, `src/data/recall.ts`, akin to multi-query associative recall (Arora et al. 2023, "Zoology", arXiv ' +
      '2312.04927). Scored in `src/eval/recall.ts`.',
  },
  forReaders: {
    task: {
      tokens: [
        ...(['k7', 'v3', 'k2', 'v5', 'k9', 'v1', 'k4', 'v8'] as const).map(
          (text, i) => ({ text, role: i === 0 ? 'key' : i === 1 ? 'value' : 'other' }) as const,
        ),
        { text: '…', role: 'other' },
        { text: 'k7', role: 'key' },
        { text: '?', role: 'ask' },
      ],
      caption:
        'A stream of keys, each followed by its value. When a key comes back, its value is the one that followed it before: the ' +
        'model has to look it up. The distance is how many tokens ago the key was last used.',
    },
    terms: {
      recall: 'The mean probability that a model gives to the right value when a key comes back.',
      'far recall':
        'Recall at the distances that no sliding window reaches, or else at the farthest that were measured.',
    },
  },
  words: ({ recall }) => {
    const last = recall?.bins.at(-1);
    return last?.probability == null ? null : `recall at ${formatBins([last])} ${last.probability.toFixed(3)}`;
  },
  event: ({ recall }) => ({ recall: recall?.bins ?? null }),
  text: ({ recall }) => {
    if (recall == null) return null;
    const rows = recall.bins.map((bin) => [
      `${bin.from}-${bin.to}`,
      bin.probability?.toFixed(3) ?? '-',
      bin.accuracy === null ? '-' : formatShare(Math.round(bin.accuracy * bin.count), bin.count, 3),
      String(bin.count),
    ]);
    return textTable([['distance', 'probability', 'accuracy (95 %)', 'targets'], ...rows], new Set([1, 2, 3]));
  },
  summarize,
  csv: (_, bins) => [
    ...bins.map(({ from, to }) => ({
      name: `recall_${from}_${to}`,
      of: ({ finalRecall }: RecallSummary) =>
        finalRecall.find((r) => r.from === from && r.to === to)?.probability ?? null,
    })),
    { name: 'far_recall', of: ({ farRecall }) => farRecall },
    { name: 'mean_far_recall', of: ({ meanFarRecall }) => meanFarRecall },
    { name: 'threshold_reached', of: ({ toThreshold }) => toThreshold?.reached ?? null },
    // Where not reached: the last measurement, which the crossing is later than.
    { name: 'tokens_to_threshold', of: ({ toThreshold }) => toThreshold?.tokens ?? null },
    {
      name: 'tokens_before_threshold',
      of: ({ toThreshold }) => (toThreshold?.reached === true ? toThreshold.after : null),
    },
  ],
  cells: (_, { bins, threshold }) =>
    bins.length === 0
      ? []
      : [
          { name: `tokens to ${threshold} far recall`, of: ({ toThreshold }) => reachedAt(toThreshold) },
          ...bins.map(({ from, to }) => ({
            name: `recall ${from}–${to}`,
            of: ({ finalRecall }: RecallSummary) =>
              finalRecall.find((r) => r.from === from)?.probability.toFixed(3) ?? '–',
          })),
          { name: 'mean far recall', of: ({ meanFarRecall }) => meanFarRecall?.toFixed(3) ?? '–' },
        ],
  figures: [
    {
      ...{ order: 10, draw: 'panels', heading: 'Recall by distance, while training' },
      caption: ({ threshold, chance }) =>
        `Mean probability of the right value, by how many tokens ago its key was last seen. Dashed: the threshold, ${threshold}.` +
        (chance === null ? '' : ` Dotted: guessing among the values (${significant(chance)}).`),
      panels: (_, { bins, far, beyond, threshold, chance }) =>
        bins.map((bin) => ({
          title: `Distance ${bin.from} to ${bin.to}${beyond && far.some((f) => f.from === bin.from) ? ', beyond every window' : ''}`,
          yLabel: 'recall probability',
          isMain: bin.from === far.at(-1)?.from,
          domain: [0, 1],
          lines: [threshold],
          dotted: chance === null ? [] : [chance],
          series: (run) => recallSeries(run, bin),
        })),
    },
    {
      ...{ order: 20, draw: 'crossings' },
      heading: (view) => `Tokens until recall ${where(view)} reaches ${view.threshold}`,
      label: ({ threshold }) => `Tokens until recall reaches ${threshold}`,
      caption: ({ far }) => `Recall at ${formatBins(far)}`,
      of: ({ toThreshold }) => toThreshold,
    },
  ],
  outcome: {
    name: ({ far }) => `recall at ${formatBins(far)}`,
    short: 'far recall',
    axis: 'recall probability',
    of: ({ farRecall }) => farRecall,
    series: (run, { far }) => meanRecallSeries(run, far),
  },
});

/** `717 k`, or `> 2.05 M` where the threshold was not reached by then. */
export function reachedAt(at: Crossing | null): string {
  if (at === null) return '–';
  return at.reached ? formatTokens(at.tokens) : `> ${formatTokens(at.tokens)}`;
}
