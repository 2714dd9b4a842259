/** `longsight mask`: needle accuracy, or associative recall, with heads switched off. */
import { z } from 'zod';
import {
  copyHeads,
  HeadTracer,
  MASK_MODES,
  maskHeads,
  maskHeadsScored,
  topHeads,
  type HeadIndex,
  type MaskingResult,
  type NeedleScore,
} from '../../analysis/index.js';
import { field } from '../../core/index.js';
import { count, headList } from '../analysis-options.js';
import { defineAnalysis, headNames, show, type AnalysisContext, type Printed } from '../analysis.js';
import { isAskedForAr } from '../ar-runs.js';
import { arHits, type MaskedArScore } from '../ar-samples.js';
import type { DotsFigure } from '../figures.js';
import { needlesOf } from '../needles.js';
import type { OpenedModel } from '../open-model.js';
import { STAGE_KEYS } from '../settings-in-effect.js';
import { format, headIndex as place, needleScore } from './described.js';

/** Loss, and what follows it, are of associative recall alone. */
const score = z.looseObject({
  ...{ accuracy: z.number(), low: z.number(), high: z.number(), probability: z.number() },
  loss: z.number().optional(),
  allLoss: z.number().optional(),
});
const headIndex = z.looseObject({ layer: z.number(), head: z.number() });

const options = {
  heads: headList().optional().describe('heads as LAYER:HEAD, several with commas (default: the strongest)'),
  top: count().default(4).describe('how many of the strongest'),
  mode: z.enum(MASK_MODES).default('zero').describe(MASK_MODES.join(', ')),
  draws: count().default(10).describe('draws of random heads'),
  samples: count().default(200).describe('needle samples, or far hits at least'),
  measure: z
    .enum(['needle', 'ar'])
    .optional()
    .describe(
      'what is asked: needles, or far associative recall in the held-out text of the run (default: ar of runs that ' +
        'measure it on text, else needle)',
    ),
  length: count().optional().describe('tokens of a needle sample (default: that of training)'),
};

type MaskOptions = z.output<z.ZodObject<typeof options>>;

const described = needleScore.extend({
  accuracy: field(
    z.number(),
    'samples whose answer is right, token for token, under greedy decoding; of `ar`: far hits whose token is the likeliest',
    'share',
  ),
  low: field(z.number(), 'lower end of the 95 % interval of `accuracy`; of `ar` over documents', 'share'),
  probability: field(
    z.number(),
    "mean over samples of the geometric mean of the probabilities of the answer's tokens; of `ar`: mean probability of the tokens of far hits",
    'probability',
  ),
  samples: field(z.number(), 'needle samples; of `ar`: far hits', 'samples'),
  loss: field(z.number().optional(), 'of `ar`: mean loss of far hits', 'nats per token'),
  allLoss: field(z.number().optional(), 'of `ar`: mean loss of every token of the same documents', 'nats per token'),
  documents: field(z.number().optional(), 'of `ar`: documents that far hits stand in', 'documents'),
  from: field(z.number().optional(), 'of `ar`: the nearest distance that counts as far', 'tokens'),
});
const off = z.array(z.object(place));

/** What is kept: needles, or associative recall. */
type Masked =
  | ({ readonly measure: 'needle' } & MaskingResult)
  | ({ readonly measure: 'ar'; readonly chosenBy: 'attention' | 'given' } & MaskingResult<MaskedArScore>);

/** A finding as reports read it. */
interface ReadMasking {
  readonly measure?: string | undefined;
  readonly heads: readonly HeadIndex[];
  readonly baseline: z.output<typeof score>;
  readonly masked: z.output<typeof score>;
  readonly random: readonly { readonly heads: readonly HeadIndex[]; readonly score: z.output<typeof score> }[];
}

const PANELS = [
  ['none', 'no head off'],
  ['strongest', 'the strongest off'],
  ['random', 'random others off'],
] as const;

/** A figure of one number of every score. */
function dotsOf(
  measure: 'needle' | 'ar',
  shown: Pick<DotsFigure<ReadMasking>, 'title' | 'axis' | 'caption' | 'open'>,
  of: (s: z.output<typeof score>) => number | undefined,
): DotsFigure<ReadMasking> {
  return {
    ...{ form: 'dots', panels: PANELS, ...shown },
    dots: ({ measure: own = 'needle', baseline, masked, heads, random }) => {
      if (own !== measure) return [];
      const dot = (panel: string, s: z.output<typeof score>, about: string) => {
        const value = of(s);
        return value === undefined ? [] : [{ panel, value, about }];
      };
      return [
        ...dot('none', baseline, ''),
        ...dot('strongest', masked, `, without ${headNames(heads)}`),
        ...random.flatMap((r) => dot('random', r.score, `, without ${headNames(r.heads)}`)),
      ];
    },
  };
}

const SINGLE =
  'Right: without as many others, each mark one draw. A random draw may hit a head that builds the keys which retrieval needs, so look ' +
  'at single draws.';
const chosen = ({ heads }: ReadMasking): string =>
  `Middle: without the ${heads.length} heads that attend most to what far hits copy, chosen on other rows. ${SINGLE}`;

const fields = z.object({
  format,
  measure: field(z.enum(['needle', 'ar']), 'what is asked: needles, or far associative recall on held-out text'),
  mode: field(z.enum(MASK_MODES), 'what stands for a head that is off: equal attention, nothing, its mean output'),
  chosenBy: field(
    z.enum(['attention', 'given']).optional(),
    'of `ar`: heads chosen by their attention to what far hits copy, or given',
  ),
  heads: field(off, 'the heads that are switched off: strongest first, or as they were given'),
  baseline: field(described, 'with every head'),
  masked: field(described, 'without `heads`'),
  random: field(
    z.array(
      z.object({
        heads: field(off, 'as many others, drawn at random'),
        score: field(described, 'without them'),
      }),
    ),
    'random draws',
  ),
  drop: field(z.number(), 'accuracy of `baseline` minus that of `masked`', 'share'),
  randomDrop: field(
    z.number().nullable(),
    'the same, mean over `random`; null where there are too few other heads',
    'share',
  ),
});

/** Accuracy with chosen heads switched off, and with as many random others off. */
export const masking = defineAnalysis({
  command: 'mask',
  summary: 'needle accuracy with heads switched off',
  description:
    'Switches chosen heads off, or the strongest, and as many random others; prints needle accuracy with and without, or far ' +
    'associative recall of runs on text. The strongest are chosen by copying needles, or by their attention on what far hits ' +
    'copy. uniform: equal attention to all visible keys; zero: no output; mean: mean output.',
  question: 'does finding needles, or recall on text, need these heads, more than random ones?',
  needs: 'needles',
  reads: ['eval.ar', 'eval.recall', ...STAGE_KEYS],
  checkpoints: { command: 'newest', analyze: 'last' },
  options,
  result: {
    mode: z.string(),
    heads: z.array(headIndex),
    baseline: score,
    masked: score,
    random: z.array(z.looseObject({ heads: z.array(headIndex), score })),
    measure: z.string().optional(),
  },
  fields,
  resolve: (model, given) => {
    const measure = given.measure ?? (given.length === undefined && isAskedForAr(model) ? 'ar' : 'needle');
    return { ...given, measure };
  },
  measure: async (model, asked, { context }): Promise<Masked> =>
    asked.measure === 'ar' ? maskedRecall(model, asked, context) : maskedNeedles(model, asked),
  record: (result) => result,
  print: (result, name) => tableOf(result, name),
  csv: ({ measure, mode, heads, baseline, masked, random }, { step }) => ({
    columns: [
      ...['step', 'measure', 'mode', 'kind', 'heads', 'accuracy', 'probability', 'accuracy_low', 'accuracy_high'],
      ...(measure === 'ar' ? ['loss', 'all_loss'] : []),
    ],
    rows: [
      { kind: 'none', off: [], score: baseline },
      { kind: 'chosen', off: heads, score: masked },
      ...random.map((r) => ({ kind: 'random', off: r.heads, score: r.score })),
    ].map(({ kind, off, score: s }) => [
      ...[step, measure, mode, kind, headNames(off)],
      ...[s.accuracy, s.probability, s.low, s.high],
      ...('allLoss' in s ? [s.loss, s.allLoss] : []),
    ]),
  }),
  figure: [
    dotsOf(
      'needle',
      {
        ...{ title: 'Needle accuracy with heads switched off', axis: 'needle accuracy', open: false },
        caption: ({ heads }) =>
          `Left: the model as it is; middle: without the ${heads.length} heads that copy most; right: without as many others, each mark one ` +
          'draw. A random draw may hit a head that builds the keys which retrieval needs, so look at single draws.',
      },
      (s) => s.accuracy,
    ),
    dotsOf(
      'ar',
      {
        ...{ title: 'Far associative recall with heads switched off', axis: 'top-1 accuracy', open: true },
        caption: (found) => `Left: the model as it is. ${chosen(found)}`,
      },
      (s) => s.accuracy,
    ),
    dotsOf(
      'ar',
      {
        ...{ title: 'Loss of all tokens with heads switched off', axis: 'loss (nats per token)', open: true },
        caption: (found) => `The documents that hold far hits. Left: the model as it is. ${chosen(found)}`,
      },
      (s) => s.allLoss,
    ),
  ],
});

async function maskedNeedles(
  model: OpenedModel,
  { heads: given, top, mode, draws, samples, length }: MaskOptions,
): Promise<Masked> {
  const needles = (label: string) => needlesOf(model, { label, samples, length });
  // Chosen on other samples than they are judged on.
  const strongest = given ?? topHeads((await copyHeads(model, needles('copy'))).heads, top);
  const heads = strongest.map(({ layer, head }) => ({ layer, head }));
  return { measure: 'needle', ...(await maskHeads(model, needles('mask'), { heads, mode, draws })) };
}

/** Samples that heads are chosen by: as many as needles are traced on, twice over. */
const CHOOSING = 64;
/** Documents of this many tokens together are scored at once on accelerators. */
const LARGE_BATCH = 16_384;

async function maskedRecall(
  model: OpenedModel,
  { heads: given, top, mode, draws, samples }: MaskOptions,
  context: AnalysisContext,
): Promise<Masked> {
  const counts = { choosing: given === undefined ? CHOOSING : 0, judging: samples };
  const { choosing, judging } = arHits(model, counts, (text) => context.note?.(text));
  const large = model.engine.hints.accelerator === true ? { batchTokens: LARGE_BATCH } : {};
  const heads = given ?? (await attendingHeads(model, choosing, top, large));
  const result = await maskHeadsScored(model, judging, { heads, mode, draws, ...large });
  return { measure: 'ar', chosenBy: given === undefined ? 'attention' : 'given', ...result };
}

/** The heads with the most attention, from the query of a far hit, on the token that it could be copied from. */
async function attendingHeads(
  model: OpenedModel,
  samples: Parameters<typeof HeadTracer.create>[1],
  top: number,
  batches: { readonly batchTokens?: number },
): Promise<HeadIndex[]> {
  const tracer = await HeadTracer.create(model, samples, batches);
  try {
    const { layers } = await tracer.trace(model.tensors, { step: model.step ?? 0, tokens: model.tokens ?? 0 });
    const all = layers.flatMap(({ layer, heads }) =>
      heads.map(({ head, score: mass }) => ({ layer, head, score: mass })),
    );
    return topHeads(all, top).map(({ layer, head }) => ({ layer, head }));
  } finally {
    await tracer.dispose();
  }
}

function tableOf(result: Masked, name: string): Printed {
  const { measure, mode, heads, drop, randomDrop } = result;
  const line = (what: string, s: NeedleScore | MaskedArScore) => [
    ...[what, show(s.accuracy), `${show(s.low)} to ${show(s.high)}`, show(s.probability)],
    ...('allLoss' in s ? [show(s.loss, 4), show(s.allLoss, 4)] : []),
  ];
  const mean = randomDrop === null ? 'too few other heads' : `random ones lose ${show(randomDrop)}`;
  const about = measure === 'ar' ? `associative recall beyond ${result.baseline.from - 1} tokens` : 'needles';
  return {
    title: `${name}, ${about}, mode ${mode}: the chosen heads lose ${show(drop)}, ${mean}`,
    head: ['heads off', 'accuracy', 'interval', 'probability', ...(measure === 'ar' ? ['loss', 'loss of all'] : [])],
    rows: [
      line('none', result.baseline),
      line(headNames(heads), result.masked),
      ...result.random.map((r) => line(`${headNames(r.heads)} (random)`, r.score)),
    ],
    right: 1,
  };
}
