/**
 * Tokenizers: bytes, and Hugging Face's `tokenizer.json` format. The latter through their own library
 * (`@huggingface/tokenizers`), but for byte-level BPE, which most models use and which is encoded here, much faster.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as library from '@huggingface/tokenizers';
import { DataError, fileError, refuseHubName, StoreError } from '../core/index.js';
import { CHARACTER_BYTES } from './bpe/bytes.js';
import { ByteBpe } from './bpe/encoder.js';

/** Text to token ids and back; one interface for bytes and for `tokenizer.json`. */
export interface TextTokenizer {
  /** Ids are below this. */
  readonly vocabSize: number;
  /** The id that ends a document; null if the tokenizer names none. */
  readonly endOfText: number | null;
  /** What tells tokenizers apart: `bytes`, or the SHA-256 of `tokenizer.json`. */
  readonly fingerprint: string;
  /** Whether a text may be cut at `lastCut` and its parts encoded one by one to the ids of the whole. */
  readonly cuttable: boolean;
  /** The ids of a text. `special` adds what the tokenizer puts around it, such as a beginning-of-text token. */
  encode(text: string, options?: { readonly special?: boolean }): Int32Array;
  decode(ids: ArrayLike<number>): string;
  /**
   * The ids without special tokens, and for each the characters (UTF-16 units) `[start, end)` of the text that it holds any
   * byte of.
   *
   * @throws DataError if the tokenizer is not byte-level, or changes the text before it cuts it
   */
  encodeWithSpans(text: string): { readonly ids: Int32Array; readonly spans: readonly (readonly [number, number])[] };
}

/** What is used of the library; its own declarations point at paths that only its build knows. */
interface LibraryTokenizer {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: number[]; tokens: string[] };
  decode(ids: number[], options: { skip_special_tokens: boolean; clean_up_tokenization_spaces: boolean }): string;
  token_to_id(token: string): number | undefined;
  id_to_token(id: number): string | undefined;
  get_vocab(): ReadonlyMap<string, number>;
}
const { Tokenizer } = library as unknown as {
  Tokenizer: new (tokenizer: object, config: object) => LibraryTokenizer;
};

const TOKENIZER_FILE = 'tokenizer.json';
const CONFIG_FILE = 'tokenizer_config.json';

/** Whether a folder has a tokenizer. */
export function hasTokenizer(folder: string): boolean {
  return existsSync(join(folder, TOKENIZER_FILE));
}

/**
 * The tokenizer whose ids are the bytes of a text in UTF-8; 0, which no text holds, ends a document. Decoding puts U+FFFD for
 * bytes that are no UTF-8.
 */
export function byteTokenizer(): TextTokenizer {
  const encode = (text: string) => Int32Array.from(Buffer.from(text));
  return {
    vocabSize: 256,
    endOfText: 0,
    fingerprint: 'bytes',
    cuttable: true,
    encode,
    decode: (ids) => Buffer.from(Uint8Array.from(ids)).toString(),
    encodeWithSpans: (text) => {
      const ids = encode(text);
      const { first, last } = characterStarts(text, ids.length);
      return { ids, spans: Array.from(ids, (_, i) => [first[i] as number, last[i] as number] as const) };
    },
  };
}

/**
 * Reads `tokenizer.json` (and `tokenizer_config.json` if there) of a folder.
 *
 * @throws StoreError if the file is missing or no JSON
 * @throws DataError if the library cannot make a tokenizer of it
 */
export function openTokenizer(folder: string): TextTokenizer {
  refuseHubName(folder);
  const path = join(folder, TOKENIZER_FILE);
  const bytes = readBytes(path);
  const json = parseJson(path, bytes) as object;
  const configPath = join(folder, CONFIG_FILE);
  const config = existsSync(configPath) ? (parseJson(configPath, readBytes(configPath)) as object) : {};
  let inner: LibraryTokenizer;
  try {
    inner = new Tokenizer(json, config);
  } catch (cause) {
    throw new DataError(`${path} is no tokenizer that can be read: ${(cause as Error).message}`, {
      details: { path },
      cause,
    });
  }
  const own = ByteBpe.of(json);
  const library = (text: string, special: boolean) => inner.encode(text, { add_special_tokens: special }).ids;
  const plain = (text: string) => own?.encode(text) ?? Int32Array.from(library(text, false));
  const around = specialIds(library);
  const cleans = (config as { clean_up_tokenization_spaces?: unknown }).clean_up_tokenization_spaces === true;
  const decoding = { skip_special_tokens: false, clean_up_tokenization_spaces: cleans };
  return {
    vocabSize: 1 + [...inner.get_vocab().values()].reduce((a, b) => Math.max(a, b), 0),
    endOfText: endOfText(config, inner),
    fingerprint: createHash('sha256').update(bytes).digest('hex'),
    cuttable: own?.cuttable ?? false,
    encode: (text, { special = false } = {}) =>
      special ? surround(around.before, plain(text), around.after) : plain(text),
    decode: (ids) => (ids.length === 0 ? '' : inner.decode(Array.from(ids), decoding)),
    encodeWithSpans: (text) => {
      const ids = plain(text);
      const tokens = Array.from(ids, (id) => inner.id_to_token(id) ?? '');
      return { ids, spans: byteSpans(text, tokens, path) };
    },
  };
}

function surround(before: readonly number[], ids: Int32Array, after: readonly number[]): Int32Array {
  const all = new Int32Array(before.length + ids.length + after.length);
  all.set(before);
  all.set(ids, before.length);
  all.set(after, before.length + ids.length);
  return all;
}

/** The ids that a tokenizer puts before and after a text. */
function specialIds(encode: (text: string, special: boolean) => number[]): { before: number[]; after: number[] } {
  const [bare, whole] = [encode('a', false), encode('a', true)];
  const at = whole.findIndex((_, i) => bare.every((id, j) => whole[i + j] === id));
  return at < 0 ? { before: [], after: [] } : { before: whole.slice(0, at), after: whole.slice(at + bare.length) };
}

/** Names that end a text in common vocabularies, for tokenizers that do not say. */
const END_OF_TEXT: readonly string[] = ['<|endoftext|>', '<|end_of_text|>', '</s>', '<eos>'];

function endOfText(config: object, inner: LibraryTokenizer): number | null {
  const named = (config as { eos_token?: unknown }).eos_token;
  const content = typeof named === 'object' && named !== null ? (named as { content?: unknown }).content : named;
  const names = typeof content === 'string' ? [content] : END_OF_TEXT;
  for (const name of names) {
    const id = inner.token_to_id(name);
    if (id !== undefined) return id;
  }
  return null;
}

function readBytes(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw fileError('read', path, cause);
  }
}

function parseJson(path: string, bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString()) as unknown;
  } catch (cause) {
    throw new StoreError(`${path} is not valid JSON: ${(cause as Error).message}`, { details: { path }, cause });
  }
}

function byteSpans(text: string, tokens: readonly string[], path: string): [number, number][] {
  const bytes = Buffer.from(text);
  const starts = characterStarts(text, bytes.length);
  let at = 0;
  return tokens.map((token) => {
    const from = at;
    for (const char of token) {
      const byte = CHARACTER_BYTES.get(char);
      if (byte === undefined || byte !== bytes[at]) {
        throw new DataError(
          `${path}: token ${JSON.stringify(token)} does not stand for the text's own bytes, so that its place is unknown; ` +
            'use a byte-level tokenizer that leaves the text as it is',
          { details: { path, token } },
        );
      }
      at += 1;
    }
    return [
      starts.first[from] ?? text.length,
      at === from ? (starts.first[from] ?? 0) : (starts.last[at - 1] as number),
    ];
  });
}

/** For every byte of the text, the UTF-16 units `[first, last)` of the character to which it belongs. */
function characterStarts(text: string, size: number): { first: Int32Array; last: Int32Array } {
  const [first, last] = [new Int32Array(size), new Int32Array(size)];
  let [unit, byte] = [0, 0];
  for (const char of text) {
    const width = Buffer.byteLength(char);
    first.fill(unit, byte, byte + width);
    last.fill(unit + char.length, byte, byte + width);
    unit += char.length;
    byte += width;
  }
  return { first, last };
}
