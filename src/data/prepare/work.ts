/** One chunk of documents to one shard a split: what a worker does. */
import { join } from 'node:path';
import { z } from 'zod';
import type { TextTokenizer } from '../../checkpoint/index.js';
import { at, DataError } from '../../core/index.js';
import { readRange, type Input, type Piece, type Range, type ReadOptions } from '../documents.js';
import { tokenArray, tokenBytesFor, writeShard, type TokenArray, type TokenBytes } from '../shards/format.js';
import { shardSchema, type ShardEntry } from '../shards/manifest.js';

/** What every chunk of a preparation has in common. */
export interface WorkOptions {
  /** The folder of the shards. */
  readonly dir: string;
  readonly inputs: readonly Input[];
  readonly read: ReadOptions;
  /** Documents whose hash (0 to 1) is below this are held out. */
  readonly heldOut: number;
  /** The token id that ends each document. */
  readonly endOfText: number;
}

/** The schema of what is kept of a chunk that is done. */
export const chunkResultSchema = z.strictObject({
  train: shardSchema.nullable(),
  heldOut: shardSchema.nullable(),
  /** UTF-8 bytes of the chunk's text. */
  textBytes: z.int().min(0),
  /** Documents whose text is null; they are left out. */
  nullTexts: z.int().min(0),
});
/** The shards that came of one chunk; null for a split that got no document. */
export type ChunkResult = Readonly<z.output<typeof chunkResultSchema>>;

/** Tokens and ends of documents that grow at the end. */
class ShardBuffer {
  readonly ends: number[] = [];
  readonly #tokenBytes: TokenBytes;
  #tokens: TokenArray;
  #length = 0;

  constructor(tokenBytes: TokenBytes) {
    this.#tokenBytes = tokenBytes;
    this.#tokens = tokenArray(tokenBytes, 0);
  }

  add(ids: ArrayLike<number>): void {
    const length = this.#length + ids.length;
    if (length > this.#tokens.length) {
      const grown = tokenArray(this.#tokenBytes, Math.max(length, Math.ceil(1.5 * this.#tokens.length), 2 ** 16));
      grown.set(this.#tokens.subarray(0, this.#length));
      this.#tokens = grown;
    }
    this.#tokens.set(ids, this.#length);
    this.#length = length;
  }

  endDocument(): void {
    this.ends.push(this.#length);
  }

  get tokens(): TokenArray {
    return this.#tokens.subarray(0, this.#length);
  }
}

/**
 * Reads, encodes and stores the documents of a chunk as `train-N.tokens` and `held-out-N.tokens`; a split without
 * documents gets no shard.
 *
 * @param progress told how many bytes of the files have been read since the last call; may throw to stop
 */
export async function encodeChunk(
  options: WorkOptions,
  tokenizer: TextTokenizer,
  index: number,
  chunk: readonly Range[],
  progress: (bytes: number) => void | Promise<void>,
): Promise<ChunkResult> {
  const tokenBytes = tokenBytesFor(tokenizer.vocabSize);
  const buffers = { train: new ShardBuffer(tokenBytes), heldOut: new ShardBuffer(tokenBytes) };
  let textBytes = 0;
  const skipped = { nullTexts: 0 };
  for (const range of chunk) {
    for await (const piece of readRange(options.inputs, range, options.read, skipped)) {
      const buffer = piece.hash < options.heldOut ? buffers.heldOut : buffers.train;
      buffer.add(idsOf(tokenizer, piece, at(options.inputs, range.input)));
      textBytes += Buffer.byteLength(piece.text);
      if (piece.last) {
        buffer.add([options.endOfText]);
        buffer.endDocument();
      }
      await progress(piece.bytes);
    }
  }
  const store = (name: string, { tokens, ends }: ShardBuffer): ShardEntry | null => {
    if (tokens.length === 0) return null;
    const file = `${name}-${String(index).padStart(6, '0')}.tokens`;
    const sha256 = writeShard(join(options.dir, file), tokens, ends);
    return { file, tokens: tokens.length, documents: ends.length, sha256 };
  };
  return { train: store('train', buffers.train), heldOut: store('held-out', buffers.heldOut), textBytes, ...skipped };
}

function idsOf(tokenizer: TextTokenizer, { text }: Piece, { path }: Input): Int32Array {
  if (tokenizer.fingerprint === 'bytes' && text.includes('\0')) {
    throw new DataError(`${path}: the text contains a character 0, which ends documents of bytes; remove it`, {
      details: { path },
    });
  }
  return tokenizer.encode(text);
}
