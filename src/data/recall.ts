/**
 * The synthetic recall stream: keys are followed by values that they keep for the sequence, and come back after gaps
 * with a power-law tail, as repeats do in text. Predicting the value of a key seen before takes retrieval over exactly
 * the distance to that key's last use.
 *
 * Token ids: keys 0 .. numKeys-1, then values, then fillers.
 */
import { z } from 'zod';
import { i32At, at, Rng, realNumber } from '../core/index.js';
import { parseState, rngToJson, RngStateSchema, type Batch, type DataSource, type JsonValue } from './source.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const readI32 = i32At;

const count = (minimum: number, standard: number, text: string) =>
  z.int().min(minimum).max(65536).default(standard).describe(text);
const fraction = (standard: number, text: string) => realNumber().min(0).max(1).default(standard).describe(text);

/** Options of the recall stream; the defaults are the recipe of the quickstart. */
export const RecallOptionsSchema = z
  .strictObject({
    numKeys: count(2, 16, 'number of key tokens'),
    numValues: count(2, 16, 'number of value tokens'),
    numFillers: count(0, 32, 'number of filler tokens'),
    pairProbability: fraction(0.9, 'probability that the next thing is a key and its value, else one filler'),
    reuseProbability: fraction(0.6, 'probability that a key is one used before, its age in pairs log-uniform'),
    targetWeight: realNumber().positive().default(1).describe('loss weight of the value after a key seen before'),
    otherWeight: realNumber().min(0).default(0.25).describe('loss weight of every other token'),
    fillerMultiplier: count(0, 5, 'next filler = multiplier * previous + noise + 1, modulo numFillers'),
    fillerNoise: count(1, 8, 'the noise of the next filler is uniform over this many values'),
  })
  .refine((o) => o.numFillers > 0 || o.pairProbability === 1, {
    path: ['pairProbability'],
    message: 'must be 1 if numFillers is 0',
  });

/** Options of the recall stream, with defaults filled in. */
export type RecallOptions = z.output<typeof RecallOptionsSchema>;

/** The number of token ids that the recall stream uses: keys, values and fillers. */
export function recallVocabSize(options: RecallOptions): number {
  return options.numKeys + options.numValues + options.numFillers;
}

/** A sequence of the recall stream, with the distance of every recall target. */
export interface RecallSequence {
  /** i32 [length]: the token ids. */
  readonly tokens: Int32Array;
  /** i32 [length]: where a token is a recall target, the tokens since its key's last use (key to key); else 0. */
  readonly distances: Int32Array;
}

/**
 * One sequence: until it is full, with `pairProbability` a key and its value, else a filler of a noisy bigram chain.
 * A key gets a uniform value at its first use and keeps it. The last pair may be cut after its key.
 *
 * @param without a key that is not used (for needles)
 */
export function recallSequence(rng: Rng, options: RecallOptions, length: number, without?: number): RecallSequence {
  const { numKeys, numValues } = options;
  const tokens = new Int32Array(length);
  const distances = new Int32Array(length);
  const valueOf = new Int32Array(numKeys).fill(-1);
  const lastUse = new Int32Array(numKeys);
  const used: number[] = [];
  let filler = options.numFillers > 0 ? rng.int(options.numFillers) : 0;
  for (let at = 0; at < length;) {
    if (rng.uniform() >= options.pairProbability) {
      filler = nextFiller(rng, options, filler);
      tokens[at++] = numKeys + numValues + filler;
      continue;
    }
    const key = drawKey(rng, options, used, without);
    used.push(key);
    const known = valueOf[key] !== -1;
    if (!known) valueOf[key] = rng.int(numValues);
    const distance = at - readI32(lastUse, key);
    lastUse[key] = at;
    tokens[at++] = key;
    if (at === length) break;
    if (known) distances[at] = distance;
    tokens[at++] = numKeys + readI32(valueOf, key);
  }
  return { tokens, distances };
}

function nextFiller(rng: Rng, options: RecallOptions, previous: number): number {
  return (options.fillerMultiplier * previous + rng.int(options.fillerNoise) + 1) % options.numFillers;
}

/** With `reuseProbability` the key used `age` pairs ago, P(age) = ln(1 + 1/age) / ln(1 + pairs); else a uniform key. */
function drawKey(rng: Rng, options: RecallOptions, used: readonly number[], without: number | undefined): number {
  if (rng.uniform() < options.reuseProbability && used.length > 0) {
    const age = Math.floor(Math.exp(rng.uniform() * Math.log(used.length + 1)));
    return at(used, used.length - Math.min(age, used.length));
  }
  if (without === undefined) return rng.int(options.numKeys);
  const key = rng.int(options.numKeys - 1);
  return key < without ? key : key + 1;
}

const RecallState = z.strictObject({ rng: RngStateSchema });

/** The recall stream as training data. */
export class RecallSource implements DataSource {
  readonly vocabSize: number;
  readonly seqLen: number;
  readonly hasSegments = false;
  readonly isRecall = true;
  readonly #options: RecallOptions;
  #rng: Rng;

  /**
   * Starts the stream.
   *
   * @param stream names the random stream; training and held-out data use different names
   */
  constructor(options: RecallOptions, seqLen: number, seed: number, stream: string) {
    this.#options = options;
    this.seqLen = seqLen;
    this.vocabSize = recallVocabSize(options);
    this.#rng = Rng.of(seed, 'data', 'recall', stream);
  }

  fill(batch: Batch, row: number): void {
    const { tokens, distances } = recallSequence(this.#rng, this.#options, this.seqLen + 1);
    const { targetWeight, otherWeight } = this.#options;
    const start = row * this.seqLen;
    batch.tokens.set(tokens.subarray(0, this.seqLen), start);
    batch.targets.set(tokens.subarray(1), start);
    for (let i = 0; i < this.seqLen; i++) {
      batch.weights[start + i] = distances[i + 1] === 0 ? otherWeight : targetWeight;
    }
  }

  state(): JsonValue {
    return { rng: rngToJson(this.#rng) };
  }

  restore(state: unknown): void {
    this.#rng = Rng.fromState(parseState(RecallState, state, 'recall').rng);
  }
}

/** Held-out sequences of the recall stream, with the distance of every recall target. */
export interface RecallEvalBatch {
  /** The number of sequences. */
  readonly batchSize: number;
  /** Tokens of each sequence. */
  readonly seqLen: number;
  /** i32 [batchSize * seqLen]: what the model reads. */
  readonly tokens: Int32Array;
  /** i32 [batchSize * seqLen]: the token after each position. */
  readonly targets: Int32Array;
  /** i32 [batchSize * seqLen]: the distance of the recall target that a position predicts; 0 where it predicts none. */
  readonly distances: Int32Array;
}

/**
 * Held-out sequences with the distance of every recall target. The same arguments give the same sequences; they come
 * from a random stream of their own, which training never uses.
 */
export function recallEvalBatch(
  options: RecallOptions,
  { batchSize, seqLen, seed, index = 0 }: { batchSize: number; seqLen: number; seed: number; index?: number },
): RecallEvalBatch {
  const rng = Rng.of(seed, 'data', 'recall', 'eval', index);
  const size = batchSize * seqLen;
  const out = { tokens: new Int32Array(size), targets: new Int32Array(size), distances: new Int32Array(size) };
  for (let row = 0; row < batchSize; row++) {
    const { tokens, distances } = recallSequence(rng, options, seqLen + 1);
    out.tokens.set(tokens.subarray(0, seqLen), row * seqLen);
    out.targets.set(tokens.subarray(1), row * seqLen);
    out.distances.set(distances.subarray(1), row * seqLen);
  }
  return { batchSize, seqLen, ...out };
}
