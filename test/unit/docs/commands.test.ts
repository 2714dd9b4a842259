/**
 * Every command line of the documentation runs in a test, or stands in a list with the reason why it does not; the parser of the command
 * line takes the arguments of all. What needs processes of its own runs in test/train/doc-commands.test.ts.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { cli } from '../../support/cli.js';
import { INLINE, LINES, longsightCalls, refusal, ROOT, shellWords } from '../../support/doc-commands.js';
import { ELSEWHERE, IN_PROCESS, NOT_RUN, SCRIPTS, SCRIPTS_NOT_RUN, WITH_PROCESSES } from '../../support/doc-runs.js';
import { fillSandbox } from '../../support/doc-sandbox.js';

const WORDS: Readonly<Record<string, string>> = {
  ...{ FOLDER: 'SmolLM2-135M', MODEL: 'SmolLM2-135M', RUN: 'runs/mine', OUT: 'exported', DIR: 'log' },
  'TEXT.txt': 'texts/a.txt',
};

/** Lines that run in a sandbox; a line that is on several pages runs once. */
const RUN_LINES = new Set([IN_PROCESS, WITH_PROCESSES].flatMap((pages) => Object.values(pages).flatMap(Object.keys)));
const beginsOf = (line: string, entries: readonly (readonly [begins: string, ...rest: string[]])[]) =>
  entries.find(([begins]) => line.startsWith(begins));

describe('command lines of the documentation', () => {
  it('run in a test or say why not, each of them', () => {
    const open = LINES.filter(({ line }) => !RUN_LINES.has(line) && !beginsOf(line, [...ELSEWHERE, ...NOT_RUN]));
    expect(open).toEqual([]);
    expect(LINES.length).toBeGreaterThan(60);
  });

  it('stand in the lists only where they stand in the pages', () => {
    const stale = [IN_PROCESS, WITH_PROCESSES].flatMap((pages) =>
      Object.entries(pages).flatMap(([page, lines]) =>
        Object.keys(lines).filter((line) => !LINES.some((own) => own.page === page && own.line === line)),
      ),
    );
    const unused = [...ELSEWHERE, ...NOT_RUN].filter(
      (entry) =>
        !LINES.some(({ line }) => !RUN_LINES.has(line) && beginsOf(line, [...ELSEWHERE, ...NOT_RUN]) === entry),
    );
    expect([stale, unused]).toEqual([[], []]);
  });

  it('run elsewhere by a file that has the command', () => {
    expect(ELSEWHERE.filter(([, file, text]) => !readFileSync(join(ROOT, file), 'utf8').includes(text))).toEqual([]);
  });

  it('in running text name scripts that run in a test, or say why not', () => {
    const named = INLINE.filter(
      ({ page, line }) => !/^docs\/log[-\d]*\.md$/.test(page) && /^(node|bash|npm run) .*\w/.test(line),
    )
      .map(({ line }) => line)
      .filter((line) => !/^npm run longsight|^node (-e|\d)/.test(line));
    expect(named.length).toBeGreaterThan(40);
    expect(named.filter((line) => !(line in SCRIPTS) && !beginsOf(line, SCRIPTS_NOT_RUN))).toEqual([]);
    expect(Object.keys(SCRIPTS).filter((line) => !INLINE.some((own) => own.line === line))).toEqual([]);
    expect(SCRIPTS_NOT_RUN.filter(([begins]) => !INLINE.some(({ line }) => line.startsWith(begins)))).toEqual([]);
  });

  it('are left out in few cases, of which the log says how many', () => {
    const left = LINES.filter(({ line }) => !RUN_LINES.has(line) && beginsOf(line, ELSEWHERE) === undefined);
    expect(left).toHaveLength(3);
  });

  it('have arguments that the parser takes', async () => {
    const refused: string[] = [];
    for (const { page, line } of LINES)
      for (const args of longsightCalls(line.replace('{}/4', '0/4'))) {
        const why = await refusal(args);
        if (why !== null) refused.push(`${page}: ${line}: ${why}`);
      }
    expect(refused).toEqual([]);
  });

  it('in running text name commands, scripts and files that are there, with options that the parser takes', async () => {
    const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { scripts: object };
    const wrong: string[] = [];
    for (const { page, line } of INLINE) {
      if (/ (COMMAND|\.\.\.)( |$)/.test(line)) continue;
      for (const args of longsightCalls(
        line
          .replaceAll('ENGINE', 'onnx')
          .replace(/ \[(options|command)\]/g, '')
          .replace('<shell>', 'bash'),
      )) {
        const why = await refusal(args);
        // A command that is only named has no arguments.
        if (why !== null && !/missing required argument|required option/.test(why))
          wrong.push(`${page}: ${line}: ${why}`);
      }
      for (const [program, first = '', second = ''] of shellWords(line)) {
        const name = /^-/.test(first) && !/^-e/.test(first) ? second : first;
        const script = program === 'npm' && first === 'run' ? (second === '-s' ? null : second) : null;
        if (script !== null && !(script in scripts)) wrong.push(`${page}: ${line}: no such script`);
        if ((program === 'node' || program === 'bash') && /\.(mjs|sh)$/.test(name) && !existsSync(join(ROOT, name)))
          wrong.push(`${page}: ${line}: no such file`);
      }
    }
    expect(wrong).toEqual([]);
  });
});

describe('the commands of', () => {
  const before = process.cwd();
  const folder = mkdtempSync(join(tmpdir(), 'longsight-docs-'));
  beforeAll(() => {
    fillSandbox(folder);
    process.chdir(folder);
  });
  afterAll(() => {
    process.chdir(before);
    rmSync(folder, { recursive: true, force: true });
  });

  it.each(Object.keys(IN_PROCESS))(
    '%s run as they stand',
    async (page) => {
      for (const [line, how] of Object.entries(IN_PROCESS[page] ?? {})) {
        const { more = '', instead = {} } = typeof how === 'string' ? { more: how } : how;
        const args = (longsightCalls(line)[0] ?? []).map((word) => instead[word] ?? WORDS[word] ?? word);
        const { code, stderr } = await cli([...args, ...more.split(' ').filter((word) => word !== '')]);
        expect({ line, code, stderr: code === 0 ? '' : stderr }).toEqual({ line, code: 0, stderr: '' });
      }
    },
    120_000,
  );

  /** What a program of a page prints, run as it stands in the sandbox. */
  async function printed(
    page: string,
    index: number,
    edit = (text: string) => text,
  ): Promise<readonly (readonly unknown[])[]> {
    const programs = [...readFileSync(join(ROOT, page), 'utf8').matchAll(/```ts\n([\s\S]*?)```/g)];
    const path = join(folder, `${basename(page, '.md')}-${index}.ts`);
    const source = edit(programs[index]?.[1] ?? '').replaceAll(/'longsight(\/\w+)?'/g, (_, layer: string | undefined) =>
      JSON.stringify(join(ROOT, 'src', layer ?? '', 'index.ts')),
    );
    writeFileSync(path, source);
    const log = vi.spyOn(console, 'log').mockImplementation(() => undefined);
    try {
      await import(path);
      return log.mock.calls;
    } finally {
      log.mockRestore();
    }
  }

  it('docs/look-inside.md are followed by a program that runs as it stands', async () => {
    const lines = await printed('docs/look-inside.md', 0);
    expect(lines.length).toBeGreaterThan(0);
    expect(lines.every(([, , entropy]) => Number(entropy) >= 0)).toBe(true);
  }, 60_000);

  it('docs/generation.md are followed by a program that runs with a model and prompts', async () => {
    const lines = await printed('docs/generation.md', 0, (text) =>
      text
        .replace(
          /^declare const .*$/m,
          "import { openModel } from 'longsight';\nconst model = openModel('SmolLM2-135M');\nconst prompts = [[1, 2], [3, 4, 5], [6]].map((ids) => Int32Array.from(ids));",
        )
        .concat('console.log(rows.map(({ tokens }) => tokens.length));\nawait model.engine.dispose();\n'),
    );
    expect(lines).toEqual([[[64, 64, 64]]]);
  }, 60_000);

  it('docs/program.md are programs that run as they stand', async () => {
    const layers = await printed('docs/program.md', 0);
    expect(layers.map(([layer]) => layer)).toEqual(['after 0', 'after 1', 'after 2']);
    const heads = await printed('docs/program.md', 1);
    expect(heads.every(([, change]) => Number(change) > 0)).toBe(true);
    expect(heads).toHaveLength(2);
    expect((await printed('docs/program.md', 2)).map(([type]) => type)).toEqual(['llama']);
    expect(existsSync(join(folder, 'halved', 'config.json'))).toBe(true);
    expect((await printed('docs/program.md', 3)).map(([code, exit]) => [code, exit])).toEqual([['CONFIG', 2]]);
  }, 60_000);
});
