/** A folder of token shards as one stream of tokens a split, with the places where documents end. */
import type { TextTokenizer } from '../../checkpoint/index.js';
import { join } from 'node:path';
import { StoreError } from '../../core/index.js';
import type { Split } from '../corpus.js';
import { lastAtOrBelow } from '../search.js';
import { ShardFile, tokenArray, type TokenArray } from './format.js';
import { readManifest, tokenizerOfShards, type Manifest } from './manifest.js';

const MAX_OPEN_FILES = 32;

/**
 * A folder of token shards, opened: tokens of either split are read at any position. Keeps 8 bytes a document in
 * memory.
 */
export class TokenShards implements Disposable {
  readonly dir: string;
  readonly manifest: Manifest;
  /** The tokenizer that the shards were made with. */
  readonly tokenizer: TextTokenizer;
  readonly #splits: Readonly<Record<Split, SplitShards>>;

  /**
   * Checks the tokenizer, and the header and document ends of every shard; tokens are read when asked for.
   *
   * @throws StoreError naming the file that is missing, damaged, or not the one in the manifest
   */
  constructor(dir: string) {
    this.dir = dir;
    this.manifest = readManifest(dir);
    this.tokenizer = tokenizerOfShards(dir, this.manifest);
    const { train, heldOutSplit, tokenizer } = this.manifest;
    const open = ({ shards }: Manifest['train']) => new SplitShards(dir, shards, tokenizer.vocabSize);
    this.#splits = { train: open(train), heldOut: open(heldOutSplit) };
  }

  /** The number of tokens of a split. */
  size(split: Split): number {
    return this.manifest[split === 'train' ? 'train' : 'heldOutSplit'].tokens;
  }

  /** f64 [documents]: the position after the last token of each document of a split. */
  ends(split: Split): Float64Array {
    return this.#splits[split].ends;
  }

  /** Fills `into` with the tokens of a split from `position` on; they must lie in it. */
  read(split: Split, position: number, into: Int32Array): void {
    this.#splits[split].read(position, into);
  }

  [Symbol.dispose](): void {
    this.#splits.train[Symbol.dispose]();
    this.#splits.heldOut[Symbol.dispose]();
  }
}

interface Entry {
  readonly path: string;
  readonly start: number;
  readonly tokens: number;
}

class SplitShards implements Disposable {
  readonly ends: Float64Array;
  readonly #entries: readonly Entry[];
  /** Where each entry starts. */
  readonly #starts: Float64Array;
  readonly #vocabSize: number;
  readonly #open = new Map<Entry, ShardFile>();

  constructor(dir: string, shards: Manifest['train']['shards'], vocabSize: number) {
    this.#vocabSize = vocabSize;
    this.ends = new Float64Array(shards.reduce((sum, entry) => sum + entry.documents, 0));
    const entries: Entry[] = [];
    let [start, documents] = [0, 0];
    for (const entry of shards) {
      const path = join(dir, entry.file);
      using shard = new ShardFile(path);
      shard.expect(entry);
      for (const end of shard.ends()) this.ends[documents++] = start + end;
      entries.push({ path, start, tokens: entry.tokens });
      start += entry.tokens;
    }
    if (start > 0 && this.ends.at(-1) !== start) {
      throw new StoreError(`the last document in ${dir} has no end; prepare the data again`, { details: { dir } });
    }
    this.#entries = entries;
    this.#starts = Float64Array.from(entries, (entry) => entry.start);
  }

  read(position: number, into: Int32Array): void {
    let index = lastAtOrBelow(this.#starts, position);
    for (let at = 0; at < into.length; index++) {
      const entry = this.#entries[index];
      if (entry === undefined) throw new StoreError(`tokens past the end of the shards were asked for`);
      const inside = position + at - entry.start;
      const part = into.subarray(at, at + Math.min(entry.tokens - inside, into.length - at));
      this.#readShard(entry, inside, part);
      at += part.length;
    }
  }

  [Symbol.dispose](): void {
    for (const shard of this.#open.values()) shard[Symbol.dispose]();
    this.#open.clear();
  }

  #readShard(entry: Entry, from: number, into: Int32Array): void {
    const shard = this.#shard(entry);
    const tokens: TokenArray = tokenArray(shard.tokenBytes, into.length);
    shard.read(from, tokens);
    for (const [i, token] of tokens.entries()) {
      if (token >= this.#vocabSize) {
        throw new StoreError(
          `${entry.path}: token ${from + i} is ${token}, not below the vocabulary of ${this.#vocabSize}; prepare the data again`,
          { details: { path: entry.path } },
        );
      }
      into[i] = token;
    }
  }

  #shard(entry: Entry): ShardFile {
    let shard = this.#open.get(entry);
    if (shard !== undefined) return shard;
    const oldest = this.#open.entries().next().value;
    if (this.#open.size >= MAX_OPEN_FILES && oldest !== undefined) {
      oldest[1][Symbol.dispose]();
      this.#open.delete(oldest[0]);
    }
    shard = new ShardFile(entry.path);
    this.#open.set(entry, shard);
    return shard;
  }
}
