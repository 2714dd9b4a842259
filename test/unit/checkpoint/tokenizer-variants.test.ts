import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { splitGpt2, GPT2_PATTERN } from '../../../src/checkpoint/bpe/split.js';
import { mergeLong, mergeShort, type Merges } from '../../../src/checkpoint/bpe/words.js';
import { finderOfRegExp, splitterOf } from '../../../src/checkpoint/tokenizers/pattern.js';
import { byteTokenizer, lastCut, openTokenizer } from '../../../src/checkpoint/index.js';
import { readJson, Rng } from '../../../src/core/index.js';
import { openCorpus } from '../../../src/data/index.js';

const FOLDER = join(import.meta.dirname, '..', '..', 'data', 'tokenizer', 'variants');
const { strings, ids } = readJson(join(FOLDER, 'expected.json')) as {
  strings: string[];
  ids: Record<string, number[][]>;
};
const names = readdirSync(FOLDER).filter((name) => statSync(join(FOLDER, name)).isDirectory());

/** Random text of characters that pre-tokenizers treat differently. */
function randomText(rng: Rng, size: number): string {
  const pool = [
    ..."  \n\t'sdtl1a2bZé—…東🙂/.\r\u0085\ufeff\u0301",
    "'ll",
    'the',
    ' of',
    '\n\n',
    ' a',
    '\nb',
    '<|endoftext|>',
  ];
  return Array.from({ length: size }, () => pool[rng.int(pool.length)] as string).join('');
}

describe.each(names)('%s', (name) => {
  const tokenizer = openTokenizer(join(FOLDER, name));

  it('gives the ids of the Rust library, and the text back', () => {
    strings.forEach((text, i) => {
      expect([JSON.stringify(text), ...tokenizer.encode(text)]).toEqual([
        JSON.stringify(text),
        ...(ids[name]?.[i] ?? []),
      ]);
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(name === 'qwen2' ? text.normalize('NFC') : text);
    });
  });

  it('gives the ids of the whole for parts cut where text may be cut', () => {
    expect(tokenizer.cuttable).toBe(true);
    for (let seed = 0; seed < 300; seed++) {
      const text = randomText(Rng.of(seed, name), 60);
      const at = lastCut(text);
      if (at === 0) continue;
      const parts = [...tokenizer.encode(text.slice(0, at)), ...tokenizer.encode(text.slice(at))];
      expect([JSON.stringify(text), at, ...parts]).toEqual([JSON.stringify(text), at, ...tokenizer.encode(text)]);
    }
  });

  it('knows its size, and the token that ends a text', () => {
    expect(tokenizer.vocabSize).toBe(600);
    expect(tokenizer.endOfText).toBe(0);
    expect(tokenizer.fingerprint).toMatch(/^[0-9a-f]{64}$/);
  });
});

describe('splitGpt2', () => {
  it("has the words of GPT-2's regular expression", () => {
    const words = (split: typeof splitGpt2, text: string) => {
      const found: string[] = [];
      split(text, (from, to) => found.push(text.slice(from, to)));
      return found;
    };
    const pattern = splitterOf(finderOfRegExp(new RegExp(GPT2_PATTERN, 'gu')), 'Isolated', false);
    for (const text of [...strings, ...Array.from({ length: 500 }, (_, seed) => randomText(Rng.of(seed), 30))]) {
      expect(words(splitGpt2, text)).toEqual(words(pattern, text));
      expect(words(splitGpt2, text)).toEqual(text.match(new RegExp(GPT2_PATTERN, 'gu')) ?? []);
    }
  });

  it.each([['runs', /\p{N}+|\P{N}+/gu] as const, ['each', /\p{N}|\P{N}+/gu] as const])(
    'with digits cut first (%s) has the words of the parts',
    (digits, parts) => {
      const pool = [..." \n\t's01٣²Ⅳ東a.\u{1d7d8}\u{1f642}", "'ll", '  ', '12'];
      fc.assert(
        fc.property(fc.array(fc.constantFrom(...pool)), (chosen) => {
          const text = chosen.join('');
          const found: string[] = [];
          splitGpt2(text, (from, to) => found.push(text.slice(from, to)), digits);
          const expected = (text.match(parts) ?? []).flatMap(
            (part) => part.match(new RegExp(GPT2_PATTERN, 'gu')) ?? [],
          );
          expect(found).toEqual(expected);
        }),
        { numRuns: 500 },
      );
    },
  );
});

describe('merges', () => {
  it('are the same whether found by search or with a heap', () => {
    const rng = Rng.of(3, 'merges');
    const ranks = new Map<number, number>();
    const vocabSize = 64;
    const merged = new Int32Array(56);
    for (let rank = 0; rank < 56; rank++) {
      const [a, b] = [rng.int(8 + rank), rng.int(8 + rank)];
      if (!ranks.has(a * vocabSize + b)) ranks.set(a * vocabSize + b, rank);
      merged[rank] = 8 + rank;
    }
    const merges: Merges = { byteIds: new Int32Array(256), ranks, merged, vocabSize, whole: null };
    for (let i = 0; i < 200; i++) {
      const word = Int32Array.from({ length: 1 + rng.int(200) }, () => rng.int(8));
      const [a, b] = [word.slice(), word.slice()];
      const short = a.subarray(0, mergeShort(a, merges));
      expect([...b.subarray(0, mergeLong(b, merges))]).toEqual([...short]);
    }
  });

  it('stay right when the table of words is full and starts anew', () => {
    const tokenizer = openTokenizer(join(FOLDER, 'gpt2'));
    const again = openTokenizer(join(FOLDER, 'gpt2'));
    const many = Array.from({ length: 300_000 }, (_, i) => ` w${i.toString(36)}`).join('');
    const text = openCorpus('moby-dick').text().slice(0, 100_000);
    const before = tokenizer.encode(text);
    tokenizer.encode(many);
    expect(tokenizer.encode(text)).toEqual(before);
    expect(tokenizer.encode(many.slice(-5000))).toEqual(again.encode(many.slice(-5000)));
  });
});

describe('tokenizers that are not byte-level BPE', () => {
  it('are encoded by the library, and not cut', () => {
    const folder = mkdtempSync(join(tmpdir(), 'longsight-wordpiece-'));
    try {
      const vocab = { '[UNK]': 0, whale: 1, '##s': 2 };
      const model = {
        type: 'WordPiece',
        vocab,
        unk_token: '[UNK]',
        continuing_subword_prefix: '##',
        max_input_chars_per_word: 99,
      };
      const rest = { added_tokens: [], normalizer: null, pre_tokenizer: { type: 'Whitespace' }, post_processor: null };
      writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify({ ...rest, decoder: null, model }));
      const tokenizer = openTokenizer(folder);
      expect([...tokenizer.encode('whales whale sea')]).toEqual([1, 2, 1, 0]);
      expect([tokenizer.cuttable, tokenizer.endOfText, tokenizer.vocabSize]).toEqual([false, null, 3]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe('the byte tokenizer', () => {
  const tokenizer = byteTokenizer();

  it('gives the bytes of UTF-8 and the text back', () => {
    for (const text of strings) {
      const bytes = Buffer.from(text);
      expect([...tokenizer.encode(text)]).toEqual([...bytes]);
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
    }
    expect([tokenizer.vocabSize, tokenizer.endOfText]).toEqual([256, 0]);
  });

  it('knows the character of each byte', () => {
    const { ids, spans } = tokenizer.encodeWithSpans('aé🙂');
    expect([...ids]).toEqual([...Buffer.from('aé🙂')]);
    expect(spans).toEqual([
      [0, 1],
      [1, 2],
      [1, 2],
      [2, 3],
      [2, 3],
      [2, 3],
      [2, 3],
    ]);
  });
});
