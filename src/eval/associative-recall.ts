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
import { Rng } from '../core/index.js';
import type { GramKeys } from '../data/index.js';
import type { Scores } from './score.js';

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

/** A mean over targets with a 95 % interval from resampling documents. */
interface ArScore {
  /** Targets. */
  readonly targets: number;
  /** Mean loss, nats a token; null without a target. */
  readonly loss: number | null;
  readonly lossLow: number | null;
  readonly lossHigh: number | null;
  /** Share of targets that are the likeliest token. */
  readonly accuracy: number | null;
  readonly accuracyLow: number | null;
  readonly accuracyHigh: number | null;
}

/** AR hits at distances `from .. to`, both included. */
interface ArBin {
  readonly from: number;
  readonly to: number;
  readonly onset: ArScore;
  readonly inside: ArScore;
  /** Both. */
  readonly all: ArScore;
}

/** Associative recall of a model on held-out text. */
export interface ArRecord {
  /** A bigram is rare if it occurs at most this often in the training data. */
  readonly maxCount: number;
  /** Documents, or parts of them that a row holds. */
  readonly documents: number;
  /** Every target, and those whose bigram is new in its document. */
  readonly all: ArScore;
  readonly fresh: ArScore;
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

const RESAMPLES = 1000;
const BOOTSTRAP_SEED = 0;

/** Places of groups of targets in `Sums`: the onset of far hits, and of the first bin; inside follows each. */
const FAR = 2;
const FIRST_BIN = 4;

/** Sums of one group of targets in one document. */
interface Sums {
  readonly count: Float64Array;
  readonly loss: Float64Array;
  readonly hit: Float64Array;
}

/**
 * Gathers scores of rows into an `ArRecord`; the interval resamples documents, whose targets are not independent of one
 * another.
 */
export class ArTally {
  readonly #ends: readonly number[];
  readonly #maxCount: number;
  /** The first far distance, and the last distance. */
  readonly #far: readonly [number, number];
  /** Sums by the number of the document; rows that are documents of their own stand at the end. */
  readonly #documents = new Map<number | symbol, Sums>();

  /**
   * Starts with empty tallies.
   *
   * @param ends upper ends of the distance bins, ascending; farther hits count among all targets alone
   * @param far the first distance that counts as far
   * @param maxCount the limit of rare bigrams, for the record
   */
  constructor(ends: readonly number[], far: number, maxCount: number) {
    this.#ends = ends;
    this.#maxCount = maxCount;
    this.#far = [far, ends.at(-1) ?? far];
  }

  /**
   * Adds one row.
   *
   * @param scores of the row's targets, `[T]`
   * @param found what `findAssociativeRecall` found in the row
   */
  add(scores: Scores, { documents, counts }: ArRow, found: ArTargets): void {
    const row = Symbol('row');
    for (let t = 0; t < found.kind.length; t++) {
      if (!counts(t)) continue;
      const sums = this.#document(documents?.[t] ?? row);
      for (const group of this.#groupsOf(found, t)) {
        sums.count[group] = (sums.count[group] ?? 0) + 1;
        sums.loss[group] = (sums.loss[group] ?? 0) + (scores.loss[t] ?? 0);
        sums.hit[group] = (sums.hit[group] ?? 0) + (scores.hit[t] ?? 0);
      }
    }
  }

  /** The record of all rows so far. */
  result(): ArRecord {
    const documents = [...this.#documents.values()];
    const draws = resamples(documents.length);
    const score = (...groups: number[]): ArScore => scoreOf(documents, groups, draws);
    const bin = (from: number, to: number, onset: number): ArBin => ({
      ...{ from, to, onset: score(onset), inside: score(onset + 1), all: score(onset, onset + 1) },
    });
    return {
      maxCount: this.#maxCount,
      documents: documents.length,
      all: score(0),
      fresh: score(1),
      bins: this.#ends.map((to, i) => bin((this.#ends[i - 1] ?? 0) + 1, to, FIRST_BIN + 2 * i)),
      far: bin(...this.#far, FAR),
    };
  }

  #document(name: number | symbol): Sums {
    const known = this.#documents.get(name);
    if (known !== undefined) return known;
    const make = () => new Float64Array(FIRST_BIN + 2 * this.#ends.length);
    const sums = { count: make(), loss: make(), hit: make() };
    this.#documents.set(name, sums);
    return sums;
  }

  /** Group 0 is every target, 1 the fresh bigrams; then onset and inside of what is far, and of each bin. */
  #groupsOf({ kind, distance }: ArTargets, t: number): number[] {
    if (kind[t] === AR_KIND.none) return [0];
    if (kind[t] === AR_KIND.fresh) return [0, 1];
    const inside = kind[t] === AR_KIND.inside ? 1 : 0;
    const away = distance[t] ?? 0;
    const bin = this.#ends.findIndex((end) => away <= end);
    const far = away >= this.#far[0] && away <= this.#far[1];
    return [0, ...(far ? [FAR + inside] : []), ...(bin < 0 ? [] : [FIRST_BIN + 2 * bin + inside])];
  }
}

/** How often each document is drawn in each resample. */
function resamples(documents: number): Uint16Array[] {
  const rng = Rng.of(BOOTSTRAP_SEED, 'associative-recall');
  return Array.from({ length: documents < 2 ? 0 : RESAMPLES }, () => {
    const times = new Uint16Array(documents);
    for (let i = 0; i < documents; i++) {
      const chosen = rng.int(documents);
      times[chosen] = (times[chosen] ?? 0) + 1;
    }
    return times;
  });
}

function scoreOf(documents: readonly Sums[], groups: readonly number[], draws: readonly Uint16Array[]): ArScore {
  const of = (values: Float64Array) => groups.reduce((sum, group) => sum + (values[group] ?? 0), 0);
  const own = documents.map(({ count, loss, hit }) => ({ count: of(count), loss: of(loss), hit: of(hit) }));
  const totals = (times: Uint16Array | null) => {
    let [count, loss, hit] = [0, 0, 0];
    own.forEach((sums, i) => {
      const n = times === null ? 1 : (times[i] ?? 0);
      count += n * sums.count;
      loss += n * sums.loss;
      hit += n * sums.hit;
    });
    return { count, loss: loss / count, hit: hit / count };
  };
  const { count, loss, hit } = totals(null);
  if (count === 0) {
    const none = { loss: null, lossLow: null, lossHigh: null };
    return { targets: 0, ...none, accuracy: null, accuracyLow: null, accuracyHigh: null };
  }
  // Resamples without any of the targets say nothing about their mean.
  const drawn = draws.map(totals).filter((total) => total.count > 0);
  const [lossLow, lossHigh] = interval(drawn.map((total) => total.loss));
  const [accuracyLow, accuracyHigh] = interval(drawn.map((total) => total.hit));
  return { targets: count, loss, lossLow, lossHigh, accuracy: hit, accuracyLow, accuracyHigh };
}

/** The 2.5 % and 97.5 % quantiles; nulls where there is nothing to resample. */
function interval(values: number[]): readonly [number | null, number | null] {
  if (values.length === 0) return [null, null];
  const sorted = values.sort((a, b) => a - b);
  const at = (q: number) =>
    sorted[Math.min(sorted.length - 1, Math.max(0, Math.round(q * (sorted.length - 1))))] ?? null;
  return [at(0.025), at(0.975)];
}
