/** Completion in shells, asked of a real bash; the help by task; hints of what to do next. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { COMMANDS, COMMAND_GROUPS } from '../../../src/cli/command-table.js';
import { runCli } from '../../../src/cli/program.js';
import { cli } from '../../support/cli.js';
import { refusal, shellWords } from '../../support/doc-commands.js';
import { temporaryFolder } from '../../support/folders.js';
import { writeFakeRun } from '../../support/fake-study.js';

const BASH = ['/usr/bin/bash', '/bin/bash'].find((path) => existsSync(path));
const shown = COMMANDS.filter(({ hidden }) => hidden !== true);

describe.skipIf(BASH === undefined)('bash with the script loaded', () => {
  let script: string;
  beforeAll(async () => {
    script = (await cli(['completion', 'bash'])).stdout;
  });

  /** What bash offers at the end of a line, in a folder. */
  function offered(line: string, cwd: string): string[] {
    const words = line.split(' ');
    const asked =
      `${script}\nCOMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')})\nCOMP_CWORD=${words.length - 1}\n` +
      '_longsight\nprintf "%s\\n" "${COMPREPLY[@]}"\ncomplete -p longsight >&2';
    return execFileSync(BASH ?? '', ['--norc', '-c', asked], {
      cwd,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    })
      .split('\n')
      .filter((word) => word !== '');
  }

  it('offers every command, and none that is hidden', () => {
    const words = offered('longsight ', temporaryFolder());
    expect(words).toEqual([...shown.map(({ name }) => name), '--version', '--help']);
    expect(offered('longsight tra', temporaryFolder())).toEqual(['train', 'trace']);
  });

  it('offers subcommands, options of where the words lead, engines and files', () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'run.yaml'), '');
    mkdirSync(join(folder, 'other'));
    expect(offered('longsight study st', folder)).toEqual(['status']);
    expect(offered('longsight data prepare --tok', folder)).toEqual(['--tokenizer']);
    expect(offered('longsight train --tok', folder)).toEqual([]);
    expect(offered('longsight train ru', folder)).toEqual(['run.yaml']);
    expect(offered('longsight train run.yaml --res', folder)).toEqual(['--resume']);
    expect(offered('longsight train run.yaml --engine xla:c', folder)).toEqual(['xla:cuda', 'xla:cpu']);
  });
});

it.each(['zsh', 'fish'])('the script of %s names every command and option of train', async (shell) => {
  const { code, stdout } = await cli(['completion', shell]);
  expect(code).toBe(0);
  for (const { name } of shown) expect(stdout).toContain(name);
  for (const option of ['resume', 'set', 'engine']) expect(stdout).toContain(option);
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
