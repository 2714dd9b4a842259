/** `longsight ruler prepare` and `longsight ruler run`: long-context tasks after RULER. */
import { basename, join } from 'node:path';
import { Option, type Command } from 'commander';
import { byteTokenizer, openTokenizer, type TextTokenizer } from '../../checkpoint/index.js';
import {
  present,
  at,
  ConfigError,
  DataError,
  fingerprint,
  maxOf,
  underLock,
  writeCsv,
  writeJsonAtomic,
  cacheFolder,
} from '../../core/index.js';
import {
  OFFLINE_TASKS,
  openSources,
  prepareRuler,
  readRulerFile,
  RULER_TASKS,
  rulerTask,
  taskName,
  type RulerOptions,
  type RulerSources,
  type RulerTaskName,
  type Scoring,
} from '../../data/index.js';
import { withConfig } from '../../loaded/index.js';
import { claimPredictions, type RulerModel, type RulerScore } from '../../eval/index.js';
import {
  openModel,
  rulerScores,
  stopTokensOf,
  tokenizerOf,
  type OpenedModel,
  type RulerFile,
} from '../../lab/index.js';
import { MODEL_ARGUMENT, withModels } from '../terminal/models.js';
import type { CliContext } from '../terminal/context.js';
import {
  addMeasuringOptions,
  addTakeOverOption,
  parseCounts,
  addOutputOptions,
  positiveInteger,
  wholeNumber,
  type EngineFlags,
  type PrecisionFlag,
  type OutputFlags,
  type TakeOverFlag,
} from '../terminal/options.js';
import { Output, textTable } from '../terminal/output.js';

interface SampleFlags extends OutputFlags {
  readonly tasks: readonly RulerTaskName[];
  readonly lengths: readonly number[];
  readonly samples: number;
  readonly seed: number;
  readonly corpus: string;
  readonly squad?: string;
  readonly hotpot?: string;
  readonly cache?: string;
}

interface RunFlags extends SampleFlags, EngineFlags, PrecisionFlag, TakeOverFlag {
  readonly out: string;
  readonly data: readonly string[];
  readonly maxTokens: number;
  readonly scoring: Scoring;
  readonly truncate?: boolean;
  readonly batchTokens?: number;
  readonly step?: number;
}

/** Tokens of prompts that are answered together unless the user says: an accelerator would idle with few. */
const [HOST_TOKENS, ACCELERATOR_TOKENS] = [16_384, 131_072];

function tasksOf(text: string): RulerTaskName[] {
  if (text === 'all') return [...RULER_TASKS];
  return text.split(',').map((part) => taskName(part.trim()));
}

function addSampleOptions(command: Command): Command {
  return command
    .option('--tasks <names>', `tasks with commas, or all: ${RULER_TASKS.join(', ')}`, tasksOf, [...OFFLINE_TASKS])
    .option('--lengths <list>', 'tokens of prompt and answer, with commas', (t) => parseCounts('--lengths', t), [4096])
    .option('--samples <n>', 'of each task and length', (t) => positiveInteger('--samples', t), 500)
    .option('--seed <n>', 'of the samples', (t) => wholeNumber('--seed', t), 42)
    .option('--corpus <name>', 'the book of essay haystacks and of qa_book', 'moby-dick')
    .option('--squad <file>', 'questions of qa_1: a JSON file in the format of SQuAD')
    .option('--hotpot <file>', 'questions of qa_2: a JSON file in the format of HotpotQA')
    .option('--cache <dir>', 'where samples are kept (default: the cache folder of Longsight)');
}

/** Registers `longsight ruler`. */
export function addRuler(program: Command, context: CliContext): void {
  // Two commands: samples are made once and kept, answers are asked for model by model.
  const ruler = program
    .command('ruler')
    .summary('long-context tasks: needles, tracking, counting, questions')
    .description(
      'Long-context tasks after RULER (Hsieh et al. 2024), made offline; docs/ruler.md lists the differences.',
    );
  const prepare = ruler
    .command('prepare')
    .summary('make samples')
    .description('Makes JSONL files of samples in the field names of RULER. The same settings give the same files.')
    .argument('<tokenizer>', 'folder with a tokenizer.json, or "bytes"');
  addOutputOptions(addSampleOptions(prepare)).action((path: string, flags: SampleFlags) =>
    prepareAll(path, flags, context),
  );
  const run = ruler
    .command('run')
    .summary('answer and score')
    .description(
      'Answers samples greedily and scores them by task and length. The same command goes on where it was stopped.',
    )
    .argument('<model>', MODEL_ARGUMENT)
    .requiredOption('--out <dir>', 'folder of predictions and scores')
    .option('--data <file>', 'samples of your own, in the field names of RULER; may be repeated', more, [])
    .option('--max-tokens <n>', 'answer tokens for --data', (t) => positiveInteger('--max-tokens', t), 128)
    .addOption(
      new Option('--scoring <rule>', 'for --data: the share of outputs that is found, or whether any is')
        .choices(['all', 'part'])
        .default('all'),
    )
    .option('--truncate', 'cut prompts of --data that are longer than the (one) length in the middle, and flag them')
    .option(
      '--batch-tokens <n>',
      `tokens of prompts that are answered together (default: ${HOST_TOKENS}, on accelerators ${ACCELERATOR_TOKENS})`,
      (t) => positiveInteger('--batch-tokens', t),
    )
    .option('--step <n>', 'the checkpoint of this step', (t) => wholeNumber('--step', t));
  addOutputOptions(addTakeOverOption(addMeasuringOptions(addSampleOptions(run)))).action(
    (path: string, flags: RunFlags) => runAll(path, flags, context),
  );
}

const more = (text: string, all: readonly string[]): readonly string[] => [...all, text];

function rulerOptions(flags: SampleFlags, tokenizer: TextTokenizer, context: CliContext): RulerOptions {
  const { seed, corpus, squad, hotpot, cache } = flags;
  return {
    ...{ seed, corpus, tokenizer },
    ...(squad === undefined ? {} : { squad }),
    ...(hotpot === undefined ? {} : { hotpot }),
    folder: cache ?? join(cacheFolder(context.env), 'ruler'),
  };
}

function prepareAll(path: string, flags: SampleFlags, context: CliContext): void {
  const output = new Output(context, flags);
  const tokenizer = path === 'bytes' ? byteTokenizer() : openTokenizer(path);
  const options = rulerOptions(flags, tokenizer, context);
  const sources = openSources(options);
  for (const task of flags.tasks) {
    for (const length of flags.lengths) {
      context.signal.throwIfAborted();
      const started = performance.now();
      const file = prepareRuler({ task, length, samples: flags.samples }, options, sources);
      const seconds = (performance.now() - started) / 1000;
      const how = file.cached ? 'there already' : `${seconds.toFixed(1)} s`;
      output.result(`${task} ${length}: ${file.path} (${how})`, {
        ...{ event: 'rulerSamples', task, length, samples: flags.samples, path: file.path },
        ...{ cached: file.cached, seconds },
      });
    }
  }
}

interface Plan {
  readonly files: readonly RulerFile[];
  readonly skipped: readonly { readonly task: string; readonly length: number; readonly why: string }[];
}

function planRun(flags: RunFlags, options: RulerOptions, sources: () => RulerSources, output: Output): Plan {
  if (flags.data.length > 0) {
    const length = maxOf(flags.lengths);
    const { maxTokens: answerTokens, scoring } = flags;
    const files = flags.data.map((path) => ({ task: basename(path, '.jsonl'), length, path, answerTokens, scoring }));
    const names = new Set(files.map((f) => f.task.toLowerCase()));
    if (names.size < files.length) throw new ConfigError('--data: two files have the same name; rename one');
    return { files, skipped: [] };
  }
  const files: RulerFile[] = [];
  const skipped: { task: string; length: number; why: string }[] = [];
  for (const length of flags.lengths) {
    for (const task of flags.tasks) {
      const { answerTokens, scoring } = rulerTask(task);
      try {
        const { path } = prepareRuler({ task, length, samples: flags.samples }, options, sources());
        files.push({ task, length, path, answerTokens, scoring });
      } catch (error) {
        // Too short for this task; other lengths and tasks go on, and the table says why this one is missing.
        if (!(error instanceof DataError)) throw error;
        skipped.push({ task, length, why: error.message });
        output.note(error.message);
        output.event({ event: 'rulerSkipped', task, length, why: error.message });
      }
    }
  }
  return { files, skipped };
}

/**
 * Refuses a folder of `--out` that holds predictions of something else; what it returns takes the folder, under its
 * lock.
 */
function claim(flags: RunFlags, plan: Plan, opened: OpenedModel, tokenizer: TextTokenizer): () => void {
  const { source: model, step, tokens } = opened;
  const of = {
    weights: opened.fingerprint(),
    tokenizers: tokenizerPrint(tokenizer),
    'stop tokens': [...stopTokensOf(opened)].sort((a, b) => a - b),
  };
  const files = function* () {
    for (const { task, length, path, answerTokens } of plan.files) {
      const settings = { 'answer tokens': answerTokens, truncation: flags.truncate === true };
      yield { name: predictionName(task, length), settings, samples: readRulerFile(path) };
    }
  };
  return claimPredictions(flags.out, of, files(), { model, step, tokens });
}

const predictionName = (task: string, length: number): string => `${task}-${length}`;

/** Tells apart tokenizers that differ in `tokenizer_config.json` only: in what they put around a text, and clean up. */
function tokenizerPrint(tokenizer: TextTokenizer): string {
  const ids = tokenizer.encode("a , b . do n't", { special: true });
  return fingerprint([tokenizer.fingerprint, ids, tokenizer.decode(ids)]);
}

async function runAll(path: string, flags: RunFlags, context: CliContext): Promise<void> {
  const output = new Output(context, flags);
  const model = openModel(path, flags);
  const tokenizer = tokenizerOf(model);
  const options = rulerOptions(flags, tokenizer, context);
  let opened: RulerSources | null = null;
  const plan = planRun(flags, options, () => (opened ??= openSources(options)), output);
  const takeFolder = claim(flags, plan, model, tokenizer);
  const { signal } = context;
  const waiting = (text: string) => output.note(text);
  const lock = join(flags.out, 'ruler.lock');
  await underLock(lock, flags.out, { takeOver: flags.takeOver, signal, waiting }, async (_lock, stop) => {
    takeFolder();
    await answerAll(path, flags, { model, tokenizer, plan, output }, { ...context, signal: stop });
  });
}

/** What answers the samples of a plan, and where it says so. */
interface Answering {
  readonly model: OpenedModel;
  readonly tokenizer: TextTokenizer;
  readonly plan: Plan;
  readonly output: Output;
}

async function answerAll(
  path: string,
  flags: RunFlags,
  { model, tokenizer, plan, output }: Answering,
  context: CliContext,
): Promise<void> {
  const scores: ScoreRow[] = [];
  for (const { length } of plan.files) model.noteLength(length);
  await withModels([model], output, async () => {
    const stopTokens = new Set(stopTokensOf(model));
    const of: RulerModel = { ...withConfig(model, model.config), tokenizer, stopTokens };
    for (const length of new Set(plan.files.map((f) => f.length))) {
      const files = plan.files.filter((f) => f.length === length);
      for (const row of await runLength(of, files, flags, context, output)) scores.push(row);
    }
  });
  const rows = [...scores, ...plan.skipped.map((s) => ({ ...s, score: null }))];
  writeJsonAtomic(join(flags.out, 'scores.json'), { format: 1, model: path, step: model.step, rows });
  writeCsv(
    join(flags.out, 'scores.csv'),
    COLUMNS,
    scores.map(({ task, length, ...s }) => cells(task, length, s)),
  );
  output.result(table(rows), { event: 'ruler', out: flags.out, rows });
}

const COLUMNS = ['task', 'length', 'score', 'low', 'high', 'exact', 'samples', 'empty'];
const cells = (task: string, length: number, s: RulerScore) => [
  ...[task, length, s.score, s.low, s.high],
  ...[s.exact, s.samples, s.empty],
];

interface ScoreRow extends RulerScore {
  readonly task: string;
  readonly length: number;
}

async function runLength(
  of: RulerModel,
  files: readonly RulerFile[],
  flags: RunFlags,
  context: CliContext,
  output: Output,
): Promise<ScoreRow[]> {
  const { length } = at(files, 0);
  const usual = of.engine.hints.accelerator === true ? ACCELERATOR_TOKENS : HOST_TOKENS;
  const { batchTokens = usual } = flags;
  const scores = rulerScores(of, files, {
    ...{ length, truncate: flags.truncate === true, batchTokens, signal: context.signal },
    predictions: (file) => join(flags.out, `${predictionName(file.task, length)}.jsonl`),
    onProgress: (done, all) => output.event({ event: 'rulerProgress', length, done, all }),
  });
  const rows: ScoreRow[] = [];
  for await (const { file, score, cut } of scores) {
    const { task } = file;
    const remark = cut === 0 ? '' : `, ${cut} prompts cut`;
    output.note(`${task} ${length}: ${score.score} (95 %: ${score.low} to ${score.high})${remark}`);
    output.event({ event: 'rulerScore', task, length, ...score, truncated: cut });
    rows.push({ task, length, ...score });
  }
  return rows;
}

/** Tasks by lengths, and the mean of each length over its tasks. */
function table(
  rows: readonly { readonly task: string; readonly length: number; readonly score: number | null }[],
): string {
  const lengths = [...new Set(rows.map((r) => r.length))].sort((a, b) => a - b);
  const tasks = [...new Set(rows.map((r) => r.task))];
  const scoreOf = (task: string, length: number) => rows.find((r) => r.task === task && r.length === length)?.score;
  const show = (score: number | null | undefined) => (score == null ? '-' : score.toFixed(1));
  const mean = (length: number) => {
    const found = rows.filter((r) => r.length === length && r.score !== null).map((r) => present(r.score));
    return found.length === 0 ? null : found.reduce((a, b) => a + b, 0) / found.length;
  };
  return textTable(
    [
      ['task', ...lengths.map(String)],
      ...tasks.map((task) => [task, ...lengths.map((length) => show(scoreOf(task, length)))]),
      ['mean', ...lengths.map((length) => show(mean(length)))],
    ],
    new Set(lengths.map((_, i) => i + 1)),
  );
}
