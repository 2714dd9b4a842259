import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { formatsMarkdown } from './formats-docs.js';

it('docs/formats.md is what the definitions say (npm run docs makes it)', () => {
  expect(readFileSync(new URL('../../docs/formats.md', import.meta.url), 'utf8')).toBe(formatsMarkdown());
});
