/** What is left of a model when layers of it see fewer keys, its weights as they are: what analyses by limits share. */
import { z } from 'zod';
import {
  corpusPerplexities,
  findKeyTokens,
  perplexities,
  PUBLISHED_LONGPPL,
  scoreNeedles,
  textLosses,
  type LongPplSettings,
} from '../../analysis/index.js';
import { ConfigError, DataError, field, maxOf, minOf, type Interval } from '../../core/index.js';
import type { NeedleSample, OpenedData } from '../../data/index.js';
import { withConfig } from '../../loaded/index.js';
import type { ModelConfig } from '../../model/index.js';
import { openRunData, runAtStep } from '../../train/index.js';
import { count, textOptions } from '../analysis-options.js';
import { isAskedForAr, measuredOnce } from '../ar-runs.js';
import type { DistanceRange } from '../figures.js';
import { needleShare } from '../measures/needle.js';
import { holdsTextOut, sequencesOf } from '../model-texts.js';
import { needlesOf } from '../needles.js';
import { measuredLength, type OpenedModel } from '../open-model.js';
import { evaluateCheckpoint } from '../run.js';
import type { FullRunConfig } from '../run-config.js';
import { limitedAr, limitedArFields, type LimitedAr } from './limited-recall.js';

/** What is left of a model whose layers see fewer keys, its weights as they are. */
export interface Left {
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

/** `Left` as findings keep it. */
export const leftFields = {
  loss: field(
    z.number().nullable(),
    'loss on the texts, or on the held-out data of the run; null where there is neither',
    'nats per token',
  ),
  longPpl: field(
    z.number().nullable(),
    'perplexity over the tokens that are key to the model as it is; null without texts, or without a key token',
    'perplexity',
  ),
  recall: field(
    z.array(
      z.object({
        from: field(z.number(), 'smallest distance', 'tokens'),
        to: field(z.number(), 'largest distance, included', 'tokens'),
        probability: field(
          z.number().nullable(),
          'mean probability of the right value; null without queries',
          'probability',
        ),
      }),
    ),
    'recall by distance; empty where the run does not measure it',
  ),
  needleAccuracy: field(z.number().nullable(), 'needle answers that are right; null without needles', 'share'),
  needleInterval: field(
    z
      .object({
        low: field(z.number(), 'its lower end', 'share'),
        high: field(z.number(), 'its upper end', 'share'),
      })
      .nullable(),
    '95 % interval of `needleAccuracy`',
  ),
  ar: field(limitedArFields.optional(), 'far associative recall; left out where it is not measured'),
};

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

/** Options of analyses by limits: how what is left of a model is measured. */
export const limitedOptions = {
  measure: z
    .enum(['all', 'ar', 'needle'])
    .optional()
    .describe(
      'all that the run measures, or the loss and associative recall (ar), or the loss and needles (default: ar of runs ' +
        'that measure it on text, else all)',
    ),
  trunc: count()
    .optional()
    .describe('LongPPL: tokens of short contexts, at least (default: half of the shortest text)'),
  stride: count().optional().describe('LongPPL: tokens by which short contexts move (default: a quarter of --trunc)'),
  needles: count().default(64).describe('needle samples of an imported model'),
  length: count().optional().describe('tokens of such a sample'),
  ...textOptions(64, 'default: held-out text of the run'),
};

/** Those options as they were chosen, and the command, which draws needles of its own. */
type LimitedOptions = z.output<z.ZodObject<typeof limitedOptions>> & { readonly label: string };

/** What is measured where nobody said so: associative recall, of runs that are asked for it and no texts; else all. */
export const measureAsked = (
  model: OpenedModel,
  { measure, texts }: Pick<LimitedOptions, 'measure' | 'texts'>,
): 'all' | 'ar' | 'needle' => measure ?? (texts === undefined && isAskedForAr(model) ? 'ar' : 'all');

/** A model that is measured under one limit after another. */
interface LimitedModel extends Disposable {
  /** How key tokens were found, and how many there are; null without texts. */
  readonly longPpl: (LongPplSettings & { readonly keyTokens: number }) | null;
  /** Why an imported model is measured without needles; null where it is not, or needs none. */
  readonly problem: string | null;
  /** Tokens of the longest sequence that is measured; a limit that is not below it hides nothing. */
  readonly longest: number;
  /** What is left under a configuration; of equal ones once. */
  measure(config: ModelConfig): Promise<Left>;
}

/**
 * Opens the data by which what is left of a model is measured: texts with the tokens that are key to the model as it
 * is, needles, the held-out data of its run.
 *
 * @throws ConfigError where one measure of a run is asked of what is no run, or of texts
 */
export async function limitedModel(model: OpenedModel, chosen: LimitedOptions): Promise<LimitedModel> {
  if (model.run !== null) model.noteLength(measuredLength(model.run.run));
  const only = chosen.measure === 'ar' || chosen.measure === 'needle' ? chosen.measure : null;
  if (only !== null && (model.run === null || chosen.texts !== undefined)) {
    throw new ConfigError(
      `the measure ${only} is of the held-out data of a run; leave texts (--texts) out, and name a run`,
    );
  }
  const wantsTexts = only === null && (chosen.texts !== undefined || holdsTextOut(model));
  const texts = wantsTexts ? await readTexts(model, chosen) : null;
  const { needles, problem } = needlesFor(model, chosen, texts !== null);
  // What held-out text has to recall is found once, for all limits.
  const data = model.run === null ? null : openRunData(runAtStep(model.run.run, model.step ?? 0));
  const longest = maxOf([
    0,
    ...(model.run === null ? [] : [measuredLength(model.run.run)]),
    ...(texts?.texts ?? []).map(({ tokens }) => tokens.length),
    ...(needles ?? []).map(({ tokens }) => tokens.length),
  ]);
  return {
    longest,
    longPpl: texts === null ? null : { ...texts.settings, keyTokens: texts.keyTokens },
    problem,
    measure: measuredOnce((config: ModelConfig) => measureLimit(model, config, { texts, needles, only, data })),
    [Symbol.dispose]: () => data?.[Symbol.dispose](),
  };
}

/**
 * Needle samples of an imported model; where there are texts to measure, a model that can read no needles goes
 * without.
 */
function needlesFor(
  model: OpenedModel,
  { label, needles: samples, length }: LimitedOptions,
  hasTexts: boolean,
): { readonly needles: readonly NeedleSample[] | null; readonly problem: string | null } {
  if (model.run !== null || model.tokenizer === null) return { needles: null, problem: null };
  try {
    return { needles: needlesOf(model, { label, samples, length }), problem: null };
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

async function readTexts(model: OpenedModel, chosen: LimitedOptions): Promise<KeyedTexts> {
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

async function measureLimit(whole: OpenedModel, config: ModelConfig, asked: Asked): Promise<Left> {
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
