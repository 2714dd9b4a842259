/** The programs of `examples/` run as they stand, at few steps, against the built package; the study of theirs is one. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it, onTestFinished } from 'vitest';
import { loadStudy } from '../../src/study/index.js';
import { temporaryFolder } from '../support/folders.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const EXAMPLES = join(ROOT, 'examples');
const BOOK = join(ROOT, 'presets', 'corpora', 'moby-dick.txt');
const MODEL = join(ROOT, 'test', 'data', 'retrieval-heads');

/** Lines of the example as its user sees them. Its programs find the package by its name from within the clone, too. */
function linesOf(name: string, cwd: string, args: readonly string[]): string[] {
  mkdirSync(join(ROOT, 'build'), { recursive: true });
  const folder = mkdtempSync(join(ROOT, 'build', 'example-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const { outputText } = ts.transpileModule(readFileSync(join(EXAMPLES, `${name}.ts`), 'utf8'), {
    compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 },
  });
  writeFileSync(join(folder, `${name}.mjs`), outputText);
  const env = { ...process.env, TMPDIR: cwd };
  const program = [join(folder, `${name}.mjs`), ...args];
  const { status, stdout, stderr } = spawnSync(process.execPath, program, { cwd, env, encoding: 'utf8' });
  expect({ status, stderr }).toMatchObject({ status: 0 });
  return stdout.trimEnd().split('\n');
}

/** The numbers of a line, in order. */
const numbersIn = (line: string): number[] => (line.match(/-?\d+(\.\d+)?(e-?\d+)?/g) ?? []).map(Number);

describe('examples', () => {
  it('each have a line in their README, and a run here', () => {
    const names = readdirSync(EXAMPLES).filter((name) => name !== 'README.md');
    const readme = readFileSync(join(EXAMPLES, 'README.md'), 'utf8');
    const own = readFileSync(fileURLToPath(import.meta.url), 'utf8');
    for (const name of names) {
      expect(readme).toContain(`| [${name}](${name}) |`);
      expect(own).toContain(name.endsWith('.ts') ? `linesOf('${name.slice(0, -'.ts'.length)}'` : `'${name}'`);
    }
    for (const name of names.filter((file) => file.endsWith('.ts')))
      expect(readFileSync(join(EXAMPLES, name), 'utf8').split('\n').length, name).toBeLessThan(40);
  });

  it('first-hybrid trains a model and prints its needles', () => {
    const cwd = temporaryFolder();
    const [loss = '', short = '', long = '', run = '', ...rest] = linesOf('first-hybrid', cwd, ['2']);
    expect(rest).toEqual([]);
    // Two steps from chance: the logarithm of the vocabulary, or thereabouts.
    expect(loss).toMatch(/^held-out loss, in nats per token: \d/);
    expect(numbersIn(loss)[0]).toBeGreaterThan(2);
    for (const [length, line] of [
      [64, short],
      [128, long],
    ] as const) {
      const [tokens, ...probabilities] = numbersIn(line);
      expect([tokens, probabilities.length]).toEqual([length, 3]);
      expect(probabilities.filter((p) => p > 0 && p < 1)).toHaveLength(3);
    }
    expect(existsSync(run.replace('run folder: ', ''))).toBe(true);
  });

  it('own-text trains on a book and writes the report', () => {
    const cwd = temporaryFolder();
    const lines = linesOf('own-text', cwd, [BOOK, 'mine', '2']);
    expect(lines).toEqual([`report: ${join('mine', 'report.html')}`]);
    expect(readFileSync(join(cwd, 'mine', 'report.html'), 'utf8')).toContain(`node own-text.js ${BOOK} mine 2`);
  });

  it('compare-designs prints both losses of each seed, and how they differ', () => {
    const lines = linesOf('compare-designs', temporaryFolder(), ['2']);
    expect(lines).toHaveLength(2);
    lines.forEach((line, i) => {
      const [seed, , small = NaN, , large = NaN, difference] = numbersIn(line);
      expect(seed).toBe(i + 1);
      expect(difference).toBe(large - small);
      expect(difference).not.toBe(0);
    });
  });

  it('retrieval-heads names the five strongest heads, strongest first', () => {
    const lines = linesOf('retrieval-heads', temporaryFolder(), [MODEL, '240']);
    expect(lines.pop()).toBe('a retrieval head scores at least 0.1');
    expect(lines).toHaveLength(5);
    const scores = lines.map((line) => numbersIn(line).at(-1) ?? NaN);
    expect(scores).toEqual([...scores].sort((a, b) => b - a));
    // Windows of 64 keys do not reach needles this far back.
    for (const line of lines) expect(line).toMatch(/^layer [13], head [0-3] \(full:nope\): 0\.\d+$/);
  });

  it('the study has two designs over two seeds', () => {
    const { runs } = loadStudy(join(EXAMPLES, 'study.yaml'));
    expect(runs.map(({ architecture, config }) => `${architecture} ${config.seed}`).sort()).toEqual([
      'large windows 1',
      'large windows 2',
      'small windows 1',
      'small windows 2',
    ]);
  });
});
