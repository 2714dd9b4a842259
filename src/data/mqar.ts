/**
 * Multi-query associative recall (Arora et al. 2023; HazyResearch/zoology, `zoology/data/multiquery_ar.py`): key-value
 * pairs, then each key once more at some distance; the target at a repeated key is its value.
 */
import { present, at, ConfigError, type Rng } from '../core/index.js';

/** Options of multi-query associative recall. */
export interface MqarOptions {
  /** At least twice `numPairs` of keys and of values: keys are ids 1 to V/2 - 1, values V/2 to V - 1; 0 is filler. */
  readonly vocabSize: number;
  /** Tokens of an example, even, at least 4 `numPairs`. */
  readonly length: number;
  /** Key-value pairs of an example; each key is repeated once. */
  readonly numPairs: number;
  /** Slot i after the pairs is drawn with weight `(i + 1)^(power - 1)`: 1 is uniform, 0.01 favors near repeats. */
  readonly power: number;
  /** Uniform ids instead of filler. They may be keys of the example by chance. */
  readonly randomFiller: boolean;
}

/** One example of multi-query associative recall. */
export interface MqarExample {
  /** i32 [length]: the token ids. */
  readonly tokens: Int32Array;
  /** i32 [length]: the value at each repeated key, -1 elsewhere. */
  readonly targets: Int32Array;
}

/** Throws `ConfigError` naming the setting that does not fit the others. */
export function checkMqar({ vocabSize, length, numPairs, power }: MqarOptions): void {
  const fail = (why: string): never => {
    throw new ConfigError(`multi-query recall: ${why}`);
  };
  for (const [name, value] of Object.entries({ vocabSize, length, numPairs })) {
    if (!(Number.isInteger(value) && value >= 1)) fail(`${name} must be a whole number of at least 1, got ${value}`);
  }
  if (length % 2 !== 0) fail(`length must be even, got ${length}`);
  if (4 * numPairs > length) fail(`${numPairs} pairs and their repeats need ${4 * numPairs} tokens, got ${length}`);
  if (vocabSize % 2 !== 0 || vocabSize / 2 - 1 < numPairs) {
    fail(`${numPairs} distinct keys need an even vocabSize of at least ${2 * numPairs + 2}, got ${vocabSize}`);
  }
  if (!(power > 0)) fail(`power must be above 0, got ${power}`);
}

/** Draws one example: `numPairs` keys each followed by its value, then every key once more. */
export function mqarExample(rng: Rng, options: MqarOptions): MqarExample {
  const { vocabSize, length, numPairs: n, power, randomFiller } = options;
  checkMqar(options);
  const half = vocabSize / 2;
  const keys = Array.from(rng.permutation(half - 1).subarray(0, n), (k) => k + 1);
  const values = Array.from(rng.permutation(half).subarray(0, n), (v) => v + half);
  const tokens = new Int32Array(length);
  const targets = new Int32Array(length).fill(-1);
  keys.forEach((key, j) => {
    tokens[2 * j] = key;
    tokens[2 * j + 1] = at(values, j);
  });
  const slots = drawSlots(rng, (length - 2 * n) / 2, n, power);
  keys.forEach((key, j) => {
    const at = 2 * n + 2 * present(slots[j]);
    tokens[at] = key;
    targets[at] = present(values[j]);
  });
  if (randomFiller) tokens.forEach((t, i) => (tokens[i] = t === 0 ? rng.int(vocabSize) : t));
  return { tokens, targets };
}

/** `count` of `n` slots, one after another by their weights, without replacement. */
function drawSlots(rng: Rng, n: number, count: number, power: number): number[] {
  const weights = Float64Array.from({ length: n }, (_, i) => (i + 1) ** (power - 1));
  return Array.from({ length: count }, () => {
    const total = weights.reduce((a, b) => a + b, 0);
    let left = rng.uniform() * total;
    let slot = weights.findIndex((w) => w > 0 && (left -= w) < 0);
    // Rounding may leave a rest after the last one.
    if (slot < 0) slot = weights.findLastIndex((w) => w > 0);
    weights[slot] = 0;
    return slot;
  });
}
