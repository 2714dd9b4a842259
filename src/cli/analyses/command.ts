/** The command of an analysis, made from its definition: arguments, flags, help, what is printed and kept. */
import type { Command } from 'commander';
import { z } from 'zod';
import { writeCsv, writeFileAtomic } from '../../core/index.js';
import {
  analysisOf,
  hintsOf,
  isKept,
  keep,
  openModel,
  openModels,
  unwrapOption,
  windowMark,
  type AnalysisKind,
  type CsvTable,
  type Printed,
} from '../../lab/index.js';
import type { AddCommand, CliContext } from '../terminal/context.js';
import { addAnalysisOptions, MODEL_ARGUMENT, withModels, type AnalysisFlags } from '../terminal/models.js';
import {
  parseChoice,
  parseCounts,
  parseNumber,
  positiveInteger,
  wholeNumber,
  windowAsked,
} from '../terminal/options.js';
import { Output, textTable } from '../terminal/output.js';

/** Adds the command of an analysis. */
export function analysisCommand(kind: AnalysisKind): AddCommand {
  const analysis = analysisOf(kind);
  return (program, context) => {
    const command = program
      .command(analysis.command)
      .summary(analysis.summary)
      .description(analysis.description)
      .argument('<model>', MODEL_ARGUMENT);
    for (const [key, schema] of Object.entries(analysis.options.shape)) {
      if (schema instanceof z.ZodType) addOption(command, key, schema);
    }
    addAnalysisOptions(command).action((path: string, flags: AnalysisFlags) => run(kind, path, flags, context));
  };
}

/** The flag of an option: `queryFromEnd` becomes `--query-from-end`. */
export function flagOf(key: string): string {
  return `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** Adds a flag for an option of an analysis; `about` stands before its description. */
export function addOption(command: Command, key: string, schema: z.ZodType, about = ''): void {
  const flag = flagOf(key);
  const { inner, description: own, standard, required } = unwrapOption(schema);
  const description = about + own;
  if (inner instanceof z.ZodBoolean) {
    command.option(flag, description);
    return;
  }
  const { placeholder, read } = { ...readerOf(inner), ...hintsOf(schema) };
  const parse = (text: string): unknown => read(flag, text);
  if (required) command.requiredOption(`${flag} <${placeholder}>`, description, parse);
  else command.option(`${flag} <${placeholder}>`, description, parse, standard);
}

/** How the text of a flag becomes a value, by the type of the option. */
function readerOf(schema: z.core.$ZodType): {
  readonly placeholder: string;
  readonly read: (option: string, text: string) => unknown;
} {
  if (schema instanceof z.ZodEnum) {
    const choices = schema.options.map(String);
    return { placeholder: 'name', read: (option, text) => parseChoice(option, choices, text) };
  }
  if (schema instanceof z.ZodNumber) {
    if (!schema.format?.includes('int')) return { placeholder: 'x', read: parseNumber };
    return { placeholder: 'n', read: (schema.minValue ?? 0) >= 1 ? positiveInteger : wholeNumber };
  }
  if (schema instanceof z.ZodArray) return { placeholder: 'list', read: parseCounts };
  return { placeholder: 'text', read: (_, text) => text };
}

async function run(kind: AnalysisKind, path: string, flags: AnalysisFlags, context: CliContext): Promise<void> {
  const output = new Output(context, flags);
  const analysis = analysisOf(kind);
  const { step, set, engine, threads, precision, weights } = flags;
  const window = windowAsked(flags);
  const open = { step, set, engine, threads, precision, weights, window, use: analysis.use };
  const all = analysis.checkpoints.command === 'all';
  const models = all ? openModels(path, open) : ([openModel(path, open)] as const);
  const given = Object.fromEntries(Object.entries(flags).filter(([key]) => key in analysis.options.shape));
  const note = (text: string) => output.note(text);
  const session = analysis.start(models, given, { signal: context.signal, note });
  const tables: CsvTable[] = [];
  await withModels(models, output, async () => {
    for (const model of models) {
      context.signal.throwIfAborted();
      const measured = await session.measure(model);
      const changed = set.length > 0 || precision !== undefined || window !== undefined;
      const kept = isKept(kind) ? { file: changed ? null : keep(kind, session, model, measured.record) } : {};
      const about = { event: analysis.command, step: model.step, tokens: model.tokens, ...windowMark(window) };
      for (const printed of measured.print()) {
        const value = { ...about, ...kept, ...(printed.value ?? measured.record) };
        output.result(textOf(printed, all), value);
      }
      tables.push(measured.csv());
      for (const { path: file, text } of measured.files()) {
        writeFileAtomic(file, text);
        output.note(`wrote ${file}`);
      }
      model.release();
    }
  });
  const rows = tables.flatMap((table) => table.rows);
  writeCsv(flags.csv, tables[0]?.columns ?? [], rows);
}

/**
 * What people read of a result, as text.
 *
 * @param spaced an empty line follows tables, where there may be several
 */
function textOf({ title, head, rows = [], right = Infinity, remark }: Printed, spaced: boolean): string {
  const columns = new Set(head?.map((_, i) => i).filter((i) => i >= right));
  const table = head === undefined ? [] : [textTable([head, ...rows], columns)];
  const lines = [title, ...table, ...(remark === undefined ? [] : [remark])].join('\n');
  return spaced && head !== undefined ? `${lines}\n` : lines;
}
