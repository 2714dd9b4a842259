/** `longsight constrain`: who carries long range, by limits of reach. */
import { z } from 'zod';
import { limitReach, REACH_PARTS, reachParts, type LongPplSettings, type ReachPart } from '../../analysis/index.js';
import { field, type CsvCell } from '../../core/index.js';
import { count } from '../analysis-options.js';
import { defineAnalysis, show, type Printed } from '../analysis.js';
import { arLimits } from '../ar-runs.js';
import { STAGE_KEYS } from '../settings-in-effect.js';
import { leftFields, limitedModel, limitedOptions, limitScore, measureAsked, type Left } from './limited-model.js';
import { AR_FIGURES, arCell, arCells, arColumns, distanceText } from './limited-recall.js';

/** What a model scores at one limit; null where it is not limited. */
export interface LimitRow extends Left {
  readonly part: ReachPart | null;
  /** Visible keys of the limited layers, the query's own included. */
  readonly keys: number | null;
}

/** What is left of a model at each limit; the first row is the model as it is. */
export interface Limits {
  readonly rows: readonly LimitRow[];
  /** How key tokens were found, and how many there are; null without texts. */
  readonly longPpl: (LongPplSettings & { readonly keyTokens: number }) | null;
  /** Why an imported model was measured without needles. */
  readonly needlesLeftOut?: string;
}

const options = {
  part: z
    .enum(REACH_PARTS)
    .optional()
    .describe(`${REACH_PARTS.join(', ')} (default: full, then efficient)`),
  keys: z
    .array(count())
    .optional()
    .describe(
      'limits, in visible keys (default: 4,16,64; of ar 16,64,128,256,... below the length of rows, of recurrent layers to 64)',
    ),
  ...limitedOptions,
};

const fields = z.object({
  rows: field(
    z.array(
      z.object({
        part: field(z.enum(REACH_PARTS).nullable(), 'the layers that are limited; null in the first row: none'),
        keys: field(z.number().nullable(), 'what they see, the own token included; null in the first row', 'keys'),
        ...leftFields,
      }),
    ),
    'what is left at each limit; the first row is the model as it is',
  ),
  longPpl: field(
    z
      .object({
        trunc: field(z.number(), 'short contexts, at least', 'tokens'),
        stride: field(z.number(), 'by which short contexts move', 'tokens'),
        alpha: field(z.number(), 'least gain of a key token from the long context', 'nats'),
        beta: field(z.number(), 'least log-likelihood of a key token with the long context', 'nats'),
        keyTokens: field(z.number(), 'key tokens of the model as it is', 'tokens'),
      })
      .nullable(),
    'how key tokens were found; null without texts',
  ),
  needlesLeftOut: field(z.string().optional(), 'why an imported model was measured without needles'),
});

/** Limits where nothing else is said, in visible keys. */
const LIMITS = [4, 16, 64];

/** What is left of a model when some layers see only a few keys. */
export const limits = defineAnalysis({
  command: 'constrain',
  summary: 'who carries long range: limit the reach of some layers',
  description:
    'Lets only the full layers, or only the efficient ones, see no more than a few keys (recurrent layers: remember no ' +
    'more than a few tokens), and measures what is left of the loss, LongPPL, recall by distance and needle accuracy. ' +
    'LongPPL needs texts: --texts, or the held-out text of the run; key tokens are those of the unlimited model.',
  question: 'who carries long range: the full layers or the efficient ones?',
  needs: 'text',
  reads: ['eval', ...STAGE_KEYS],
  checkpoints: { command: 'newest', analyze: 'last' },
  options,
  // A row whose `part` and `keys` are null: nothing is limited.
  result: {
    rows: z.array(
      z.looseObject({
        part: z.enum(REACH_PARTS).nullable(),
        keys: z.number().nullable(),
        loss: z.number().nullable(),
        longPpl: z.number().nullable().default(null),
        recall: z.array(z.looseObject({ from: z.number(), to: z.number(), probability: z.number().nullable() })),
        needleAccuracy: z.number().nullable(),
        // Older findings have accuracy and loss alone.
        ar: z
          .looseObject({ from: z.number(), accuracy: z.number().nullable(), loss: z.number().nullable() })
          .optional(),
      }),
    ),
  },
  fields,
  resolve: (model, given) => {
    const measure = measureAsked(model, given);
    // Limits of associative recall follow from the run's rows, and differ by part.
    return { ...given, measure, ...(given.keys !== undefined || measure === 'ar' ? {} : { keys: LIMITS }) };
  },
  measure: async (model, chosen, { context }): Promise<Limits> => {
    using limited = await limitedModel(model, { ...chosen, label: 'constrain' });
    const parts = chosen.part === undefined ? reachParts(model.config) : [chosen.part];
    const rows: LimitRow[] = [{ part: null, keys: null, ...(await limited.measure(model.config)) }];
    for (const part of parts) {
      for (const keys of chosen.keys ?? arLimits(model, part)) {
        context.signal?.throwIfAborted();
        // A limit that leaves a model as it is, such as one of its window's width, is no other model.
        rows.push({ part, keys, ...(await limited.measure(limitReach(model.config, part, keys))) });
      }
    }
    const { longPpl, problem } = limited;
    if (problem !== null) context.note?.(`needles not measured: ${problem}`);
    return { rows, longPpl, ...(problem === null ? {} : { needlesLeftOut: problem }) };
  },
  record: (result) => result,
  print: limitTable,
  csv: ({ rows }) => ({
    columns: [
      ...['part', 'keys', 'loss', 'longppl'],
      ...(rows[0]?.recall ?? []).map((b) => `recall_${b.from}_${b.to}`),
      ...['needle_accuracy', 'needle_low', 'needle_high'],
      ...(rows[0]?.ar === undefined ? [] : arColumns(rows[0].ar)),
    ],
    rows: rows.map((r): CsvCell[] => [
      ...[r.part, r.keys, r.loss, r.longPpl],
      ...r.recall.map((b) => b.probability),
      ...[r.needleAccuracy, r.needleInterval?.low ?? null, r.needleInterval?.high ?? null],
      ...(r.ar === undefined ? [] : arCells(r.ar)),
    ]),
  }),
  figure: [
    {
      form: 'bars',
      title: 'Limits of reach: who carries long range',
      open: ['loss'],
      bars: ({ rows }, far) =>
        rows.flatMap((row) => {
          const name = row.part === null ? 'nothing limited' : `${row.part}: ${row.keys} keys`;
          const score = limitScore(row, far);
          // Associative recall has curves of its own.
          return score === null || score.what === 'ar' ? [] : [{ name, ...score }];
        }),
      caption: (what, far) => {
        const names = { recall: `recall at ${far}`, needle: 'needle accuracy', loss: 'loss (nats per token)' };
        const name = Object.entries(names).find(([key]) => key === what)?.[1] ?? what;
        return (
          `What is left of ${name} when only the full, or only the efficient layers see no more than so many keys, the ` +
          'weights as they are. Bars: mean over seeds; marks: each seed. A bar that falls belongs to layers that carry long range.'
        );
      },
    },
    ...AR_FIGURES,
  ],
});

/** What people read: a row a limit. */
function limitTable({ rows, longPpl }: Limits, name: string): Printed {
  const bins = rows[0]?.recall ?? [];
  const text = longPpl === null ? [] : ['LongPPL'];
  const needle = rows.some((r) => r.needleAccuracy !== null) ? ['needle (95 %)'] : [];
  const recall = rows[0]?.ar === undefined ? [] : [`AR beyond ${rows[0].ar.from - 1} (95 %)`, 'its loss'];
  return {
    title: name,
    head: ['limited', 'keys', 'loss', ...text, ...bins.map((b) => `recall ${b.from}-${b.to}`), ...recall, ...needle],
    rows: rows.map((r) => [
      ...[r.part ?? 'nothing', String(r.keys ?? ''), show(r.loss, 4)],
      ...text.map(() => show(r.longPpl, 4)),
      ...r.recall.map((b) => show(b.probability)),
      ...(recall.length === 0 ? [] : [arCell(r.ar), show(r.ar?.loss, 4)]),
      ...needle.map(() => needleCell(r)),
    ]),
    right: 1,
    ...remarkOf({ rows, longPpl }),
  };
}

function remarkOf({ rows, longPpl }: Limits): Pick<Printed, 'remark'> {
  const keyTokens =
    longPpl === null
      ? null
      : `LongPPL over ${longPpl.keyTokens} key tokens (short contexts of ${longPpl.trunc} tokens, moved by ${longPpl.stride})`;
  const remarks = [keyTokens, distanceText(rows)].filter((text) => text !== null);
  return remarks.length === 0 ? {} : { remark: remarks.join('\n') };
}

function needleCell({ needleAccuracy, needleInterval: at }: LimitRow): string {
  return at === null ? show(needleAccuracy) : `${show(needleAccuracy)} (${show(at.low)} to ${show(at.high)})`;
}
