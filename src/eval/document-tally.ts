/**
 * Means over targets of rows of text, with intervals from resampling documents, whose targets are not independent of
 * one another.
 */
import { invariant, Rng } from '../core/index.js';
import type { Scores } from '../loaded/index.js';

const RESAMPLES = 1000;
const BOOTSTRAP_SEED = 0;

/** A mean over targets with a 95 % interval from resampling documents. */
export interface DocumentMean {
  /** Targets. */
  readonly targets: number;
  /** Mean loss, nats a token; null without a target. */
  readonly loss: number | null;
  /** Lower end of the interval of the loss, nats a token. */
  readonly lossLow: number | null;
  /** Upper end of the interval of the loss, nats a token. */
  readonly lossHigh: number | null;
  /** Share of targets that are the likeliest token. */
  readonly accuracy: number | null;
  /** Lower end of the interval of the accuracy, a share of 1. */
  readonly accuracyLow: number | null;
  /** Upper end of the interval of the accuracy, a share of 1. */
  readonly accuracyHigh: number | null;
}

/** What scores of all rows come to. */
interface DocumentMeans {
  /** Documents, or parts of them that a row holds. */
  readonly documents: number;
  /** The mean over some groups of targets together. */
  mean(this: void, ...groups: number[]): DocumentMean;
}

/** One number for each document and group: that of group g in document d stands at `d * groups + g`. */
type Sums = Float64Array;

/**
 * Sums scores of targets by document and by groups that the text decides. What depends on the text alone is worked out
 * once, so that one tally takes the scores of one model after another.
 */
export class DocumentTally {
  readonly #groups: number;
  readonly #name: string;
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
   * @param groups how many groups of targets there are
   * @param name names the random stream that documents are drawn from
   */
  constructor(groups: number, name: string) {
    this.#groups = groups;
    this.#name = name;
  }

  /**
   * Adds a row.
   *
   * @param targets how many targets it has
   * @param documents the number of the document of each; null where the row is one, and no other row holds any of it
   * @param groupsOf the groups that a target belongs to; none for one that does not count
   */
  add(targets: number, documents: ArrayLike<number> | null, groupsOf: (t: number) => readonly number[]): void {
    const row = Symbol('row');
    const places: number[] = [];
    this.#prepared = null;
    for (let t = 0; t < targets; t++) {
      const groups = groupsOf(t);
      if (groups.length === 0) continue;
      const start = this.#document(documents?.[t] ?? row) * this.#groups;
      for (const group of groups) places.push(this.#targets + t, start + group);
    }
    this.#places.push(Int32Array.from(places));
    this.#targets += targets;
  }

  /**
   * Means of a model's scores.
   *
   * @param scores of the targets of all rows, one part after another in the order in which rows were added
   */
  means(scores: readonly Scores[]): DocumentMeans {
    const prepared = (this.#prepared ??= this.#prepare());
    const sums = this.#sums(scores, prepared);
    return { documents: prepared.documents, mean: (...groups) => scoreOf(prepared, sums, groups) };
  }

  #document(name: number | symbol): number {
    const known = this.#documents.get(name) ?? this.#documents.size;
    this.#documents.set(name, known);
    return known;
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
    return { documents, groups, places, count, draws: resamples(documents, this.#name), drawn: new Map() };
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
function resamples(documents: number, name: string): Uint16Array {
  const rng = Rng.of(BOOTSTRAP_SEED, name);
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
): DocumentMean {
  const { documents, count, counts } = drawnOf(prepared, groups);
  if (count === 0) {
    const none = { loss: null, lossLow: null, lossHigh: null };
    return { targets: 0, ...none, accuracy: null, accuracyLow: null, accuracyHigh: null };
  }
  const mean = (of: Sums) => {
    const own = sumOf(of, groups, documents, prepared.groups);
    // Resamples without any of the targets say nothing about their mean, and one document nothing about others.
    const means = resampled(prepared, documents, own).map((sum, r) => sum / (counts[r] ?? 0));
    const told = documents.length < 2 ? means.slice(0, 0) : means.filter((_, r) => (counts[r] ?? 0) > 0);
    return [total(own) / count, ...interval(told)] as const;
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
