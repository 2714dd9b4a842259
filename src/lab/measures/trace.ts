/** `trace`: retrieval heads, how much attention each head puts on a needle; a finding of its own at each checkpoint. */
import { z } from 'zod';
import { headSparsity, HeadTracer, RETRIEVAL_HEAD_SCORE } from '../../analysis/index.js';
import { ConfigError, field, inTurns, maxOf, sizeUpTo } from '../../core/index.js';
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
  head: field(z.number(), 'number of the query head in its layer, from 0'),
  score: field(z.number(), 'mean over samples of the attention on the tokens of the needle', 'share'),
  window: field(z.number().nullish(), 'visible keys, that of the query included; null for full attention', 'tokens'),
  rope: field(
    z.union([z.boolean(), z.literal('local')]).optional(),
    'whether queries and keys are rotated by their positions; `local`: with a base of its own',
  ),
  massPerToken: field(z.number().optional(), 'mean over samples of that mass by the tokens of the needle', 'share'),
  top1: field(z.number().optional(), 'share of samples whose most attended token belongs to the needle', 'share'),
  visible: field(z.number().optional(), 'mean share of the tokens of the needle that the head can see', 'share'),
});

const schema = z.object({
  step: field(z.number(), 'optimizer steps of the checkpoint', 'steps'),
  tokens: field(z.number(), 'training tokens seen', 'tokens'),
  layers: field(
    z.array(
      z.object({
        layer: field(z.number(), 'number of the layer, from 0'),
        label: field(z.string(), 'the layer in the short form of patterns, such as `swa:128`'),
        heads: field(z.array(head), 'its heads; empty for layers without attention'),
      }),
    ),
    'the layers, first to last',
  ),
  format: field(z.literal(1).optional(), 'version of the format'),
  definition: field(z.literal('attention-mass').optional(), 'how `score` is defined'),
  queryFromEnd: field(z.number().optional(), 'row of the attention: 1 = the last token of the question'),
  samples: field(z.number().optional(), 'needle samples', 'samples'),
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
  metricWords: {},
  reference: {
    title: 'Retrieval heads',
    measures:
      'Which attention heads look back at a fact when it is asked for. The score of a head is how much of its attention it puts on the ' +
      'needle, seen from the last token of the question.',
    formula:
      'Mean over samples of the sum, over the tokens of the needle, of the attention weight that the head gives them in the row of the last token of ' +
      'the question. Learned sinks take part in the denominator. A head of at least ' +
      `${RETRIEVAL_HEAD_SCORE} counts as a retrieval head: our cut, as the literature has none.`,
    unit: 'share of the attention',
    range: '0 to 1; a head with a window has at most `visible`',
    interval: 'None.',
    source:
      'The score of "Rethinking the Role of Efficient Attention in Hybrid Architectures" (arXiv 2606.15378; thunlp/rethinking-hybrid-attention, ' +
      '`src/tracing/find_retrieval_heads.py`) with the query one token later; `queryFromEnd: 2` gives theirs. Computed in ' +
      '`src/analysis/retrieval-heads.ts`.',
  },
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
