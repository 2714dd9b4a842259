/** The command line: every command by name, and the module of the one that is called. */
import { createRequire } from 'node:module';
import { Command, Help } from 'commander';
import { COMMANDS, COMMAND_GROUPS, type CommandEntry } from './command-table.js';
import type { CliContext } from './terminal/context.js';
import { EXIT, reportError } from './terminal/errors.js';
import { optionDescription } from './terminal/option-text.js';
import { followOutputLinks } from './terminal/outputs.js';
import { stopHelp } from './terminal/stopping.js';

/** Read here: core, which has it too, costs `--help` and `--version` as much time as all the rest of them. */
const { version } = createRequire(import.meta.url)('../../package.json') as { readonly version: string };

const EXIT_HELP = `
Exit codes: ${EXIT.ok} done, ${EXIT.failed} failed, ${EXIT.usage} wrong input, ${EXIT.interrupted} stopped (the same command, or --resume, goes on),
${EXIT.again} the same by SIGTERM or SIGUSR1, for schedulers.
LONGSIGHT_DEBUG=1 adds stack traces to errors.`;

/**
 * The program with every command. Those that `isCalled` names are loaded with their options and actions; of the others
 * only what `--help` prints is there.
 */
async function buildProgram(
  context: CliContext,
  isCalled: (entry: CommandEntry) => boolean = () => true,
): Promise<Command> {
  const program = new Command('longsight')
    .description(
      'A lab for hybrid-attention language models: train them, watch long-range retrieval form, compare designs.',
    )
    .version(version)
    .enablePositionalOptions()
    .showHelpAfterError('(add --help for what there is)')
    .showSuggestionAfterError(true)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void context.stdout.write(text),
      writeErr: (text) => void context.stderr.write(text.replace(/^error: /, 'longsight: ')),
      getOutHelpWidth: () => context.stdout.columns ?? 100,
    })
    .configureHelp({
      subcommandTerm: (command) => usageOf(command) ?? new Help().subcommandTerm(command),
      optionDescription,
    })
    .addHelpText('after', EXIT_HELP)
    .hook('preAction', (_program, called) => followOutputLinks(called));
  for (const entry of COMMANDS) {
    if (isCalled(entry)) {
      (await entry.load())(program, context);
      program.commands.at(-1)?.addHelpText('after', `\nExample: longsight ${entry.example}\n${stopHelp(entry.onStop)}`);
    } else program.command(entry.name, { hidden: entry.hidden ?? false }).summary(entry.summary);
    program.commands.at(-1)?.helpGroup(groupHeading(entry));
  }
  return program;
}

/** The heading of a command's task in `longsight --help`, with the first command of the task as an example. */
function groupHeading({ group }: CommandEntry): string {
  const first = COMMANDS.find((entry) => entry.group === group);
  return `${COMMAND_GROUPS[group]} (longsight ${first?.example ?? ''}):`;
}

/** Says in a terminal what may come next; scripts, `--json` and `--quiet` get nothing. */
function hintNext(called: Command, { stderr }: CliContext): void {
  const { json, quiet } = called.opts<{ json?: boolean; quiet?: boolean }>();
  if (stderr.isTTY !== true || json === true || quiet === true) return;
  let top = called;
  while (top.parent?.parent != null) top = top.parent;
  const next = COMMANDS.find(({ name }) => name === top.name())?.next ?? '';
  if (next !== '') stderr.write(`next: ${next.replaceAll('{0}', called.args[0] ?? 'FOLDER')}\n`);
}

/** How `longsight --help` lists a command of the table; undefined for subcommands of commands. */
function usageOf(command: Command): string | undefined {
  if (command.parent?.parent !== null) return undefined;
  const entry = COMMANDS.find(({ name }) => name === command.name());
  return entry === undefined ? undefined : `${entry.name} ${entry.usage}`.trimEnd();
}

/** Runs one command line. Never throws. */
export async function runCli(args: readonly string[], context: Omit<CliContext, 'exitWith'>): Promise<number> {
  const exit: { code: number } = { code: EXIT.ok };
  const whole: CliContext = { ...context, exitWith: (code) => void (exit.code = code) };
  try {
    const [first, second] = args.filter((arg) => !arg.startsWith('-'));
    const called = first === 'help' ? second : first;
    const program = await buildProgram(whole, ({ name }) => name === called);
    const { signal, endNow } = context;
    if (COMMANDS.find(({ name }) => name === called)?.onStop === 'ends')
      signal.addEventListener('abort', () => endNow(signal.reason), { once: true });
    if (args.length === 0) {
      program.outputHelp();
      return EXIT.ok;
    }
    program.hook('postAction', (_program, done) => {
      if (exit.code === EXIT.ok) hintNext(done, whole);
    });
    await program.parseAsync([...args], { from: 'user' });
    return exit.code;
  } catch (error) {
    return reportError(error, whole);
  }
}
