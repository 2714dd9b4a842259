/**
 * Associative recall (AR) on text: the slice of the loss where a token could be copied from earlier in its own document
 * (Arora et al. 2023, "Zoology", arXiv 2312.04927, section 3), split by how far back the copy lies.
 *
 * A token is an AR hit if the bigram (of bytes: the gram of six) that it ends occurred before in the same document and
 * is rare in the training data, so that it cannot be known by heart. Its distance is the number of tokens since the
 * latest earlier occurrence. A hit is *inside* a repeated passage if the token before the bigram is the same at both
 * places, so that a model that copies just goes on; otherwise it is the *onset* of one, where the model must find the
 * place.
 */
import type { GramKeys } from '../data/index.js';
import type { Scores } from '../loaded/index.js';
import { DocumentTally, type DocumentMean } from './document-tally.js';

/** What a target is, by `ArTargets.kind`. */
export const AR_KIND = { none: 0, fresh: 1, onset: 2, inside: 3 } as const;

/** For each target of a row: what it is, and how far back its bigram occurred. */
export interface ArTargets {
  /**
   * A value of `AR_KIND`: no target, a bigram that is new in its document, the onset of a repeat, inside of one; u8
   * `[T]`.
   */
  readonly kind: Uint8Array;
  /** Tokens since the latest earlier occurrence of the bigram where it is rare; 0 elsewhere. i32 `[T]` */
  readonly distance: Int32Array;
}

/** One row of a batch: what a model reads, and what it is to predict. */
export interface ArRow {
  /** Ids i32 `[T]`. */
  readonly tokens: Int32Array;
  /** The token after each, i32 `[T]`. */
  readonly targets: Int32Array;
  /**
   * The number of the document of each token, `[T]`; null where the row is one document, and no other row holds any of
   * it.
   */
  readonly documents: ArrayLike<number> | null;
  /** Whether target t counts: one that is the first token of another document does not. */
  readonly counts: (t: number) => boolean;
}

/**
 * Finds the AR hits among the targets of one row. Grams that begin in another document, or before the row, are no
 * target.
 *
 * @param keys which grams are looked at: bigrams of tokens, longer ones of bytes
 * @param isRare whether the gram that ends with target `t`, by its key, is rare in the training data
 */
export function findAssociativeRecall(
  row: ArRow,
  keys: GramKeys,
  isRare: (key: number, t: number) => boolean,
): ArTargets {
  const { tokens, targets, documents, counts } = row;
  const T = tokens.length;
  const kind = new Uint8Array(T);
  const distance = new Int32Array(T);
  // The whole row with its last target: target t is token t + 1.
  const text = new Int32Array(T + 1);
  text.set(tokens);
  text[T] = targets[T - 1] ?? 0;
  let start = 0;
  let latest = new Map<number, number>();
  for (let t = 0; t < T; t++) {
    if (documents !== null && t > 0 && documents[t] !== documents[t - 1]) {
      start = t;
      latest = new Map();
    }
    const isLast = documents !== null && t + 1 < T && documents[t + 1] !== documents[t];
    const first = t + 2 - keys.order;
    if (isLast || !counts(t) || first < start) continue;
    const key = keys.at(text, t + 1);
    const before = latest.get(key);
    latest.set(key, t);
    if (before === undefined) {
      kind[t] = AR_KIND.fresh;
    } else if (isRare(key, t)) {
      const earlier = before + 1 - keys.order;
      const isInside = earlier >= start && text[earlier] === text[first - 1];
      kind[t] = isInside ? AR_KIND.inside : AR_KIND.onset;
      distance[t] = t - before;
    }
  }
  return { kind, distance };
}

/** AR hits at distances `from .. to`, both included. */
interface ArBin {
  readonly from: number;
  readonly to: number;
  readonly onset: DocumentMean;
  readonly inside: DocumentMean;
  /** Both. */
  readonly all: DocumentMean;
}

/** Associative recall of a model on held-out text. */
export interface ArRecord {
  /** A bigram is rare if it occurs at most this often in the training data. */
  readonly maxCount: number;
  /** Documents, or parts of them that a row holds. */
  readonly documents: number;
  /** Every target, and those whose bigram is new in its document. */
  readonly all: DocumentMean;
  readonly fresh: DocumentMean;
  /** AR hits by distance. */
  readonly bins: readonly ArBin[];
  /** AR hits at long range, where one number is wanted: beyond `farFrom`. */
  readonly far: ArBin;
}

/**
 * Upper ends of the distance bins up to a context of `seqLen` tokens: 16, 64, then powers of two, then the context
 * itself.
 */
export function arBins(seqLen: number): number[] {
  const ends = [16, 64, 128].filter((end) => end < seqLen);
  for (let end = 256; end < seqLen; end *= 2) ends.push(end);
  return [...ends, seqLen];
}

/**
 * From which distance a hit counts as far in a context of `seqLen` tokens: from 1,025 on where there are 2,048 or more,
 * else in the farthest quarter.
 */
export function farFrom(seqLen: number): number {
  return (seqLen >= 2048 ? 1024 : Math.floor(0.75 * seqLen)) + 1;
}

/** Groups of targets that are summed: all, fresh bigrams, onset and inside of far hits, then the same of each bin. */
const [ALL, FRESH, FAR, FIRST_BIN] = [0, 1, 2, 4];

/**
 * Makes an `ArRecord` of scores; the interval resamples documents, whose targets are not independent of one another.
 * What depends on the text alone is worked out once, so that one tally takes the scores of one model after another.
 */
export class ArTally {
  readonly #ends: readonly number[];
  readonly #maxCount: number;
  /** The first far distance, and the last distance. */
  readonly #far: readonly [number, number];
  readonly #tally: DocumentTally;

  /**
   * Starts without rows.
   *
   * @param ends upper ends of the distance bins, ascending; farther hits count among all targets alone
   * @param far the first distance that counts as far
   * @param maxCount the limit of rare bigrams, for the record
   */
  constructor(ends: readonly number[], far: number, maxCount: number) {
    this.#ends = ends;
    this.#maxCount = maxCount;
    this.#far = [far, ends.at(-1) ?? far];
    this.#tally = new DocumentTally(FIRST_BIN + 2 * ends.length, 'associative-recall');
  }

  /** Adds a row with what `findAssociativeRecall` found in it. */
  add({ documents, counts }: ArRow, found: ArTargets): void {
    const groups = (t: number) => (counts(t) ? this.#groupsOf(found, t) : []);
    this.#tally.add(found.kind.length, documents, groups);
  }

  /**
   * The record of a model.
   *
   * @param scores of the targets of all rows, one part after another in the order in which rows were added
   */
  record(scores: readonly Scores[]): ArRecord {
    const { documents, mean } = this.#tally.means(scores);
    const bin = (from: number, to: number, onset: number): ArBin => ({
      ...{ from, to, onset: mean(onset), inside: mean(onset + 1), all: mean(onset, onset + 1) },
    });
    return {
      maxCount: this.#maxCount,
      documents,
      all: mean(ALL),
      fresh: mean(FRESH),
      bins: this.#ends.map((to, i) => bin((this.#ends[i - 1] ?? 0) + 1, to, FIRST_BIN + 2 * i)),
      far: bin(...this.#far, FAR),
    };
  }

  #groupsOf({ kind, distance }: ArTargets, t: number): number[] {
    if (kind[t] === AR_KIND.none) return [ALL];
    if (kind[t] === AR_KIND.fresh) return [ALL, FRESH];
    const inside = kind[t] === AR_KIND.inside ? 1 : 0;
    const away = distance[t] ?? 0;
    const bin = this.#ends.findIndex((end) => away <= end);
    const far = away >= this.#far[0] && away <= this.#far[1];
    return [ALL, ...(far ? [FAR + inside] : []), ...(bin < 0 ? [] : [FIRST_BIN + 2 * bin + inside])];
  }
}
