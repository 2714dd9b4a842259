/** Token shards as training data: documents packed into rows. */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { present, f64At, DataError, Rng, StoreError } from '../../core/index.js';
import type { Split } from '../corpus.js';
import { lastAtOrBelow } from '../search.js';
import { parseState, type Batch, type DataSource, type JsonValue } from '../source.js';
import { orderOf } from '../text.js';
import type { TokenShards } from './dataset.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const readF64 = f64At;

/** Which documents of token shards are trained on, and how they are packed into rows. */
export interface PackingOptions {
  /** Documents of fewer tokens (their end of text included) are left out. */
  readonly minTokens: number;
  /** Documents of more tokens (their end of text included) are left out. */
  readonly maxTokens: number;
  /**
   * Whether the model starts anew at each document of a row: batches then carry `segments`, and no document predicts
   * the next.
   */
  readonly resets: boolean;
}

const ShardsState = z.strictObject({ fingerprint: z.string(), epoch: z.int().min(0), position: z.int().min(0) });

/**
 * Rows of documents. Each epoch puts the documents in a new random order, one after another without a gap, cuts that
 * stream into rows of `seqLen` at a new random phase, and visits the rows in a new random order, each once. A row so
 * begins and ends where it falls; long documents go on in the next row. With resets, the last token of a document has
 * no weight, as what follows it is another document.
 *
 * Kept in memory: 20 bytes a document.
 */
export class ShardsSource implements DataSource {
  readonly vocabSize: number;
  readonly seqLen: number;
  readonly hasSegments: boolean;
  readonly #shards: TokenShards;
  readonly #split: Split;
  readonly #seed: number;
  readonly #fingerprint: string;
  /** Documents that are taken, by number. */
  readonly #documents: Uint32Array;
  readonly #size: number;
  readonly #tokens: Int32Array;
  #epoch = 0;
  #position = 0;
  #plan: Plan;

  /** Whether the documents of a split that are taken fill a row. */
  static fillsRow(shards: TokenShards, split: Split, options: PackingOptions, seqLen: number): boolean {
    const ends = shards.ends(split);
    return takenDocuments(ends, options).reduce((sum, d) => sum + lengthOf(ends, d), 0) >= seqLen + 1;
  }

  /**
   * Plans the first epoch.
   *
   * @throws DataError if the documents that are taken hold fewer tokens than a row
   */
  constructor(shards: TokenShards, split: Split, options: PackingOptions, seqLen: number, seed: number) {
    this.vocabSize = shards.manifest.tokenizer.vocabSize;
    this.seqLen = seqLen;
    this.hasSegments = options.resets;
    this.#shards = shards;
    this.#split = split;
    this.#seed = seed;
    this.#fingerprint = fingerprintOf(shards, split, options);
    this.#documents = takenDocuments(shards.ends(split), options);
    this.#size = this.#documents.reduce((sum, d) => sum + this.#lengthOf(d), 0);
    if (this.#size < seqLen + 1) {
      const remedy =
        split === 'train' ? 'add text or shorten train.seqLen' : 'prepare the data with more held out (--held-out)';
      throw new DataError(
        `the ${split === 'train' ? 'training' : 'held-out'} documents of ${shards.dir} that are taken ` +
          `(${this.#documents.length}) hold ${this.#size} tokens, fewer than a row of ${seqLen} + 1; ${remedy}`,
        { details: { dir: shards.dir, split } },
      );
    }
    this.#tokens = new Int32Array(seqLen + 1);
    this.#plan = this.#planEpoch();
  }

  fill(batch: Batch, row: number): void {
    if (this.#position === this.#plan.count) {
      this.#epoch++;
      this.#position = 0;
      this.#plan = this.#planEpoch();
    }
    const start = row * this.seqLen;
    batch.weights.fill(1, start, start + this.seqLen);
    let segment = 0;
    const width = this.seqLen + 1;
    const documents = batch.documents?.subarray(row * width, (row + 1) * width) ?? null;
    for (const end of this.#readRow(this.#plan.startOf(this.#position++), documents)) {
      // `end` tokens of the row so far; the document's last one predicts nothing it could know.
      if (!this.hasSegments || end > this.seqLen) break;
      batch.weights[start + end - 1] = 0;
      segment++;
      batch.segments?.fill(segment, start + end, start + this.seqLen);
    }
    batch.tokens.set(this.#tokens.subarray(0, this.seqLen), start);
    batch.targets.set(this.#tokens.subarray(1), start);
  }

  state(): JsonValue {
    return { fingerprint: this.#fingerprint, epoch: this.#epoch, position: this.#position };
  }

  /**
   * Goes on from a state of `state()`.
   * @throws StoreError if the state is of other shards or options
   */
  restore(state: unknown): void {
    const { fingerprint, epoch, position } = parseState(ShardsState, state, 'shards');
    if (fingerprint !== this.#fingerprint) {
      throw new StoreError(
        'the token shards differ from those that the checkpoint was trained on; resume with the same shards',
      );
    }
    this.#epoch = epoch;
    this.#plan = this.#planEpoch();
    if (position > this.#plan.count) {
      throw new StoreError('the stored position of the shards lies past their end; the checkpoint is damaged');
    }
    this.#position = position;
  }

  /**
   * Reads `seqLen + 1` tokens of the epoch's stream into `#tokens`, and the number of each one's document into
   * `documents`.
   *
   * @returns the places in them where documents end
   */
  #readRow(from: number, documents: Float64Array | null): number[] {
    const { order, starts } = this.#plan;
    const ends: number[] = [];
    let index = lastAtOrBelow(starts, from);
    for (let at = 0; at < this.#tokens.length; index++) {
      const document = present(order[index]);
      const inside = from + at - readF64(starts, index);
      const take = Math.min(this.#lengthOf(document) - inside, this.#tokens.length - at);
      const first = document === 0 ? 0 : readF64(this.#shards.ends(this.#split), document - 1);
      this.#shards.read(this.#split, first + inside, this.#tokens.subarray(at, at + take));
      documents?.fill(document, at, at + take);
      at += take;
      if (inside + take === this.#lengthOf(document)) ends.push(at);
    }
    return ends;
  }

  #lengthOf(document: number): number {
    return lengthOf(this.#shards.ends(this.#split), document);
  }

  #planEpoch(): Plan {
    const rng = Rng.of(this.#seed, 'data', 'shards', this.#split, this.#epoch);
    const order = this.#documents.slice();
    for (let i = order.length - 1; i > 0; i--) {
      const j = rng.int(i + 1);
      [order[i], order[j]] = [present(order[j]), present(order[i])];
    }
    const starts = new Float64Array(order.length);
    let size = 0;
    order.forEach((document, i) => {
      starts[i] = size;
      size += this.#lengthOf(document);
    });
    const spare = size - 1 - this.seqLen;
    const phase = rng.int(Math.min(this.seqLen, spare + 1));
    const count = 1 + Math.floor((spare - phase) / this.seqLen);
    const rows = orderOf(count, rng);
    return { order, starts, count, startOf: (index) => phase + rows(index) * this.seqLen };
  }
}

interface Plan {
  /** Documents in the order of the epoch. */
  readonly order: Uint32Array;
  /** Where each starts in the epoch's stream. */
  readonly starts: Float64Array;
  readonly count: number;
  readonly startOf: (index: number) => number;
}

function lengthOf(ends: Float64Array, document: number): number {
  return readF64(ends, document) - (document === 0 ? 0 : readF64(ends, document - 1));
}

function takenDocuments(ends: Float64Array, { minTokens, maxTokens }: PackingOptions): Uint32Array {
  const all = Uint32Array.from(ends, (_, i) => i);
  return all.filter((d) => lengthOf(ends, d) >= minTokens && lengthOf(ends, d) <= maxTokens);
}

function fingerprintOf({ manifest }: TokenShards, split: Split, options: PackingOptions): string {
  const shards = manifest[split === 'train' ? 'train' : 'heldOutSplit'].shards.map((entry) => entry.sha256);
  return createHash('sha256')
    .update(JSON.stringify([shards, options]))
    .digest('hex');
}
