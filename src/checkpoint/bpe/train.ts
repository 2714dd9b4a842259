/**
 * Training of byte-level byte-pair encoding (Sennrich et al. 2016): the commonest pair of neighboring tokens becomes a
 * token, again and again. Of pairs equally common the one with the smaller ids wins, left one first, which is what the
 * Rust library `tokenizers` does: the same counts give the same merges.
 */
import { at, i32At } from '../../core/index.js';
import { BYTE_CHARACTERS } from './bytes.js';
import { splitGpt2 } from './split.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const readI32 = i32At;

/** How large a trained vocabulary is, and what it begins with. */
export interface TrainBpeOptions {
  /** Tokens in all: special ones, the 256 bytes, and merges. Fewer if the text has no more pairs to merge. */
  readonly vocabSize: number;
  /** Pairs that occur less often are not merged. */
  readonly minFrequency: number;
  /** Special tokens, which take the first ids in this order. */
  readonly specialTokens: readonly string[];
}

/** A trained byte-level BPE vocabulary. */
export interface TrainedBpe {
  /** Token text to id. */
  readonly vocab: ReadonlyMap<string, number>;
  readonly merges: readonly (readonly [string, string])[];
}

/** Counts words of text as GPT-2's pattern cuts it. Memory grows with the number of different words. */
export class WordCounter {
  readonly counts = new Map<string, number>();

  add(text: string): void {
    splitGpt2(text, (from, to) => {
      const word = text.slice(from, to);
      const count = this.counts.get(word);
      if (count !== undefined) this.counts.set(word, count + 1);
      // A flat copy: a slice would keep the whole text alive.
      else this.counts.set(Buffer.from(word).toString(), 1);
    });
  }
}

/**
 * Learns merges from word counts.
 *
 * @param onMerge told the number of tokens so far, for progress
 */
export function trainBpe(
  counts: ReadonlyMap<string, number>,
  { vocabSize, minFrequency, specialTokens }: TrainBpeOptions,
  onMerge: (tokens: number) => void = () => undefined,
): TrainedBpe {
  const texts: string[] = [...new Set(specialTokens)];
  const idOf = new Map(texts.map((text, id) => [text, id]));
  const byteIds = new Int32Array(256);
  const bytes = BYTE_CHARACTERS.map((char, byte) => ({ char, byte }));
  for (const { char, byte } of bytes.sort((a, b) => (a.char < b.char ? -1 : 1))) {
    byteIds[byte] = texts.length;
    idOf.set(char, texts.length);
    texts.push(char);
  }
  const pairs = new Pairs(counts, byteIds);
  const merges: [string, string][] = [];
  while (texts.length < vocabSize) {
    const best = pairs.best();
    if (best === null || best.count < Math.max(1, minFrequency)) break;
    const [left, right] = [at(texts, best.left), at(texts, best.right)];
    const known = idOf.get(left + right);
    const id = known ?? texts.length;
    if (known === undefined) {
      texts.push(left + right);
      idOf.set(left + right, id);
    }
    merges.push([left, right]);
    pairs.merge(best.left, best.right, id);
    onMerge(texts.length);
  }
  return { vocab: idOf, merges };
}

/** Ids are below this: a pair is one number. */
const ID_LIMIT = 2 ** 24;

interface Candidate {
  readonly left: number;
  readonly right: number;
  count: number;
}

/** The words as ids, how often each pair of neighbors occurs, and in which words. */
class Pairs {
  readonly #words: Int32Array[] = [];
  readonly #counts: number[] = [];
  readonly #pairCounts = new Map<number, number>();
  readonly #places = new Map<number, Set<number>>();
  readonly #heap: Candidate[] = [];

  constructor(words: ReadonlyMap<string, number>, byteIds: Int32Array) {
    for (const [word, count] of words) {
      const ids = Int32Array.from(Buffer.from(word), (b) => readI32(byteIds, b));
      if (ids.length < 2) continue;
      const index = this.#words.push(ids) - 1;
      this.#counts.push(count);
      for (let i = 0; i + 1 < ids.length; i++) this.#count(readI32(ids, i), readI32(ids, i + 1), count, index);
    }
    for (const key of this.#pairCounts.keys()) this.#offer(key);
  }

  /** The commonest pair, taken out; null if there is none. */
  best(): Candidate | null {
    for (;;) {
      const top = this.#pop();
      if (top === null) return null;
      const count = this.#pairCounts.get(top.left * ID_LIMIT + top.right) ?? 0;
      if (count === top.count && count > 0) return top;
      // Counted before other merges took some of its occurrences: back to its place.
      if (count > 0) this.#push({ ...top, count });
    }
  }

  /** Replaces every pair `left right` by `id`. */
  merge(left: number, right: number, id: number): void {
    const key = left * ID_LIMIT + right;
    const touched = this.#places.get(key) ?? new Set<number>();
    this.#places.delete(key);
    const fresh = new Set<number>();
    for (const index of touched) this.#mergeWord(index, left, right, id, fresh);
    this.#pairCounts.delete(key);
    for (const pair of fresh) this.#offer(pair);
  }

  #mergeWord(index: number, left: number, right: number, id: number, fresh: Set<number>): void {
    const ids = at(this.#words, index);
    const count = at(this.#counts, index);
    const merged = new Int32Array(ids.length);
    let size = 0;
    for (let i = 0; i < ids.length; i++) {
      if (ids[i] !== left || ids[i + 1] !== right) {
        merged[size++] = readI32(ids, i);
        continue;
      }
      if (size > 0) {
        const before = readI32(merged, size - 1);
        this.#count(before, left, -count, index);
        fresh.add(this.#count(before, id, count, index));
      }
      const after = ids[i + 2];
      if (after !== undefined) {
        this.#count(right, after, -count, index);
        fresh.add(this.#count(id, after, count, index));
      }
      merged[size++] = id;
      i++;
    }
    this.#words[index] = merged.slice(0, size);
  }

  #count(left: number, right: number, by: number, word: number): number {
    const key = left * ID_LIMIT + right;
    this.#pairCounts.set(key, (this.#pairCounts.get(key) ?? 0) + by);
    if (by > 0) {
      const places = this.#places.get(key);
      if (places === undefined) this.#places.set(key, new Set([word]));
      else places.add(word);
    }
    return key;
  }

  #offer(key: number): void {
    const count = this.#pairCounts.get(key) ?? 0;
    if (count > 0) this.#push({ left: Math.floor(key / ID_LIMIT), right: key % ID_LIMIT, count });
  }

  #push(candidate: Candidate): void {
    const heap = this.#heap;
    let i = heap.push(candidate) - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!isBefore(at(heap, i), at(heap, parent))) break;
      [heap[i], heap[parent]] = [at(heap, parent), at(heap, i)];
      i = parent;
    }
  }

  #pop(): Candidate | null {
    const heap = this.#heap;
    const top = heap[0];
    const last = heap.pop();
    if (top === undefined || last === undefined) return null;
    if (heap.length === 0) return top;
    heap[0] = last;
    for (let i = 0; ;) {
      let first = i;
      for (const child of [2 * i + 1, 2 * i + 2]) {
        if (child < heap.length && isBefore(at(heap, child), at(heap, first))) first = child;
      }
      if (first === i) return top;
      [heap[i], heap[first]] = [at(heap, first), at(heap, i)];
      i = first;
    }
  }
}

function isBefore(a: Candidate, b: Candidate): boolean {
  if (a.count !== b.count) return a.count > b.count;
  return a.left !== b.left ? a.left < b.left : a.right < b.right;
}

/** A `tokenizer.json` of GPT-2's kind, which the Hugging Face libraries load. */
export function tokenizerJson({ vocab, merges }: TrainedBpe, specialTokens: readonly string[]): object {
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [...new Set(specialTokens)].map((content, id) => ({
      ...{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true },
    })),
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(vocab),
      merges,
    },
  };
}
