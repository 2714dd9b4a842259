/** Recall by distance. */
import { last, f64At, at } from '../core/index.js';
import type { Scores } from '../loaded/index.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const readF64 = f64At;

/** Recall of one range of distances. */
export interface RecallScore {
  /** Mean probability of the right value; null without targets. */
  readonly probability: number | null;
  /** Share of targets whose right value is the likeliest token; null without targets. */
  readonly accuracy: number | null;
  /** Targets. */
  readonly count: number;
}

/** Recall at distances `from` to `to`, in tokens. */
export interface RecallBin extends RecallScore {
  /** Distances `from..to` in tokens, both included: from the key's last use to this use. */
  readonly from: number;
  readonly to: number;
}

/** The default upper ends of distance bins: 16, 32, 64, ... until the sequence length is covered. */
export function defaultBins(seqLen: number): number[] {
  const ends = [16];
  while (last(ends) < seqLen) ends.push(2 * last(ends));
  return ends;
}

class Tally {
  #probability = 0;
  #hits = 0;
  #count = 0;

  add(probability: number, hit: number): void {
    this.#probability += probability;
    this.#hits += hit;
    this.#count += 1;
  }

  score(): RecallScore {
    const mean = (sum: number) => (this.#count === 0 ? null : sum / this.#count);
    return { probability: mean(this.#probability), accuracy: mean(this.#hits), count: this.#count };
  }
}

/** Gathers recall targets by distance. */
export class RecallTally {
  readonly #ends: readonly number[];
  readonly #bins: readonly Tally[];
  readonly #overall = new Tally();

  /**
   * Starts with empty tallies.
   *
   * @param ends upper ends of the bins, ascending; targets farther than the last count in the overall score alone
   */
  constructor(ends: readonly number[]) {
    this.#ends = ends;
    this.#bins = ends.map(() => new Tally());
  }

  /**
   * Adds the scores of a batch.
   *
   * @param distances the distance of the target at each position; 0 where there is none
   */
  add({ loss, hit }: Scores, distances: Int32Array): void {
    distances.forEach((distance, i) => {
      if (distance === 0) return;
      const [probability, right] = [Math.exp(-readF64(loss, i)), readF64(hit, i)];
      this.#overall.add(probability, right);
      const bin = this.#ends.findIndex((end) => distance <= end);
      this.#bins[bin]?.add(probability, right);
    });
  }

  result(): { bins: RecallBin[]; overall: RecallScore } {
    const bins = this.#bins.map((bin, i) => ({
      from: (this.#ends[i - 1] ?? 0) + 1,
      to: at(this.#ends, i),
      ...bin.score(),
    }));
    return { bins, overall: this.#overall.score() };
  }
}
