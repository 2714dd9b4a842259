/** `trace`: retrieval heads, how much attention each head puts on a needle; a finding of its own at each checkpoint. */
import { z } from 'zod';
import { headSparsity, HeadTracer, RETRIEVAL_HEAD_SCORE } from '../../analysis/index.js';
import { ConfigError, inTurns, maxOf, sizeUpTo } from '../../core/index.js';
import { ByteNeedleSchema, type NeedleSample } from '../../data/index.js';
import { needleSample, plannedNeedles } from '../../eval/index.js';
import { count, defineMeasure, fractions, type MeasuredRun, type Stored } from './define.js';

const options = z.strictObject({
  samples: count.default(32).describe('needle samples'),
  length: sizeUpTo('tokens').optional().describe('length of a sample, in tokens (default: that of training)'),
  depths: fractions
    .default([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    .describe('depths of the needle, taken in turn; the far half by default, as near needles need no retrieval'),
  queryFromEnd: count
    .default(1)
    .describe('row of the attention: 1 = the last token of the question, 2 = the one before (the published script)'),
  ...ByteNeedleSchema.shape,
});

const head = z.object({
  /** Query head. */
  head: z.number(),
  /** Mean over samples of the attention on the needle's tokens, 0 to 1. */
  score: z.number(),
  /** Visible keys, the query's own included; null for full attention. */
  window: z.number().nullish(),
  rope: z.union([z.boolean(), z.literal('local')]).optional(),
  massPerToken: z.number().optional(),
  top1: z.number().optional(),
  visible: z.number().optional(),
});

const schema = z.object({
  step: z.number(),
  tokens: z.number(),
  layers: z.array(z.object({ layer: z.number(), label: z.string(), heads: z.array(head) })),
  format: z.literal(1).optional(),
  definition: z.literal('attention-mass').optional(),
  queryFromEnd: z.number().optional(),
  samples: z.number().optional(),
});

type Heads = Stored<typeof schema>;

/** The samples on which heads are traced. */
export interface TracePlan {
  /** Draws each of them. */
  readonly samples: readonly (() => NeedleSample)[];
  /** 1 = the last token of the question. */
  readonly queryFromEnd: number;
}

/** One attention head and its retrieval score. */
interface StrongestHead {
  readonly layer: number;
  /** The layer in the short form of patterns. */
  readonly label: string;
  readonly head: number;
  /** Mean attention mass on the needle, 0 to 1. */
  readonly score: number;
}

/** What traced heads came to in one run. */
export interface TraceSummary {
  /** The head with the highest retrieval score at the last trace. */
  readonly strongestHead: StrongestHead | null;
}

function summarize({ results }: MeasuredRun<Heads>): TraceSummary {
  const heads = (results.at(-1)?.layers ?? []).flatMap(({ layer, label, heads: list }) =>
    list.map((entry) => ({ layer, label, head: entry.head, score: entry.score })),
  );
  const best = heads.reduce<StrongestHead | null>((a, h) => (a === null || h.score > a.score ? h : a), null);
  return { strongestHead: best };
}

/** Retrieval heads. */
export const traceMeasure = defineMeasure({
  options,
  about:
    'retrieval-head scores at checkpoints; options, or true or false (default: on where sequences can hold a needle)',
  stored: { finding: 'retrieval-heads' },
  schema,
  absent: null,
  when: 'checkpoints',
  plan: ({ data, options: given, asked, note }): TracePlan | null => {
    const length = given.length ?? data.train.seqLen;
    const { task, problem } = plannedNeedles(data, given, [length]);
    if (task === null) {
      const text = `${problem}; set eval.trace.length or eval.trace: false`;
      if (asked) throw new ConfigError(`eval.trace: ${text}`);
      note(`retrieval heads are not traced: ${text}`);
      return null;
    }
    const { depths, samples: number, queryFromEnd } = given;
    const draw = { label: 'trace', length, depths };
    const samples = Array.from({ length: number }, (_, i) => () => needleSample(task, draw, i));
    return { samples, queryFromEnd };
  },
  prepare: async (plan, { engine, model, data, batchSize, later }) => {
    // An accelerator is idle between small passes; on the host their size matters little, and memory more.
    const large = engine.hints.accelerator === true ? { batchTokens: batchSize * data.train.seqLen } : {};
    const { queryFromEnd } = plan;
    const samples = await later(() => inTurns(plan.samples, (draw) => draw()));
    const tracer = await HeadTracer.create({ engine, config: model }, samples, { queryFromEnd, ...large });
    return { start: (tensors, at) => tracer.start(tensors, at), dispose: () => tracer.dispose() };
  },
  metrics: () => ({}),
  titles: {},
  forReaders: {
    task: null,
    terms: {
      'retrieval head': `An attention head that looks back at the token to be copied; here one with a score of at least ${RETRIEVAL_HEAD_SCORE}.`,
      'retrieval-head score':
        'The mean share of its attention that a head puts on a needle when that is asked for, from 0 to 1.',
    },
  },
  words: () => null,
  event: () => ({}),
  text: () => null,
  summarize,
  csv: () => [
    { name: 'strongest_head_layer', of: ({ strongestHead: h }) => h?.layer ?? null },
    { name: 'strongest_head', of: ({ strongestHead: h }) => h?.head ?? null },
    { name: 'strongest_head_score', of: ({ strongestHead: h }) => h?.score ?? null },
  ],
  cells: (runs) =>
    runs.some((run) => run.strongestHead !== null)
      ? [
          {
            name: 'strongest head',
            of: ({ strongestHead: h }) => (h === null ? '–' : `${h.score.toFixed(2)} in layer ${h.layer} (${h.label})`),
          },
        ]
      : [],
  figures: [
    { order: 30, draw: 'head maps' },
    {
      ...{ order: 60, draw: 'curves', heading: 'Strongest retrieval head, while training' },
      caption:
        'The largest mean attention mass that any head puts on the needle. Dashed: the score from which we count a head as a ' +
        `retrieval head, ${RETRIEVAL_HEAD_SCORE}. Dots: checkpoints, where heads are traced; between them nothing is known.`,
      plot: {
        title: 'Score of the strongest retrieval head',
        yLabel: 'retrieval-head score',
        domain: [0, 1],
        lines: [RETRIEVAL_HEAD_SCORE],
        series: ({ results }) =>
          results.map(({ tokens, layers }) => ({
            tokens,
            value: maxOf(layers.flatMap((layer) => layer.heads.map(({ score }) => score))),
          })),
      },
    },
    {
      ...{ order: 70, draw: 'curves', heading: 'Number of retrieval heads, while training' },
      caption: `Heads with a score of at least ${RETRIEVAL_HEAD_SCORE} at each checkpoint (dots); between them nothing is known.`,
      plot: {
        title: 'Number of retrieval heads',
        yLabel: 'heads',
        series: ({ results }) =>
          results.map(({ tokens, layers }) => ({ tokens, value: headSparsity(layers).retrievalHeads })),
      },
    },
  ],
  outcome: null,
});
