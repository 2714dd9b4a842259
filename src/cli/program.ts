/** The command line: every command added to one program. */
import { Command } from 'commander';
import { readFileSync } from 'node:fs';
import * as analyses from './analyses/index.js';
import { addChoice } from './commands/choice.js';
import { addCost } from './commands/cost.js';
import { addData } from './commands/data.js';
import { addDoctor } from './commands/doctor.js';
import { addEval } from './commands/eval.js';
import { addExport } from './commands/export.js';
import { addGenerate } from './commands/generate.js';
import { addInspect } from './commands/inspect.js';
import { addParity } from './commands/parity.js';
import { addReport } from './commands/report.js';
import { addRuler } from './commands/ruler.js';
import { addQuickstart, addStudy } from './commands/study.js';
import { addTokenizer } from './commands/tokenizer.js';
import { addTrace } from './commands/trace.js';
import { addTrain } from './commands/train.js';
import { addWorker } from './commands/worker.js';
import type { CliContext } from './context.js';
import { EXIT, reportError } from './errors.js';

const EXIT_HELP = `
Exit codes: ${EXIT.ok} done, ${EXIT.failed} failed, ${EXIT.usage} wrong input, ${EXIT.interrupted} stopped (the same command, or --resume, goes on).
LONGSIGHT_DEBUG=1 adds stack traces to errors.`;

export function buildProgram(context: CliContext): Command {
  const program = new Command('longsight')
    .description(
      'A lab for hybrid-attention language models: train them, watch long-range retrieval form, compare designs.',
    )
    .version(packageVersion())
    .showHelpAfterError('(add --help for what there is)')
    .showSuggestionAfterError(true)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void context.stdout.write(text),
      writeErr: (text) => void context.stderr.write(text.replace(/^error: /, 'longsight: ')),
      getOutHelpWidth: () => context.stdout.columns ?? 100,
    })
    .addHelpText('after', EXIT_HELP);
  const commands = [
    addQuickstart,
    addStudy,
    addTrain,
    addEval,
    addTrace,
    addGenerate,
    addRuler,
    addChoice,
    addReport,
    addCost,
    addData,
    addTokenizer,
    addInspect,
    addParity,
    addExport,
    addDoctor,
    addWorker,
  ];
  for (const add of [...commands, ...Object.values(analyses)]) add(program, context);
  return program;
}

/** Runs one command line. Never throws. */
export async function runCli(args: readonly string[], context: Omit<CliContext, 'exitWith'>): Promise<number> {
  const exit: { code: number } = { code: EXIT.ok };
  const whole: CliContext = { ...context, exitWith: (code) => void (exit.code = code) };
  try {
    const program = buildProgram(whole);
    if (args.length === 0) {
      program.outputHelp();
      return EXIT.ok;
    }
    await program.parseAsync([...args], { from: 'user' });
    return exit.code;
  } catch (error) {
    return reportError(error, whole);
  }
}

function packageVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
