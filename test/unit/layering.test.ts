/**
 * The import rule: layers import from lower layers only, through their index.ts; no files import one another in a circle,
 * and no two folders of a layer import each other.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

const SRC = fileURLToPath(new URL('../../src', import.meta.url));

/** What one run is made of. */
const ONE_RUN = [
  ...['train', 'run', 'eval', 'analysis', 'generate'],
  ...['engine', 'model', 'data', 'checkpoint', 'graph', 'core'],
];

/** What each layer may import, beside itself. A new folder under src must be entered here. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  core: [],
  graph: ['core'],
  engine: ['graph', 'core'],
  model: ['graph', 'core'],
  checkpoint: ['model', 'core'],
  loaded: ['checkpoint', 'engine', 'model', 'graph', 'core'],
  data: ['checkpoint', 'core'],
  run: ['engine', 'model', 'checkpoint', 'graph', 'core'],
  train: ['run', 'engine', 'model', 'data', 'checkpoint', 'graph', 'core'],
  generate: ['loaded', 'engine', 'model', 'graph', 'core'],
  eval: ['loaded', 'generate', 'engine', 'model', 'data', 'checkpoint', 'graph', 'core'],
  analysis: ['loaded', 'engine', 'model', 'data', 'checkpoint', 'graph', 'core'],
  lab: ['loaded', ...ONE_RUN],
  study: ['lab', ...ONE_RUN],
  report: ['study', 'lab', 'train', 'run', 'eval', 'analysis', 'generate', 'model', 'core'],
  dashboard: ['report', 'study', 'lab', 'train', 'run', 'model', 'core'],
  playground: ['loaded', 'engine', 'eval', 'analysis', 'train', 'model', 'data', 'core'],
  cli: ['dashboard', 'report', 'study', 'lab', 'loaded', ...ONE_RUN],
};

/**
 * What the command line may take from the layers that compute, beside types: names for its help, inputs that it reads,
 * what it asks of machines and engines, and generation, which takes a model, prompts and options. Whatever measures a model it takes from lab, so that the same is there for
 * programs; enter no function here that does.
 */
const CLI_MAY_TAKE: Readonly<Record<string, readonly string[]>> = {
  graph: [],
  analysis: ['parametersOf', 'readScalingTable', 'SCALING_FORMS'],
  eval: ['claimPredictions', 'readChoiceFile'],
  generate: ['checkSampling', 'generate', 'TextDecoderStream'],
  engine: [
    ...['checkEngine', 'createEngine', 'ENGINE_NAMES', 'ENGINES', 'findAccelerators', 'hostsFromEnvironment'],
    ...['kernelsNotUsed', 'platformOf', 'whyNoCuda'],
  ],
};

interface Import {
  /** Both relative to the sources' root, with `/` and `.ts`. */
  readonly from: string;
  readonly to: string;
}

/** Every relative import and re-export of a file, types and dynamic imports included. */
function importsOf(from: string, text: string): Import[] {
  const source = ts.createSourceFile(from, text, ts.ScriptTarget.Latest, true);
  const found: Import[] = [];
  const add = (specifier: ts.Node | undefined): void => {
    if (specifier === undefined || !ts.isStringLiteralLike(specifier) || !specifier.text.startsWith('.')) return;
    found.push({ from, to: join(dirname(from), specifier.text).replace(/\.js$/, '.ts') });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) add(node.moduleSpecifier);
    else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) add(node.argument.literal);
    else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) add(node.arguments[0]);
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

/**
 * Names that a file of the command line takes from the layers of `CLI_MAY_TAKE` though they are not entered there; one
 * line each. Types are free; `*` stands for a whole layer, such as `import * as`, `export *` or `import()`.
 */
function measuringInCli(from: string, text: string): string[] {
  const source = ts.createSourceFile(from, text, ts.ScriptTarget.Latest, true);
  const found: string[] = [];
  const take = (specifier: ts.Node | undefined, names: readonly string[]): void => {
    if (specifier === undefined || !ts.isStringLiteralLike(specifier) || !specifier.text.startsWith('.')) return;
    const layer = layerOf(join(dirname(from), specifier.text));
    const allowed = CLI_MAY_TAKE[layer];
    if (allowed === undefined) return;
    for (const name of names) if (!allowed.includes(name)) found.push(`${from} takes ${name} from ${layer}`);
  };
  const named = (elements: ts.NodeArray<ts.ImportSpecifier | ts.ExportSpecifier>): string[] =>
    [...elements].filter((e) => !e.isTypeOnly).map((e) => (e.propertyName ?? e.name).text);
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) && node.importClause?.isTypeOnly !== true) {
      const bindings = node.importClause?.namedBindings;
      take(node.moduleSpecifier, bindings && ts.isNamedImports(bindings) ? named(bindings.elements) : ['*']);
    } else if (ts.isExportDeclaration(node) && !node.isTypeOnly) {
      const clause = node.exportClause;
      take(node.moduleSpecifier, clause && ts.isNamedExports(clause) ? named(clause.elements) : ['*']);
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      take(node.arguments[0], ['*']);
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

const layerOf = (file: string): string => file.split('/')[0] as string;

/** What is wrong with imports; one line each. Files directly under src may import every layer's index. */
function violations(imports: readonly Import[]): string[] {
  return imports.flatMap(({ from, to }) => {
    const [a, b] = [layerOf(from), layerOf(to)];
    if (to.startsWith('..')) return [`${from} imports ${to}, outside of src`];
    if (!b.endsWith('.ts') && MAY_IMPORT[b] === undefined) return [`${to}: layer ${b} is not in the table`];
    if (a === b) return to === `${a}/index.ts` ? [`${from} imports its own layer's index`] : [];
    if (a.endsWith('.ts')) return to === `${b}/index.ts` ? [] : [`${from} imports ${to}, past the layer's index`];
    const allowed = MAY_IMPORT[a];
    if (allowed === undefined) return [`${from}: layer ${a} is not in the table`];
    if (!allowed.includes(b)) return [`${from} imports ${to}: ${a} may not import ${b}`];
    return to === `${b}/index.ts` ? [] : [`${from} imports ${to}, past the layer's index`];
  });
}

/** One circle of files, if there is any. */
function findCycle(imports: readonly Import[]): string[] | null {
  const edges = new Map<string, string[]>();
  for (const { from, to } of imports) edges.set(from, [...(edges.get(from) ?? []), to]);
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]): string[] | null => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
    if (done.has(file)) return null;
    for (const next of edges.get(file) ?? []) {
      const cycle = visit(next, [...path, file]);
      if (cycle !== null) return cycle;
    }
    done.add(file);
    return null;
  };
  for (const file of edges.keys()) {
    const cycle = visit(file, []);
    if (cycle !== null) return cycle;
  }
  return null;
}

/** Folders of one layer that import each other, parent and child too. A layer's index.ts is its door, not part of a folder. */
function twoWayFolders(imports: readonly Import[]): string[] {
  const inner = imports.filter(({ from, to }) => layerOf(from) === layerOf(to) && from !== `${layerOf(from)}/index.ts`);
  const arrows = new Set(inner.map(({ from, to }) => `${dirname(from)} > ${dirname(to)}`));
  const pairs = [...arrows].map((arrow) => arrow.split(' > ')).filter(([a, b]) => a !== b && arrows.has(`${b} > ${a}`));
  return [...new Set(pairs.map((pair) => pair.sort().join(' <> ')))].sort();
}

function sourceFiles(): string[] {
  const names = readdirSync(SRC, { recursive: true, encoding: 'utf8' });
  return names
    .filter((name) => name.endsWith('.ts') && !name.endsWith('.d.ts'))
    .map((name) => name.replace(/\\/g, '/'));
}

const all = sourceFiles().flatMap((file) => importsOf(file, readFileSync(join(SRC, file), 'utf8')));
// Tests may use the project's test helpers; everything else is bound by the rule.
const bound = all.filter(({ from, to }) => !from.endsWith('.test.ts') || !to.startsWith('..'));

describe('imports', () => {
  it('are found', () => {
    expect(all.length).toBeGreaterThan(100);
    expect(all).toContainEqual({ from: 'cli/main.ts', to: 'cli/program.ts' });
  });

  it('point down, through the index of the layer', () => {
    expect(violations(bound)).toEqual([]);
  });

  it('form no circle', () => {
    expect(findCycle(bound)).toBeNull();
  });
});

describe('the command line', () => {
  const files = sourceFiles().filter((file) => layerOf(file) === 'cli' && !file.endsWith('.test.ts'));

  it('measures nothing: it takes from layers that compute only what is entered', () => {
    expect(files.length).toBeGreaterThan(20);
    expect(files.flatMap((file) => measuringInCli(file, readFileSync(join(SRC, file), 'utf8')))).toEqual([]);
  });

  it('has no name entered that it does not take', () => {
    const text = files.map((file) => readFileSync(join(SRC, file), 'utf8')).join('\n');
    const names = Object.values(CLI_MAY_TAKE).flat();
    expect(names.filter((name) => !new RegExp(`\\b${name}\\b`).test(text))).toEqual([]);
  });
});

describe('folders of a layer', () => {
  it('import one another in one direction', () => {
    expect(twoWayFolders(bound.filter(({ from }) => !from.endsWith('.test.ts')))).toEqual([]);
  });
});

describe('the check itself', () => {
  it('sees every way to import', () => {
    const text = `import a from './a.js'; import type { B } from '../core/index.js'; export * from './c.js';
      export type { D } from './d.js'; type E = import('./e.js').E; const f = await import('./f.js'); import 'zod';`;
    const found = importsOf('model/x.ts', text).map(({ to }) => to);
    expect(found).toEqual(['model/a.ts', 'core/index.ts', 'model/c.ts', 'model/d.ts', 'model/e.ts', 'model/f.ts']);
  });

  it.each([
    ['core/a.ts', 'model/index.ts', 'core/a.ts imports model/index.ts: core may not import model'],
    ['engine/a.ts', 'model/index.ts', 'engine/a.ts imports model/index.ts: engine may not import model'],
    ['train/a.ts', 'eval/index.ts', 'train/a.ts imports eval/index.ts: train may not import eval'],
    ['study/a.ts', 'core/errors.ts', "study/a.ts imports core/errors.ts, past the layer's index"],
    ['study/a.ts', 'study/index.ts', "study/a.ts imports its own layer's index"],
    ['novel/a.ts', 'core/index.ts', 'novel/a.ts: layer novel is not in the table'],
    ['core/a.ts', '../test/x.ts', 'core/a.ts imports ../test/x.ts, outside of src'],
  ])('refuses %s importing %s', (from, to, message) => {
    expect(violations([{ from, to }])).toEqual([message]);
  });

  it('sees every way in which the command line takes what measures', () => {
    const text = `import { headSparsity as h, type HeadScores } from '../../analysis/index.js'; import type { X } from '../../eval/index.js';
      import * as graph from '../../graph/index.js'; export { scoreChoices } from '../../eval/index.js'; export * from '../../engine/index.js';
      const f = await import('../../generate/index.js'); import { openModel } from '../../lab/index.js';`;
    expect(measuringInCli('cli/commands/x.ts', text)).toEqual([
      'cli/commands/x.ts takes headSparsity from analysis',
      'cli/commands/x.ts takes * from graph',
      'cli/commands/x.ts takes scoreChoices from eval',
      'cli/commands/x.ts takes * from engine',
      'cli/commands/x.ts takes * from generate',
    ]);
  });

  it('accepts what is allowed', () => {
    const fine = [
      { from: 'train/a.ts', to: 'engine/index.ts' },
      { from: 'engine/onnx/a.ts', to: 'engine/engine.ts' },
      { from: 'index.ts', to: 'study/index.ts' },
    ];
    expect(violations(fine)).toEqual([]);
  });

  it('finds folders that import each other', () => {
    const edges = [
      { from: 'data/open.ts', to: 'data/shards/a.ts' },
      { from: 'data/shards/b.ts', to: 'data/corpus.ts' },
      { from: 'data/index.ts', to: 'data/ruler/a.ts' },
      { from: 'data/ruler/a.ts', to: 'data/corpus.ts' },
    ];
    expect(twoWayFolders(edges)).toEqual(['data <> data/shards']);
  });

  it('finds circles', () => {
    const edges = [
      { from: 'a', to: 'b' },
      { from: 'b', to: 'c' },
      { from: 'c', to: 'b' },
    ];
    expect(findCycle(edges)).toEqual(['b', 'c', 'b']);
    expect(findCycle(edges.slice(0, 2))).toBeNull();
  });
});
