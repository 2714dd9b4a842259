/** `longsight train FILE`: one run. */
import { basename, dirname, join, resolve } from 'node:path';
import type { Command } from 'commander';
import { createEngine } from '../../engine/index.js';
import { formatTokens, significant } from '../../core/index.js';
import { checkRun, documentedRunSchema, loadRunFile, performRun, engineChoice } from '../../lab/index.js';
import { configPath, isRunFolder, readStatus } from '../../run/index.js';
import { formatTiming } from '../../train/index.js';
import type { CliContext } from '../terminal/context.js';
import {
  addEngineOptions,
  addOutputOptions,
  addSetOption,
  addTakeOverOption,
  type EngineFlags,
  type OutputFlags,
  type SetFlag,
  type TakeOverFlag,
} from '../terminal/options.js';
import { Output } from '../terminal/output.js';
import { givenFile } from '../terminal/preset-files.js';
import { RunProgress } from '../terminal/progress.js';
import { describeKeys, helpText } from '../terminal/schema-help.js';
import { repeatCommand } from './repeat.js';

interface Flags extends OutputFlags, EngineFlags, SetFlag, TakeOverFlag {
  readonly out?: string;
  readonly resume?: boolean;
}

/** Registers `longsight train`. */
export function addTrain(program: Command, context: CliContext): void {
  const command = program
    .command('train')
    .summary('train one model')
    .description('Trains one model as a run file (YAML) says, measuring it on the way, into a run folder.')
    .argument(
      '<file>',
      'run file (preset:NAME for one of the package); or a run folder (or its config.json), to repeat or resume the run',
    )
    .option('--out <dir>', 'run folder (default: runs/NAME, or the run that is resumed)')
    .option(
      '--resume',
      'go on with the run in that folder; with --set train.steps=N also for more steps, where none that it has taken changes',
    );
  addOutputOptions(addEngineOptions(addSetOption(addTakeOverOption(command))))
    .addHelpText('after', () => `\nKeys of a run file, with defaults:\n${helpText(describeKeys(documentedRunSchema))}`)
    .action((file: string, flags: Flags) => train(file, flags, context));
}

async function train(given: string, flags: Flags, context: CliContext): Promise<void> {
  const file = givenFile(given);
  const output = new Output(context, flags);
  const own = runFolderOf(file);
  const run = loadRunFile(own === null ? file : configPath(own), flags.set);
  checkRun(run);
  const name = run.name ?? basename(own ?? file).replace(/\.[^.]*$/, '');
  const dir = flags.out ?? (flags.resume === true && own !== null ? own : join('runs', name));
  const engine = createEngine(flags.engine ?? run.engine, engineChoice(flags, run));
  const progress = new RunProgress(output);
  output.note(`${name}: engine ${engine.info.name} (${engine.info.reason})`);
  try {
    const result = await performRun({
      ...{ dir, engine, run: { ...run, name }, sinceMs: 0 },
      resume: flags.resume === true ? 'yes' : 'no',
      takeOver: flags.takeOver,
      signal: context.signal,
      progress: (p) => progress.step(p),
      note: (text) => progress.note(text),
      evaluated: (record) => progress.evaluated(record),
    });
    progress.stop();
    // Loaded now: what draws figures is large.
    const { analyzeRunFolder, writeReport } = await import('../../report/index.js');
    const analyzed = analyzeRunFolder(dir);
    const report = writeReport(dir, analyzed, { folder: dir, repeat: [repeatCommand(dir)] });
    const summary = analyzed.analysis.groups[0]?.runs[0];
    const loss = summary?.finalLoss == null ? '' : `, held-out loss ${significant(summary.finalLoss)}`;
    const timing = readStatus(dir)?.timing;
    const time = timing === undefined ? '' : `\ntime: ${formatTiming(timing)}`;
    output.result(
      `done: ${result.step} steps, ${formatTokens(result.tokens)} tokens${loss}${time}\nrun folder: ${dir}\nreport: ${report.html}`,
      { event: 'done', dir: resolve(dir), ...result, summary: summary ?? null, report },
    );
  } finally {
    progress.stop();
    await engine.dispose();
  }
}

/** The run folder that a path is, or whose `config.json` it is; null for a run file. */
function runFolderOf(path: string): string | null {
  if (isRunFolder(path)) return path;
  return basename(path) === basename(configPath('')) && isRunFolder(dirname(path)) ? dirname(path) : null;
}
