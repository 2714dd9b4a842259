/** `longsight log export FOLDER --to FORMAT --out DIR`: metrics of runs for other tools. */
import type { Command } from 'commander';
import { formatCount, plural } from '../../core/index.js';
import { exportLogs, LOG_FORMATS, type LogFormat } from '../../run/index.js';
import type { CliContext } from '../terminal/context.js';
import { addOutputOptions, parseChoice, type OutputFlags } from '../terminal/options.js';
import { Output } from '../terminal/output.js';

interface Flags extends OutputFlags {
  readonly to: LogFormat;
  readonly out: string;
}

/** Registers `longsight log`. */
export function addLog(program: Command, context: CliContext): void {
  const log = program
    .command('log')
    .summary('metrics of runs for TensorBoard, or as tables')
    .description('Metrics of runs.');
  const command = log
    .command('export')
    .summary('metrics of runs for TensorBoard, or as tables')
    .description(
      'Writes the metrics of every run in a folder, one file a run: event files that TensorBoard reads, or tables with a row ' +
        'for each value (run, step, tokens, time in seconds, metric, value). Runs stay as they are; one that goes on is ' +
        'exported as far as it is.',
    )
    .argument('<folder>', 'a run, a study, or a folder with runs below it')
    .requiredOption('--to <format>', `format: ${LOG_FORMATS.join(', ')}`, (text) =>
      parseChoice('--to', LOG_FORMATS, text),
    )
    .requiredOption('--out <dir>', 'folder to make; must be free');
  addOutputOptions(command).action((folder: string, flags: Flags) => {
    const done = exportLogs(folder, flags.to, flags.out);
    const { out, runs, values, bytes } = done;
    new Output(context, flags).result(
      `${out}: ${plural(runs, 'run')}, ${formatCount(values)} values, ${formatCount(bytes)} bytes`,
      { event: 'log-export', to: flags.to, ...done },
    );
  });
}
