import { i32At, at } from '../../core/index.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const readI32 = i32At;
/**
 * Byte-pair encoding of words, with a table of the words met before: text repeats its words, so that nearly all of them
 * are found and few are merged. The table is flat memory without an object per word, and starts anew when it is full.
 */

/** Merges as token ids. */
export interface MergeTable {
  /** The rank of each merge, by `left * vocabSize + right`. */
  readonly ranks: ReadonlyMap<number, number>;
  /** The id of the merged token, by rank. */
  readonly merged: Int32Array;
  /** Ids are below this. */
  readonly vocabSize: number;
}

/** What a byte-level vocabulary says; token ids. */
export interface Merges extends MergeTable {
  /** The id of each of the 256 bytes. */
  readonly byteIds: Int32Array;
  /**
   * Words that are tokens as they are, whatever the merges, by their text in bytes (Latin-1); null where merges decide.
   */
  readonly whole: ReadonlyMap<string, number> | null;
}

/** Ids that grow at the end. */
export class IdBuffer {
  data: Int32Array<ArrayBuffer>;
  length = 0;

  constructor(capacity = 1024) {
    this.data = new Int32Array(capacity);
  }

  push(id: number): void {
    if (this.length === this.data.length) this.#grow(this.length + 1);
    this.data[this.length++] = id;
  }

  /** Appends `from[start, end)`. */
  append(from: Int32Array, start: number, end: number): void {
    if (this.length + end - start > this.data.length) this.#grow(this.length + end - start);
    let at = this.length;
    for (let i = start; i < end; i++) this.data[at++] = readI32(from, i);
    this.length = at;
  }

  toArray(): Int32Array {
    return this.data.slice(0, this.length);
  }

  #grow(least: number): void {
    const grown = new Int32Array(Math.max(least, 2 * this.data.length));
    grown.set(this.data.subarray(0, this.length));
    this.data = grown;
  }
}

const SLOT_BITS = 18;
const SLOTS = 2 ** SLOT_BITS;
const MAX_WORDS = SLOTS / 2;
const MAX_UNITS = MAX_WORDS * 12;
/** Longer words are merged every time. */
const MAX_WORD_UNITS = 64;
/** From this many symbols on, merges come from a heap. */
const HEAP_SIZE = 64;

/** Encodes words by BPE merges, with a bounded table of the words that it met before. */
export class WordEncoder {
  readonly #merges: Merges;
  readonly #utf8 = new TextEncoder();
  /** Slot -> word + 1; 0 is free. */
  readonly #slots = new Int32Array(SLOTS);
  readonly #hashes = new Int32Array(MAX_WORDS);
  readonly #unitStarts = new Int32Array(MAX_WORDS + 1);
  readonly #idStarts = new Int32Array(MAX_WORDS + 1);
  readonly #units = new Uint16Array(MAX_UNITS);
  readonly #ids = new IdBuffer(MAX_WORDS);
  #words = 0;

  constructor(merges: Merges) {
    this.#merges = merges;
  }

  /** Appends the ids of the word `text[from, to)` to `out`. */
  encode(text: string, from: number, to: number, out: IdBuffer): void {
    const size = to - from;
    if (size > MAX_WORD_UNITS) {
      this.#merge(text, from, to, out);
      return;
    }
    let hash = size;
    for (let i = from; i < to; i++) hash = (Math.imul(hash, 0x01000193) ^ text.charCodeAt(i)) | 0;
    let slot = Math.imul(hash, 0x9e3779b1) >>> (32 - SLOT_BITS);
    for (let found = readI32(this.#slots, slot); found !== 0; found = readI32(this.#slots, slot)) {
      if (this.#hashes[found - 1] === hash && this.#isWord(found - 1, text, from, size)) {
        out.append(this.#ids.data, readI32(this.#idStarts, found - 1), readI32(this.#idStarts, found));
        return;
      }
      slot = (slot + 1) & (SLOTS - 1);
    }
    const start = out.length;
    this.#merge(text, from, to, out);
    this.#remember(slot, hash, text, from, to, out, start);
  }

  #isWord(word: number, text: string, from: number, size: number): boolean {
    const start = readI32(this.#unitStarts, word);
    if (readI32(this.#unitStarts, word + 1) - start !== size) return false;
    for (let i = 0; i < size; i++) if (this.#units[start + i] !== text.charCodeAt(from + i)) return false;
    return true;
  }

  #remember(slot: number, hash: number, text: string, from: number, to: number, out: IdBuffer, start: number): void {
    const at = readI32(this.#unitStarts, this.#words);
    if (this.#words === MAX_WORDS || at + to - from > MAX_UNITS) {
      this.#slots.fill(0);
      this.#words = 0;
      this.#ids.length = 0;
      return;
    }
    for (let i = from; i < to; i++) this.#units[at + i - from] = text.charCodeAt(i);
    this.#ids.append(out.data, start, out.length);
    this.#hashes[this.#words] = hash;
    this.#words++;
    this.#unitStarts[this.#words] = at + to - from;
    this.#idStarts[this.#words] = this.#ids.length;
    this.#slots[slot] = this.#words;
  }

  #merge(text: string, from: number, to: number, out: IdBuffer): void {
    const bytes = this.#utf8.encode(text.slice(from, to));
    const { byteIds, whole } = this.#merges;
    const entire = whole?.get(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1'));
    if (entire !== undefined) {
      out.push(entire);
      return;
    }
    const ids = mergeIds(
      Int32Array.from(bytes, (b) => readI32(byteIds, b)),
      this.#merges,
    );
    out.append(ids, 0, ids.length);
  }
}

/** What merges make of `ids`, which they overwrite. */
export function mergeIds(ids: Int32Array, merges: MergeTable): Int32Array {
  return ids.subarray(0, ids.length < HEAP_SIZE ? mergeShort(ids, merges) : mergeLong(ids, merges));
}

/** Merges `ids` in place, lowest rank first and leftmost of equals; returns how many are left. */
export function mergeShort(ids: Int32Array, { ranks, merged, vocabSize }: MergeTable): number {
  let size = ids.length;
  while (size > 1) {
    let best = Infinity;
    let at = -1;
    for (let i = 0; i + 1 < size; i++) {
      const rank = ranks.get(readI32(ids, i) * vocabSize + readI32(ids, i + 1));
      if (rank !== undefined && rank < best) [best, at] = [rank, i];
    }
    if (at < 0) break;
    ids[at] = readI32(merged, best);
    ids.copyWithin(at + 1, at + 2, size);
    size--;
  }
  return size;
}

/** The same in n log n steps, for words of any length. */
export function mergeLong(ids: Int32Array, { ranks, merged, vocabSize }: MergeTable): number {
  const size = ids.length;
  const next = Int32Array.from(ids, (_, i) => i + 1);
  const previous = Int32Array.from(ids, (_, i) => i - 1);
  const heap = new RankHeap();
  const offer = (at: number): void => {
    const right = readI32(next, at);
    if (at < 0 || right >= size) return;
    const rank = ranks.get(readI32(ids, at) * vocabSize + readI32(ids, right));
    if (rank !== undefined) heap.push(rank, at);
  };
  for (let i = 0; i + 1 < size; i++) offer(i);
  for (let top = heap.pop(); top !== null; top = heap.pop()) {
    const { rank, at } = top;
    const right = readI32(next, at);
    // Merged away, or beside another token than when it was offered.
    if (ids[at] === -1 || right >= size) continue;
    if (ranks.get(readI32(ids, at) * vocabSize + readI32(ids, right)) !== rank) continue;
    ids[at] = readI32(merged, rank);
    ids[right] = -1;
    const after = (next[at] = readI32(next, right));
    if (after < size) previous[after] = at;
    if (readI32(previous, at) >= 0) offer(readI32(previous, at));
    offer(at);
  }
  let kept = 0;
  for (const id of ids) if (id !== -1) ids[kept++] = id;
  return kept;
}

/** Smallest rank first, then smallest place. */
class RankHeap {
  readonly #items: { readonly rank: number; readonly at: number }[] = [];

  push(rank: number, at: number): void {
    const items = this.#items;
    let i = items.push({ rank, at }) - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!this.#less(i, parent)) break;
      this.#swap(i, parent);
      i = parent;
    }
  }

  pop(): { readonly rank: number; readonly at: number } | null {
    const items = this.#items;
    const top = items[0];
    const last = items.pop();
    if (top === undefined || last === undefined) return null;
    if (items.length === 0) return top;
    items[0] = last;
    for (let i = 0; ;) {
      let least = i;
      for (const child of [2 * i + 1, 2 * i + 2]) if (child < items.length && this.#less(child, least)) least = child;
      if (least === i) return top;
      this.#swap(i, least);
      i = least;
    }
  }

  #less(i: number, j: number): boolean {
    const [a, b] = [at(this.#items, i), at(this.#items, j)];
    return a.rank < b.rank || (a.rank === b.rank && a.at < b.at);
  }

  #swap(i: number, j: number): void {
    const items = this.#items;
    [items[i], items[j]] = [at(items, j), at(items, i)];
  }
}
