/**
 * What a model trains on: sequences of token ids with, for every position, the next token and its weight in the loss.
 *
 * A source is a deterministic stream: the same options, seed and state give the same sequences, whatever the batch
 * size.
 */
import { z } from 'zod';
import { last, at, ConfigError, Rng, type RngState, StoreError, maxOf } from '../core/index.js';

/** A value that JSON can hold. */
export type JsonValue = string | number | boolean | null | readonly JsonValue[] | { readonly [key: string]: JsonValue };

/** `batchSize` sequences of `seqLen` tokens, row after row. */
export interface Batch {
  /** The number of sequences. */
  readonly batchSize: number;
  /** Tokens of each sequence. */
  readonly seqLen: number;
  /** i32 [batchSize * seqLen]: what the model reads. */
  readonly tokens: Int32Array;
  /** i32 [batchSize * seqLen]: the token after each position. */
  readonly targets: Int32Array;
  /**
   * f32 [batchSize * seqLen]: the weight of predicting each target; the loss is the weighted mean over a whole step.
   */
  readonly weights: Float32Array;
  /**
   * i32 [batchSize * seqLen]: the document index of each token, from 0 in each row; null where rows are one document
   * each.
   */
  readonly segments: Int32Array | null;
  /**
   * f64 [batchSize * (seqLen + 1)]: the number of the document of each token of a row, and of its last target; -1 where
   * a row is no text. Null where nobody asked for them.
   */
  readonly documents: Float64Array | null;
}

/** A deterministic stream of training sequences whose position can be stored and restored. */
export interface DataSource {
  /** Every token id of the stream is below this. */
  readonly vocabSize: number;
  /** Tokens of each sequence. */
  readonly seqLen: number;
  /** Whether rows hold several documents that the model keeps apart; otherwise `fill` leaves `segments` at 0. */
  readonly hasSegments: boolean;
  /** True if every sequence is one of the recall stream, so that one pass gives both the held-out loss and recall. */
  readonly isRecall?: boolean;
  /** Writes the next sequence of the stream into row `row` of `batch`. */
  fill(batch: Batch, row: number): void;
  /**
   * The position and random state, JSON-safe: a source restored to it gives the sequences that this one would have
   * given.
   */
  state(): JsonValue;
  /**
   * Goes on from a state of `state()`.
   * @throws StoreError if the state is not one of this kind of source
   */
  restore(state: unknown): void;
}

/** A batch of zeros for `fill` to write into. */
export function emptyBatch(batchSize: number, seqLen: number, hasSegments = false, hasDocuments = false): Batch {
  const size = batchSize * seqLen;
  return {
    batchSize,
    seqLen,
    tokens: new Int32Array(size),
    targets: new Int32Array(size),
    weights: new Float32Array(size),
    segments: hasSegments ? new Int32Array(size) : null,
    documents: hasDocuments ? new Float64Array(batchSize * (seqLen + 1)).fill(-1) : null,
  };
}

/** The next `batchSize` sequences of a source. */
export function nextBatch(source: DataSource, batchSize: number, hasDocuments = false): Batch {
  const batch = emptyBatch(batchSize, source.seqLen, source.hasSegments, hasDocuments);
  for (let row = 0; row < batchSize; row++) source.fill(batch, row);
  return batch;
}

/** The schema of a stored `RngState`. */
export const RngStateSchema = z.strictObject({
  s: z.tuple([z.uint32(), z.uint32(), z.uint32(), z.uint32()]),
  spare: z.number().nullable(),
}) satisfies z.ZodType<RngState>;

/**
 * Reads a stored state of a source.
 * @throws StoreError if the state does not fit `schema`
 */
export function parseState<S extends z.ZodType>(schema: S, state: unknown, kind: string): z.output<S> {
  const result = schema.safeParse(state);
  if (result.success) return result.data;
  throw new StoreError(
    `the stored position of the ${kind} data does not fit: the checkpoint is damaged or belongs to other data`,
    { details: { issues: result.error.issues }, cause: result.error },
  );
}

/** A JSON-safe copy of a random state. */
export function rngToJson(rng: Rng): JsonValue {
  const { s, spare } = rng.state();
  return { s: [...s], spare };
}

const MixtureState = z.strictObject({ rng: RngStateSchema, sources: z.array(z.unknown()) });

/**
 * A mixture: every sequence comes from one of `sources`, drawn with probability proportional to its weight.
 *
 * @param weights one positive number a source
 * @throws ConfigError if there is no source or a weight is not positive
 */
export class MixtureSource implements DataSource {
  readonly vocabSize: number;
  readonly seqLen: number;
  readonly hasSegments: boolean;
  readonly #sources: readonly DataSource[];
  readonly #cumulative: readonly number[];
  #rng: Rng;

  constructor(sources: readonly DataSource[], weights: readonly number[], seed: number) {
    const first = sources[0];
    if (
      first === undefined ||
      weights.length !== sources.length ||
      !weights.every((w) => w > 0 && Number.isFinite(w))
    ) {
      throw new ConfigError(
        `a mixture needs sources with positive weights, got ${sources.length} with [${weights.join()}]`,
      );
    }
    if (sources.some((s) => s.seqLen !== first.seqLen))
      throw new ConfigError('the sources of a mixture differ in seqLen');
    this.#sources = sources;
    this.seqLen = first.seqLen;
    this.vocabSize = maxOf(sources.map((s) => s.vocabSize));
    this.hasSegments = sources.some((s) => s.hasSegments);
    let sum = 0;
    this.#cumulative = weights.map((w) => (sum += w));
    this.#rng = Rng.of(seed, 'data', 'mixture');
  }

  fill(batch: Batch, row: number): void {
    const total = last(this.#cumulative);
    const draw = this.#rng.uniform() * total;
    const chosen = this.#cumulative.findIndex((c) => draw < c);
    at(this.#sources, chosen).fill(batch, row);
    // Documents of different sources are different ones.
    const width = this.seqLen + 1;
    const own = batch.documents?.subarray(row * width, (row + 1) * width);
    own?.forEach((document, i) => {
      if (document >= 0) own[i] = document * this.#sources.length + chosen;
    });
  }

  state(): JsonValue {
    return { rng: rngToJson(this.#rng), sources: this.#sources.map((s) => s.state()) };
  }

  restore(state: unknown): void {
    const { rng, sources } = parseState(MixtureState, state, 'mixture');
    if (sources.length !== this.#sources.length) {
      throw new StoreError(
        `the checkpoint mixes ${sources.length} data sources and this run ${this.#sources.length}; use the same data`,
      );
    }
    this.#sources.forEach((source, i) => source.restore(sources[i]));
    this.#rng = Rng.fromState(rng);
  }
}
