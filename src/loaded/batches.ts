/** Sequences of different lengths in batches of one shape. */
import { at, checkTokenIds, ConfigError, tensorFrom } from '../core/index.js';
import type { DeviceTensor, Engine } from '../engine/index.js';
import type { ModelOnEngine } from './loaded-model.js';
import { LONG_SEQUENCE } from './segments.js';

/** Tokens of a pass on the host: few, as its memory grows with them. */
const HOST_TOKENS = 4096;
/** Bytes of the widest activation of a pass on the host: gates and values of an MLP. */
const HOST_BYTES = 2 ** 25;
/** Tokens of a pass on an accelerator, which fewer would leave idle. */
const ACCELERATOR_TOKENS = 65_536;

/**
 * Tokens of one pass over sequences of `length` tokens unless a caller says: many where an accelerator reads them,
 * unless they are long; on the host fewer for wide models, whose weights leave less room.
 */
export function usualBatchTokens({ engine: { hints }, config }: ModelOnEngine, length: number): number {
  if (hints.accelerator === true && length < LONG_SEQUENCE) return ACCELERATOR_TOKENS;
  const widest = 2 * Math.max(config.intermediateSize, config.hiddenSize);
  return Math.min(HOST_TOKENS, Math.floor(HOST_BYTES / (4 * widest)));
}

/** What a batch needs of a sample: its tokens as far as `end`. */
export interface SequenceSample {
  readonly tokens: Int32Array;
  /** Tokens that matter; later ones are left out. */
  readonly end: number;
}

const longest = (samples: readonly SequenceSample[]): number => samples.reduce((most, s) => Math.max(most, s.end), 1);

type Upload = (engine: Engine, shape: readonly number[], values: ArrayLike<number>) => DeviceTensor;

/** A batch of samples on the engine. */
interface SequenceBatch<S> {
  /** i32 `[batchSize, length]`. */
  readonly tokens: DeviceTensor;
  /** The samples of the batch's first rows; the other rows repeat the last of them. */
  readonly samples: readonly S[];
  /** The samples of every row, repeats included. */
  readonly rows: readonly S[];
}

/** All samples in batches of one shape. */
export interface SequenceBatches<S> {
  readonly batchSize: number;
  /** Tokens of the longest sample; shorter ones are padded at the end, which causal layers never see. */
  readonly length: number;
  readonly batches: readonly SequenceBatch<S>[];
}

/**
 * Places samples on the engine.
 *
 * @param batchTokens at most this many tokens in a batch, one sample at least (default: `usualBatchTokens`)
 * @param upload puts i32 numbers on the engine (default: whole on every device)
 * @throws ConfigError without samples
 * @throws DataError if a sample holds a token that the model does not know
 */
export function batchSequences<S extends SequenceSample>(
  on: ModelOnEngine,
  samples: readonly S[],
  batchTokens: number = usualBatchTokens(on, longest(samples)),
  upload: Upload = (engine, shape, values) => engine.upload(tensorFrom('i32', shape, values)),
): SequenceBatches<S> {
  const {
    engine,
    config: { vocabSize },
  } = on;
  if (samples.length === 0) throw new ConfigError('this analysis needs at least one sample, got none');
  for (const { tokens, end } of samples) checkTokenIds(tokens.subarray(0, end), vocabSize, 'a sample holds');
  const length = longest(samples);
  const batchSize = Math.max(1, Math.min(samples.length, Math.floor(batchTokens / length)));
  const batches = Array.from({ length: Math.ceil(samples.length / batchSize) }, (_, b) => {
    const own = samples.slice(b * batchSize, (b + 1) * batchSize);
    const rows = Array.from({ length: batchSize }, (__, i) => at(own, Math.min(i, own.length - 1)));
    const tokens = new Int32Array(batchSize * length);
    rows.forEach((s, i) => tokens.set(s.tokens.subarray(0, s.end), i * length));
    return { tokens: upload(engine, [batchSize, length], tokens), samples: own, rows };
  });
  return { batchSize, length, batches };
}
