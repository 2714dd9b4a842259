/** Every YAML and TypeScript example in the documentation, and every preset file, is valid. */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import ts from 'typescript';
import { describe, expect, it, vi } from 'vitest';
import { exportHfModel } from '../../src/checkpoint/index.js';
import { initialParameters, modelCost, resolveModelConfig } from '../../src/model/index.js';
import {
  EXECUTORS,
  expandStudy,
  loadStudy,
  sharedBeginnings,
  sharedTokens,
  tokenBudget,
  type ExecutorName,
  type PlannedRun,
} from '../../src/study/index.js';
import { isEvaluated, tokensPerStep } from '../../src/train/index.js';
import { isPlain } from '../../src/core/index.js';
import { parseYaml, resolveRunConfig } from '../../src/lab/index.js';
import { temporaryFolder } from '../support/folders.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PAGES = ['README.md', 'CONTRIBUTING.md', ...readdirSync(join(ROOT, 'docs')).map((name) => join('docs', name))];

const blocks = (language: string): [where: string, text: string][] =>
  PAGES.filter((page) => page.endsWith('.md')).flatMap((page) => {
    const text = readFileSync(join(ROOT, page), 'utf8');
    return [...text.matchAll(new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``, 'g'))].map(
      (match, i): [string, string] => [`${page}, example ${i + 1}`, match[1] as string],
    );
  });

const examples = blocks('yaml');

/** The folder in which paths of an example start: one with a model where the example starts from its weights. */
async function baseOf(train: unknown, data: unknown): Promise<string> {
  if (!isPlain(train) || typeof train['init'] !== 'string') return ROOT;
  const base = temporaryFolder();
  const vocabSize = isPlain(data) && data['kind'] === 'text' ? 256 : 64;
  const source = resolveModelConfig({ vocabSize, hiddenSize: 16, numHeads: 2, numLayers: 2, layers: 'full' });
  mkdirSync(dirname(join(base, train['init'])), { recursive: true });
  await exportHfModel(join(base, train['init']), source, initialParameters(source, 1));
  return base;
}

describe('examples', () => {
  it('are found', () => {
    expect(examples.length).toBeGreaterThan(3);
  });

  it.each(examples)('%s', async (where, text) => {
    const file = parseYaml(text, where);
    if (!isPlain(file.value)) throw new Error(`${where} is no configuration`);
    if ('architectures' in file.value) expect(expandStudy(file, { long: 'long' in file.value }).runs).not.toEqual([]);
    else if ('train' in file.value)
      expect(
        resolveRunConfig(file.value, { where, baseDir: await baseOf(file.value['train'], file.value['data']), file })
          .seed,
      ).toBe(1);
    else if (isPlain(file.value['executors']))
      for (const [name, given] of Object.entries(file.value['executors']))
        expect(EXECUTORS[name as ExecutorName].options.safeParse(given).error, name).toBeUndefined();
    else expect(resolveModelConfig(file.value['model']).numLayers).toBeGreaterThan(0);
  });
});

describe('TypeScript examples', () => {
  const programs = blocks('ts');

  /** What the compiler says of the examples, which import the package by its name, as users do. */
  function problems(): string[] {
    const files = new Map(programs.map(([, text], i) => [join(ROOT, `example-${i + 1}.ts`), text]));
    const { options } = ts.parseJsonConfigFileContent(
      ts.readConfigFile(join(ROOT, 'tsconfig.json'), (path) => ts.sys.readFile(path)).config,
      ts.sys,
      ROOT,
    );
    const paths = { longsight: ['./src/index.ts'], 'longsight/*': ['./src/*/index.ts'] };
    const settings: ts.CompilerOptions = {
      ...options,
      paths,
      noEmit: true,
      incremental: false,
      noUnusedLocals: false,
      noUnusedParameters: false,
    };
    const host = ts.createCompilerHost(settings);
    const disk = { ...host };
    host.fileExists = (path) => files.has(path) || disk.fileExists(path);
    host.readFile = (path) => files.get(path) ?? disk.readFile(path);
    const program = ts.createProgram([...files.keys()], settings, host);
    return [...files.keys()].flatMap((path) => {
      const file = program.getSourceFile(path);
      return [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)].map(
        ({ messageText }) => `${path}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`,
      );
    });
  }

  it('compile', () => {
    expect(programs.length).toBeGreaterThanOrEqual(2);
    expect(problems()).toEqual([]);
  }, 300_000);

  it('of the README runs: a hybrid is defined, trained, traced, and generates', async () => {
    const [, text = ''] = programs.find(([where]) => where.startsWith('README.md')) ?? [];
    expect(text.trimEnd().split('\n').length).toBeLessThanOrEqual(20);
    const source = ts.transpileModule(text, {
      compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 },
    });
    const folder = join(ROOT, 'build', `example-${process.pid}`);
    const index = pathToFileURL(join(ROOT, 'src', 'index.ts')).pathname;
    const log = vi.spyOn(console, 'log').mockImplementation(() => undefined);
    try {
      mkdirSync(folder, { recursive: true });
      writeFileSync(join(folder, 'readme.mjs'), source.outputText.replace("'longsight'", `'${index}'`));
      await import(/* @vite-ignore */ join(folder, 'readme.mjs'));
      const lines = log.mock.calls;
      expect(lines.map(([first]) => first as unknown)).toEqual(['swa:8', 'full:nope', 'after 5 steps:']);
      expect(lines.at(-1)?.[1]).toHaveLength(4);
      const [local, full] = lines.map(([, scores]) => scores as number[]);
      expect(local).toHaveLength(2);
      // Full attention puts some of itself on every token; the window may not reach the needle.
      expect(full?.filter((score) => score > 0 && score < 1)).toHaveLength(2);
    } finally {
      log.mockRestore();
      rmSync(folder, { recursive: true });
    }
  }, 120_000);
});

describe('preset studies', () => {
  const folder = join(ROOT, 'presets', 'studies');
  it.each(readdirSync(folder))('%s', (name) => {
    const plan = loadStudy(join(folder, name));
    // Every design has seeds to compare over, or sizes and budgets enough for a law.
    for (const { label } of plan.architectures) {
      const own = plan.runs.filter((run) => run.architecture === label);
      const points = new Set(own.map((run) => JSON.stringify(run.point))).size;
      expect(new Set(own.map((run) => run.seed)).size >= 2 || points >= 9, label).toBe(true);
    }
  });

  it('real-text has eight designs of one size, more seeds of the fast ones, and full rows that begin anew at documents', () => {
    const plan = loadStudy(join(folder, 'real-text.yaml'));
    expect(plan.runs).toHaveLength(21);
    const tokens = plan.runs.map(({ config: { train } }) => train.steps * train.batchSize * train.seqLen);
    expect(new Set(tokens)).toEqual(new Set([235_929_600]));
    const sizes = plan.runs.map((run) => modelCost(run.config.model, 4096).parameters.nonEmbedding);
    expect(Math.max(...sizes) / Math.min(...sizes)).toBeLessThan(1.011);
    expect(plan.runs[0]?.config.data).toMatchObject([{ kind: 'shards', resets: true }]);
    const seedsOf = (label: string) => plan.runs.filter((run) => run.architecture === label).map((run) => run.seed);
    expect([seedsOf('swa-128-nope'), seedsOf('gdn')]).toEqual([
      [1, 2, 3],
      [1, 2],
    ]);
    const long = loadStudy(join(folder, 'real-text-long.yaml'));
    expect(long.runs[0]?.config.train.steps).toBe(4 * 3600);
  });

  it('scaling has three sizes by three budgets of each design', () => {
    const plan = loadStudy(join(folder, 'scaling.yaml'));
    const sizes = plan.runs.map((run) => modelCost(run.config.model, 4096).parameters.nonEmbedding);
    expect([plan.runs.length, new Set(sizes).size]).toEqual([27, 3]);
    expect(Math.min(...sizes)).toBe(14_999_424);
    expect(plan.architectures.map((a) => a.layers)).toEqual(['swa:128 full', 'swa:128 full:nope', 'full']);
    const shared = sharedBeginnings(plan.runs);
    expect(shared.size).toBe(18);
    const sum = (of: (run: PlannedRun) => number) => plan.runs.reduce((total, run) => total + of(run), 0);
    const saved = sum((run) => sharedTokens(run, shared)) / sum((run) => tokenBudget(run.config));
    expect(saved).toBeCloseTo(0.34, 2); // as docs/studies.md says
  });

  it('real-text-delay looks every 3 M tokens before 80 M, at four windows and five seeds', () => {
    const { runs } = loadStudy(join(folder, 'real-text-delay.yaml'));
    expect(runs).toHaveLength(20);
    for (const { config } of runs) {
      const { steps, evalEvery } = config.train;
      const perStep = tokensPerStep(config.train);
      expect(steps * perStep).toBeCloseTo(100e6, -5);
      const at = Array.from({ length: steps }, (_, i) => i + 1).filter((step) => isEvaluated(evalEvery, step));
      const gaps = at.map((step, i) => (step - (at[i - 1] ?? 0)) * perStep);
      gaps.forEach((gap, i) => expect(gap).toBeLessThan((at[i] as number) * perStep < 82e6 ? 3.1e6 : 9.4e6));
      expect(at.at(-1)).toBe(steps);
    }
  });

  it('quickstart has a small and a large window, full attention, no positions, and a long arm', () => {
    const plan = loadStudy(join(folder, 'quickstart.yaml'), { long: true });
    expect(plan.architectures.map((a) => a.layers)).toEqual(['full', 'swa:8 full', 'swa:64 full', 'swa:8 full:nope']);
    expect(plan.runs.some((run) => run.arm === 'long')).toBe(true);
  });
});
