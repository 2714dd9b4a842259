/** Choosing the next token from logits. */
import { at, ConfigError, type Rng } from '../core/index.js';

/** How the next token is drawn from logits. */
export interface Sampling {
  /** Divides the logits; 0 takes the likeliest token. */
  readonly temperature: number;
  /** Keeps the k likeliest tokens; null keeps all. */
  readonly topK: number | null;
  /**
   * Keeps the fewest likeliest tokens whose probabilities, after temperature and top-k, add up to at least p; 1 keeps
   * all.
   */
  readonly topP: number;
}

/** Always the likeliest token. */
export const GREEDY: Sampling = { temperature: 0, topK: null, topP: 1 };

/** Throws `ConfigError` naming a setting that is out of range. */
export function checkSampling({ temperature, topK, topP }: Sampling): void {
  if (!(temperature >= 0 && temperature < Infinity)) {
    throw new ConfigError(`temperature must be 0 (greedy) or more, got ${temperature}`);
  }
  if (topK !== null && !(Number.isInteger(topK) && topK >= 1)) {
    throw new ConfigError(`top-k must be a whole number of at least 1, got ${topK}`);
  }
  if (!(topP > 0 && topP <= 1)) throw new ConfigError(`top-p must be above 0 and at most 1, got ${topP}`);
}

/** Candidates and their weights, the likeliest first; ties in order of the ids. Weights need not add up to 1. */
export interface Candidates {
  readonly ids: readonly number[];
  readonly weights: readonly number[];
}

/**
 * The tokens that sampling chooses among: temperature, then top-k, then top-p (Holtzman et al. 2020), as in
 * Transformers.
 *
 * @param logits of the whole vocabulary; temperature must not be 0
 */
export function candidates(logits: ArrayLike<number>, { temperature, topK, topP }: Sampling): Candidates {
  const byLogit = Array.from(logits, (_, id) => id).sort((a, b) => at(logits, b) - at(logits, a) || a - b);
  const kept = topK === null ? byLogit : byLogit.slice(0, topK);
  const top = at(logits, at(kept, 0));
  const weights = kept.map((id) => Math.exp((at(logits, id) - top) / temperature));
  if (topP >= 1) return { ids: kept, weights };
  const total = weights.reduce((a, b) => a + b, 0);
  let [sum, count] = [0, 0];
  while (count < weights.length && sum < topP * total) sum += at(weights, count++);
  return { ids: kept.slice(0, count), weights: weights.slice(0, count) };
}

/** Draws one token. */
export function sampleToken(logits: ArrayLike<number>, sampling: Sampling, rng: Rng): number {
  const { ids, weights } = candidates(logits, sampling);
  let left = rng.uniform() * weights.reduce((a, b) => a + b, 0);
  const found = weights.findIndex((w) => (left -= w) < 0);
  // Rounding may leave a rest after the last one.
  return at(ids, found === -1 ? ids.length - 1 : found);
}
