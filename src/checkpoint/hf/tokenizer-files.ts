/** The tokenizer and the settings of generation that an exported model gets beside its weights. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { copyFileAtomic, parseStored, readJson, writeFileAtomic, writeJsonAtomic } from '../../core/index.js';
import { BYTES_END, bytesJson } from '../bpe/bytes-json.js';
import type { TokenizerOrigin } from '../same-tokenizer.js';

/** The name of the tokenizer's file. */
export const TOKENIZER_FILE = 'tokenizer.json';
/** The name of the file of its settings. */
export const SETTINGS_FILE = 'tokenizer_config.json';
/** What is copied from the folder that a tokenizer comes from, where it is there. */
export const OTHER_FILES = [
  'special_tokens_map.json',
  'added_tokens.json',
  'chat_template.jinja',
  'chat_template.json',
];

const settingsSchema = z.looseObject({ eos_token: z.unknown().optional() });
const tokensSchema = z.looseObject({
  added_tokens: z.array(z.looseObject({ id: z.int(), content: z.string() })).default([]),
  model: z.looseObject({ vocab: z.unknown().optional() }),
});
const vocabSchema = z.record(z.string(), z.int());

/**
 * Writes the tokenizer of an exported model, and names the token that ends texts where its settings do not: evaluation
 * harnesses ask the tokenizer for it.
 *
 * @returns the names of the files
 * @throws StoreError if a file of the origin is damaged or a file cannot be written
 */
export function writeTokenizer(folder: string, origin: TokenizerOrigin, [end]: readonly number[]): string[] {
  if (origin === null) return [];
  if (origin === 'bytes') {
    writeFileAtomic(join(folder, TOKENIZER_FILE), `${JSON.stringify(bytesJson())}\n`);
    const settings = { tokenizer_class: 'PreTrainedTokenizerFast', clean_up_tokenization_spaces: false };
    writeJsonAtomic(join(folder, SETTINGS_FILE), { ...settings, eos_token: BYTES_END });
    return [TOKENIZER_FILE, SETTINGS_FILE];
  }
  const from = (file: string) => join(origin.folder, file);
  const copied = [TOKENIZER_FILE, ...OTHER_FILES].filter((file) => existsSync(from(file)));
  for (const file of copied) copyFileAtomic(from(file), join(folder, file));
  const settings = existsSync(from(SETTINGS_FILE))
    ? parseStored(settingsSchema, readJson(from(SETTINGS_FILE)), from(SETTINGS_FILE))
    : null;
  const named = (settings?.eos_token ?? null) === null && end !== undefined ? tokenOf(from(TOKENIZER_FILE), end) : null;
  if (settings !== null && named === null) copyFileAtomic(from(SETTINGS_FILE), join(folder, SETTINGS_FILE));
  else if (named !== null) {
    const own = settings ?? { tokenizer_class: 'PreTrainedTokenizerFast', clean_up_tokenization_spaces: false };
    writeJsonAtomic(join(folder, SETTINGS_FILE), { ...own, eos_token: named });
  }
  return [...copied, ...(settings === null && named === null ? [] : [SETTINGS_FILE])];
}

/** The text of a token by its id; null if `tokenizer.json` does not list it. */
function tokenOf(path: string, id: number): string | null {
  const { added_tokens: added, model } = parseStored(tokensSchema, readJson(path), path);
  const listed = added.find((token) => token.id === id);
  if (listed !== undefined) return listed.content;
  const vocab = vocabSchema.safeParse(model.vocab).data ?? {};
  return Object.entries(vocab).find(([, own]) => own === id)?.[0] ?? null;
}

/** The name of the file that says where generation stops. */
export const GENERATION_FILE = 'generation_config.json';
const generationSchema = z.looseObject({});

/**
 * Writes `generation_config.json`: that of the folder that a model was imported from, with the tokens that end texts.
 *
 * @returns the names of the files: none if there is nothing to say
 */
export function writeGeneration(folder: string, origin: string | null, ends: object | null): string[] {
  const path = origin === null ? null : join(origin, GENERATION_FILE);
  const given = path !== null && existsSync(path) ? parseStored(generationSchema, readJson(path), path) : null;
  if (given === null && ends === null) return [];
  writeJsonAtomic(join(folder, GENERATION_FILE), { ...given, ...ends });
  return [GENERATION_FILE];
}

const idsSchema = z.looseObject({
  bos_token_id: z.unknown().optional(),
  pad_token_id: z.unknown().optional(),
});

/** `bos_token_id` and `pad_token_id` of the `config.json` of an imported folder, if they have a value there. */
export function otherTokens(origin: string | null): Readonly<Record<string, unknown>> {
  if (origin === null) return {};
  const path = join(origin, 'config.json');
  const { bos_token_id: bos = null, pad_token_id: pad = null } = parseStored(idsSchema, readJson(path), path);
  return { ...(bos === null ? {} : { bos_token_id: bos }), ...(pad === null ? {} : { pad_token_id: pad }) };
}
