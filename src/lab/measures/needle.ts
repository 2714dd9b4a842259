/** `needle`: the needle grid, how well a model finds a fact by its depth and the length of the context. */
import { z } from 'zod';
import {
  ConfigError,
  field,
  formatShare,
  pending,
  sizeUpTo,
  textTable,
  wilson,
  type Interval,
  turn,
} from '../../core/index.js';
import { ByteNeedleSchema } from '../../data/index.js';
import { NeedleEvaluator, plannedNeedles, type NeedleGridSettings, type NeedleTask } from '../../eval/index.js';
import { count, defineMeasure, fractions, type MeasuredRun, type Stored } from './define.js';

/** The options of `eval.needle`. */
export const needleEvalSchema = z.strictObject({
  lengths: z
    .array(sizeUpTo('tokens'))
    .min(1)
    .optional()
    .describe('lengths of the samples, in tokens (default: that of training)'),
  depths: fractions
    .default([0, 0.25, 0.5, 0.75, 1])
    .describe('where the needle lies: 0 = start of the context, 1 = right before the question'),
  samples: count.default(8).describe('samples per length and depth'),
  ...ByteNeedleSchema.shape,
});

const grid = z.array(z.array(z.number().nullable()));
const schema = z.object({
  needle: field(
    z
      .object({
        lengths: field(z.array(z.number()), 'lengths of the samples, question and answer included', 'tokens'),
        depths: field(
          z.array(z.number()),
          'depths of the needle: 0 = start of the context, 1 = right before the question',
          'share of the length',
        ),
        accuracy: field(
          grid,
          'share of samples whose answer is right, token for token, under greedy decoding; a row a length, a column a depth',
          'share',
        ),
        probability: field(
          grid,
          'mean over samples of the geometric mean, over the tokens of the answer, of their teacher-forced probabilities',
          'probability',
        ),
        samples: field(z.int().min(1).optional(), 'samples of a cell', 'samples'),
        task: field(
          z.enum(['bytes', 'recall']).optional(),
          '`bytes`: a number in text; `recall`: the value of a key in a recall sequence',
        ),
      })
      .nullish(),
    'the needle grid; null where it is not measured, as between checkpoints',
  ),
});

/** Which needle samples are drawn, and how. */
export interface NeedlePlan {
  readonly task: NeedleTask;
  readonly config: NeedleGridSettings;
}

/** What the needle grid came to in one run. */
export interface NeedleSummary {
  /** Mean of the last needle grid, 0 to 1. */
  readonly needleAccuracy: number | null;
  /** 95 % interval of the needle accuracy over all samples of the grid; null where their number was not stored. */
  readonly needleInterval: Interval | null;
}

/** A needle grid as it is stored. */
type StoredGrid = NonNullable<Stored<typeof schema>['needle']>;

/**
 * The mean accuracy of a grid, every cell alike, with its 95 % interval over all samples (null where their number was
 * not stored); null without a grid.
 */
export function needleShare(
  needle: Pick<StoredGrid, 'accuracy' | 'samples'> | null | undefined,
): { readonly value: number; readonly interval: Interval | null } | null {
  const cells = (needle?.accuracy.flat() ?? []).filter((cell) => cell !== null);
  if (cells.length === 0) return null;
  const value = cells.reduce((a, b) => a + b, 0) / cells.length;
  const number = cells.length * (needle?.samples ?? 0);
  return { value, interval: number === 0 ? null : wilson(Math.round(value * number), number) };
}

function summarize({ results }: MeasuredRun<Stored<typeof schema>>): NeedleSummary {
  const share = needleShare(results.at(-1)?.needle);
  return { needleAccuracy: share?.value ?? null, needleInterval: share?.interval ?? null };
}

/** The needle grid. */
export const needleMeasure = defineMeasure({
  options: needleEvalSchema,
  about:
    'needle grid, depth by length; options, or true or false (default: on for text and token shards whose sequences can hold one)',
  stored: 'record',
  schema,
  absent: { needle: null },
  when: 'checkpoints',
  plan: ({ data, options, asked, note }): NeedlePlan | null => {
    const isText = data.needles !== null && data.needles.kind !== 'recall';
    if (!asked && !isText) return null;
    const lengths = options.lengths ?? [data.train.seqLen];
    const { task, problem } = plannedNeedles(data, options, lengths);
    if (task !== null) return { task, config: { ...options, lengths } };
    const text = `${problem}; set eval.needle.lengths or eval.needle: false`;
    if (asked) throw new ConfigError(`eval.needle: ${text}`);
    note(`no needle grid: ${text}`);
    return null;
  },
  prepare: async (plan, { engine, model, data, batchSize, later }) => {
    await later(turn);
    const batchTokens = batchSize * data.train.seqLen;
    const evaluator = await NeedleEvaluator.create({ engine, config: model }, { ...plan, batchTokens });
    return {
      start: async (tensors) => {
        const grid = await evaluator.start(tensors);
        return pending(grid.numbers, () => ({ needle: grid.result() }));
      },
      dispose: () => evaluator.dispose(),
    };
  },
  metrics: ({ needle }) => ({
    'eval/needle/accuracy': needle && mean(needle.accuracy),
    'eval/needle/probability': needle && mean(needle.probability),
  }),
  metricWords: {
    'eval/needle/accuracy': {
      title: 'Needle accuracy',
      unit: 'share of needles found again',
      range: '0 to 1',
      meaning: 'mean over the cells of the grid of the share of right answers',
    },
    'eval/needle/probability': {
      title: 'Needle probability',
      unit: 'of the right answer',
      range: '0 to 1',
      meaning: 'mean over the cells of the grid of the probability of the right answer',
    },
  },
  reference: {
    title: 'Needle grid',
    measures:
      'Whether the model finds a fact again that stands somewhere in a long context. The fact, the needle, is put at a known depth of a ' +
      'context of a known length and asked for at the end. A grid has a cell for each length and depth.',
    formula:
      'Per cell: the share of samples of which every token of the answer is the likeliest after the ones before, which is what greedy ' +
      'decoding gives. `probability` is the mean over samples of the geometric mean of the probabilities of the tokens of the answer. ' +
      'The metrics are means over the cells.',
    unit: 'share (and a probability)',
    range: '0 to 1',
    interval:
      'The Wilson score interval, 95 %: of each cell in `longsight eval`, over all samples of the grid in reports.',
    source:
      'The wording of the single needle of RULER (Hsieh et al. 2024, arXiv 2404.06654; NVIDIA/RULER, `scripts/data/synthetic`) in bytes ' +
      'and in the tokens of a tokenizer; recall data get a key and its value. Made in `src/data/needle.ts`, scored in `src/eval/needle.ts`.',
  },
  forReaders: {
    task: {
      tokens: [
        { text: 'text …', role: 'other' },
        { text: 'the number is', role: 'key' },
        { text: '4 7 1', role: 'value' },
        { text: '… text …', role: 'other' },
        { text: 'the number is', role: 'key' },
        { text: '?', role: 'ask' },
      ],
      caption:
        'A fact, the needle, stands somewhere in a text and is asked for at the end: the model has to find it again.',
    },
    terms: {
      needle: 'A fact put into a text, which is asked for at its end.',
      'needle accuracy': 'The share of needles whose value is named exactly.',
    },
  },
  words: ({ needle }) => (needle == null ? null : `needle accuracy ${mean(needle.accuracy).toFixed(3)}`),
  event: () => ({}),
  text: ({ needle }) => {
    if (needle == null) return null;
    const { samples = 1 } = needle;
    const head = ['length', ...needle.depths.map((depth) => `depth ${depth}`)];
    const rows = needle.lengths.map((length, i) => [
      String(length),
      ...(needle.accuracy[i] ?? []).map((cell) =>
        cell === null ? '-' : formatShare(Math.round(cell * samples), samples),
      ),
    ]);
    const table = textTable([head, ...rows], new Set(head.map((_, i) => i)));
    return `needle accuracy (95 %), ${samples} samples a cell\n${table}`;
  },
  summarize,
  csv: () => [
    { name: 'needle_accuracy', of: ({ needleAccuracy }) => needleAccuracy },
    { name: 'needle_low', of: ({ needleInterval }) => needleInterval?.low ?? null, last: true },
    { name: 'needle_high', of: ({ needleInterval }) => needleInterval?.high ?? null, last: true },
  ],
  cells: (runs) =>
    runs.some((run) => run.needleAccuracy !== null) ? [{ name: 'needle accuracy (95 %)', of: needleCell }] : [],
  figures: [{ order: 40, draw: 'needle grid' }],
  outcome: {
    name: () => 'needle accuracy',
    short: 'needle accuracy',
    axis: 'accuracy',
    of: ({ needleAccuracy }) => needleAccuracy,
    series: ({ metrics }) => metrics.get('eval/needle/accuracy') ?? [],
  },
});

function mean(cells: readonly (readonly (number | null)[])[]): number {
  const values = cells.flat().filter((cell) => cell !== null);
  return values.reduce((a, b) => a + b, 0) / values.length;
}

/** `0.531 (0.469 to 0.592)`. */
function needleCell({ needleAccuracy, needleInterval: at }: NeedleSummary): string {
  if (needleAccuracy === null) return '–';
  return at === null
    ? needleAccuracy.toFixed(3)
    : `${needleAccuracy.toFixed(3)} (${at.low.toFixed(3)} to ${at.high.toFixed(3)})`;
}
