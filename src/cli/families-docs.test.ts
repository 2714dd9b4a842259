import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { HF_FAMILIES, HF_MODEL_TYPES, HF_WRAPPERS } from '../checkpoint/index.js';
import { familiesMarkdown } from './families-docs.js';

const ROOT = join(import.meta.dirname, '..', '..');
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8');

it('docs/hugging-face-families.md is what the table of families says (npm run docs makes it)', () => {
  expect(read('docs/hugging-face-families.md')).toBe(familiesMarkdown());
});

it('has every type that can be read once, and docs/hugging-face.md names each', () => {
  const listed = [...HF_FAMILIES.flatMap(({ modelTypes }) => modelTypes), ...HF_WRAPPERS.map((own) => own.modelType)];
  expect([...listed].sort()).toEqual([...HF_MODEL_TYPES].sort());
  expect(new Set(listed).size).toBe(listed.length);
  const words = read('docs/hugging-face.md');
  expect(listed.filter((type) => !words.includes(`\`${type}\``))).toEqual([]);
});

it('writes the classes that Transformers has for these types', () => {
  const { types } = JSON.parse(read('test/data/hf-types.json')) as { types: { type: string; class: string }[] };
  const classes = new Map(types.map((own) => [own.type, own.class]));
  const compared = HF_FAMILIES.flatMap(({ modelTypes: [type = ''], architecture }) => {
    const theirs = classes.get(type);
    return theirs === undefined || architecture === null ? [] : [[type, architecture, theirs] as const];
  });
  expect(compared.length).toBeGreaterThan(40);
  expect(compared.filter(([, ours, theirs]) => ours !== theirs)).toEqual([]);
});
