/**
 * Tokenizers: bytes, and Hugging Face's `tokenizer.json` format with the ids and texts of their Rust library `tokenizers`; what is not
 * implemented to the id is refused when the file is read.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DataError, fileError, refuseHubName, StoreError } from '../core/index.js';
import { CHARACTER_BYTES } from './bpe/bytes.js';
import { cleanUpSpaces } from './tokenizers/decoders.js';
import { jsonTokenizer, type JsonTokenizer } from './tokenizers/tokenizer.js';

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
  /** The text of ids; ids that are no tokens are left out. `skipSpecial` leaves out special tokens. */
  decode(ids: ArrayLike<number>, options?: { readonly skipSpecial?: boolean }): string;
  /**
   * The ids without special tokens, and for each the characters (UTF-16 units) `[start, end)` of the text that it holds any
   * byte of.
   *
   * @throws DataError if the tokenizer is not byte-level, or changes the text before it cuts it
   */
  encodeWithSpans(text: string): { readonly ids: Int32Array; readonly spans: readonly (readonly [number, number])[] };
}

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
 * @throws ConfigError or DataError if it has a field or a component that is not implemented, named in the message
 */
export function openTokenizer(folder: string): TextTokenizer {
  refuseHubName(folder);
  const path = join(folder, TOKENIZER_FILE);
  const bytes = readBytes(path);
  const inner = jsonTokenizer(parseJson(path, bytes), path);
  const configPath = join(folder, CONFIG_FILE);
  const config = existsSync(configPath) ? (parseJson(configPath, readBytes(configPath)) as object) : {};
  const { before, after } = inner.around;
  const cleans = (config as { clean_up_tokenization_spaces?: unknown }).clean_up_tokenization_spaces === true;
  return {
    vocabSize: inner.vocabSize,
    endOfText: endOfText(config, inner),
    fingerprint: createHash('sha256').update(bytes).digest('hex'),
    cuttable: inner.cuttable,
    encode: (text, { special = false } = {}) =>
      special ? surround(before, inner.encode(text), after) : inner.encode(text),
    decode: (ids, options) => {
      const text = inner.decode(Array.from(ids), options);
      return cleans ? cleanUpSpaces(text) : text;
    },
    encodeWithSpans: (text) => {
      const ids = inner.encode(text);
      const tokens = Array.from(ids, (id) => inner.idToToken(id) ?? '');
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

/** Names that end a text in common vocabularies, for tokenizers that do not say. */
const END_OF_TEXT: readonly string[] = ['<|endoftext|>', '<|end_of_text|>', '</s>', '<eos>'];

function endOfText(config: object, inner: JsonTokenizer): number | null {
  const named = (config as { eos_token?: unknown }).eos_token;
  const content = typeof named === 'object' && named !== null ? (named as { content?: unknown }).content : named;
  const names = typeof content === 'string' ? [content] : END_OF_TEXT;
  for (const name of names) {
    const id = inner.tokenToId(name);
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
    return JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)) as unknown;
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
