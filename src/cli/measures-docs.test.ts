import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { join } from 'node:path';
import { MEASURE_NAMES, MEASURES } from '../lab/index.js';
import { measuresMarkdown } from './measures-docs.js';
import { describeKeys } from './terminal/schema-help.js';

const ROOT = join(import.meta.dirname, '..', '..');

it('docs/measures.md is what the definitions say (npm run docs makes it)', () => {
  expect(readFileSync(join(ROOT, 'docs', 'measures.md'), 'utf8')).toBe(measuresMarkdown());
});

describe.each(MEASURE_NAMES)('the measure %s', (name) => {
  const { schema, reference } = MEASURES[name];

  it('has words for every field that it stores', () => {
    const fields = describeKeys(schema);
    expect(fields.length).toBeGreaterThan(0);
    expect(fields.filter(({ description }) => description === '').map(({ path }) => path)).toEqual([]);
  });

  it('names files of the sources that are there', () => {
    const files = [...reference.source.matchAll(/`(src\/(?:lab|eval|data|analysis)\/[^`]+)`/g)].map(
      ([, file = '']) => file,
    );
    expect(files.length).toBeGreaterThan(0);
    expect(files.filter((file) => !existsSync(join(ROOT, file)))).toEqual([]);
  });
});
