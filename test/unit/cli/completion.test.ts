/** Completion in shells, asked of real ones; the help by task; hints of what to do next. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { COMMANDS, COMMAND_GROUPS } from '../../../src/cli/command-table.js';
import { runCli } from '../../../src/cli/program.js';
import { cli } from '../../support/cli.js';
import { refusal, shellWords } from '../../support/doc-commands.js';
import { temporaryFolder } from '../../support/folders.js';
import { writeFakeRun } from '../../support/fake-study.js';

const shown = COMMANDS.filter(({ hidden }) => hidden !== true);

/** Where a shell is, or what a skipped test says. */
function shellOf(name: string): { path: string; missing: string } {
  const path = ['/usr/bin', '/bin', '/usr/local/bin', '/opt/homebrew/bin']
    .map((folder) => join(folder, name))
    .find((place) => existsSync(place));
  return { path: path ?? name, missing: path === undefined ? ` (${name} is not installed)` : '' };
}
const BASH = shellOf('bash');
const FISH = shellOf('fish');
const ZSH = shellOf('zsh');
if (ZSH.missing === '')
  try {
    execFileSync(ZSH.path, ['-fc', 'zmodload zsh/zpty && zpty terminal true'], { stdio: 'ignore' });
  } catch {
    ZSH.missing = ' (zsh opens no terminal here)';
  }

/** The lines that a shell prints, without those that are empty. */
const lines = (text: string) => text.split('\n').filter((word) => word !== '');

/** A folder with a file and a folder to complete. */
function place(): string {
  const folder = temporaryFolder();
  writeFileSync(join(folder, 'run.yaml'), '');
  mkdirSync(join(folder, 'other'));
  return folder;
}

/** What bash offers at the end of a line. It breaks words at colons, and replaces what follows the last one. */
function offeredByBash(script: string, line: string, cwd: string): string[] {
  const words = line.split(' ').flatMap((word) => word.split(/(:)/).filter((part, i) => i === 0 || part !== ''));
  const asked =
    `${script}\nCOMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')})\nCOMP_CWORD=${words.length - 1}\n` +
    '_longsight\nprintf "%s\\n" "${COMPREPLY[@]}"\ncomplete -p longsight >&2';
  const stdio = ['ignore', 'pipe', 'pipe'] as const;
  return lines(execFileSync(BASH.path, ['--norc', '-c', asked], { cwd, encoding: 'utf8', stdio: [...stdio] }));
}

/** What fish offers at the end of a line. */
function offeredByFish(script: string, line: string, cwd: string): string[] {
  const file = join(temporaryFolder(), 'longsight.fish');
  writeFileSync(file, script);
  const env = { PATH: process.env['PATH'], HOME: dirname(file), FILE: file, LINE: line };
  const said = execFileSync(FISH.path, ['--no-config', '-c', 'source $FILE; complete -C $LINE'], {
    ...{ cwd, env, encoding: 'utf8' },
  });
  return lines(said).map((word) => word.split('\t')[0] ?? '');
}

/** An interactive zsh that puts a line into its editor, completes it once, writes what is offered and ends. */
const ZSHRC = `
PROMPT= RPROMPT= fpath=($ADDED $fpath)
autoload -Uz compinit
compinit -D -u
[[ -z $FILE ]] || source $FILE
compadd() {
  local -a hits
  builtin compadd -O hits "$@"
  print -rl -- $hits >>$OUT
  builtin compadd "$@"
}
ask() { BUFFER=$LINE CURSOR=$#LINE; zle complete-word; exit }
zle -N zle-line-init ask
`;

/** What zsh offers at the end of a line; the script is sourced, or found by its name in a folder of `fpath`. */
function offeredByZsh(script: string, line: string, cwd: string, how: 'sourced' | 'found' = 'sourced'): string[] {
  const home = temporaryFolder();
  const added = join(home, 'functions');
  mkdirSync(added);
  const file = how === 'sourced' ? join(home, 'longsight.zsh') : join(added, '_longsight');
  writeFileSync(file, script);
  writeFileSync(join(home, '.zshrc'), ZSHRC);
  const out = join(home, 'out');
  writeFileSync(out, '');
  const env = {
    PATH: process.env['PATH'],
    HOME: home,
    ZDOTDIR: home,
    TERM: 'dumb',
    ADDED: added,
    OUT: out,
    LINE: line,
  };
  const asked = `zmodload zsh/zpty; zpty terminal ${ZSH.path} -d -i; while zpty -r terminal said; do :; done`;
  execFileSync(ZSH.path, ['-fc', asked], {
    cwd,
    env: { ...env, FILE: how === 'sourced' ? file : '' },
    stdio: 'ignore',
  });
  return lines(readFileSync(out, 'utf8'));
}

describe.each([
  { shell: 'bash', ...BASH, offered: offeredByBash, engines: ['cuda', 'cpu'] },
  { shell: 'zsh', ...ZSH, offered: offeredByZsh, engines: ['xla:cuda', 'xla:cpu'] },
  { shell: 'fish', ...FISH, offered: offeredByFish, engines: ['xla:cuda', 'xla:cpu'] },
])('$shell with the script loaded$missing', ({ shell, missing, offered: ask, engines }) => {
  let script: string;
  beforeAll(async () => {
    const { code, stdout } = await cli(['completion', shell]);
    expect(code).toBe(0);
    script = stdout;
  });
  const offered = (line: string, cwd = temporaryFolder()) => ask(script, line, cwd).sort();

  it.skipIf(missing !== '')('offers every command, and none that is hidden', () => {
    // fish offers options where one is begun.
    const options = shell === 'fish' ? [] : ['--version', '--help'];
    expect(offered('longsight ')).toEqual([...shown.map(({ name }) => name), ...options].sort());
    expect(offered('longsight tra')).toEqual(['trace', 'train']);
  });

  it.skipIf(missing !== '')('offers subcommands, and options of where the words lead', () => {
    const folder = place();
    expect(offered('longsight study st', folder)).toEqual(['status']);
    expect(offered('longsight data prepare --tok', folder)).toEqual(['--tokenizer']);
    expect(offered('longsight train --tok', folder)).toEqual([]);
    expect(offered('longsight train run.yaml --res', folder)).toEqual(['--resume']);
    // A word after the command is no command, also where one has its name.
    expect(offered('longsight train report --res', folder)).toEqual(['--resume']);
    expect(offered('longsight log export --sh', folder)).toEqual([]);
    expect(offered('longsight export runs/a --sh', folder)).toEqual(['--shard-size']);
  });

  it.skipIf(missing !== '')('offers files, and what an option or argument may be', () => {
    const folder = place();
    const unique = (line: string) => [...new Set(offered(line, folder))];
    expect(unique('longsight train ru')).toEqual(['run.yaml']);
    expect(unique('longsight train run.yaml --out ').map((word) => word.replace('/', ''))).toEqual([
      'other',
      'run.yaml',
    ]);
    expect(unique('longsight train run.yaml --engine xla:c')).toEqual([...engines].sort());
    expect(unique('longsight data prepare --invalid ref')).toEqual(['refuse']);
    expect(unique('longsight completion z')).toEqual(['zsh']);
  });
});

it.skipIf(ZSH.missing !== '')(`zsh finds the script in a folder of functions${ZSH.missing}`, async () => {
  const { stdout } = await cli(['completion', 'zsh']);
  expect(offeredByZsh(stdout, 'longsight stu', temporaryFolder(), 'found')).toEqual(['study']);
});

it('another shell is refused by name', async () => {
  const { code, stderr } = await cli(['completion', 'cmd']);
  expect(code).toBe(2);
  expect(stderr).toMatch(/value 'cmd' is invalid.*Allowed choices are bash, zsh, fish/);
});

describe('help', () => {
  it('lists commands by task, each task with an example', async () => {
    const { stdout } = await cli(['--help']);
    const headings = Object.values(COMMAND_GROUPS);
    const places = headings.map((heading) => stdout.search(new RegExp(`^${heading} \\(longsight .*\\):$`, 'm')));
    expect(places.every((place) => place > 0)).toBe(true);
  });

  it('has examples whose arguments the parser takes', async () => {
    for (const { name, example } of shown) {
      const args = shellWords(example)[0] ?? [];
      expect(args[0]).toBe(name);
      expect(await refusal(args), example).toBeNull();
    }
    expect((await cli(['trace', '--help'])).stdout).toContain('Example: longsight trace runs/recall\n');
  });
});

describe('the hint of what to do next', () => {
  const report = async (isTTY: boolean, ...flags: string[]) => {
    const dir = join(temporaryFolder(), 'run');
    writeFakeRun(dir, { name: 'r', pattern: 'swa-8', seed: 1, formsAt: 1e6 });
    let stderr = '';
    await runCli(['report', dir, ...flags], {
      stdout: { write: () => true },
      stderr: { write: (text: string) => (stderr += text), isTTY },
      env: {},
      signal: new AbortController().signal,
      isPreempted: () => false,
      endNow: () => undefined,
      mainPath: '/no/main',
    });
    return stderr.replaceAll(dir, 'RUN');
  };

  it('is printed in terminals alone', async () => {
    expect(await report(true)).toBe(
      'next: a site of it: longsight report RUN --site OUT; more figures: longsight analyze RUN\n',
    );
    expect(await report(false)).toBe('');
    expect(await report(true, '--quiet')).toBe('');
    expect(await report(true, '--json')).toBe('');
  });

  it('is there for every command', () => {
    expect(shown.filter(({ next }) => next === '').map(({ name }) => name)).toEqual([]);
  });
});
