/** `longsight choice MODEL FILES`: multiple choice by log-likelihood. */
import { basename } from 'node:path';
import type { Command } from 'commander';
import { ConfigError, writeFileAtomic, writeCsv } from '../../core/index.js';
import { readChoiceFile, type Proportion } from '../../eval/index.js';
import { choicesOf, openModel, tokenizerOf } from '../../lab/index.js';
import { MODEL_ARGUMENT, withModels } from '../terminal/models.js';
import type { CliContext } from '../terminal/context.js';
import {
  addMeasuringOptions,
  addOutputOptions,
  positiveInteger,
  wholeNumber,
  type EngineFlags,
  type PrecisionFlag,
  type OutputFlags,
} from '../terminal/options.js';
import { Output, textTable } from '../terminal/output.js';

interface Flags extends OutputFlags, EngineFlags, PrecisionFlag {
  readonly samples?: number;
  readonly batchTokens: number;
  readonly step?: number;
  readonly out?: string;
  readonly csv?: string;
}

/** Registers `longsight choice`. */
export function addChoice(program: Command, context: CliContext): void {
  const command = program
    .command('choice')
    .summary('multiple choice by log-likelihood')
    .description(
      'Scores the choices of questions by their log-likelihood after the context, in all and for each byte, and prints ' +
        'accuracies with 95 % intervals. A file has one question a line: {"context": ..., "choices": [...], "answer": ...}.',
    )
    .argument('<model>', MODEL_ARGUMENT)
    .argument('<files...>', 'questions as JSONL; each file is a task')
    .option('--samples <n>', 'questions of each task at most', (t) => positiveInteger('--samples', t))
    .option('--batch-tokens <n>', 'tokens in one pass', (t) => positiveInteger('--batch-tokens', t), 8192)
    .option('--step <n>', 'the checkpoint of this step', (t) => wholeNumber('--step', t))
    .option('--out <file>', 'also write the log-likelihood of every choice, as JSONL')
    .option('--csv <file>', 'also write the result as CSV');
  addOutputOptions(addMeasuringOptions(command)).action((path: string, files: string[], flags: Flags) =>
    run(path, files, flags, context),
  );
}

const COLUMNS = [
  'task',
  'questions',
  'accuracy',
  'low',
  'high',
  'normalized_accuracy',
  'normalized_low',
  'normalized_high',
];

async function run(path: string, files: readonly string[], flags: Flags, context: CliContext): Promise<void> {
  const output = new Output(context, flags);
  const model = openModel(path, flags);
  // A model without a tokenizer is refused before any file is read.
  tokenizerOf(model);
  const tasks = files.map((file) => ({
    name: basename(file, '.jsonl'),
    questions: readChoiceFile(file).slice(0, flags.samples),
  }));
  if (new Set(tasks.map((t) => t.name)).size < tasks.length) {
    throw new ConfigError('two files have the same name; rename one');
  }
  const lines: string[] = [];
  const cells: (string | number)[][] = [];
  await withModels([model], output, async () => {
    for (const { name, questions } of tasks) {
      const { result, scores } = await choicesOf(model, questions, {
        ...{ batchTokens: flags.batchTokens, signal: context.signal },
        onProgress: (done, all) => output.event({ event: 'choiceProgress', task: name, done, all }),
      });
      const { accuracy: plain, normalizedAccuracy: normalized } = result;
      cells.push([name, result.questions, ...numbersOf(plain), ...numbersOf(normalized)]);
      output.event({ event: 'choice', task: name, step: model.step, ...result });
      questions.forEach((q, i) =>
        lines.push(`${JSON.stringify({ task: name, index: i, answer: q.answer, choices: scores[i] })}\n`),
      );
    }
  });
  if (flags.out !== undefined) writeFileAtomic(flags.out, lines.join(''));
  writeCsv(flags.csv, COLUMNS, cells);
  const shown = cells.map(([task, questions, ...values]) => {
    const [a, b, c, d, e, f] = (values as number[]).map((v) => v.toFixed(3)) as [
      string,
      string,
      string,
      string,
      string,
      string,
    ];
    return [String(task), String(questions), a, `${b} to ${c}`, d, `${e} to ${f}`];
  });
  const head = ['task', 'questions', 'accuracy', '95 %', 'by byte', '95 %'];
  // With --json every task had its event already.
  if (output.mode === 'human') output.result(`${model.name}\n${textTable([head, ...shown], new Set([1, 2, 4]))}`, {});
}

const numbersOf = ({ value, low, high }: Proportion): number[] => [value, low, high];
