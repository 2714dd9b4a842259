/**
 * How often the grams that repeat inside held-out documents occur in the training data: bigrams of tokens, grams of six
 * of bytes.
 *
 * They are counted once. Of token shards the counts are kept beside the shards as `grams-FINGERPRINT.counts`, so that
 * every later run and evaluation reads them; the fingerprint is of what was counted, so that other contents have other
 * files. The file is little-endian: `LSCOUNTS`, u32 version (1), u32 tokens of a gram, u64 grams, SHA-256 of what
 * follows; then for each gram its number and its count, both f64.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileError, fingerprint, LongsightError, maxOf, StoreError, writeFileAtomic } from '../../core/index.js';
import type { Split, TextCorpus } from '../corpus.js';
import { GramCounts, GramKeys, repeatedGrams } from './counts.js';
import type { TokenShards } from '../shards/dataset.js';

const MAGIC = 'LSCOUNTS';
const VERSION = 1;
const HEADER_BYTES = 56;
const ENTRY_BYTES = 16;

/** Vocabularies up to this are of bytes, of which two say little: grams of six are looked at. */
const BYTES = 256;
const TOKENS_OF_A_GRAM = 2;
const BYTES_OF_A_GRAM = 6;

/** Where documents come from whose grams are counted. */
export interface GramSource {
  /** What messages call it. */
  readonly name: string;
  /** The folder beside whose data counts are kept; null where they are counted each time. */
  readonly dir: string | null;
  readonly vocabSize: number;
  /** The documents of a split, one after another, as token ids. */
  documents(split: Split): Iterable<ArrayLike<number>>;
  /** Equal for equal documents of a split. */
  fingerprint(split: Split): string;
}

/** Token shards as a source of grams; counts are kept in their folder. */
export function shardGrams(shards: TokenShards): GramSource {
  const { manifest, dir } = shards;
  return {
    name: dir,
    dir,
    vocabSize: manifest.tokenizer.vocabSize,
    *documents(split) {
      let start = 0;
      for (const end of shards.ends(split)) {
        const tokens = new Int32Array(end - start);
        shards.read(split, start, tokens);
        yield tokens;
        start = end;
      }
    },
    fingerprint: (split) =>
      fingerprint(manifest[split === 'train' ? 'train' : 'heldOutSplit'].shards.map(({ sha256 }) => sha256)),
  };
}

/** Text in bytes as a source of grams; it is counted each time. */
export function textGrams(corpus: TextCorpus, name: string): GramSource {
  return {
    name,
    dir: null,
    vocabSize: BYTES,
    documents: (split) => corpus.documents(split),
    fingerprint: (split) => fingerprint([corpus.fingerprint, corpus.size(split)]),
  };
}

/** What tells rare grams from frequent ones. */
export interface GramStatistics {
  /** Which grams are looked at. */
  readonly keys: GramKeys;
  /**
   * Where they are counted: in the training data, or, where those are not known, in the other documents of the same
   * texts.
   */
  readonly countedIn: 'training' | 'texts';
  /**
   * What says whether a gram that repeats in a held-out document, by its number, occurs at most `maxCount` times where
   * they are counted. `document` is the number of the document that it repeats in.
   *
   * @param note told in one sentence that something long is done, and where its result cannot be kept
   * @throws StoreError if counts that were kept are damaged, naming the file
   */
  rarity(maxCount: number, note: (text: string) => void): (gram: number, document: number) => boolean;
  /**
   * The same for what repeats in other documents than the held-out ones: texts that a user names, in the same tokens.
   */
  within(documents: readonly ArrayLike<number>[]): GramStatistics;
}

/** Statistics of all sources together; null without any. The counts are made, or read, when they are asked for. */
export function gramStatistics(sources: readonly GramSource[]): GramStatistics | null {
  if (sources.length === 0) return null;
  const vocabSize = maxOf(sources.map((source) => source.vocabSize));
  const keys = new GramKeys(vocabSize, vocabSize <= BYTES ? BYTES_OF_A_GRAM : TOKENS_OF_A_GRAM);
  const of = (documents: readonly ArrayLike<number>[] | null): GramStatistics => ({
    keys,
    countedIn: 'training',
    rarity: (maxCount, note) => {
      const counts = countGrams(sources, keys, documents, note);
      return (gram) => (counts.get(gram) ?? 0) <= maxCount;
    },
    within: of,
  });
  return of(null);
}

/**
 * Statistics of texts whose training data are not known: a gram is rare by its occurrences in the other documents of
 * the texts.
 */
export function textStatistics(documents: readonly ArrayLike<number>[], vocabSize: number): GramStatistics {
  const keys = new GramKeys(vocabSize, vocabSize <= BYTES ? BYTES_OF_A_GRAM : TOKENS_OF_A_GRAM);
  const countsIn = (texts: readonly ArrayLike<number>[]): GramCounts => {
    const counts = new GramCounts(repeatedGrams(texts, keys));
    for (const tokens of texts) counts.addAll(tokens, keys);
    return counts;
  };
  return {
    keys,
    countedIn: 'texts',
    rarity: (maxCount) => {
      const everywhere = countsIn(documents);
      const own = documents.map((tokens) => countsIn([tokens]));
      return (gram, document) => (everywhere.get(gram) ?? 0) - (own[document]?.get(gram) ?? 0) <= maxCount;
    },
    within: (others) => textStatistics(others, vocabSize),
  };
}

function countGrams(
  sources: readonly GramSource[],
  keys: GramKeys,
  documents: readonly ArrayLike<number>[] | null,
  note: (text: string) => void,
): GramCounts {
  const heldOut = sources.map((source) => source.fingerprint('heldOut'));
  let wanted: Set<number> | undefined;
  const parts = sources.map((source) => {
    const print = fingerprint([keys.order, heldOut, source.fingerprint('train')]);
    const path =
      source.dir === null || documents !== null ? null : join(source.dir, `grams-${print.slice(0, 16)}.counts`);
    if (path !== null && existsSync(path)) return new GramCounts(decode(path, keys.order));
    note(`counting how often grams of ${keys.order} tokens occur in the training data of ${source.name}`);
    wanted ??= repeatedGrams(documents ?? everyDocument(sources), keys);
    const counts = new GramCounts(wanted);
    for (const tokens of source.documents('train')) counts.addAll(tokens, keys);
    if (path !== null) keep(path, counts, keys.order, note);
    return counts;
  });
  const [first, ...rest] = parts;
  const total = first ?? new GramCounts(new Set());
  for (const part of rest) for (const [key, count] of part.entries()) total.add(key, count);
  return total;
}

function* everyDocument(sources: readonly GramSource[]): Generator<ArrayLike<number>> {
  for (const source of sources) yield* source.documents('heldOut');
}

function keep(path: string, counts: GramCounts, order: number, note: (text: string) => void): void {
  try {
    writeFileAtomic(path, ...encode(counts, order));
  } catch (error) {
    if (!(error instanceof LongsightError)) throw error;
    note(`the counts are not kept, so that every run counts again: ${error.message}`);
  }
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
    new StoreError(`${path} ${what}; delete the file, and the grams are counted again`, { details: { path } });
  if (bytes.length < HEADER_BYTES || bytes.toString('latin1', 0, 8) !== MAGIC)
    throw damaged('does not start as a file of gram counts does');
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
