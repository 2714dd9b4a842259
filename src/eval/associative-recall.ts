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
import { invariant, Rng } from '../core/index.js';
import type { GramKeys } from '../data/index.js';
import type { Scores } from '../loaded/index.js';

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

/** Groups of targets that are summed: all, fresh bigrams, onset and inside of far hits, then the same of each bin. */
const [ALL, FRESH, FAR, FIRST_BIN] = [0, 1, 2, 4];

/** One number for each document and group: that of group g in document d stands at `d * groups + g`. */
type Sums = Float64Array;

/**
 * Makes an `ArRecord` of scores; the interval resamples documents, whose targets are not independent of one another.
 * What depends on the text alone is worked out once, so that one tally takes the scores of one model after another.
 */
export class ArTally {
  readonly #ends: readonly number[];
  readonly #maxCount: number;
  /** The first far distance, and the last distance. */
  readonly #far: readonly [number, number];
  readonly #groups: number;
  /** Numbers of documents in the order in which they came, by their names; rows that are documents have symbols. */
  readonly #documents = new Map<number | symbol, number>();
  /** Targets of the rows so far. */
  #targets = 0;
  /** Where the targets of each row are added: pairs of a target and the place of a sum that it goes into. */
  readonly #places: Int32Array[] = [];
  #prepared: Prepared | null = null;

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
    this.#groups = FIRST_BIN + 2 * ends.length;
  }

  /** Adds a row with what `findAssociativeRecall` found in it. */
  add({ documents, counts }: ArRow, found: ArTargets): void {
    const row = Symbol('row');
    const places: number[] = [];
    this.#prepared = null;
    for (let t = 0; t < found.kind.length; t++) {
      if (!counts(t)) continue;
      const start = this.#document(documents?.[t] ?? row) * this.#groups;
      for (const group of this.#groupsOf(found, t)) places.push(this.#targets + t, start + group);
    }
    this.#places.push(Int32Array.from(places));
    this.#targets += found.kind.length;
  }

  /**
   * The record of a model.
   *
   * @param scores of the targets of all rows, one part after another in the order in which rows were added
   */
  record(scores: readonly Scores[]): ArRecord {
    const prepared = (this.#prepared ??= this.#prepare());
    const sums = this.#sums(scores, prepared);
    const score = (...groups: number[]): ArScore => scoreOf(prepared, sums, groups);
    const bin = (from: number, to: number, onset: number): ArBin => ({
      ...{ from, to, onset: score(onset), inside: score(onset + 1), all: score(onset, onset + 1) },
    });
    return {
      maxCount: this.#maxCount,
      documents: prepared.documents,
      all: score(ALL),
      fresh: score(FRESH),
      bins: this.#ends.map((to, i) => bin((this.#ends[i - 1] ?? 0) + 1, to, FIRST_BIN + 2 * i)),
      far: bin(...this.#far, FAR),
    };
  }

  #document(name: number | symbol): number {
    const known = this.#documents.get(name) ?? this.#documents.size;
    this.#documents.set(name, known);
    return known;
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

  #prepare(): Prepared {
    const [documents, groups] = [this.#documents.size, this.#groups];
    const places = joined(this.#places.splice(0));
    this.#places.push(places);
    const count = new Float64Array(documents * groups);
    for (let i = 1; i < places.length; i += 2) {
      const place = places[i] ?? 0;
      count[place] = (count[place] ?? 0) + 1;
    }
    return { documents, groups, places, count, draws: resamples(documents), drawn: new Map() };
  }

  #sums(scores: readonly Scores[], { places, count }: Prepared): { readonly loss: Sums; readonly hit: Sums } {
    const total = scores.reduce((sum, part) => sum + part.loss.length, 0);
    invariant(total === this.#targets, `scores of ${total} targets were given for the ${this.#targets} of all rows`);
    const [loss, hit] = [new Float64Array(count.length), new Float64Array(count.length)];
    let i = 0;
    let from = 0;
    for (const part of scores) {
      const to = from + part.loss.length;
      for (let target = places[i] ?? to; target < to; target = places[i] ?? to) {
        const place = places[i + 1] ?? 0;
        loss[place] = (loss[place] ?? 0) + (part.loss[target - from] ?? 0);
        hit[place] = (hit[place] ?? 0) + (part.hit[target - from] ?? 0);
        i += 2;
      }
      from = to;
    }
    return { loss, hit };
  }
}

function joined(parts: readonly Int32Array[]): Int32Array {
  const all = new Int32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** What a tally knows without any scores. */
interface Prepared {
  readonly documents: number;
  readonly groups: number;
  /** Pairs of a target and the place of a sum that it goes into, in order of targets. */
  readonly places: Int32Array;
  /** Targets by document and group. */
  readonly count: Sums;
  /** How often each document is drawn, one resample after another. */
  readonly draws: Uint16Array;
  /** What is known of groups that are looked at together, by their numbers. */
  readonly drawn: Map<string, Drawn>;
}

/** Some groups of targets together, without their scores. */
interface Drawn {
  /** Documents that have any of the targets. */
  readonly documents: Int32Array;
  readonly count: number;
  /** Targets in each resample. */
  readonly counts: Float64Array;
}

/** How often each document is drawn in each resample: `[RESAMPLES, documents]`, or nothing below two documents. */
function resamples(documents: number): Uint16Array {
  const rng = Rng.of(BOOTSTRAP_SEED, 'associative-recall');
  const times = new Uint16Array(documents < 2 ? 0 : RESAMPLES * documents);
  for (let start = 0; start < times.length; start += documents) {
    for (let i = 0; i < documents; i++) {
      const chosen = start + rng.int(documents);
      times[chosen] = (times[chosen] ?? 0) + 1;
    }
  }
  return times;
}

/** The sum over some groups in each of some documents. */
function sumOf(sums: Sums, groups: readonly number[], of: Int32Array, perDocument: number): Float64Array {
  return Float64Array.from(of, (d) => groups.reduce((sum, group) => sum + (sums[d * perDocument + group] ?? 0), 0));
}

/** The sum over documents in each resample, each document as often as it was drawn. */
function resampled({ draws, documents }: Prepared, of: Int32Array, values: Float64Array): Float64Array {
  const totals = new Float64Array(draws.length / Math.max(1, documents));
  for (let r = 0, start = 0; r < totals.length; r++, start += documents) {
    let sum = 0;
    for (let i = 0; i < of.length; i++) sum += (draws[start + (of[i] ?? 0)] ?? 0) * (values[i] ?? 0);
    totals[r] = sum;
  }
  return totals;
}

const total = (values: Float64Array): number => values.reduce((a, b) => a + b, 0);

function drawnOf(prepared: Prepared, groups: readonly number[]): Drawn {
  const key = groups.join();
  const known = prepared.drawn.get(key);
  if (known !== undefined) return known;
  const everyone = Int32Array.from({ length: prepared.documents }, (_, d) => d);
  const all = sumOf(prepared.count, groups, everyone, prepared.groups);
  const documents = everyone.filter((d) => (all[d] ?? 0) > 0);
  const own = all.filter((count) => count > 0);
  const drawn = { documents, count: total(own), counts: resampled(prepared, documents, own) };
  prepared.drawn.set(key, drawn);
  return drawn;
}

function scoreOf(
  prepared: Prepared,
  sums: { readonly loss: Sums; readonly hit: Sums },
  groups: readonly number[],
): ArScore {
  const { documents, count, counts } = drawnOf(prepared, groups);
  if (count === 0) {
    const none = { loss: null, lossLow: null, lossHigh: null };
    return { targets: 0, ...none, accuracy: null, accuracyLow: null, accuracyHigh: null };
  }
  const mean = (of: Sums) => {
    const own = sumOf(of, groups, documents, prepared.groups);
    // Resamples without any of the targets say nothing about their mean.
    const means = resampled(prepared, documents, own).map((sum, r) => sum / (counts[r] ?? 0));
    return [total(own) / count, ...interval(means.filter((_, r) => (counts[r] ?? 0) > 0))] as const;
  };
  const [loss, lossLow, lossHigh] = mean(sums.loss);
  const [accuracy, accuracyLow, accuracyHigh] = mean(sums.hit);
  return { targets: count, loss, lossLow, lossHigh, accuracy, accuracyLow, accuracyHigh };
}

/** The 2.5 % and 97.5 % quantiles; nulls where there is nothing to resample. */
function interval(values: Float64Array): readonly [number | null, number | null] {
  if (values.length === 0) return [null, null];
  const sorted = values.sort();
  const at = (q: number) =>
    sorted[Math.min(sorted.length - 1, Math.max(0, Math.round(q * (sorted.length - 1))))] ?? null;
  return [at(0.025), at(0.975)];
}
