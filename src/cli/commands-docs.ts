/** `docs/commands.md`, made from the commands' own definitions. */
import { Command, Help } from 'commander';
import { COMMANDS, COMMAND_GROUPS, type CommandEntry } from './command-table.js';
import type { CliContext } from './terminal/context.js';
import { optionDescription } from './terminal/option-text.js';

const HELP = new Help();
const silent = { write: () => true };
/** A process without output, for commands that are not run. */
const NOWHERE: CliContext = {
  ...{ stdout: silent, stderr: silent, env: {}, mainPath: '', signal: new AbortController().signal },
  ...{ exitWith: () => undefined, endNow: () => undefined, isPreempted: () => false },
};
/** A text inside of a cell of a Markdown table. */
const cell = (text: string) => text.replaceAll('|', '\\|').replaceAll('<', '&lt;').replace(/\s+/g, ' ').trim();

const pair = (term: string, text: string): [string, string] => [term, text];

/** A link to a page in the same folder. */
const beside = (name: string) => `${name}.md`;

/** The page, complete. Loads the modules of all commands; runs none. */
export async function commandsMarkdown(): Promise<string> {
  const groups = await Promise.all(
    Object.entries(COMMAND_GROUPS).map(async ([group, heading]) => {
      const entries = COMMANDS.filter((entry) => entry.group === group && entry.hidden !== true);
      return `## ${heading}\n\n${(await Promise.all(entries.map(section))).join('\n\n')}`;
    }),
  );
  return `# Commands

<!-- Made by \`npm run docs\` from the commands; a test compares. -->

In a clone, \`npm run longsight -- COMMAND\`; where the package is installed, \`longsight COMMAND\`. \`--help\` after a command prints what is here, and
for \`train\` and \`study\` every [key of their files](${beside('config')}). \`--json\` prints one object a line, \`--quiet\` errors only. Exit codes are in [when
something goes wrong](${beside('troubleshooting')}). \`source <(longsight completion bash)\` completes in bash; [\`completion\`](#completion) says how in zsh and fish.

${groups.join('\n\n')}
`;
}

/** A command of the table with its subcommands. */
async function section({ name, example, load }: CommandEntry): Promise<string> {
  const root = new Command('longsight');
  (await load())(root, NOWHERE);
  const command = root.commands.find((own) => own.name() === name);
  if (command === undefined) throw new Error(`the module of ${name} adds no such command`);
  const parts = [command, ...command.commands].filter(
    (part) => part.registeredArguments.length + part.options.length > 0,
  );
  return `### ${name}\n\n${command.description()}\n\n\`longsight ${example}\`\n\n${parts.map(optionsTable).join('\n\n')}`;
}

/** The arguments and options of one command, behind its usage. */
function optionsTable(command: Command): string {
  const terms: (readonly [term: string, text: string])[] = [
    ...HELP.visibleArguments(command).map((own) => pair(HELP.argumentTerm(own), HELP.argumentDescription(own))),
    ...HELP.visibleOptions(command)
      .filter(({ long }) => long !== '--help')
      .map((own) => pair(HELP.optionTerm(own), optionDescription(own))),
  ];
  const rows = terms.map(([term, text]) => `| \`${term.replaceAll('|', '\\|')}\` | ${cell(text)} |`);
  const usage = `\`${HELP.commandUsage(command)}\``;
  const what = command.parent?.parent == null ? '' : `: ${command.description()}`;
  return rows.length === 0
    ? usage + what
    : `${usage}${what}\n\n| argument or option | meaning |\n| --- | --- |\n${rows.join('\n')}`;
}
