import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { configMarkdown } from './config-docs.js';
import { describeKeys, helpMarkdown, helpText } from './terminal/schema-help.js';

describe('docs/config.md', () => {
  it('is what the schemas say (npm run docs makes it)', () => {
    expect(readFileSync(new URL('../../docs/config.md', import.meta.url), 'utf8')).toBe(configMarkdown());
  });
});

describe('describeKeys', () => {
  const schema = z.strictObject({
    name: z.string().optional().describe('a name'),
    steps: z.int().min(1).describe('how many'),
    rate: z.number().positive().max(1).default(0.5).describe('how fast'),
    mode: z.enum(['a', 'b']).default('a'),
    part: z
      .strictObject({ on: z.boolean().default(true) })
      .prefault({})
      .describe('a part'),
    source: z
      .union([
        z.discriminatedUnion('kind', [
          z.strictObject({ kind: z.literal('x'), size: z.int() }),
          z.strictObject({ kind: z.literal('y'), files: z.array(z.string()) }),
        ]),
        z.array(z.unknown()),
      ])
      .transform((v) => v),
    keep: z
      .union([z.literal('all'), z.int().min(1)])
      .nullable()
      .default('all'),
    options: z.union([z.boolean(), z.strictObject({ depth: z.number().min(0).lt(2) })]).optional(),
  });

  it('gives paths, types, defaults and meanings, nested keys after their parent', () => {
    const rows = describeKeys(schema).map(({ path, type, default: d, required }) => [path, type, d, required]);
    expect(rows).toEqual([
      ['name', 'text', null, false],
      ['steps', 'whole number >= 1', null, true],
      ['rate', 'number > 0, <= 1', '0.5', false],
      ['mode', 'a | b', '"a"', false],
      ['part', 'keys and values', null, false],
      ['part.on', 'true or false', 'true', false],
      ['source', 'keys and values, or list of any value', null, true],
      ['source[kind: x].size', 'whole number', null, true],
      ['source[kind: y].files', 'list of text', null, true],
      ['keep', '"all", or whole number >= 1 or null', '"all"', false],
      ['options', 'true or false, or keys and values', null, false],
      ['options.depth', 'number >= 0, < 2', null, true],
    ]);
  });

  it('prints them for terminals and for Markdown', () => {
    const keys = describeKeys(schema).slice(0, 3);
    expect(helpText(keys)).toBe(
      '  name: text\n      a name\n  steps: whole number >= 1 (required)\n      how many\n  rate: number > 0, <= 1 [0.5]\n      how fast',
    );
    expect(helpMarkdown(keys).split('\n')[3]).toBe('| `steps` | whole number >= 1 | required | how many |');
  });
});
