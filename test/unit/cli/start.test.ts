/** What a start of the command line loads before it knows which command is called: `--help` and `--version` pay for all of it. */
import { readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { expect, it } from 'vitest';

const CLI = fileURLToPath(new URL('../../../src/cli', import.meta.url));

/** The modules that a file imports as it is loaded: types, and what `import()` loads later, are none of them. */
function loadedBy(file: string): string[] {
  const source = ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.Latest, true);
  return source.statements.flatMap((statement) => {
    if (ts.isImportDeclaration(statement)) {
      const clause = statement.importClause;
      const named = clause?.namedBindings;
      const onlyTypes = named && ts.isNamedImports(named) && named.elements.every((element) => element.isTypeOnly);
      if (clause?.isTypeOnly === true || (clause?.name === undefined && onlyTypes === true)) return [];
    } else if (!ts.isExportDeclaration(statement) || statement.isTypeOnly) return [];
    const { moduleSpecifier } = statement;
    return moduleSpecifier !== undefined && ts.isStringLiteral(moduleSpecifier) ? [moduleSpecifier.text] : [];
  });
}

it('a start of the command line loads its own files and commander, no layer and no other package', () => {
  const files = new Set([join(CLI, 'main.ts')]);
  const packages = new Set<string>();
  for (const file of files)
    for (const name of loadedBy(file)) {
      if (name.startsWith('.')) files.add(join(dirname(file), name).replace(/\.js$/, '.ts'));
      else if (!builtinModules.includes(name.replace(/^node:/, ''))) packages.add(name);
    }
  expect([...packages]).toEqual(['commander']);
  expect(files.size).toBeGreaterThan(4);
  expect([...files].filter((file) => !file.startsWith(CLI))).toEqual([]);
});
