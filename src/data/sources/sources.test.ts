/** Kinds of data sources: the table, what a mixture answers, and a new kind made in one definition. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { DataConfigSchema, dataTokenizer, dataVocabSize, openData, openSources } from './open.js';
import { absolutePaths } from './paths.js';
import { nextBatch } from '../source.js';
import { defineSource, weight } from './define.js';
import { SOURCE_KINDS } from './table.js';

const folder = mkdtempSync(join(tmpdir(), 'longsight-sources-'));
afterAll(() => rmSync(folder, { recursive: true }));
writeFileSync(join(folder, 'a.txt'), 'a sentence. '.repeat(100));
writeFileSync(join(folder, 'b.txt'), 'another one. '.repeat(100));
const options = { seqLen: 16, seed: 1, baseDir: folder };

describe('the table of data sources', () => {
  it('gives each kind under its own name', () => {
    for (const [name, { schema }] of Object.entries(SOURCE_KINDS)) expect(schema.shape.kind.value).toBe(name);
  });

  it('knows the paths of every kind', () => {
    const data = [{ kind: 'text', files: ['a.txt'] }, { kind: 'shards', path: 'shards' }, { kind: 'recall' }];
    expect(absolutePaths({ data }, [], folder)).toEqual({
      data: [
        { kind: 'text', files: [join(folder, 'a.txt')] },
        { kind: 'shards', path: join(folder, 'shards') },
        { kind: 'recall' },
      ],
    });
  });
});

describe('a mixture', () => {
  const config = DataConfigSchema.parse([{ kind: 'recall' }, { kind: 'text', files: 'a.txt' }]);

  it('makes needles of real text before the recall stream, whatever their order', () => {
    using data = openData(config, options);
    expect(data.needles?.kind).toBe('text');
    expect(data.recall?.numKeys).toBe(16);
    expect(dataTokenizer(config)).toBe('bytes');
    expect(dataVocabSize(config)).toBe(256);
    expect(data.train.isRecall).toBeUndefined();
  });

  it('of the recall stream alone says so, and has no tokenizer', () => {
    const recall = config.slice(0, 1);
    using data = openData(recall, options);
    expect(data.needles?.kind).toBe('recall');
    expect(data.heldOut()?.isRecall).toBe(true);
    expect(dataTokenizer(recall)).toBeNull();
  });

  it('refuses a file that two sources name', () => {
    const twice = DataConfigSchema.parse([
      { kind: 'text', files: 'a.txt' },
      { kind: 'text', files: '*.txt' },
    ]);
    expect(() => openData(twice, options)).toThrow(`${join(folder, 'a.txt')} is in two text sources`);
  });
});

/** Counts up from 0, modulo `limit`: what CONTRIBUTING.md asks for a new kind of source, and no more. */
const countingKind = defineSource({
  schema: z.strictObject({ kind: z.literal('counting'), weight, limit: z.int().min(2).describe('ids are below this') }),
  paths: [],
  vocabSize: ({ limit }) => limit,
  tokenizer: () => null,
  open: ({ limit }) => ({
    stream: (split, seqLen) => {
      if (split === 'heldOut') return null;
      let next = 0;
      return {
        vocabSize: limit,
        seqLen,
        hasSegments: false,
        fill: (batch, row) => {
          for (let t = 0; t < seqLen; t++) {
            batch.tokens[row * seqLen + t] = next;
            next = (next + 1) % limit;
            batch.targets[row * seqLen + t] = next;
            batch.weights[row * seqLen + t] = 1;
          }
        },
        state: () => next,
        restore: (state) => {
          next = z.int().parse(state);
        },
      };
    },
    notes: () => ['counting holds nothing out'],
    needles: null,
    recall: null,
    [Symbol.dispose]: () => undefined,
  }),
});

describe('a new kind of source', () => {
  it('is one definition', () => {
    const config = countingKind.schema.parse({ kind: 'counting', limit: 5 });
    using data = openSources([{ weight: config.weight, open: (where) => countingKind.open(config, where) }], options);
    expect(data).toMatchObject({ vocabSize: 5, recall: null, needles: null, notes: ['counting holds nothing out'] });
    expect(data.heldOut()).toBeNull();
    const { tokens, targets } = nextBatch(data.train, 1);
    expect([...tokens.subarray(0, 6)]).toEqual([0, 1, 2, 3, 4, 0]);
    expect([...targets.subarray(0, 6)]).toEqual([1, 2, 3, 4, 0, 1]);
  });
});
