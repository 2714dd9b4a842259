/** `longsight report RUN|STUDY`: the report of what is there, finished or not. */
import type { Command } from 'commander';
import { ConfigError, refuseHubName, StoreError } from '../../core/index.js';
import { analyzeRunFolder, analyzeStudyFolder, overview, writeReport } from '../../report/index.js';
import { isStudyFolder, readPlan } from '../../study/index.js';
import type { CliContext } from '../terminal/context.js';
import { addOutputOptions, parseContext, type OutputFlags } from '../terminal/options.js';
import { Output } from '../terminal/output.js';
import { repeatCommand, repeatCommands } from './repeat.js';
import { isRunFolder } from '../../run/index.js';

interface Flags extends OutputFlags {
  readonly out?: string;
  readonly site?: string;
  /** Tokens that cache bytes of the figures of costs are for. */
  readonly context?: number;
}

/** Registers `longsight report`. */
export function addReport(program: Command, context: CliContext): void {
  const command = program
    .command('report')
    .summary('write the report of a run or a study')
    .description('Writes report.html, report.json and report.csv of a run or study folder, finished or not.')
    .argument('<folder>', 'run or study folder')
    .option('--out <dir>', 'where the files go (default: the folder itself)');
  command.option(
    '--context <tokens>',
    'length that the cache bytes of a study’s designs are told for, such as 4k or 1M (default: 64k)',
    (text) => parseContext('--context', text),
  );
  command.option('--site <dir>', 'write the dashboard of the folder as a static site in place of the report');
  addOutputOptions(command).action((folder: string, flags: Flags) => report(folder, flags, context));
}

/** Writes the report of a run or study folder, finished or not. */
export async function report(folder: string, flags: Flags, context: CliContext): Promise<void> {
  const output = new Output(context, flags);
  const isStudy = isStudyFolder(folder);
  if (!isStudy && !isRunFolder(folder)) refuseHubName(folder);
  if (!isStudy && !isRunFolder(folder))
    throw new StoreError(`${folder} is neither a study folder (study.json) nor a run folder (config.json)`, {
      details: { folder },
    });
  if (flags.site !== undefined) {
    if (flags.out !== undefined) throw new ConfigError('--site and --out say two places; give one of them');
    if (flags.context !== undefined)
      throw new ConfigError('--site has no --context: its figures are for 65,536 tokens; leave one of them out');
    const { writeSite } = await import('../../dashboard/index.js');
    const { index, runs, bytes } = await writeSite(folder, flags.site);
    output.result(`${runs} ${runs === 1 ? 'run' : 'runs'}, ${(bytes / 1e6).toFixed(1)} MB: ${index}`, {
      ...{ event: 'site', index, runs, bytes },
    });
    return;
  }
  if (!isStudy && flags.context !== undefined)
    throw new ConfigError(
      `--context is for the designs of a study, and ${folder} is one run; longsight cost has its bytes`,
    );
  const analyzed = isStudy ? analyzeStudyFolder(folder, flags.context) : analyzeRunFolder(folder);
  const repeat = isStudy ? repeatCommands(folder, readPlan(folder)) : [repeatCommand(folder)];
  const files = writeReport(flags.out ?? folder, analyzed, { folder, repeat });
  output.result(`${overview(analyzed)}\nreport: ${files.html}`, { event: 'report', ...files });
}
