import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openTokenizer, type TextTokenizer } from '../../../src/checkpoint/index.js';
import { readJson } from '../../../src/core/index.js';

interface Kind {
  readonly name: string;
  readonly tokenizer: object;
  readonly texts: readonly { text: string; ids: number[]; offsets: [number, number][] }[];
}
const FILE = join(import.meta.dirname, '..', '..', 'data', 'tokenizer', 'spans.json');
const kinds = readJson(FILE) as Kind[];

function opened(json: object): TextTokenizer {
  const folder = mkdtempSync(join(tmpdir(), 'longsight-spans-'));
  try {
    writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(json));
    return openTokenizer(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

describe('places of tokens', () => {
  it.each(kinds)('are the offsets of the Rust library, in code points: $name', ({ tokenizer: json, texts }) => {
    const tokenizer = opened(json);
    for (const { text, ids, offsets } of texts) {
      const found = tokenizer.encodeWithSpans(text, { trim: true });
      expect({ text, ids: [...found.ids], spans: found.spans }).toEqual({ text, ids, spans: offsets });
    }
  });

  it('are unknown where a tokenizer changes the text, which is said', () => {
    const { tokenizer: json } = kinds[0] as Kind;
    const normalizer = { type: 'Replace', pattern: { String: 'x' }, content: 'yy' };
    const tokenizer = opened({ ...json, normalizer });
    expect(tokenizer.encodeWithSpans('fog').spans).toHaveLength(tokenizer.encode('fog').length);
    expect(() => tokenizer.encodeWithSpans('fox')).toThrow(/does not stand for the text's own characters/);
  });
});
