/** The command lines of the documentation, and the parser of the command line without what commands do. */
import { readdirSync, readFileSync } from 'node:fs';
import { join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { COMMANDS } from '../../src/cli/command-table.js';
import type { CliContext } from '../../src/cli/terminal/context.js';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** The pages whose commands are accounted for, as paths from the repository's root with forward slashes. */
const PAGES: readonly string[] = [
  ...['README.md', 'CONTRIBUTING.md', 'bench/README.md'],
  ...readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.md'))
    .map((file) => `docs/${file.split(sep).join('/')}`)
    .sort(),
];

export interface DocLine {
  readonly page: string;
  /** The line without its comment. */
  readonly line: string;
}

/** The words of a line as a shell reads them, and where one command ends (`&&`, `|`, `;`). */
export function shellWords(line: string): string[][] {
  const commands: string[][] = [[]];
  for (const [, single, double, end, bare = ''] of line.matchAll(
    /'([^']*)'|"((?:[^"\\]|\\.)*)"|(&&|\|\||[;|])|((?:[^\s'";|&]|&(?!&))+)/g,
  )) {
    if (end !== undefined) commands.push([]);
    else commands.at(-1)?.push(single ?? double ?? bare);
  }
  return commands.filter((words) => words.length > 0);
}

const withoutComment = (line: string) => line.replace(/(^|\s)#\s.*$/, '').trim();

/** Every command line of the shell blocks; a script (`#!`) is one. A line that ends in a backslash goes on in the next. */
export const LINES: readonly DocLine[] = PAGES.flatMap((page) => {
  const text = readFileSync(join(ROOT, page), 'utf8');
  return [...text.matchAll(/^ *```(?:sh|bash|shell|console)\n([\s\S]*?)^ *```/gm)].flatMap(([, block = '']) =>
    (block.startsWith('#!') ? [block.replaceAll('\n', '; ')] : block.replace(/\\\n\s*/g, ' ').split('\n'))
      .map(withoutComment)
      .filter((line) => line !== '')
      .map((line) => ({ page, line })),
  );
});

/** Commands in running text: `longsight ...`, `npm run ...`, `node ...`. */
export const INLINE: readonly DocLine[] = PAGES.flatMap((page) => {
  const prose = readFileSync(join(ROOT, page), 'utf8').replace(/^ *```[\s\S]*?^ *```/gm, '');
  return [...prose.matchAll(/`((?:longsight|npm|npx|node|bash) [^`]*)`/g)].map(([, line = '']) => ({ page, line }));
});

/** The program with the one command that is called, which does nothing. */
async function program(called: string | undefined): Promise<Command> {
  const silent = { write: () => true };
  const context = { stdout: silent, stderr: silent, env: {} } as unknown as CliContext;
  const root = new Command('longsight').version('0').enablePositionalOptions();
  for (const { name, load } of COMMANDS) if (name === called) (await load())(root, context);
  const hush = (command: Command): void => {
    command.exitOverride().configureOutput({ writeOut: () => undefined, writeErr: () => undefined });
    if (command.commands.length === 0 || command.registeredArguments.length > 0) command.action(() => undefined);
    command.commands.forEach(hush);
  };
  hush(root);
  return root;
}

/** What the real parser says against these arguments; null where it takes them. Nothing is done. */
export async function refusal(args: readonly string[]): Promise<string | null> {
  try {
    await (await program(args[0])).parseAsync([...args], { from: 'user' });
    return null;
  } catch (error) {
    const { code = '', message } = error as Error & { code?: string };
    return ['commander.helpDisplayed', 'commander.version'].includes(code) ? null : message;
  }
}

/** The arguments of every `longsight` command of a line, also behind `ssh`, `xargs`, `npm run` or variables. */
export function longsightCalls(line: string): string[][] {
  return shellWords(line).flatMap((words) => {
    const at = words.findIndex((word, i) => word === 'longsight' && words[i - 1] !== 'install');
    if (at < 0) return [];
    const args = words.slice(at + 1);
    return [(args[0] === '--' && words[at - 1] === 'run' ? args.slice(1) : args).filter((word) => word !== '&')];
  });
}
