/**
 * Token shards on disk: little-endian, a header of 64 bytes, the tokens, zeros up to a multiple of 8, the ends of
 * documents.
 *
 * | byte | |
 * | --- | --- |
 * | 0 | `LSTOKENS` |
 * | 8 | u32 version, 1 |
 * | 12 | u32 bytes of a token: 1, 2 or 4 |
 * | 16 | u64 tokens |
 * | 24 | u64 ends of documents |
 * | 32 | SHA-256 of everything after the header |
 * | 64 | tokens |
 * | .. | u64 ends: the place after each document's last token, rising, counted in tokens of this shard |
 *
 * The last token of a document is the tokenizer's end of text. Tokens after the last end belong to a document that goes
 * on in the next shard.
 */
import { createHash } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { fileError, StoreError, writeFileAtomic } from '../../core/index.js';

const MAGIC = 'LSTOKENS';
const VERSION = 1;
const HEADER_BYTES = 64;
const CHECK_BYTES = 2 ** 20;

/** Bytes of a stored token id. */
export type TokenBytes = 1 | 2 | 4;
/** Token ids as a shard stores them, in the fewest bytes that hold the vocabulary. */
export type TokenArray = Uint8Array<ArrayBuffer> | Uint16Array<ArrayBuffer> | Uint32Array<ArrayBuffer>;

/** The fewest bytes that hold every id below `vocabSize`. */
export function tokenBytesFor(vocabSize: number): TokenBytes {
  if (vocabSize <= 2 ** 8) return 1;
  return vocabSize <= 2 ** 16 ? 2 : 4;
}

/** A zeroed array for `length` token ids of `tokenBytes` bytes each. */
export function tokenArray(tokenBytes: TokenBytes, length: number): TokenArray {
  if (tokenBytes === 1) return new Uint8Array(length);
  return tokenBytes === 2 ? new Uint16Array(length) : new Uint32Array(length);
}

const bytesOf = (array: TokenArray | Float64Array | BigUint64Array): Uint8Array =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

const paddingOf = (bytes: number): number => (8 - (bytes % 8)) % 8;

/**
 * Writes a shard, atomically.
 *
 * @param ends places after the last token of each document that ends in it
 * @returns the SHA-256 of what follows the header
 */
export function writeShard(path: string, tokens: TokenArray, ends: readonly number[]): string {
  const endBytes = bytesOf(BigUint64Array.from(ends, BigInt));
  const padding = new Uint8Array(paddingOf(tokens.byteLength));
  const hash = createHash('sha256').update(bytesOf(tokens)).update(padding).update(endBytes).digest();
  const header = Buffer.alloc(HEADER_BYTES);
  header.write(MAGIC, 0, 'latin1');
  header.writeUInt32LE(VERSION, 8);
  header.writeUInt32LE(tokens.BYTES_PER_ELEMENT, 12);
  header.writeBigUInt64LE(BigInt(tokens.length), 16);
  header.writeBigUInt64LE(BigInt(ends.length), 24);
  hash.copy(header, 32);
  writeFileAtomic(path, header, bytesOf(tokens), padding, endBytes);
  return hash.toString('hex');
}

/** A shard on disk, its header checked; tokens are read by range. */
export class ShardFile implements Disposable {
  readonly path: string;
  /** Bytes of a token id in the file. */
  readonly tokenBytes: TokenBytes;
  /** The length of the shard in tokens. */
  readonly numTokens: number;
  /** Documents that end in the shard. */
  readonly numEnds: number;
  /** The SHA-256 that the header states, as hexadecimal digits. */
  readonly sha256: string;
  readonly #fd: number;
  #open = true;

  /**
   * Opens a shard and checks its header against the size of the file before anything is allocated by it.
   *
   * @throws StoreError if the file cannot be read, is no shard, or its header does not agree with its size
   */
  constructor(path: string) {
    this.path = path;
    this.#fd = openShard(path);
    try {
      const size = fstatSync(this.#fd).size;
      const header = Buffer.alloc(HEADER_BYTES);
      if (size < HEADER_BYTES || readSync(this.#fd, header, 0, HEADER_BYTES, 0) < HEADER_BYTES) {
        throw this.#damaged(`has ${size} bytes, fewer than its header`);
      }
      if (header.toString('latin1', 0, 8) !== MAGIC) throw this.#damaged('does not start as a token shard does');
      if (header.readUInt32LE(8) !== VERSION) {
        throw this.#damaged(`is of version ${header.readUInt32LE(8)}; this program reads version ${VERSION}`);
      }
      const tokenBytes = header.readUInt32LE(12);
      const [tokens, ends] = [header.readBigUInt64LE(16), header.readBigUInt64LE(24)];
      if (tokenBytes !== 1 && tokenBytes !== 2 && tokenBytes !== 4) {
        throw this.#damaged(`says that a token has ${tokenBytes} bytes`);
      }
      const body = tokens * BigInt(tokenBytes);
      const stated = BigInt(HEADER_BYTES) + ((body + 7n) / 8n) * 8n + 8n * ends;
      if (stated !== BigInt(size)) {
        throw this.#damaged(
          `has ${size} bytes, but its header (${tokens} tokens, ${ends} document ends) says ${stated}`,
        );
      }
      if (ends > tokens) throw this.#damaged(`says that ${ends} documents end in ${tokens} tokens`);
      this.tokenBytes = tokenBytes;
      this.numTokens = Number(tokens);
      this.numEnds = Number(ends);
      this.sha256 = header.toString('hex', 32, 64);
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /** Fills `into` with the tokens from `from` on, which must lie in the shard. */
  read(from: number, into: TokenArray): void {
    if (into.BYTES_PER_ELEMENT !== this.tokenBytes || from < 0 || from + into.length > this.numTokens) {
      throw this.#damaged(`was asked for tokens ${from} to ${from + into.length} of ${this.numTokens}`);
    }
    this.#readAt(HEADER_BYTES + from * this.tokenBytes, bytesOf(into));
  }

  /**
   * The ends of documents.
   *
   * @throws StoreError if they do not rise or lie outside of the shard
   */
  ends(): Float64Array {
    const bytes = this.numTokens * this.tokenBytes;
    const stored = new BigUint64Array(this.numEnds);
    this.#readAt(HEADER_BYTES + bytes + paddingOf(bytes), bytesOf(stored));
    const ends = Float64Array.from(stored, Number);
    let last = 0;
    ends.forEach((end, i) => {
      if (end <= last || end > this.numTokens) {
        throw this.#damaged(`has document end ${i} at token ${end}, after ${last} and of ${this.numTokens}`);
      }
      last = end;
    });
    return ends;
  }

  /**
   * Compares the header with what a manifest says.
   * @throws StoreError if they do not agree
   */
  expect({ tokens, documents, sha256 }: { tokens: number; documents: number; sha256: string }): void {
    if (this.numTokens === tokens && this.numEnds === documents && this.sha256 === sha256) return;
    throw this.#damaged(`is not the shard of ${tokens} tokens and ${documents} documents that the manifest lists`);
  }

  /** Reads the whole shard and compares its checksum. Throws `StoreError` if they differ. */
  verify(): void {
    const hash = createHash('sha256');
    const size = fstatSync(this.#fd).size;
    const buffer = Buffer.alloc(CHECK_BYTES);
    for (let at = HEADER_BYTES; at < size; at += CHECK_BYTES) {
      const part = buffer.subarray(0, Math.min(CHECK_BYTES, size - at));
      this.#readAt(at, part);
      hash.update(part);
    }
    if (hash.digest('hex') !== this.sha256) throw this.#damaged('does not have the checksum in its header');
  }

  [Symbol.dispose](): void {
    if (this.#open) closeSync(this.#fd);
    this.#open = false;
  }

  #readAt(position: number, into: Uint8Array): void {
    for (let at = 0; at < into.length;) {
      const got = readSync(this.#fd, into, at, into.length - at, position + at);
      if (got === 0) throw this.#damaged('became shorter while it was in use');
      at += got;
    }
  }

  #damaged(what: string): StoreError {
    return new StoreError(`${this.path} ${what}; the shard is damaged: prepare the data again`, {
      details: { path: this.path },
    });
  }
}

function openShard(path: string): number {
  try {
    return openSync(path, 'r');
  } catch (cause) {
    throw fileError('read', path, cause);
  }
}
