/** Nearly every feature of `tokenizer.json`, against the ids and texts of the Rust library (scripts/make-tokenizer-grid.py). */
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { jsonTokenizer } from '../../../src/checkpoint/tokenizers/tokenizer.js';
import { readJson } from '../../../src/core/index.js';

interface Case {
  readonly name: string;
  readonly model: string;
  readonly ids?: readonly (readonly number[])[];
  readonly special?: boolean;
  readonly decode?: readonly (readonly [number[], string, string])[];
}
const DATA = join(import.meta.dirname, '..', '..', 'data', 'tokenizer');
const { texts, models, cases } = readJson(join(DATA, 'grid.json')) as {
  texts: string[];
  models: Record<string, object>;
  cases: Case[];
};
const NAME = 'folder/tokenizer.json';

/** What is refused of the grid, and with which words; everything else is accepted. */
const REFUSED: Readonly<Record<string, string>> = {
  'normalizer none, pre-tokenizer scripts': 'got "UnicodeScripts"',
  ...Object.fromEntries(
    ['StripAccents', 'Nmt', 'strip', 'strip-left', 'bert', 'bert-cased', 'bert-accents'].map((name) => [
      `normalizer ${name}, pre-tokenizer metaspace-first-True`,
      'prepend_scheme "first" of Metaspace after the normalizer',
    ]),
  ),
  ...Object.fromEntries(
    ['replace-pattern', 'remove', 'possessive', 'albert'].map((name) => [
      `normalizer ${name}, pre-tokenizer metaspace-first-True`,
      'prepend_scheme "first" of Metaspace after the normalizer Replace',
    ]),
  ),
  'post-processor two, special False': 'several that add tokens (TemplateProcessing and BertProcessing)',
  'post-processor two, special True': 'several that add tokens (TemplateProcessing and BertProcessing)',
};

const open = (file: object) => jsonTokenizer({ version: '1.0', ...file }, NAME);

function openCase({ name: _, model, ids: __, special: ___, decode: ____, ...parts }: Case) {
  return open({ ...parts, model: models[model] });
}

describe('the grid', () => {
  it.each(cases.filter(({ name }) => !(name in REFUSED)))('$name', (entry) => {
    const tokenizer = openCase(entry);
    const { before, after } = entry.special === true ? tokenizer.around : { before: [], after: [] };
    entry.ids?.forEach((ids, i) => {
      const text = texts[i] as string;
      expect([text, ...before, ...tokenizer.encode(text), ...after]).toEqual([text, ...ids]);
    });
    entry.decode?.forEach(([ids, all, plain]) => {
      expect([ids, tokenizer.decode(ids), tokenizer.decode(ids, { skipSpecial: true })]).toEqual([ids, all, plain]);
    });
  });

  it('is accepted but for what is refused by name, with the file', () => {
    const refused = cases.filter(({ name }) => name in REFUSED);
    expect(refused).toHaveLength(Object.keys(REFUSED).length);
    expect(cases.length).toBeGreaterThan(500);
    for (const entry of refused) {
      expect(() => openCase(entry)).toThrow(REFUSED[entry.name]);
      expect(() => openCase(entry)).toThrow(NAME);
    }
  });
});

const bytes = { model: models['bytes'] };
const split = (pattern: string, more = {}) => ({
  ...bytes,
  pre_tokenizer: { type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false, ...more },
});
const token = (content: string, id: number) => ({
  ...{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true },
});

describe('what is not implemented to the id', () => {
  it.each([
    ['truncation', { ...bytes, truncation: { max_length: 3 } }, 'truncation: must be null'],
    ['padding', { ...bytes, padding: {} }, 'padding: must be null'],
    ['dropout', { model: { ...models['bytes'], dropout: 0.1 } }, 'model.dropout'],
    ['an unknown field', { ...bytes, extra: 1 }, 'unknown key "extra"'],
    ['an unknown field inside', split('a', { inverted: true }), 'unknown key "inverted"'],
    ['an unknown behavior', split('a', { behavior: 'Merged' }), 'pre_tokenizer.behavior must be one of'],
    ['a missing field', { ...bytes, normalizer: { type: 'Strip' } }, 'normalizer.strip_left is missing'],
    [
      'an unknown normalizer',
      { ...bytes, normalizer: { type: 'Precompiled', precompiled_charsmap: '' } },
      'Precompiled',
    ],
    ['an unknown model', { model: { type: 'Other' } }, 'model.type must be one of BPE, WordPiece, WordLevel, Unigram'],
    ['a back-reference', split('(a)\\1'), 'a back-reference in the pattern "(a)\\\\1"'],
    ['a subroutine call', split('(a)\\g<1>'), 'a subroutine call'],
    ['an inline flag', split('(?i)a'), 'inline flag'],
    ['ignored case beside ß', split('(?i:ss)'), 'letters that fold into others'],
    ['a grapheme', split('\\X'), 'the set "text segment"'],
    ['a search start', split('\\Ga'), 'search start'],
    ['an unknown property', split('\\p{Emoji}'), '\\p{Emoji}'],
    ['a pattern that is none', split('(a'), 'cannot be read'],
    [
      'two tokens of one id',
      { model: { type: 'BPE', vocab: { a: 0, b: 0 }, merges: [] } },
      '"a" and "b" have the same id 0',
    ],
    ['a merge without its token', { model: { type: 'BPE', vocab: { a: 0 }, merges: ['a a'] } }, 'merge 0, "a a"'],
    [
      'an unknown token that is none',
      { model: { type: 'WordLevel', vocab: { a: 0 }, unk_token: 'b' } },
      'unk_token "b"',
    ],
    [
      'an id that is not the library’s',
      { model: models['wordlevel'], added_tokens: [token('<new>', 9999)] },
      'has id 9999',
    ],
    ['a token twice', { ...bytes, added_tokens: [token('<s>', 1), token('<s>', 1)] }, '"<s>" is there twice'],
  ])('%s is refused by name, with the file, as the mistake of the input', (_, file, words) => {
    expect(() => open(file)).toThrow(words);
    expect(() => open(file)).toThrow(NAME);
    expect(() => open(file)).toThrow(expect.objectContaining({ exitCode: 2 }));
  });
});

describe('byte-level tokenizers', () => {
  const families = cases.filter(({ name }) =>
    /^family (gpt2|cl100k)$|split (Isolated|Contiguous) .* on bytes$/.test(name),
  );
  const decoder = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };

  it.each(families)('give any text back: $name', (entry) => {
    const tokenizer = openCase({ ...entry, decoder } as Case);
    const words = fc.constantFrom(...texts, '<s>', '\u0085', '\ufeff', '\ud800', "'ſ");
    fc.assert(
      fc.property(fc.array(fc.oneof(words, fc.string({ unit: 'binary' }))), (parts) => {
        const text = parts.join('');
        expect(tokenizer.decode(tokenizer.encode(text))).toBe(Buffer.from(text).toString());
      }),
    );
  });

  it('give the recorded ids for texts put together of parts that cannot join', () => {
    const entry = cases.find(({ name }) => name === 'family gpt2') as Case;
    const tokenizer = openCase(entry);
    fc.assert(
      fc.property(fc.array(fc.nat(texts.length - 1)), (chosen) => {
        // Special tokens part texts, whatever they are.
        const text = chosen.map((i) => texts[i]).join('</s>');
        const ids = chosen.flatMap((i, at) => [...(at > 0 ? [2] : []), ...(entry.ids?.[i] ?? [])]);
        expect([...tokenizer.encode(text)]).toEqual(ids);
      }),
    );
  });
});
