/** The map and the guide are true: every folder is on the map, every path and name that they cite is there. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';
import { FAMILIES } from '../../src/checkpoint/hf/registry.js';
import { SECTION_NAMES } from '../../src/model/mixers/table.js';

const ROOT = join(import.meta.dirname, '../..');
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

function foldersUnder(path: string): string[] {
  const inside = readdirSync(join(ROOT, path), { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return inside.flatMap(({ name }) => [`${path}/${name}`, ...foldersUnder(`${path}/${name}`)]);
}

/** Paths in backticks that name a place of the repository; NAME stands for a file that a recipe makes. */
function citedPaths(text: string): string[] {
  const quoted = [...text.matchAll(/`((?:src|test|scripts|docs|bench)\/[\w./-]*|CHANGELOG\.md)`/g)];
  return quoted.map(([, path = '']) => path).filter((path) => !path.includes('NAME'));
}

describe('docs/architecture.md', () => {
  const rows = [...read('docs/architecture.md').matchAll(/^\| `(src\/[^`]+)` \| (.*) \|$/gm)];

  it('has a line for every folder of the sources, and for no other', () => {
    expect(rows.map(([, folder]) => folder).sort()).toEqual(foldersUnder('src').sort());
  });

  it('says something of each', () => {
    for (const [, folder, text = ''] of rows) expect(text, folder).toMatch(/^.{5,}\.$/);
  });
});

describe('CONTRIBUTING.md, the map and the glossary', () => {
  it.each(['CONTRIBUTING.md', 'docs/architecture.md'])('%s cites places that exist', (page) => {
    const paths = citedPaths(read(page));
    expect(paths.length).toBeGreaterThan(10);
    expect(paths.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
  });

  it('name what stands in the code', () => {
    const sources = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'))
      .map((file) => read(relative(ROOT, join(ROOT, 'src', file))))
      .join('\n');
    const cells = [...read('docs/glossary.md').matchAll(/^\| [^|]+ \| [^|]+ \| (.*) \|$/gm)].map(
      ([, names = '']) => names,
    );
    const names = cells.flatMap((cell) => [...cell.matchAll(/`(\w+)[^`]*`/g)].map(([, name = '']) => name));
    expect(names.length).toBeGreaterThan(40);
    expect(names.filter((name) => !new RegExp(`\\b${name}\\b`).test(sources))).toEqual([]);
  });

  it('has a recipe for each kind of addition', () => {
    const recipes = [...read('CONTRIBUTING.md').matchAll(/^### (.*)$/gm)].map(([, title]) => title);
    expect(recipes).toEqual([
      'A recurrent mixer',
      'An optimizer',
      'An op',
      'An analysis',
      'A measure inside runs',
      'A kind of data source',
      'A family of Hugging Face models',
      'An executor of studies',
      'A corpus to fetch',
      'An engine',
      'A kernel for accelerators',
    ]);
  });
});

describe('tables', () => {
  it('list every definition of their folder', () => {
    const files = (folder: string): string[] =>
      readdirSync(join(ROOT, folder)).filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'));
    const shared = ['activations.ts', 'definition.ts', 'linear.ts', 'parts.ts', 'spec.ts', 'table.ts'];
    const mixers = files('src/model/mixers').filter((name) => !shared.includes(name));
    expect(mixers.map((name) => name.replace('.ts', '')).sort()).toEqual([...SECTION_NAMES].sort());
    expect(new Set(FAMILIES.flatMap(({ modelTypes }) => modelTypes)).size).toBeGreaterThan(10);
    const definitions = [
      ['src/data/sources', 'table.ts', /= defineSource\(/],
      ['src/lab/measures', 'table.ts', /= defineMeasure\(/],
      ['src/lab/analyses', 'index.ts', /= defineAnalysis\(/],
      ['src/engine/xla/passes', 'fuse.ts', /: KernelFamily = \{/],
    ] as const;
    for (const [folder, table, definition] of definitions) {
      const defining = files(folder).filter((name) => definition.test(read(`${folder}/${name}`)));
      expect(defining.length, folder).toBeGreaterThan(2);
      for (const name of defining) expect(read(`${folder}/${table}`)).toContain(`'./${name.replace('.ts', '.js')}'`);
    }
  });
});
