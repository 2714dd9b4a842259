/**
 * How often short token sequences (grams) occur in a corpus: bigrams of tokens, longer ones of bytes. Kept are counts
 * of chosen grams only, so that hundreds of millions of tokens are counted in one pass with a table that fits the
 * memory.
 */
import { invariant } from '../../core/index.js';

/** Numbers the grams of `order` tokens below `vocabSize`; exact, as numbers below 2^53. */
export class GramKeys {
  readonly order: number;
  readonly #vocabSize: number;

  /**
   * Numbers the grams of one order.
   *
   * @param order tokens of a gram; `vocabSize ** order` must not exceed 2^53
   */
  constructor(vocabSize: number, order: number) {
    invariant(vocabSize ** order <= 2 ** 53, `grams of ${order} tokens of ${vocabSize} have no exact number`);
    this.order = order;
    this.#vocabSize = vocabSize;
  }

  /** The number of the gram that ends with `tokens[end]`; `end >= order - 1`. */
  at(tokens: ArrayLike<number>, end: number): number {
    let key = 0;
    for (let i = end - this.order + 1; i <= end; i++) key = key * this.#vocabSize + (tokens[i] ?? 0);
    return key;
  }
}

/** Counts of a fixed set of grams: an open-addressing hash table with linear probing. */
export class GramCounts {
  readonly #keys: Float64Array;
  readonly #counts: Uint32Array;
  readonly #mask: number;
  /** Grams in the table. */
  readonly size: number;

  /**
   * Makes the table.
   *
   * @param grams the grams to count, from nothing; or with the counts that they have so far
   */
  constructor(grams: ReadonlySet<number> | ReadonlyMap<number, number>) {
    // At most half full, so that probes stay short.
    const room = 2 ** Math.ceil(Math.log2(Math.max(16, 2 * grams.size)));
    this.#keys = new Float64Array(room).fill(-1);
    this.#counts = new Uint32Array(room);
    this.#mask = room - 1;
    this.size = grams.size;
    for (const key of grams.keys()) {
      let slot = this.#home(key);
      while (this.#keys[slot] !== -1) slot = (slot + 1) & this.#mask;
      this.#keys[slot] = key;
    }
    if (grams instanceof Map) for (const [key, count] of grams as ReadonlyMap<number, number>) this.add(key, count);
  }

  /** Counts one occurrence; grams that are not in the table are passed over. */
  add(key: number, times = 1): void {
    const slot = this.#slotOf(key);
    if (slot >= 0) this.#counts[slot] = (this.#counts[slot] ?? 0) + times;
  }

  /** Counts every gram of a document. */
  addAll(tokens: ArrayLike<number>, keys: GramKeys): void {
    for (let end = keys.order - 1; end < tokens.length; end++) this.add(keys.at(tokens, end));
  }

  /** Occurrences of a gram; null if it is not in the table. */
  get(key: number): number | null {
    const slot = this.#slotOf(key);
    return slot < 0 ? null : (this.#counts[slot] ?? 0);
  }

  /** Grams with their counts, in no particular order. */
  *entries(): IterableIterator<[key: number, count: number]> {
    for (let slot = 0; slot <= this.#mask; slot++) {
      const key = this.#keys[slot] ?? -1;
      if (key >= 0) yield [key, this.#counts[slot] ?? 0];
    }
  }

  #slotOf(key: number): number {
    let slot = this.#home(key);
    for (;;) {
      const found = this.#keys[slot];
      if (found === key) return slot;
      if (found === -1) return -1;
      slot = (slot + 1) & this.#mask;
    }
  }

  /** Fibonacci hashing of both halves of the number. */
  #home(key: number): number {
    const high = Math.floor(key / 2 ** 32);
    const mixed = Math.imul((key >>> 0) ^ Math.imul(high, 0x85ebca6b), 0x9e3779b1);
    return ((mixed ^ (mixed >>> 15)) >>> 0) & this.#mask;
  }
}

/** The grams that occur more than once in a document, of documents one after another. */
export function repeatedGrams(documents: Iterable<ArrayLike<number>>, keys: GramKeys): Set<number> {
  const repeated = new Set<number>();
  for (const tokens of documents) {
    const seen = new Set<number>();
    for (let end = keys.order - 1; end < tokens.length; end++) {
      const key = keys.at(tokens, end);
      if (seen.has(key)) repeated.add(key);
      else seen.add(key);
    }
  }
  return repeated;
}
