/**
 * Messages of the library's layers are read by those who call it from programs, too: they name what is wrong in words,
 * and an option of the command line in parentheses at most.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { expect, it } from 'vitest';

const SRC = fileURLToPath(new URL('../../src', import.meta.url));

/** Options of the command line in a message, outside parentheses and quoted commands. */
function bareOptions(message: string): string[] {
  const rest = message.replace(/"(?:longsight|npm|hf) [^"]*"/g, '').replace(/\([^()]*\)/g, '');
  return rest.match(/(?<![\w-])--[a-z][a-z-]*/g) ?? [];
}

/** The texts of what `new SomethingError(...)` is given first, with `...` for what is put in. */
function messages(path: string): string[] {
  const text = readFileSync(path, 'utf8');
  if (!text.includes('Error(')) return [];
  const found: string[] = [];
  const textOf = (node: ts.Node): string => {
    if (ts.isStringLiteralLike(node)) return node.text;
    if (ts.isTemplateExpression(node))
      return [node.head.text, ...node.templateSpans.map(({ literal }) => literal.text)].join('...');
    return ts.isBinaryExpression(node) ? textOf(node.left) + textOf(node.right) : '...';
  };
  const visit = (node: ts.Node): void => {
    const [first] = ts.isNewExpression(node) ? (node.arguments ?? []) : [];
    if (first !== undefined && ts.isNewExpression(node) && /Error$/.test(node.expression.getText()))
      found.push(textOf(first));
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(path, text, ts.ScriptTarget.ES2022, true));
  return found;
}

it('finds options that stand bare', () => {
  expect(bareOptions('name texts with --texts FILE')).toEqual(['--texts']);
  expect(bareOptions('name texts (--texts FILE), or run "longsight train X --resume"; write --name')).toEqual([
    '--name',
  ]);
});

it('no message of the library tells its caller to give an option of the command line', () => {
  const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter(
    (file) => file.endsWith('.ts') && !file.endsWith('.test.ts') && !/^cli[/\\]/.test(file),
  );
  const all = files.flatMap((file) => messages(join(SRC, file)).map((message) => ({ file, message })));
  expect(all.length).toBeGreaterThan(500);
  // XLA's own flags are no options of Longsight.
  const known = ({ message }: { message: string }) => message.startsWith('XLA_FLAGS: ');
  expect(all.filter((one) => !known(one) && bareOptions(one.message).length > 0)).toEqual([]);
});
