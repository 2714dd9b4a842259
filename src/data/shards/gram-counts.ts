/**
 * How often the bigrams that repeat inside held-out documents occur in the training split of token shards: counted once, and kept
 * beside the shards as `bigrams-FINGERPRINT.bin` (little endian: per bigram its number as f64, its count as f64).
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeFileAtomic } from '../../core/index.js';
import { GramCounts, GramKeys, repeatedGrams } from '../grams.js';
import type { Split } from '../corpus.js';
import type { TokenShards } from './dataset.js';

/** Tokens of a gram on token shards. */
const ORDER = 2;

/** The documents of a split, one after another, as token ids. */
function* documentsOf(shards: TokenShards, split: Split): Generator<Int32Array> {
  let start = 0;
  for (const end of shards.ends(split)) {
    const tokens = new Int32Array(end - start);
    shards.read(split, start, tokens);
    yield tokens;
    start = end;
  }
}

/** Bigrams of held-out documents with their counts in the training split. */
export interface BigramCounts {
  readonly keys: GramKeys;
  readonly counts: GramCounts;
}

/**
 * Counts of the bigrams that occur more than once in a held-out document. Reads both splits the first time; after that the file
 * beside the shards, unless the folder cannot be written.
 */
export function bigramCounts(shards: TokenShards): BigramCounts {
  const { tokenizer, train, heldOutSplit } = shards.manifest;
  const keys = new GramKeys(tokenizer.vocabSize, ORDER);
  const of = [train, heldOutSplit].map((split) => split.shards.map(({ sha256 }) => sha256));
  const path = join(shards.dir, `bigrams-${fingerprint(of).slice(0, 16)}.bin`);
  if (existsSync(path)) return { keys, counts: decode(readFileSync(path)) };
  const counts = new GramCounts(repeatedGrams(documentsOf(shards, 'heldOut'), keys));
  for (const tokens of documentsOf(shards, 'train')) {
    for (let end = ORDER - 1; end < tokens.length; end++) counts.add(keys.at(tokens, end));
  }
  writeFileAtomic(path, encode(counts));
  return { keys, counts };
}
