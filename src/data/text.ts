/** Byte-level training on the user's own text: token ids are bytes, 0 ends a document. */
import { z } from 'zod';
import { u8At, DataError, Rng, StoreError } from '../core/index.js';
import type { Split, TextCorpus } from './corpus.js';
import { parseState, type Batch, type DataSource, type JsonValue } from './source.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const readU8 = u8At;

/** The vocabulary of byte-level data: 256 ids, one a byte. */
export const BYTE_VOCAB_SIZE = 256;

/**
 * A random order of 0 .. size-1 that takes no memory: a four-round Feistel network on the next even number of bits,
 * walked until it lands inside. `size` is at most 2^48.
 */
export function orderOf(size: number, rng: Rng): (index: number) => number {
  const halfBits = Math.max(1, Math.ceil(Math.log2(Math.max(2, size)) / 2));
  const half = 2 ** halfBits;
  const keys = [rng.u32(), rng.u32(), rng.u32(), rng.u32()];
  const round = (x: number, key: number): number => {
    let z = Math.imul(x ^ key, 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return ((z ^ (z >>> 15)) >>> 0) % half;
  };
  return (index) => {
    let value = index;
    do {
      let left = Math.floor(value / half);
      let right = value % half;
      for (const key of keys) [left, right] = [right, (left ^ round(right, key)) >>> 0];
      value = left * half + right;
    } while (value >= size);
    return value;
  };
}

const TextState = z.strictObject({ fingerprint: z.string(), epoch: z.int().min(0), position: z.int().min(0) });

/**
 * Sequences of a corpus: each epoch cuts the stream of bytes into pieces of `seqLen` at a new random phase and visits
 * them in a new random order, each once. Documents run on into one another, joined by a byte 0. All weights are 1.
 */
export class TextSource implements DataSource {
  readonly vocabSize = BYTE_VOCAB_SIZE;
  readonly seqLen: number;
  readonly hasSegments = false;
  readonly #corpus: TextCorpus;
  readonly #split: Split;
  readonly #seed: number;
  readonly #bytes: Uint8Array;
  #epoch = 0;
  #position = 0;
  #plan: { readonly count: number; readonly startOf: (index: number) => number };

  /**
   * Plans the first epoch.
   *
   * @throws DataError if the split is shorter than one sequence
   */
  constructor(corpus: TextCorpus, split: Split, seqLen: number, seed: number) {
    const size = corpus.size(split);
    if (size < seqLen + 1) {
      const remedy = split === 'train' ? 'add text or shorten train.seqLen' : 'add text or raise data.heldOut';
      throw new DataError(
        `the ${SPLIT_NAME[split]} text has ${size} bytes, fewer than a sequence of ${seqLen} + 1; ${remedy}`,
      );
    }
    this.seqLen = seqLen;
    this.#corpus = corpus;
    this.#split = split;
    this.#seed = seed;
    this.#bytes = new Uint8Array(seqLen + 1);
    this.#plan = this.#planEpoch();
  }

  fill(batch: Batch, row: number): void {
    if (this.#position === this.#plan.count) {
      this.#epoch++;
      this.#position = 0;
      this.#plan = this.#planEpoch();
    }
    const from = this.#plan.startOf(this.#position++);
    this.#corpus.read(this.#split, from, this.#bytes);
    const start = row * this.seqLen;
    for (let i = 0; batch.documents !== null && i <= this.seqLen; i++) {
      batch.documents[row * (this.seqLen + 1) + i] = this.#corpus.documentAt(this.#split, from + i);
    }
    for (let i = 0; i < this.seqLen; i++) {
      batch.tokens[start + i] = readU8(this.#bytes, i);
      batch.targets[start + i] = readU8(this.#bytes, i + 1);
      batch.weights[start + i] = 1;
    }
  }

  state(): JsonValue {
    return { fingerprint: this.#corpus.fingerprint, epoch: this.#epoch, position: this.#position };
  }

  /**
   * Goes on from a state of `state()`.
   * @throws StoreError if the state is of another corpus
   */
  restore(state: unknown): void {
    const { fingerprint, epoch, position } = parseState(TextState, state, 'text');
    if (fingerprint !== this.#corpus.fingerprint) {
      throw new StoreError(
        'the text files differ from those that the checkpoint was trained on; resume with the same text',
      );
    }
    this.#epoch = epoch;
    this.#plan = this.#planEpoch();
    if (position > this.#plan.count) {
      throw new StoreError('the stored position of the text data lies past its end; the checkpoint is damaged');
    }
    this.#position = position;
  }

  #planEpoch(): { count: number; startOf: (index: number) => number } {
    const rng = Rng.of(this.#seed, 'data', 'text', this.#split, this.#epoch);
    const spare = this.#corpus.size(this.#split) - 1 - this.seqLen;
    const phase = rng.int(Math.min(this.seqLen, spare + 1));
    const count = 1 + Math.floor((spare - phase) / this.seqLen);
    const order = orderOf(count, rng);
    return { count, startOf: (index) => phase + order(index) * this.seqLen };
  }
}

const SPLIT_NAME: Readonly<Record<Split, string>> = { train: 'training', heldOut: 'held-out' };
