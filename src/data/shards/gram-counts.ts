/**
 * How often the bigrams that repeat inside held-out documents occur in the training split of token shards: counted
 * once, and kept beside the shards as `bigrams-FINGERPRINT.counts`, so that every later run and evaluation reads them.
 *
 * The file is little-endian: `LSCOUNTS`, u32 version (1), u32 tokens of a gram, u64 grams, SHA-256 of what follows;
 * then for each gram its number and its count, both f64. The name's fingerprint is of the shards' contents, so that
 * other shards have other files.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileError, fingerprint, LongsightError, StoreError, writeFileAtomic } from '../../core/index.js';
import type { Split } from '../corpus.js';
import { GramCounts, GramKeys, repeatedGrams } from '../grams.js';
import type { TokenShards } from './dataset.js';

const MAGIC = 'LSCOUNTS';
const VERSION = 1;
const HEADER_BYTES = 56;
const ENTRY_BYTES = 16;

/** The documents of a split, one after another, as token ids. */
export function* shardDocuments(shards: TokenShards, split: Split): Generator<Int32Array> {
  let start = 0;
  for (const end of shards.ends(split)) {
    const tokens = new Int32Array(end - start);
    shards.read(split, start, tokens);
    yield tokens;
    start = end;
  }
}

/** Where the counts of a folder's grams lie. */
export function gramCountsPath(shards: TokenShards, order: number): string {
  const { train, heldOutSplit } = shards.manifest;
  const of = [train, heldOutSplit].map((split) => split.shards.map(({ sha256 }) => sha256));
  return join(shards.dir, `bigrams-${fingerprint([order, of]).slice(0, 16)}.counts`);
}

/**
 * Counts, in the training split, of the grams of `order` tokens that occur more than once in a held-out document. The
 * first call reads both splits and writes the file; later ones read it. A folder that cannot be written is counted anew
 * each time.
 *
 * @param note told in one sentence that counting takes place, and where its result cannot be kept
 * @throws StoreError if the file is there but damaged, naming it
 */
export function shardGramCounts(shards: TokenShards, order: number, note: (text: string) => void): GramCounts {
  const path = gramCountsPath(shards, order);
  if (existsSync(path)) return new GramCounts(decode(path, order));
  note(`counting how often bigrams occur in the ${shards.size('train')} training tokens of ${shards.dir}, once`);
  const keys = new GramKeys(shards.manifest.tokenizer.vocabSize, order);
  const counts = new GramCounts(repeatedGrams(shardDocuments(shards, 'heldOut'), keys));
  for (const tokens of shardDocuments(shards, 'train')) counts.addAll(tokens, keys);
  try {
    writeFileAtomic(path, ...encode(counts, order));
  } catch (error) {
    if (!(error instanceof LongsightError)) throw error;
    note(`the counts are not kept, so that every run counts again: ${error.message}`);
  }
  return counts;
}

function encode(counts: GramCounts, order: number): [Buffer, Buffer] {
  const body = Buffer.alloc(counts.size * ENTRY_BYTES);
  // In order of their numbers, so that equal counts are equal files.
  const entries = [...counts.entries()].sort(([a], [b]) => a - b);
  entries.forEach(([key, count], i) => {
    body.writeDoubleLE(key, i * ENTRY_BYTES);
    body.writeDoubleLE(count, i * ENTRY_BYTES + 8);
  });
  const header = Buffer.alloc(HEADER_BYTES);
  header.write(MAGIC, 0, 'latin1');
  header.writeUInt32LE(VERSION, 8);
  header.writeUInt32LE(order, 12);
  header.writeBigUInt64LE(BigInt(counts.size), 16);
  createHash('sha256').update(body).digest().copy(header, 24);
  return [header, body];
}

function decode(path: string, order: number): Map<number, number> {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (cause) {
    throw fileError('read', path, cause);
  }
  const damaged = (what: string) =>
    new StoreError(`${path} ${what}; delete the file, and the bigrams are counted again`, { details: { path } });
  if (bytes.length < HEADER_BYTES || bytes.toString('latin1', 0, 8) !== MAGIC)
    throw damaged('does not start as a file of bigram counts does');
  if (bytes.readUInt32LE(8) !== VERSION) throw damaged(`is of version ${bytes.readUInt32LE(8)}, not ${VERSION}`);
  if (bytes.readUInt32LE(12) !== order) throw damaged(`counts grams of ${bytes.readUInt32LE(12)} tokens, not ${order}`);
  const body = bytes.subarray(HEADER_BYTES);
  const size = bytes.readBigUInt64LE(16);
  if (BigInt(body.length) !== size * BigInt(ENTRY_BYTES))
    throw damaged(`has ${bytes.length} bytes, but its header says ${size} grams`);
  if (!createHash('sha256').update(body).digest().equals(bytes.subarray(24, HEADER_BYTES)))
    throw damaged('does not have the checksum in its header');
  const counts = new Map<number, number>();
  for (let at = 0; at < body.length; at += ENTRY_BYTES) counts.set(body.readDoubleLE(at), body.readDoubleLE(at + 8));
  return counts;
}
