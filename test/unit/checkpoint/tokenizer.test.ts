import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { hasTokenizer, openTokenizer } from '../../../src/checkpoint/index.js';
import { readJson } from '../../../src/core/index.js';

const FOLDER = join(import.meta.dirname, '..', '..', 'data', 'tokenizer');
const expected = readJson(join(FOLDER, 'expected.json')) as { text: string; ids: number[] }[];

describe('a byte-level tokenizer', () => {
  const tokenizer = openTokenizer(FOLDER);

  it.each(expected)('gives the ids of the Rust library for $text, and the text back', ({ text, ids }) => {
    expect([...tokenizer.encode(text)]).toEqual(ids);
    expect(tokenizer.decode(ids)).toBe(text);
  });

  it.each(expected)('knows which characters each token holds: $text', ({ text, ids }) => {
    const got = tokenizer.encodeWithSpans(text);
    expect([...got.ids]).toEqual(ids);
    // Spans are in order and cover the text; tokens inside one character share it.
    let end = 0;
    got.spans.forEach(([a, b], i) => {
      expect(a).toBeLessThanOrEqual(end);
      expect(b).toBeGreaterThan(a);
      const own = tokenizer.decode([ids[i] as number]);
      if (!own.includes('\uFFFD')) expect([...text].slice(a, b).join('')).toBe(own);
      end = b;
    });
    expect(end).toBe([...text].length);
  });
});

describe('folders', () => {
  it('without a tokenizer, or with another file of that name, are refused', () => {
    expect(hasTokenizer(FOLDER)).toBe(true);
    const folder = mkdtempSync(join(tmpdir(), 'longsight-tokenizer-'));
    try {
      expect(hasTokenizer(folder)).toBe(false);
      expect(() => openTokenizer(folder)).toThrow('cannot read');
      writeFileSync(join(folder, 'tokenizer.json'), '{"model": {"type": "Nothing"}}');
      expect(() => openTokenizer(folder)).toThrow('model.type must be one of');
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
