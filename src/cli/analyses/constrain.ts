/** `longsight constrain`: who carries long range. */
import type { Command } from 'commander';
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
import { ConfigError, DataError, type Interval } from '../../core/index.js';
import type { NeedleSample } from '../../data/index.js';
import type { Engine } from '../../engine/index.js';
import { withConfig } from '../../loaded/index.js';
import type { ModelConfig } from '../../model/index.js';
import { evaluateCheckpoint, needleShare } from '../../lab/index.js';
import type { CliContext } from '../context.js';
import { positiveInteger } from '../options.js';
import { Output, textTable } from '../output.js';
import {
  addAnalysisOptions,
  addTextOptions,
  holdsTextOut,
  keepFinding,
  MODEL_ARGUMENT,
  nameOf,
  needlesOf,
  openSubject,
  parseChoice,
  parseCounts,
  sequencesOf,
  show,
  loadedOf,
  withEngine,
  type AnalysisFlags,
  type Subject,
  type TextOptions,
} from './subject.js';
import { minOf, writeCsv, type CsvCell } from '../../core/index.js';

/**
 * How the reach of layers is limited: to each of `keys` keys, with LongPPL's `trunc` and `stride`, on needles of
 * `length` tokens.
 */
export interface LimitOptions extends TextOptions {
  readonly part?: ReachPart;
  readonly keys: readonly number[];
  readonly trunc?: number;
  readonly stride?: number;
  /** Needle samples of an imported model, and their tokens. */
  readonly needles: number;
  readonly length?: number;
}

type Flags = AnalysisFlags & LimitOptions;

/** The defaults of `longsight constrain`. */
export const LIMIT_DEFAULTS = { keys: [4, 16, 64], samples: 64, needles: 64 } as const;

/**
 * What a model scores at one limit of `keys` keys, null where it is not limited; `needleAccuracy` is a share, 0 to 1.
 */
export interface LimitRow {
  readonly part: ReachPart | null;
  readonly keys: number | null;
  /** Nats a token. */
  readonly loss: number | null;
  /** Over the tokens that are key to the unlimited model; null without texts, or without a key token. */
  readonly longPpl: number | null;
  readonly recall: readonly { from: number; to: number; probability: number | null }[];
  readonly needleAccuracy: number | null;
  /** 95 % interval of the needle accuracy. */
  readonly needleInterval: Interval | null;
}

/** What a model scores at every limit. */
export interface Limits {
  readonly rows: readonly LimitRow[];
  /** How key tokens were found, and how many there are; null without texts. */
  readonly longPpl: (LongPplSettings & { readonly keyTokens: number }) | null;
  /** Why an imported model was measured without needles. */
  readonly needlesLeftOut?: string;
}

/** Registers `longsight constrain`. */
export function addConstrain(program: Command, context: CliContext): void {
  const command = program
    .command('constrain')
    .summary('who carries long range: limit the reach of some layers')
    .description(
      'Lets only the full layers, or only the efficient ones, see no more than a few keys (recurrent layers: remember no ' +
        'more than a few tokens), and measures what is left of the loss, LongPPL, recall by distance and needle accuracy. ' +
        'LongPPL needs texts: --texts, or the held-out text of the run; key tokens are those of the unlimited model.',
    )
    .argument('<model>', MODEL_ARGUMENT)
    .option('--part <name>', `${REACH_PARTS.join(', ')} (default: full, then efficient)`, (t) =>
      parseChoice('--part', REACH_PARTS, t),
    )
    .option('--keys <list>', 'limits, in visible keys', (t) => parseCounts('--keys', t), [...LIMIT_DEFAULTS.keys])
    .option('--trunc <n>', 'LongPPL: tokens of short contexts, at least (default: half of the shortest text)', (t) =>
      positiveInteger('--trunc', t),
    )
    .option('--stride <n>', 'LongPPL: tokens by which short contexts move (default: a quarter of --trunc)', (t) =>
      positiveInteger('--stride', t),
    )
    .option('--needles <n>', 'needle samples of an imported model', (t) => positiveInteger('--needles', t), 64)
    .option('--length <n>', 'tokens of such a sample', (t) => positiveInteger('--length', t));
  addTextOptions(command, LIMIT_DEFAULTS.samples, 'default: held-out text of the run');
  addAnalysisOptions(command).action((path: string, flags: Flags) => constrain(path, flags, context));
}

/** What is left of a model at each limit; the first row is the model as it is. */
export async function measureLimits(
  engine: Engine,
  subject: Subject,
  options: LimitOptions,
  signal?: AbortSignal,
): Promise<Limits> {
  const { model } = subject;
  const parts = options.part === undefined ? reachParts(model) : [options.part];
  const texts = options.texts !== undefined || holdsTextOut(subject) ? await readTexts(engine, subject, options) : null;
  const { needles, problem } = needlesFor(subject, options, texts !== null);
  const measure = (limited: ModelConfig) => measureLimit(engine, subject, limited, { texts, needles });
  const rows: LimitRow[] = [{ part: null, keys: null, ...(await measure(model)) }];
  for (const part of parts) {
    for (const keys of options.keys) {
      signal?.throwIfAborted();
      rows.push({ part, keys, ...(await measure(limitReach(model, part, keys))) });
    }
  }
  const longPpl = texts === null ? null : { ...texts.settings, keyTokens: texts.keyTokens };
  return { rows, longPpl, ...(problem === null ? {} : { needlesLeftOut: problem }) };
}

/**
 * Needle samples of an imported model; where there are texts to measure, a model that can read no needles goes without.
 */
function needlesFor(
  subject: Subject,
  { needles: samples, length }: LimitOptions,
  hasTexts: boolean,
): { readonly needles: readonly NeedleSample[] | null; readonly problem: string | null } {
  if (subject.run !== null || subject.tokenizer === null) return { needles: null, problem: null };
  try {
    return { needles: needlesOf(subject, { label: 'constrain', samples, length }), problem: null };
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

async function readTexts(engine: Engine, subject: Subject, options: LimitOptions): Promise<KeyedTexts> {
  const loaded = loadedOf(engine, subject);
  const sequences = sequencesOf(subject, options);
  const trunc = options.trunc ?? Math.max(1, Math.floor(minOf(sequences.map((t) => t.length)) / 2));
  const stride = options.stride ?? Math.max(1, Math.floor(trunc / 4));
  const settings = { ...PUBLISHED_LONGPPL, trunc, stride };
  const texts: { tokens: Int32Array; key: Uint8Array }[] = [];
  for (const tokens of sequences) texts.push({ tokens, key: await findKeyTokens(loaded, tokens, settings) });
  return { settings, texts, keyTokens: texts.reduce((n, { key }) => n + key.reduce((a, b) => a + b, 0), 0) };
}

async function measureLimit(
  engine: Engine,
  subject: Subject,
  model: ModelConfig,
  { texts, needles }: { readonly texts: KeyedTexts | null; readonly needles: readonly NeedleSample[] | null },
): Promise<Omit<LimitRow, 'part' | 'keys'>> {
  const { checkpoint, run } = subject;
  const loaded = withConfig(loadedOf(engine, subject), model);
  const scores = [];
  for (const { tokens, key } of texts?.texts ?? []) scores.push(perplexities(await textLosses(loaded, tokens), key));
  const all = scores.length === 0 ? null : corpusPerplexities(scores);
  const text = { loss: all === null ? null : Math.log(all.ppl), longPpl: all?.longPpl ?? null };
  if (checkpoint === null || run === null) {
    const score = needles === null ? null : await scoreNeedles(loaded, needles);
    const needleInterval = score === null ? null : { low: score.low, high: score.high };
    return { ...text, recall: [], needleAccuracy: score?.accuracy ?? null, needleInterval };
  }
  const limited = { ...checkpoint, state: { ...checkpoint.state, model }, parameters: () => checkpoint.parameters() };
  const record = await evaluateCheckpoint(limited, { run: run.run, engine });
  const needle = needleShare(record.needle);
  return {
    loss: text.loss ?? record.loss,
    longPpl: text.longPpl,
    recall: record.recall?.bins.map(({ from, to, probability }) => ({ from, to, probability })) ?? [],
    needleAccuracy: needle?.value ?? null,
    needleInterval: needle?.interval ?? null,
  };
}

async function constrain(path: string, flags: Flags, context: CliContext): Promise<void> {
  const output = new Output(context, flags);
  const subject = openSubject(path, flags);
  const { step, tokens } = subject;
  const limits = await withEngine(subject, flags, output, (engine) =>
    measureLimits(engine, subject, flags, context.signal),
  );
  if (limits.needlesLeftOut !== undefined) output.note(`needles not measured: ${limits.needlesLeftOut}`);
  const file = keepFinding(subject, flags, 'limits', limits);
  const { rows } = limits;
  const bins = rows[0]?.recall ?? [];
  output.result(`${nameOf(subject)}\n${describe(limits)}`, { event: 'constrain', step, tokens, file, ...limits });
  const columns = [
    ...['part', 'keys', 'loss', 'longppl'],
    ...bins.map((b) => `recall_${b.from}_${b.to}`),
    ...['needle_accuracy', 'needle_low', 'needle_high'],
  ];
  const cells = rows.map((r): CsvCell[] => [
    ...[r.part, r.keys, r.loss, r.longPpl],
    ...r.recall.map((b) => b.probability),
    ...[r.needleAccuracy, r.needleInterval?.low ?? null, r.needleInterval?.high ?? null],
  ]);
  writeCsv(flags.csv, columns, cells);
}

function needleCell({ needleAccuracy, needleInterval: at }: LimitRow): string {
  return at === null ? show(needleAccuracy) : `${show(needleAccuracy)} (${show(at.low)} to ${show(at.high)})`;
}

function describe({ rows, longPpl }: Limits): string {
  const bins = rows[0]?.recall ?? [];
  const text = longPpl === null ? [] : ['LongPPL'];
  const needle = rows.some((r) => r.needleAccuracy !== null) ? ['needle (95 %)'] : [];
  const head = ['limited', 'keys', 'loss', ...text, ...bins.map((b) => `recall ${b.from}-${b.to}`), ...needle];
  const table = rows.map((r) => [
    ...[r.part ?? 'nothing', String(r.keys ?? ''), show(r.loss, 4)],
    ...text.map(() => show(r.longPpl, 4)),
    ...r.recall.map((b) => show(b.probability)),
    ...needle.map(() => needleCell(r)),
  ]);
  const found =
    longPpl === null
      ? ''
      : `\nLongPPL over ${longPpl.keyTokens} key tokens (short contexts of ${longPpl.trunc} tokens, moved by ${longPpl.stride})`;
  return `${textTable([head, ...table], new Set(head.map((_, i) => i).slice(1)))}${found}`;
}
