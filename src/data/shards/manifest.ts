/** `manifest.json` of a folder of token shards. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { byteTokenizer, hasTokenizer, openTokenizer, type TextTokenizer } from '../../checkpoint/index.js';
import { field, parseStored, readJson, StoreError } from '../../core/index.js';

/** The name of the manifest in a folder of token shards. */
export const MANIFEST_FILE = 'manifest.json';

const count = z.int().min(0);
/** The schema of a shard as the manifest lists it. */
export const shardSchema = z.strictObject({
  file: field(z.string().regex(/^[a-z0-9-]+\.tokens$/), 'name of the file'),
  tokens: field(count, 'tokens in it', 'tokens'),
  documents: field(count, 'documents that end in it', 'documents'),
  sha256: field(z.string().regex(/^[0-9a-f]{64}$/), 'SHA-256 of what follows the header of the file'),
});
const splitSchema = z.strictObject({
  tokens: field(count, 'tokens of the split', 'tokens'),
  documents: field(count, 'documents of the split', 'documents'),
  shards: field(z.array(shardSchema), 'its shards, in order'),
});

/** The schema of a folder's manifest. */
export const manifestSchema = z.strictObject({
  format: field(z.literal(1), 'version of the format'),
  tokenizer: field(
    z.strictObject({
      fingerprint: field(z.string(), 'SHA-256 of `tokenizer.json`; `bytes` for bytes'),
      vocabSize: field(z.int().min(1), 'size of the vocabulary', 'tokens'),
      endOfText: field(count, 'id of the token that ends a document'),
    }),
    'the tokenizer',
  ),
  heldOut: field(z.number().min(0).max(1), 'share of the documents that was asked to be held out', 'share'),
  files: field(
    z.array(
      z.strictObject({
        name: field(z.string(), 'last part of its path or address'),
        bytes: field(count, 'its size', 'bytes'),
      }),
    ),
    'the files that it was made from',
  ),
  textBytes: field(count, "UTF-8 bytes of the documents' text", 'bytes'),
  nullTexts: field(count.default(0), 'documents whose text was null and that were left out', 'documents'),
  train: field(splitSchema, 'what is trained on'),
  heldOutSplit: field(splitSchema, 'what is held out'),
});

/** The manifest of a folder of token shards: tokenizer, files of origin, shards of each split. */
export type Manifest = z.output<typeof manifestSchema>;
/** A shard as the manifest lists it: its name, counts and checksum. */
export type ShardEntry = z.output<typeof shardSchema>;

/** Whether a folder holds finished token shards. */
export function hasShards(dir: string): boolean {
  return existsSync(join(dir, MANIFEST_FILE));
}

/**
 * Reads the manifest of a folder of token shards.
 * @throws StoreError if there is none, or it does not hold what it must
 */
export function readManifest(dir: string): Manifest {
  if (!hasShards(dir)) {
    throw new StoreError(
      `${dir} holds no token shards (no ${MANIFEST_FILE}); make them with "longsight data prepare"`,
      {
        details: { dir },
      },
    );
  }
  const path = join(dir, MANIFEST_FILE);
  return parseStored(manifestSchema, readJson(path), path, '; prepare the data again');
}

/**
 * The tokenizer with which the shards of a folder were made.
 *
 * @throws StoreError if it is missing or another one
 */
export function tokenizerOfShards(dir: string, manifest: Manifest = readManifest(dir)): TextTokenizer {
  const { fingerprint } = manifest.tokenizer;
  if (fingerprint === 'bytes') return byteTokenizer();
  if (!hasTokenizer(dir)) {
    throw new StoreError(
      `${dir} lacks the tokenizer.json that its shards were made with; put it back or prepare again`,
      {
        details: { dir },
      },
    );
  }
  const tokenizer = openTokenizer(dir);
  if (tokenizer.fingerprint !== fingerprint) {
    throw new StoreError(
      `${join(dir, 'tokenizer.json')} is not the tokenizer that the shards were made with ` +
        `(SHA-256 ${tokenizer.fingerprint.slice(0, 12)}, theirs ${fingerprint.slice(0, 12)}); put that back or prepare again`,
      { details: { dir, got: tokenizer.fingerprint, expected: fingerprint } },
    );
  }
  return tokenizer;
}
