/**
 * What analyses are made on: checkpoints of a run, or a model saved by Transformers; and the texts and heads that users
 * name.
 */
import type { Command } from 'commander';
import type { HeadIndex } from '../../analysis/index.js';
import { loadModel, type LoadedModel } from '../../loaded/index.js';
import {
  byteTokenizer,
  endTokens,
  hasTokenizer,
  isHfFolder,
  openHfModel,
  openTokenizer,
  trainedLength,
  weightFiles,
  withinVocabulary,
  type TextTokenizer,
} from '../../checkpoint/index.js';
import {
  checkTokenIds,
  ConfigError,
  DataError,
  readUtf8,
  fingerprint,
  fingerprintFile,
  LongsightError,
  maxOf,
} from '../../core/index.js';
import {
  BYTE_VOCAB_SIZE,
  hasShards,
  kindOf,
  nextBatch,
  packingOf,
  readManifest,
  textRows,
  tokenizerOfShards,
  type NeedleSample,
} from '../../data/index.js';
import { createEngine, inPrecision, measuringPrecision, type Engine } from '../../engine/index.js';
import { needleSamples, needleTask, tokenNeedleTask, type NeedleTask } from '../../eval/index.js';
import type { HostParameters, ModelConfig } from '../../model/index.js';
import { openRunData, stagesOf } from '../../train/index.js';
import type { FindingKind } from '../../study/index.js';
import { needleEvalSchema, type FullRunConfig } from '../../lab/index.js';
import { checkpointsOf, runOf, type NamedRun } from '../commands/checkpoints.js';
import { engineChoice } from '../commands/train.js';
import {
  addMeasuringOptions,
  addOutputOptions,
  addSetOption,
  positiveInteger,
  wholeNumber,
  type EngineFlags,
  type PrecisionFlag,
  type OutputFlags,
  type SetFlag,
} from '../options.js';
import type { Output } from '../output.js';
import { type Checkpoint, findCheckpoint, writeFinding } from '../../run/index.js';

/** A model that a command works on: a checkpoint of a run, or an imported model. */
export interface Subject {
  readonly path: string;
  readonly model: ModelConfig;
  readonly parameters: () => HostParameters;
  /** The run and the checkpoint; null for imported models. */
  readonly run: NamedRun | null;
  readonly checkpoint: Checkpoint | null;
  readonly step: number | null;
  readonly tokens: number | null;
  /** Null for runs on bytes or synthetic tokens. */
  readonly tokenizer: TextTokenizer | null;
}

/** The options that all analyses have. */
export interface AnalysisFlags extends OutputFlags, EngineFlags, PrecisionFlag, SetFlag {
  readonly step?: number;
  readonly csv?: string;
}

/** How help texts describe the argument that names a model. */
export const MODEL_ARGUMENT = 'run folder, checkpoint folder, or folder of a model saved by Transformers';

/** How help texts describe a list of heads. */
export const HEADS_HELP = 'heads as LAYER:HEAD, several with commas';

/** Adds the options that all analyses have to a command. */
export function addAnalysisOptions(command: Command): Command {
  const all = command
    .option('--step <n>', 'the checkpoint of this step', (text) => wholeNumber('--step', text))
    .option('--csv <file>', 'also write the result as CSV');
  return addOutputOptions(addMeasuringOptions(addSetOption(all)));
}

function imported(path: string): Subject {
  const opened = openHfModel(path);
  return {
    ...{ path, model: opened.config, parameters: () => opened.parameters() },
    ...{ run: null, checkpoint: null, step: null, tokens: null },
    tokenizer: hasTokenizer(path) ? withinVocabulary(openTokenizer(path), opened.config.vocabSize) : null,
  };
}

function stored(path: string, run: NamedRun, checkpoint: Checkpoint): Subject {
  const { model, step, tokens } = checkpoint.state;
  const parameters = () => checkpoint.parameters();
  const tokenizer =
    shardsOf(run).map(({ path }) => withinVocabulary(tokenizerOfShards(path), model.vocabSize))[0] ?? null;
  return { path, model, parameters, run, checkpoint, step, tokens, tokenizer };
}

/** The token shards of a run that still are where they were. */
function shardsOf({ run }: NamedRun): { readonly path: string }[] {
  return run.data.flatMap((s) => (s.kind === 'shards' && hasShards(s.path) ? [{ path: s.path }] : []));
}

/**
 * Where the token shards of a run were, if none of them is there any more: its tokenizer and end of text are not known
 * then.
 */
export function missingShards({ run }: Subject): string | null {
  const all = run?.run.data.flatMap((s) => (s.kind === 'shards' ? [s.path] : [])) ?? [];
  return all.every((path) => !hasShards(path)) ? (all[0] ?? null) : null;
}

/**
 * The tokens that end a text: as the folder of a saved model says, or as they end the documents of a run's shards; of a
 * run on bytes 0, which no text holds. Empty if none is known.
 */
export function stopTokensOf(subject: Subject): number[] {
  const { run, path } = subject;
  if (run === null) return endTokens(path);
  const ends = shardsOf(run).map((shards) => readManifest(shards.path).tokenizer.endOfText);
  if (ends.length > 0) return [...new Set(ends)];
  const end = readsText(subject) ? byteTokenizer().endOfText : null;
  return end === null ? [] : [end];
}

/** One model: the newest checkpoint of a run, or that of `--step`. */
export function openSubject(path: string, flags: Pick<AnalysisFlags, 'step' | 'set'>): Subject {
  if (isHfFolder(path)) return imported(path);
  return stored(path, runOf(path, flags.set), findCheckpoint(path, flags.step));
}

/** Every checkpoint of a run, or the one model that is named. */
export function openSubjects(path: string, flags: Pick<AnalysisFlags, 'step' | 'set'>): Subject[] {
  if (isHfFolder(path)) return [imported(path)];
  const run = runOf(path, flags.set);
  return checkpointsOf(path, flags.step).map((checkpoint) => stored(path, run, checkpoint));
}

/** Runs `work` with an engine as the run or the flags say; then tells people which one it was, and why. */
export async function withEngine<T>(
  subject: Subject | { readonly run: Pick<NamedRun, 'run'> | null },
  flags: EngineFlags & PrecisionFlag,
  output: Output,
  work: (engine: Engine) => Promise<T>,
): Promise<T> {
  const { run } = subject;
  const engine = createEngine(flags.engine ?? run?.run.engine ?? 'auto', engineChoice(flags, run?.run ?? {}));
  try {
    const precision = measuringPrecision(engine, {
      asked: flags.precision ?? run?.run.eval.precision,
      trained: run?.run.train.precision,
    });
    const result = await work(inPrecision(engine, precision));
    // Not before: input that is refused gets one sentence.
    if ('path' in subject) warnBeyondTraining(subject, output);
    output.note(`engine ${engine.info.name} (${engine.info.reason})`);
    return result;
  } finally {
    await engine.dispose();
  }
}

/** The longest sequence, in tokens, that each subject was asked to read. */
const askedLengths = new WeakMap<Subject, number>();

/**
 * Notes that a subject is asked to read `length` tokens at once; `withEngine` warns where that is more than it was
 * trained on.
 */
export function noteLength(subject: Subject, length: number): void {
  askedLengths.set(subject, Math.max(length, askedLengths.get(subject) ?? 0));
}

/** The longest sequences that a run had trained on by a step, in tokens; null before the first step. */
function longestTrained(run: FullRunConfig, step: number): number | null {
  const stages = stagesOf(run).filter((stage) => stage.from < step);
  return stages.length === 0 ? null : maxOf(stages.map((stage) => stage.train.seqLen));
}

/** Says, once a command, that a model is asked beyond the length that it was trained on. */
function warnBeyondTraining(subject: Subject, output: Output): void {
  const { run, path, step } = subject;
  const trained = run === null ? trainedLength(path) : longestTrained(run.run, step ?? Infinity);
  warnLength(path, askedLengths.get(subject) ?? 0, trained, output);
}

/** The same for a checkpoint that is measured as `measured` says, of a run in the folder `dir` (null: not known). */
export function warnMeasuredBeyond(
  { dir, path, step }: { readonly dir: string | null; readonly path: string; readonly step: number },
  { train, eval: { needle, trace } }: FullRunConfig,
  output: Output,
): void {
  if (dir === null) return;
  const needles = typeof needle === 'object' ? (needle.lengths ?? []) : [];
  const traced = typeof trace === 'object' ? (trace.length ?? 0) : 0;
  const trained = longestTrained(runOf(dir, []).run, step);
  warnLength(path, maxOf([train.seqLen, traced, ...needles]), trained, output);
}

function warnLength(path: string, asked: number, trained: number | null, output: Output): void {
  if (trained === null || asked <= trained) return;
  output.warn(
    `${path} was trained on sequences of up to ${trained} tokens, and is asked to read up to ${asked}: what it does ` +
      'beyond its trained length may say little about it',
  );
}

/** The model on an engine. */
export function loadedOf(engine: Engine, { model, parameters, tokenizer, path }: Subject): LoadedModel {
  return loadModel(engine, model, parameters(), { tokenizer, source: path });
}

/**
 * What tells models apart whatever they are called: the configuration, and every file of weights by its bytes. Reads
 * each file once from front to back.
 */
export function modelFingerprint(subject: Subject): string {
  const { path, checkpoint, model } = subject;
  const known = modelPrints.get(subject);
  if (known !== undefined) return known;
  const print = fingerprint([model, weightFiles(checkpoint?.path ?? path).map(fingerprintFile)]);
  modelPrints.set(subject, print);
  return print;
}

/** Each subject's files are read once. */
const modelPrints = new WeakMap<Subject, string>();
const dataPrints = new WeakMap<NamedRun, string>();

/**
 * What a finding of a run is made from: weights, those of the reference it is compared with, and the run's own data.
 */
export function originOf(subject: Subject, reference: Subject | null = null): string {
  const { run } = subject;
  const models = [subject, ...(reference === null ? [] : [reference])].map(modelFingerprint);
  return fingerprint([models, run === null ? null : dataFingerprint(run)]);
}

/**
 * A run's data by content, and what is measured on them. Data that are gone, which some measurements need none of,
 * count as such.
 */
function dataFingerprint(named: NamedRun): string {
  const known = dataPrints.get(named);
  if (known !== undefined) return known;
  const { run } = named;
  const contents = (): unknown => {
    try {
      using data = openRunData(run);
      return [data.train.state(), data.heldOut()?.state() ?? null];
    } catch (error) {
      if (error instanceof LongsightError) return error.code;
      throw error;
    }
  };
  const print = fingerprint([run.seed, run.train.seqLen, run.eval, contents()]);
  dataPrints.set(named, print);
  return print;
}

/** `step 600` or the folder's name, for tables. */
export function nameOf({ step, path }: Subject): string {
  return step === null ? path : `step ${step}`;
}

/** `1:0,3:2` as heads. Throws `ConfigError`. */
export function parseHeads(text: string): HeadIndex[] {
  return text.split(',').map((part) => {
    const match = /^\s*(\d+):(\d+)\s*$/.exec(part);
    if (match === null) {
      throw new ConfigError(`--heads ${text}: write LAYER:HEAD, several with commas, such as 1:0,3:2`);
    }
    return { layer: Number(match[1]), head: Number(match[2]) };
  });
}

/** `8,16,32` as whole numbers of at least 1. Throws `ConfigError`. */
export function parseCounts(option: string, text: string): number[] {
  return text.split(',').map((part) => positiveInteger(option, part.trim()));
}

/** A number. Throws `ConfigError`. */
export function parseNumber(option: string, text: string): number {
  const value = text.trim() === '' ? NaN : Number(text);
  if (Number.isFinite(value)) return value;
  throw new ConfigError(`${option} must be a number, got "${text}"`);
}

/** One of a few words. Throws `ConfigError`. */
export function parseChoice<T extends string>(option: string, choices: readonly T[], text: string): T {
  const found = choices.find((c) => c === text);
  if (found !== undefined) return found;
  throw new ConfigError(`${option} must be one of ${choices.join(', ')}, got "${text}"`);
}

/** A text with the name that messages give it. */
export interface NamedText {
  readonly name: string;
  readonly text: string;
}

/**
 * Texts of a file: the prompts of JSON lines, or the whole of a text file.
 *
 * @throws DataError for files of other kinds (tables, markup, Parquet, compressed), and for bytes that are no UTF-8
 */
export function readTextFile(path: string): NamedText[] {
  if (packingOf(path) !== null) throw new DataError(`${path} is compressed; unpack it first`);
  const kind = kindOf(path);
  if (kind === 'parquet')
    throw new DataError(`${path} is a Parquet file; write its texts as JSON lines (.jsonl) or .txt`);
  if (kind === 'text') return [{ name: path, text: readUtf8(path, 'keep') }];
  return textRows(readUtf8(path, 'drop'), path);
}

/** Whether a run trained on text in bytes. */
const readsText = ({ run, model }: Subject): boolean =>
  (run?.run.data.some((s) => s.kind === 'text') ?? false) && model.vocabSize >= BYTE_VOCAB_SIZE;

/** Whether a run has text of its own that it did not train on. */
export function holdsTextOut(subject: Subject): boolean {
  if (subject.run === null || !readsText(subject)) return false;
  using data = openRunData(subject.run.run);
  return data.heldOut() !== null;
}

/** What makes tokens of a model's texts: its tokenizer, or bytes. Throws `DataError` if the model reads neither. */
export function tokenizerOf(subject: Subject): TextTokenizer {
  const { tokenizer, run, path } = subject;
  if (tokenizer !== null) return tokenizer;
  if (readsText(subject)) return byteTokenizer();
  const moved = missingShards(subject);
  if (moved !== null) {
    throw new DataError(
      `${path} was trained on token shards that are not at ${moved} any more; put them back to read texts`,
    );
  }
  const why = run === null ? 'has no tokenizer.json' : 'was not trained on text';
  throw new DataError(`${path} ${why}, so it cannot read texts; name another model`);
}

/**
 * A text in a model's tokens, as every command reads it: what the tokenizer puts in front of texts first, nothing
 * behind.
 */
export function tokensOf(subject: Subject, text: string): Int32Array {
  return tokenizerOf(subject).encode(text, { special: true });
}

/** The text of tokens; of models without a tokenizer, whose tokens are not bytes either, the ids with spaces. */
export function textOf(subject: Subject, tokens: ArrayLike<number>): string {
  if (subject.tokenizer !== null || readsText(subject)) return tokenizerOf(subject).decode(tokens);
  return Array.from(tokens, (id) => ` ${id}`).join('');
}

/** Which texts an analysis reads. */
export interface TextOptions {
  readonly texts?: string;
  readonly samples: number;
  readonly maxTokens?: number;
  /** Tokens that the model sees at once, where sequences are read in windows. */
  readonly window?: number;
}

/** Options that choose texts; `without` says what is read without `--texts`. */
export function addTextOptions(command: Command, samples: number, without: string): Command {
  return command
    .option('--texts <file>', `texts: prompts of a .jsonl, or one whole file (${without})`)
    .option('--samples <n>', 'texts at most', (t) => positiveInteger('--samples', t), samples)
    .option('--max-tokens <n>', 'cut texts on the right', (t) => positiveInteger('--max-tokens', t));
}

/** What analyses of held-out data read where no text is named. */
export const HELD_OUT = 'default: held-out data of the run';

/**
 * Runs `work` on every checkpoint of a run, or on the one model that is named, with one engine.
 *
 * @param work gets each subject in turn
 */
export async function forEachSubject(
  path: string,
  flags: AnalysisFlags,
  { output, signal }: { readonly output: Output; readonly signal: AbortSignal },
  work: (engine: Engine, subject: Subject) => Promise<void>,
): Promise<void> {
  const subjects = openSubjects(path, flags);
  await withEngine(subjects[0] as Subject, flags, output, async (engine) => {
    for (const subject of subjects) {
      signal.throwIfAborted();
      await work(engine, subject);
    }
  });
}

/**
 * Token sequences to analyse: of `--texts`, cut on the right at `maxTokens`, or held-out sequences of the run's own
 * data.
 *
 * @throws ConfigError where neither is there
 */
export function sequencesOf(subject: Subject, options: TextOptions): Int32Array[] {
  const found = readSequences(subject, options);
  const longest = found.reduce((most, tokens) => Math.max(most, tokens.length), 0);
  noteLength(subject, Math.min(longest, options.window ?? Infinity));
  return found;
}

function readSequences(subject: Subject, { texts, samples, maxTokens = Infinity }: TextOptions): Int32Array[] {
  if (texts !== undefined) {
    const chosen = readTextFile(texts).slice(0, samples);
    return chosen.map(({ text }) => tokensOf(subject, text).subarray(0, maxTokens));
  }
  if (subject.run === null)
    throw new ConfigError('an imported model has no data of its own; name texts with --texts FILE');
  using data = openRunData(subject.run.run);
  const heldOut = data.heldOut();
  if (heldOut === null) throw new ConfigError(`${subject.path} holds no data out; name texts with --texts FILE`);
  const { tokens, seqLen } = nextBatch(heldOut, samples);
  checkTokenIds(tokens, subject.model.vocabSize, 'the held-out data give');
  return Array.from({ length: samples }, (_, i) => tokens.slice(i * seqLen, (i + 1) * seqLen).subarray(0, maxTokens));
}

/** Which needle samples an analysis draws: of `length` tokens, at `depths` from 0 to 1. */
export interface NeedleOptions {
  readonly label: string;
  readonly samples: number;
  readonly length?: number | undefined;
  readonly depths?: readonly number[];
}

/** The far half by default: near needles need no retrieval. */
export const FAR_DEPTHS: readonly number[] = [0, 0.1, 0.2, 0.3, 0.4, 0.5];

/** Tokens of a needle sample for an imported model, unless told. */
const IMPORTED_LENGTH = 1024;

/** The needles that a subject can read, and the usual length of a sample. Throws `ConfigError` where there are none. */
function needlesFor(subject: Subject): { task: NeedleTask; usual: number } {
  const settings = needleEvalSchema.parse({});
  if (subject.run === null) {
    if (subject.tokenizer === null) {
      throw new ConfigError(`${subject.path} has no tokenizer.json, so no needle can be put into words for it`);
    }
    return { task: tokenNeedleTask(subject.tokenizer, settings), usual: IMPORTED_LENGTH };
  }
  using data = openRunData(subject.run.run);
  return { task: needleTask(data, settings), usual: data.train.seqLen };
}

/** The needle task of a subject and the length of its samples. Throws `ConfigError` if the length is too short. */
export function needlePlan(subject: Subject, asked?: number): { task: NeedleTask; length: number } {
  const { task, usual } = needlesFor(subject);
  const length = asked ?? usual;
  if (length < task.minLength) {
    throw new ConfigError(
      `a needle sample of ${length} tokens is too short; --length must be at least ${task.minLength}`,
    );
  }
  noteLength(subject, length);
  return { task, length };
}

/**
 * Needle samples of the run's own kind, or in the tokens of an imported model.
 *
 * @throws ConfigError for models without a tokenizer, runs whose data hold no needles, or lengths that are too short
 */
export function needlesOf(subject: Subject, options: NeedleOptions): NeedleSample[] {
  const { task, length } = needlePlan(subject, options.length);
  const { label, samples: count, depths = FAR_DEPTHS } = options;
  const found = needleSamples(task, { label, length, depths, count });
  for (const { tokens, answer } of found)
    for (const ids of [tokens, answer]) checkTokenIds(ids, subject.model.vocabSize, 'the needle samples hold');
  return found;
}

/**
 * Keeps what an analysis found in the run folder, where reports read it; not for imported models, nor where `--set`
 * changed what is measured. Returns the file, null if none was written.
 *
 * @param reference the model that the subject is compared with, if any
 */
export function keepFinding(
  subject: Subject,
  flags: SetFlag & PrecisionFlag,
  kind: FindingKind,
  value: object,
  reference: Subject | null = null,
): string | null {
  const { run, step, tokens } = subject;
  if (run === null || step === null || flags.set.length > 0 || flags.precision !== undefined) return null;
  const finding = { step, tokens, ...value, of: originOf(subject, reference) };
  return writeFinding(run.dir, kind, finding);
}

/** A number with some digits, or `-` for none. */
export const show = (value: number | null | undefined, digits = 3): string =>
  value === null || value === undefined ? '-' : value.toFixed(digits);
