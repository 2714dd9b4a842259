/** Links as outputs: followed by every command, refused where they lead nowhere, never replaced. */
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { COMMANDS } from '../../../src/cli/command-table.js';
import { cli } from '../../support/cli.js';
import { temporaryFolder } from '../../support/folders.js';

const MODEL = fileURLToPath(new URL('../../data/texts/model', import.meta.url));

/** Every command that takes a path to write to, in a folder with its inputs. */
const WRITERS: Readonly<Record<string, { kind: 'file' | 'folder'; args: (at: string, out: string) => string[] }>> = {
  train: { kind: 'folder', args: (at, out) => ['train', join(at, 'run.yaml'), '--out', out] },
  study: { kind: 'folder', args: (at, out) => ['study', join(at, 'study.yaml'), '--out', out, '--workers', '1'] },
  'tokenizer train': {
    kind: 'folder',
    args: (at, out) => ['tokenizer', 'train', join(at, 'text.txt'), '--vocab-size', '257', '--out', out],
  },
  'data prepare': {
    kind: 'folder',
    args: (at, out) => [
      'data',
      'prepare',
      join(at, 'text.txt'),
      '--tokenizer',
      'bytes',
      '--held-out',
      '0',
      '--out',
      out,
    ],
  },
  'data fetch': {
    kind: 'folder',
    args: (at, out) => ['data', 'fetch', 'rfc', '--from', join(at, 'none'), '--out', out],
  },
  report: { kind: 'folder', args: (at, out) => ['report', join(at, 'finished'), '--out', out] },
  export: { kind: 'folder', args: (_, out) => ['export', MODEL, out] },
  'ruler run': {
    kind: 'folder',
    args: (at, out) => [
      ...[
        'ruler',
        'run',
        MODEL,
        '--data',
        join(at, 'asked.jsonl'),
        '--max-tokens',
        '1',
        '--lengths',
        '16',
        '--out',
        out,
      ],
    ],
  },
  'choice --out': { kind: 'file', args: (at, out) => ['choice', MODEL, join(at, 'choice.jsonl'), '--out', out] },
  'choice --csv': { kind: 'file', args: (at, out) => ['choice', MODEL, join(at, 'choice.jsonl'), '--csv', out] },
  eval: {
    kind: 'file',
    args: (at, out) => ['eval', MODEL, '--texts', join(at, 'text.txt'), '--length', '64', '--out', out],
  },
  'entropy --csv': {
    kind: 'file',
    args: (at, out) => ['entropy', MODEL, '--texts', join(at, 'text.txt'), '--csv', out],
  },
  'fit --csv': { kind: 'file', args: (at, out) => ['fit', join(at, 'none'), '--csv', out] },
  'fit --html': { kind: 'file', args: (at, out) => ['fit', join(at, 'none'), '--html', out] },
};

function inputs(): string {
  const at = temporaryFolder();
  writeFileSync(join(at, 'text.txt'), 'The quick brown fox jumps over the lazy dog. '.repeat(20));
  writeFileSync(join(at, 'asked.jsonl'), '{"input": "the quick", "outputs": ["fox"]}\n');
  const choices = { text: ['fox', 'dog'], label: ['A', 'B'] };
  writeFileSync(join(at, 'choice.jsonl'), `${JSON.stringify({ context: 'the quick', choices, answer: 'A' })}\n`);
  return at;
}

const contents = (folder: string) => readdirSync(folder).sort();

describe.each(Object.entries(WRITERS))('%s', (_name, { kind, args }) => {
  it('names the target of a link that leads nowhere, and writes nothing', async () => {
    const at = inputs();
    const out = join(at, 'out');
    symlinkSync('absent', out);
    const before = contents(at);
    const { code, stderr } = await cli(args(at, out));
    expect({ code, stderr }).toEqual({
      code: 2,
      stderr: `longsight: cannot write ${out}: it is a link to absent, which does not exist; make that, or choose another path\n`,
    });
    expect(contents(at)).toEqual(before);
    expect(lstatSync(out).isSymbolicLink()).toBe(true);
  });

  it('says so where links lead in a circle', async () => {
    const at = inputs();
    symlinkSync('out', join(at, 'out'));
    const { code, stderr } = await cli(args(at, join(at, 'out')));
    expect({ code, stderr }).toMatchObject({ code: 2 });
    expect(stderr).toMatch(/^longsight: cannot write [^\n]*out: it is a link, or leads in a circle of them; [^\n]*\n$/);
  });

  it.runIf(kind === 'file')('refuses a folder where a file is to be, before any work', async () => {
    const at = inputs();
    mkdirSync(join(at, 'out'));
    const { code, stderr } = await cli(args(at, join(at, 'out')));
    expect({ code, stderr }).toMatchObject({ code: 2 });
    expect(stderr).toMatch(/^longsight: cannot write [^\n]*out: a folder is where a file should be; [^\n]*\n$/);
  });
});

it.each(['choice --out', 'choice --csv', 'eval', 'entropy --csv'])('%s writes what a link leads to', async (name) => {
  const at = inputs();
  mkdirSync(join(at, 'elsewhere'));
  const [target, out] = [join(at, 'elsewhere', 'file'), join(at, 'out')];
  writeFileSync(target, 'old');
  symlinkSync(target, out);
  const { code, stderr } = await cli(WRITERS[name]?.args(at, out) ?? []);
  expect(code, stderr).toBe(0);
  expect(lstatSync(out).isSymbolicLink()).toBe(true);
  expect(readFileSync(target, 'utf8')).not.toBe('old');
  expect(contents(join(at, 'elsewhere'))).toEqual(['file']);
});

it.each(['tokenizer train', 'data prepare', 'ruler run'])('%s enters the folder that a link leads to', async (name) => {
  const at = inputs();
  const [target, out] = [join(at, 'elsewhere'), join(at, 'out')];
  mkdirSync(target);
  symlinkSync(target, out);
  const { code, stderr } = await cli(WRITERS[name]?.args(at, out) ?? []);
  expect(code, stderr).toBe(0);
  expect(lstatSync(out).isSymbolicLink()).toBe(true);
  expect(contents(target).length).toBeGreaterThan(0);
  expect(existsSync(target)).toBe(true);
});

it('a link above the folder that leads nowhere is named', async () => {
  const at = inputs();
  symlinkSync('absent', join(at, 'link'));
  const { code, stderr } = await cli(WRITERS['data prepare']?.args(at, join(at, 'link', 'shards')) ?? []);
  expect({ code, stderr }).toMatchObject({ code: 2 });
  expect(stderr).toContain(`${join(at, 'link')} is a link to absent, which does not exist`);
});

/** Options without which a command does not begin. */
const REQUIRED: Readonly<Record<string, readonly string[]>> = { place: ['--full', '1'] };

it('holds for every other command that takes a path to write to', async () => {
  const at = inputs();
  const out = join(at, 'out');
  symlinkSync('absent', out);
  const known = new Set(Object.values(WRITERS).map(({ args }) => args('', '')[0]));
  const tried: string[] = [];
  for (const { name, usage } of COMMANDS) {
    if (known.has(name)) continue;
    const { stdout: help } = await cli([name, '--help']);
    const option = /--(?:out|csv|html)(?= <(?:dir|file)>)/.exec(help)?.[0];
    if (option === undefined) continue;
    const texts = help.includes('--texts') ? ['--texts', join(at, 'text.txt')] : [];
    const given = [...(usage.includes('<') ? [MODEL] : []), ...texts, ...(REQUIRED[name] ?? [])];
    const { stderr } = await cli([name, ...given, option, out]);
    expect(stderr, name).toContain(`cannot write ${out}: it is a link to absent, which does not exist`);
    tried.push(name);
  }
  expect(tried).toEqual(expect.arrayContaining(['quickstart', 'drift', 'mask']));
});
