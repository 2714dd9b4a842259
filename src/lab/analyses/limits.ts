/** `longsight constrain`: who carries long range, by limits of reach. */
import { z } from 'zod';
import {
  corpusPerplexities,
  findKeyTokens,
  limitReach,
  perplexities,
  PUBLISHED_LONGPPL,
  REACH_PARTS,
  reachParts,
  scoreNeedles,
  textLosses,
  type LongPplSettings,
  type ReachPart,
} from '../../analysis/index.js';
import { ConfigError, DataError, minOf, type CsvCell, type Interval } from '../../core/index.js';
import type { NeedleSample, OpenedData } from '../../data/index.js';
import { withConfig } from '../../loaded/index.js';
import type { ModelConfig } from '../../model/index.js';
import { openRunData, runAtStep } from '../../train/index.js';
import { count, textOptions } from '../analysis-options.js';
import { defineAnalysis, show, type Printed } from '../analysis.js';
import { AR_FIGURES, arCell, arCells, arColumns, distanceText, limitedAr, type LimitedAr } from './limited-recall.js';
import { arLimits, isAskedForAr, measuredOnce } from '../ar-runs.js';
import type { DistanceRange } from '../figures.js';
import { needlesOf } from '../needles.js';
import { measuredLength, type OpenedModel } from '../open-model.js';
import { needleShare } from '../measures/needle.js';
import type { FullRunConfig } from '../run-config.js';
import { evaluateCheckpoint } from '../run.js';
import { STAGE_KEYS } from '../settings-in-effect.js';
import { holdsTextOut, sequencesOf, type SequenceOptions } from '../model-texts.js';

/** What a model scores at one limit; null where it is not limited. */
export interface LimitRow {
  readonly part: ReachPart | null;
  /** Visible keys of the limited layers, the query's own included. */
  readonly keys: number | null;
  /** Nats a token. */
  readonly loss: number | null;
  /** Over the tokens that are key to the unlimited model; null without texts, or without a key token. */
  readonly longPpl: number | null;
  readonly recall: readonly { from: number; to: number; probability: number | null }[];
  /** Share of needle answers that are right, 0 to 1; null without needles. */
  readonly needleAccuracy: number | null;
  /** 95 % interval of the needle accuracy. */
  readonly needleInterval: Interval | null;
  /** Associative recall at long range; left out where it was not measured. */
  readonly ar?: LimitedAr;
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
  measure: z
    .enum(['all', 'ar', 'needle'])
    .optional()
    .describe(
      'all that the run measures, or the loss and associative recall (ar), or the loss and needles (default: ar of runs ' +
        'that measure it on text, else all)',
    ),
  keys: z
    .array(count())
    .optional()
    .describe(
      'limits, in visible keys (default: 4,16,64; of ar 16,64,128,256,... below the length of rows, of recurrent layers to 64)',
    ),
  trunc: count()
    .optional()
    .describe('LongPPL: tokens of short contexts, at least (default: half of the shortest text)'),
  stride: count().optional().describe('LongPPL: tokens by which short contexts move (default: a quarter of --trunc)'),
  needles: count().default(64).describe('needle samples of an imported model'),
  length: count().optional().describe('tokens of such a sample'),
  ...textOptions(64, 'default: held-out text of the run'),
};

/** Limits where nothing else is said, in visible keys. */
const LIMITS = [4, 16, 64];

type LimitOptions = z.output<z.ZodObject<typeof options>>;

/**
 * What tells best whether long range still works: far recall, else needle accuracy, else the loss; null if none is
 * there.
 */
export function limitScore(
  row: {
    readonly recall: readonly (DistanceRange & { readonly probability: number | null })[];
    readonly needleAccuracy: number | null;
    readonly loss: number | null;
    readonly ar?: { readonly accuracy: number | null } | undefined;
  },
  far: readonly DistanceRange[],
): { readonly what: 'recall' | 'ar' | 'needle' | 'loss'; readonly value: number } | null {
  const bins = row.recall.filter((bin) => far.some((f) => f.from === bin.from && f.to === bin.to));
  const known = bins.flatMap((bin) => bin.probability ?? []);
  if (known.length > 0) return { what: 'recall', value: known.reduce((a, b) => a + b, 0) / known.length };
  if (row.ar?.accuracy != null) return { what: 'ar', value: row.ar.accuracy };
  if (row.needleAccuracy !== null) return { what: 'needle', value: row.needleAccuracy };
  return row.loss === null ? null : { what: 'loss', value: row.loss };
}

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
  resolve: (model, given) => {
    const measure = given.measure ?? (given.texts === undefined && isAskedForAr(model) ? 'ar' : 'all');
    // Limits of associative recall follow from the run's rows, and differ by part.
    return { ...given, measure, ...(given.keys !== undefined || measure === 'ar' ? {} : { keys: LIMITS }) };
  },
  measure: async (model, chosen, { context }): Promise<Limits> => {
    if (model.run !== null) model.noteLength(measuredLength(model.run.run));
    const parts = chosen.part === undefined ? reachParts(model.config) : [chosen.part];
    const only = chosen.measure === 'ar' || chosen.measure === 'needle' ? chosen.measure : null;
    if (only !== null && (model.run === null || chosen.texts !== undefined)) {
      throw new ConfigError(`--measure ${only} is of the held-out data of a run; leave --texts out, and name a run`);
    }
    const wantsTexts = only === null && (chosen.texts !== undefined || holdsTextOut(model));
    const texts = wantsTexts ? await readTexts(model, chosen) : null;
    const { needles, problem } = needlesFor(model, chosen, texts !== null);
    // What held-out text has to recall is found once, for all limits.
    using data = model.run === null ? null : openRunData(runAtStep(model.run.run, model.step ?? 0));
    const asked = { texts, needles, only, data };
    // A limit that leaves a model as it is, such as one of its window's width, is no other model.
    const measure = measuredOnce((limited: ModelConfig) => measureLimit(model, limited, asked));
    const rows: LimitRow[] = [{ part: null, keys: null, ...(await measure(model.config)) }];
    for (const part of parts) {
      for (const keys of chosen.keys ?? arLimits(model, part)) {
        context.signal?.throwIfAborted();
        rows.push({ part, keys, ...(await measure(limitReach(model.config, part, keys))) });
      }
    }
    if (problem !== null) context.note?.(`needles not measured: ${problem}`);
    const longPpl = texts === null ? null : { ...texts.settings, keyTokens: texts.keyTokens };
    return { rows, longPpl, ...(problem === null ? {} : { needlesLeftOut: problem }) };
  },
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

/**
 * Needle samples of an imported model; where there are texts to measure, a model that can read no needles goes
 * without.
 */
function needlesFor(
  model: OpenedModel,
  { needles: samples, length }: LimitOptions,
  hasTexts: boolean,
): { readonly needles: readonly NeedleSample[] | null; readonly problem: string | null } {
  if (model.run !== null || model.tokenizer === null) return { needles: null, problem: null };
  try {
    return { needles: needlesOf(model, { label: 'constrain', samples, length }), problem: null };
  } catch (error) {
    if (!hasTexts || !(error instanceof ConfigError || error instanceof DataError)) throw error;
    return { needles: null, problem: error.message };
  }
}

/** Texts with the tokens that are key to the model as it is. */
interface KeyedTexts {
  readonly settings: LongPplSettings;
  readonly keyTokens: number;
  readonly texts: readonly { readonly tokens: Int32Array; readonly key: Uint8Array }[];
}

async function readTexts(model: OpenedModel, chosen: LimitOptions & SequenceOptions): Promise<KeyedTexts> {
  const sequences = sequencesOf(model, chosen);
  const trunc = chosen.trunc ?? Math.max(1, Math.floor(minOf(sequences.map((t) => t.length)) / 2));
  const stride = chosen.stride ?? Math.max(1, Math.floor(trunc / 4));
  const settings = { ...PUBLISHED_LONGPPL, trunc, stride };
  const texts: { tokens: Int32Array; key: Uint8Array }[] = [];
  for (const tokens of sequences) texts.push({ tokens, key: await findKeyTokens(model, tokens, settings) });
  return { settings, texts, keyTokens: texts.reduce((n, { key }) => n + key.reduce((a, b) => a + b, 0), 0) };
}

/** What a model is asked under every limit. */
interface Asked {
  readonly texts: KeyedTexts | null;
  readonly needles: readonly NeedleSample[] | null;
  readonly only: 'ar' | 'needle' | null;
  /** The data of the model's run; null without one. */
  readonly data: OpenedData | null;
}

async function measureLimit(
  whole: OpenedModel,
  config: ModelConfig,
  asked: Asked,
): Promise<Omit<LimitRow, 'part' | 'keys'>> {
  const { checkpoint, run } = whole;
  const { texts, needles, only, data } = asked;
  const scores = [];
  for (const { tokens, key } of texts?.texts ?? [])
    scores.push(perplexities(await textLosses(withConfig(whole, config), tokens), key));
  const all = scores.length === 0 ? null : corpusPerplexities(scores);
  const text = { loss: all === null ? null : Math.log(all.ppl), longPpl: all?.longPpl ?? null };
  if (checkpoint === null || run === null) {
    const score = needles === null ? null : await scoreNeedles(withConfig(whole, config), needles);
    const needleInterval = score === null ? null : { low: score.low, high: score.high };
    return { ...text, recall: [], needleAccuracy: score?.accuracy ?? null, needleInterval };
  }
  // The checkpoint with its weights as they are, under the limited configuration.
  const limited = {
    ...checkpoint,
    state: { ...checkpoint.state, model: config },
    parameters: () => checkpoint.parameters(),
  };
  const record = await evaluateCheckpoint(limited, {
    ...{ run: only === null ? run.run : withMeasure(run.run, only), engine: whole.engine, precision: whole.precision },
    ...{ tensors: whole.tensors, ...(data === null ? {} : { data }) },
    ...(only === null ? {} : { only: ['loss', only] as const }),
  });
  const needle = needleShare(record.needle);
  return {
    loss: text.loss ?? record.loss,
    longPpl: text.longPpl,
    recall: record.recall?.bins.map(({ from, to, probability }) => ({ from, to, probability })) ?? [],
    needleAccuracy: needle?.value ?? null,
    needleInterval: needle?.interval ?? null,
    ...(record.ar === undefined ? {} : { ar: limitedAr(record.ar) }),
  };
}

/** The same run with a measure switched on, whatever its own file says. */
function withMeasure(run: FullRunConfig, name: 'ar' | 'needle'): FullRunConfig {
  const given = run.eval[name];
  return { ...run, eval: { ...run.eval, [name]: typeof given === 'object' ? given : true } };
}

function needleCell({ needleAccuracy, needleInterval: at }: LimitRow): string {
  return at === null ? show(needleAccuracy) : `${show(needleAccuracy)} (${show(at.low)} to ${show(at.high)})`;
}
