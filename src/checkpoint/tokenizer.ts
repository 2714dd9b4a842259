/**
 * Tokenizers: bytes, and Hugging Face's `tokenizer.json` format with the ids and texts of their Rust library
 * `tokenizers`; what is not implemented to the id is refused when the file is read.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import {
  checkTokenIds,
  DataError,
  fileError,
  refuseHubName,
  StoreError,
  showValue,
  decodeUtf8,
  parseJson,
  parseStored,
} from '../core/index.js';
import { TokenPlaces, type Span } from './spans.js';
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
  /**
   * The ids of a text. `special` adds what the tokenizer puts in front of it, such as a beginning-of-text token; never
   * what it puts behind: nothing would follow a text that has ended.
   */
  encode(text: string, options?: { readonly special?: boolean }): Int32Array;
  /** The text of ids; ids that are no tokens are left out. `skipSpecial` leaves out special tokens. */
  decode(ids: ArrayLike<number>, options?: { readonly skipSpecial?: boolean }): string;
  /**
   * The ids of `encode`, and for each the code points `[start, end)` of the text that it holds any byte of; nothing for
   * what is put in front. `trim` leaves out spaces at the ends of tokens where the tokenizer's own offsets do.
   *
   * @throws DataError if the tokens do not spell the text, so that their places are unknown
   */
  encodeWithSpans(
    text: string,
    options?: { readonly special?: boolean; readonly trim?: boolean },
  ): { readonly ids: Int32Array; readonly spans: readonly Span[] };
}

const TOKENIZER_FILE = 'tokenizer.json';
const CONFIG_FILE = 'tokenizer_config.json';

const anyObject = z.record(z.string(), z.unknown());
/** What is read of `tokenizer_config.json`. */
const settingsSchema = z.looseObject({
  clean_up_tokenization_spaces: z.boolean().nullish(),
  eos_token: z.union([z.string(), z.looseObject({ content: z.string() })]).nullish(),
});

/** Whether a folder has a tokenizer. */
export function hasTokenizer(folder: string): boolean {
  return existsSync(join(folder, TOKENIZER_FILE));
}

/**
 * The tokenizer whose ids are the bytes of a text in UTF-8; 0, which no text holds, ends a document. Decoding puts
 * U+FFFD for bytes that are no UTF-8.
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
    encodeWithSpans: (text) => ({ ids: encode(text), spans: characterSpans(text) }),
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
  const json = parseStored(anyObject, jsonOf(path, bytes), path);
  const inner = jsonTokenizer(json, path);
  const configPath = join(folder, CONFIG_FILE);
  const config = parseStored(
    settingsSchema,
    existsSync(configPath) ? jsonOf(configPath, readBytes(configPath)) : {},
    configPath,
  );
  // What the tokenizer puts behind a text is left out: nothing would follow a text that has ended.
  const { before } = inner.around;
  const places = new TokenPlaces(json, (id) => inner.idToToken(id));
  const cleans = config.clean_up_tokenization_spaces === true;
  return {
    vocabSize: inner.vocabSize,
    endOfText: endOfText(config, inner),
    fingerprint: createHash('sha256').update(bytes).digest('hex'),
    cuttable: inner.cuttable,
    encode: (text, { special = false } = {}) => (special ? behind(before, inner.encode(text)) : inner.encode(text)),
    decode: (ids, options) => {
      const text = inner.decode(Array.from(ids), options);
      return cleans ? cleanUpSpaces(text) : text;
    },
    encodeWithSpans: (text, { special = false, trim = false } = {}) => {
      const ids = inner.encode(text);
      const found = places.find(text, ids);
      if ('unplaced' in found) throw unplaced(path, inner.idToToken(found.unplaced));
      const spans = trim ? places.trimmed(found, ids) : found;
      if (!special) return { ids, spans };
      return { ids: behind(before, ids), spans: [...before].map((): Span => [0, 0]).concat(spans) };
    },
  };
}

function behind(before: readonly number[], ids: Int32Array): Int32Array {
  const all = new Int32Array(before.length + ids.length);
  all.set(before);
  all.set(ids, before.length);
  return all;
}

function unplaced(path: string, token: string | undefined): DataError {
  return new DataError(
    `${path}: token ${showValue(token)} does not stand for the text's own characters, so that its place is unknown; ` +
      'use a tokenizer that leaves the text as it is',
    { details: { path, token } },
  );
}

/** Names that end a text in common vocabularies, for tokenizers that do not say. */
const END_OF_TEXT: readonly string[] = ['<|endoftext|>', '<|end_of_text|>', '</s>', '<eos>'];

function endOfText({ eos_token: named }: z.output<typeof settingsSchema>, inner: JsonTokenizer): number | null {
  const content = typeof named === 'object' && named !== null ? named.content : named;
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

function jsonOf(path: string, bytes: Buffer): unknown {
  const text = decodeUtf8(bytes, 'refuse', (at) => {
    return new StoreError(`${path} is not valid JSON: byte ${at} is not valid UTF-8`, { details: { path } });
  });
  return parseJson(text, path);
}

/** For every byte of a text in UTF-8, the code point to which it belongs. */
function characterSpans(text: string): Span[] {
  return [...text].flatMap((char, i) => new Array<Span>(Buffer.byteLength(char)).fill([i, i + 1]));
}

/**
 * A tokenizer for a model that knows ids below `vocabSize`: the same, but it refuses texts whose tokens the model does
 * not know, as where tokens were added and the embedding was not.
 */
export function withinVocabulary(tokenizer: TextTokenizer, vocabSize: number): TextTokenizer {
  const checked = <T extends Int32Array | { readonly ids: Int32Array }>(found: T): T => {
    checkTokenIds(found instanceof Int32Array ? found : found.ids, vocabSize, 'the tokenizer gives');
    return found;
  };
  return {
    ...tokenizer,
    encode: (text, options) => checked(tokenizer.encode(text, options)),
    encodeWithSpans: (text, options) => checked(tokenizer.encodeWithSpans(text, options)),
  };
}
