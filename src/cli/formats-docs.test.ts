import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import type { FileFormat } from '../core/index.js';
import { FOLDERS, formatsMarkdown } from './formats-docs.js';
import { describeKeys } from './terminal/schema-help.js';

it('docs/formats.md is what the definitions say (npm run docs makes it)', () => {
  expect(readFileSync(new URL('../../docs/formats.md', import.meta.url), 'utf8')).toBe(formatsMarkdown());
});

it('every field has words', () => {
  const formats: FileFormat[] = Object.values(FOLDERS).flatMap(({ files }) => [...files]);
  const bare = formats.flatMap(({ path, fields }) =>
    fields === null
      ? []
      : describeKeys(fields).flatMap((key) => (key.description === '' ? [`${path}: ${key.path}`] : [])),
  );
  expect(bare).toEqual([]);
});
