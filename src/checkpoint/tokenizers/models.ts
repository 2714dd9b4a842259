/** How a word becomes token ids: the models of `tokenizer.json`. */
import { present, f64At, at, i32At, DataError, showValue } from '../../core/index.js';
import { mergesOf } from '../bpe/merges.js';
import { IdBuffer, mergeIds } from '../bpe/words.js';
import type { BpeConfig, ModelConfig, UnigramConfig, WordLevelConfig, WordPieceConfig } from './schema.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const readF64 = f64At;
const readI32 = i32At;

/** Makes token ids of words. */
export interface Model {
  /** Appends the ids of a word. */
  readonly encode: (word: string, out: IdBuffer) => void;
}

/** The tokens of a model and their ids. */
export interface Vocabulary {
  readonly idOf: ReadonlyMap<string, number>;
  readonly tokenOf: ReadonlyMap<number, string>;
  /** How many tokens there are: the next id that the library gives an added token. */
  readonly size: number;
}

/**
 * The vocabulary of a tokenizer's model: ids by token, and tokens by id.
 * @throws DataError if two tokens have one id
 */
export function vocabularyOf(config: ModelConfig): Vocabulary {
  if (config.type === 'Unigram') {
    return {
      idOf: new Map(config.vocab.map(([token], id) => [token, id])),
      tokenOf: new Map(config.vocab.map(([token], id) => [id, token])),
      size: config.vocab.length,
    };
  }
  const idOf = new Map(Object.entries(config.vocab));
  const tokenOf = new Map<number, string>();
  for (const [token, id] of idOf) {
    const other = tokenOf.get(id);
    if (other !== undefined) {
      throw new DataError(`model.vocab: ${showValue(other)} and ${showValue(token)} have the same id ${id}`);
    }
    tokenOf.set(id, token);
  }
  return { idOf, tokenOf, size: idOf.size };
}

/**
 * The model that a `tokenizer.json` describes.
 * @throws DataError if the token for unknown words is not in the vocabulary, or a merge makes none of its tokens
 */
export function modelOf(config: ModelConfig, { idOf }: Vocabulary): Model {
  switch (config.type) {
    case 'BPE':
      return bpe(config, idOf);
    case 'WordPiece':
      return wordPiece(config, idOf);
    case 'WordLevel':
      return wordLevel(config, idOf);
    case 'Unigram':
      return unigram(config, idOf);
  }
}

type Ids = ReadonlyMap<string, number>;

function unknownId({ type, unk_token: token }: WordLevelConfig | WordPieceConfig | BpeConfig, ids: Ids): number {
  const id = ids.get(token ?? '');
  if (id === undefined) throw new DataError(`model (${type}): unk_token ${showValue(token)} is not in the vocabulary`);
  return id;
}

function wordLevel(config: WordLevelConfig, ids: Ids): Model {
  const unknown = unknownId(config, ids);
  return { encode: (word, out) => out.push(ids.get(word) ?? unknown) };
}

function wordPiece(config: WordPieceConfig, ids: Ids): Model {
  const unknown = unknownId(config, ids);
  const pieces = (word: string): number[] => {
    const chars = [...word];
    if (chars.length > config.max_input_chars_per_word) return [unknown];
    const found: number[] = [];
    for (let start = 0; start < chars.length;) {
      let [end, id]: [number, number | undefined] = [chars.length, undefined];
      for (; end > start; end--) {
        const text = chars.slice(start, end).join('');
        id = ids.get(start > 0 ? config.continuing_subword_prefix + text : text);
        if (id !== undefined) break;
      }
      if (id === undefined) return [unknown];
      found.push(id);
      start = end;
    }
    return found;
  };
  return {
    encode: (word, out) => {
      for (const id of pieces(word)) out.push(id);
    },
  };
}

/** `<0x0A>` and so on for the bytes of `text`; null if one of them is no token. */
function byteIds(text: string, ids: Ids): number[] | null {
  const found: number[] = [];
  for (const byte of Buffer.from(text)) {
    const id = ids.get(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
    if (id === undefined) return null;
    found.push(id);
  }
  return found;
}

const MAX_CACHED = 100_000;
const MAX_CACHED_UNITS = 64;

function bpe(config: BpeConfig, ids: Ids): Model {
  const merges = mergesOf(config, ids);
  const symbols = symbolsOf(config, ids);
  const cache = new Map<string, Int32Array>();
  const merged = (word: string): Int32Array => {
    const entire = config.ignore_merges ? ids.get(word) : undefined;
    return entire === undefined ? mergeIds(symbols(word), merges) : Int32Array.of(entire);
  };
  return {
    encode: (word, out) => {
      let found = cache.get(word);
      if (found === undefined) {
        found = merged(word);
        if (cache.size >= MAX_CACHED) cache.clear();
        if (word.length <= MAX_CACHED_UNITS) cache.set(word, found);
      }
      out.append(found, 0, found.length);
    },
  };
}

/** The ids of a word's characters, before merges. */
function symbolsOf(config: BpeConfig, ids: Ids): (word: string) => Int32Array {
  const [prefix, suffix] = [config.continuing_subword_prefix ?? '', config.end_of_word_suffix ?? ''];
  const unknown = config.unk_token == null ? null : unknownId(config, ids);
  return (word) => {
    const chars = [...word];
    const out = new IdBuffer(chars.length + 1);
    // As in the library, an unknown token waits for the next known one, so that others can join it.
    let waits = false;
    chars.forEach((char, i) => {
      const text = `${i > 0 ? prefix : ''}${char}${i === chars.length - 1 ? suffix : ''}`;
      const id = ids.get(text);
      if (id !== undefined) {
        if (waits && unknown !== null) out.push(unknown);
        waits = false;
        out.push(id);
        return;
      }
      const bytes = config.byte_fallback ? byteIds(text, ids) : null;
      if (bytes !== null) {
        for (const byte of bytes) out.push(byte);
      } else if (unknown !== null) {
        if (waits && !config.fuse_unk) out.push(unknown);
        waits = true;
      }
    });
    if (waits && unknown !== null) out.push(unknown);
    return out.toArray();
  };
}

/** What an unknown character costs beyond the least likely token. */
const UNKNOWN_PENALTY = 10;

function unigram(config: UnigramConfig, ids: Ids): Model {
  const { vocab, unk_id: unknown, byte_fallback: fallsBack } = config;
  if (unknown >= vocab.length) throw new DataError(`model (Unigram): unk_id ${unknown} is not in the vocabulary`);
  const scores = vocab.map(([, score]) => score);
  const worst = scores.reduce((a, b) => Math.min(a, b), Infinity) - UNKNOWN_PENALTY;
  const longest = vocab.reduce((most, [token]) => Math.max(most, token.length), 0);
  return {
    encode: (word, out) => {
      for (const text of bestPath(word, { ids, scores, worst, longest, unknown })) {
        const id = ids.get(text);
        const bytes = id === undefined && fallsBack ? byteIds(text, ids) : null;
        if (bytes === null) out.push(id ?? unknown);
        else for (const byte of bytes) out.push(byte);
      }
    },
  };
}

interface Lattice {
  readonly ids: Ids;
  readonly scores: readonly number[];
  readonly worst: number;
  readonly longest: number;
  readonly unknown: number;
}

/** The likeliest cut of a word into tokens (Viterbi), neighboring unknown characters as one. */
function bestPath(word: string, { ids, scores, worst, longest, unknown }: Lattice): string[] {
  const size = word.length;
  const best = new Float64Array(size + 1);
  const from = new Int32Array(size + 1).fill(-1);
  const tokens = new Int32Array(size + 1);
  const offer = (start: number, end: number, id: number, score: number): void => {
    const total = score + readF64(best, start);
    if (from[end] !== -1 && total <= readF64(best, end)) return;
    [best[end], from[end], tokens[end]] = [total, start, id];
  };
  for (let start = 0; start < size;) {
    const width = present(word.codePointAt(start)) > 0xffff ? 2 : 1;
    let hasSingle = false;
    for (let end = start + width; end <= Math.min(size, start + longest); end++) {
      const id = ids.get(word.slice(start, end));
      if (id === undefined) continue;
      offer(start, end, id, at(scores, id));
      hasSingle ||= end === start + width;
    }
    if (!hasSingle) offer(start, start + width, unknown, worst);
    start += width;
  }
  const texts: string[] = [];
  let joined: string | null = null;
  for (let end = size; end > 0; end = readI32(from, end)) {
    const text = word.slice(from[end], end);
    if (tokens[end] === unknown) joined = text + (joined ?? '');
    else {
      if (joined !== null) texts.push(joined);
      joined = null;
      texts.push(text);
    }
  }
  if (joined !== null) texts.push(joined);
  return texts.reverse();
}
