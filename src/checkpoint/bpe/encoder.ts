/**
 * Byte-level byte-pair encoding straight from a `tokenizer.json`: the ids of the library, many times as fast. Tokenizers that it
 * does not cover (other models, normalizers or pre-tokenizers) are the library's.
 */
import { z } from 'zod';
import { BYTE_CHARACTERS, CHARACTER_BYTES } from './bytes.js';
import { splittingOf, type Splitting } from './split.js';
import { IdBuffer, WordEncoder, type Merges } from './words.js';

const model = z.looseObject({
  type: z.literal('BPE'),
  dropout: z.union([z.null(), z.literal(0)]).optional(),
  continuing_subword_prefix: z.union([z.null(), z.literal('')]).optional(),
  end_of_word_suffix: z.union([z.null(), z.literal('')]).optional(),
  byte_fallback: z.literal(false).optional(),
  ignore_merges: z.boolean().default(false),
  vocab: z.record(z.string(), z.int().min(0)),
  merges: z.array(z.union([z.string(), z.tuple([z.string(), z.string()])])),
});
const added = z.looseObject({
  id: z.int().min(0),
  content: z.string().min(1),
  single_word: z.literal(false).optional(),
  lstrip: z.literal(false).optional(),
  rstrip: z.literal(false).optional(),
});
const file = z.looseObject({
  normalizer: z.union([z.null(), z.looseObject({ type: z.literal('NFC') })]).optional(),
  pre_tokenizer: z.unknown(),
  added_tokens: z.array(added).optional(),
  model,
});

export class ByteBpe {
  /** Whether text may be cut at `lastCut` without changing ids. */
  readonly cuttable: boolean;
  readonly #splitting: Splitting;
  readonly #words: WordEncoder;
  readonly #added: ReadonlyMap<string, number>;
  readonly #addedPattern: RegExp | null;
  readonly #normalize: boolean;

  private constructor(splitting: Splitting, merges: Merges, added: ReadonlyMap<string, number>, normalize: boolean) {
    this.#splitting = splitting;
    this.#words = new WordEncoder(merges);
    this.#added = added;
    this.#addedPattern = added.size === 0 ? null : anyOf([...added.keys()]);
    this.#normalize = normalize;
    this.cuttable = splitting.cuttable && ![...added.keys()].some((content) => /\s/u.test(content));
  }

  /** An encoder for the content of a `tokenizer.json`, or null if it needs something that is not covered. */
  static of(json: unknown): ByteBpe | null {
    const result = file.safeParse(json);
    if (!result.success) return null;
    const { normalizer, pre_tokenizer: preTokenizer, added_tokens: tokens = [], model: bpe } = result.data;
    const splitting = splittingOf(preTokenizer);
    const merges = mergesOf(bpe);
    if (splitting === null || merges === null) return null;
    const normalize = normalizer != null;
    if (normalize && tokens.some(({ content }) => content.normalize('NFC') !== content)) return null;
    return new ByteBpe(splitting, merges, new Map(tokens.map((t) => [t.content, t.id])), normalize);
  }

  /** The ids of a text without special tokens around it; added tokens that it spells out become their ids. */
  encode(text: string): Int32Array {
    const out = new IdBuffer(Math.max(16, Math.ceil(text.length / 2)));
    if (this.#addedPattern === null) this.#encodePlain(text, out);
    else {
      let from = 0;
      for (const match of text.matchAll(this.#addedPattern)) {
        if (match.index > from) this.#encodePlain(text.slice(from, match.index), out);
        out.push(this.#added.get(match[0]) as number);
        from = match.index + match[0].length;
      }
      if (from < text.length) this.#encodePlain(from === 0 ? text : text.slice(from), out);
    }
    return out.toArray();
  }

  #encodePlain(given: string, out: IdBuffer): void {
    const text = this.#normalize ? given.normalize('NFC') : given;
    const words = this.#words;
    this.#splitting.split(text, (from, to) => words.encode(text, from, to, out));
  }
}

/** The longest of the contents at each place, as the libraries do. */
function anyOf(contents: readonly string[]): RegExp {
  const longestFirst = [...contents].sort((a, b) => b.length - a.length);
  return new RegExp(longestFirst.map((c) => c.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&')).join('|'), 'gu');
}

/** Null where a byte or a merged token is not in the vocabulary. */
function mergesOf({ vocab, merges, ignore_merges: whole }: z.output<typeof model>): Merges | null {
  const ids = new Map(Object.entries(vocab));
  const byteIds = BYTE_CHARACTERS.map((char) => ids.get(char));
  if (byteIds.some((id) => id === undefined)) return null;
  const vocabSize = 1 + [...ids.values()].reduce((a, b) => Math.max(a, b), 0);
  const ranks = new Map<number, number>();
  const merged = new Int32Array(merges.length);
  for (const [rank, merge] of merges.entries()) {
    const [left, right] = typeof merge === 'string' ? merge.split(' ') : merge;
    const [a, b, both] = [ids.get(left as string), ids.get(right as string), ids.get(`${left}${right}`)];
    if (a === undefined || b === undefined || both === undefined) return null;
    // Of a merge listed twice the last counts, as in the libraries' tables.
    ranks.set(a * vocabSize + b, rank);
    merged[rank] = both;
  }
  return {
    byteIds: Int32Array.from(byteIds as number[]),
    ranks,
    merged,
    vocabSize,
    whole: whole ? new Map([...ids].flatMap(([text, id]) => latin1Of(text).map((key) => [key, id] as const))) : null,
  };
}

/** A token's bytes as a Latin-1 string; none if it is not made of byte characters. */
function latin1Of(token: string): string[] {
  const bytes = Array.from(token, (char) => CHARACTER_BYTES.get(char));
  if (bytes.some((b) => b === undefined)) return [];
  return [Buffer.from(bytes as number[]).toString('latin1')];
}
