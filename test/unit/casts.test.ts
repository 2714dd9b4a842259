/** Type casts in the sources: few, and no more than there were. Where an element is certain, `at` and its kin check it. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { expect, it } from 'vitest';

const SRC = fileURLToPath(new URL('../../src', import.meta.url));

/** Lower it when casts go; it never rises. */
const MOST_CASTS = 345;

/** Casts `x as T` of a text, `as const` aside. */
function castsOf(name: string, text: string): number {
  let count = 0;
  const visit = (node: ts.Node): void => {
    if (ts.isAsExpression(node) && !ts.isConstTypeReference(node.type)) count++;
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(name, text, ts.ScriptTarget.Latest, true));
  return count;
}

it('counts casts, but not constants and renamed imports', () => {
  const text =
    "import { a as b } from './a.js'; const c = [1] as const; const d = (b as number) + (c[0] as unknown as 1);";
  expect(castsOf('x.ts', text)).toBe(3);
});

it('the sources hold no more casts than before', () => {
  const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' });
  const sources = files.filter((f) => f.endsWith('.ts') && !f.endsWith('.test.ts') && !f.endsWith('.d.ts'));
  const counts = sources.map((f) => castsOf(f, readFileSync(join(SRC, f), 'utf8')));
  expect(sources.length).toBeGreaterThan(300);
  expect(counts.reduce((a, b) => a + b, 0)).toBeLessThanOrEqual(MOST_CASTS);
});
