/** Whether two tokenizers give the same ids to the same texts. */
import { join } from 'node:path';
import { canonicalJson, readJson } from '../core/index.js';
import { bytesJson } from './bpe/bytes-json.js';

/** Where a tokenizer comes from: a folder with `tokenizer.json`, ids that are bytes, or nowhere. */
export type TokenizerOrigin = { readonly folder: string } | 'bytes' | null;

/** The parts of `tokenizer.json` that decide the ids of a text; what is put around it is left to whoever asks. */
const DECISIVE = ['normalizer', 'pre_tokenizer', 'model', 'added_tokens'] as const;

/**
 * Whether two tokenizers give the same ids: ids that are bytes are equal to a `tokenizer.json` that says so, and two
 * such files in what decides the ids of a text.
 *
 * @throws StoreError if a `tokenizer.json` cannot be read
 */
export function sameTokenizer(a: NonNullable<TokenizerOrigin>, b: NonNullable<TokenizerOrigin>): boolean {
  return decisive(a) === decisive(b);
}

function decisive(origin: NonNullable<TokenizerOrigin>): string {
  const json = origin === 'bytes' ? bytesJson() : readJson(join(origin.folder, 'tokenizer.json'));
  const parts = JSON.parse(JSON.stringify(json)) as Partial<Record<string, unknown>> | null;
  return canonicalJson(DECISIVE.map((part) => parts?.[part] ?? null));
}
