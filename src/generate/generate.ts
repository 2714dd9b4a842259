/** Continuations of prompts, token by token. */
import { i32At, maxOf, Rng } from '../core/index.js';
import type { LoadedModel } from '../loaded/index.js';
import { Decoder, type NextToken } from './decoder.js';
import { checkSampling, GREEDY, sampleToken, type Sampling } from './sample.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const readI32 = i32At;

/** How prompts are continued. */
export interface GenerateOptions {
  /** The most new tokens for each prompt. */
  readonly maxNew: number;
  /** How the next token is chosen (default: greedily). */
  readonly sampling?: Sampling;
  readonly seed?: number;
  /** A sequence ends with the first of these ids, which is not part of it. */
  readonly stopTokens?: ReadonlySet<number>;
  /** Ends a sequence by its new tokens so far, the last of which stays part of it. */
  readonly isDone?: (tokens: readonly number[], row: number) => boolean;
  /** Called with every new token of every row as it comes. */
  readonly onToken?: (row: number, token: number) => void;
  readonly signal?: AbortSignal;
}

/** The continuation of one prompt. */
export interface Generation {
  /** The new tokens, i32 [new tokens]. */
  readonly tokens: Int32Array;
  /** Why the continuation ends: a stop token, `isDone`, or `maxNew` tokens. */
  readonly finish: 'stop' | 'done' | 'length';
}

/** The continuations of all prompts, and how long they took. */
export interface GenerateResult {
  /** The continuations, one for each prompt. */
  readonly rows: readonly Generation[];
  /** Wall-clock seconds spent reading the prompts and generating. */
  readonly seconds: { readonly read: number; readonly generate: number };
  /** Tokens that were generated in lockstep: steps of the decoder, at most `maxNew`. */
  readonly steps: number;
  /** Bytes of the caches and recurrent states on the engine. */
  readonly stateBytes: number;
}

/**
 * Continues prompts: all of a model's together, or at most `decoder.batchSize` of them with a decoder that is used
 * again. Rows are independent: each draws from its own random stream (seed, row), so that a prompt in the same row gets
 * the same continuation whatever stands beside it.
 *
 * @throws DataError naming a prompt that does not fit the decoder
 */
export async function generate(
  model: LoadedModel | Decoder,
  prompts: readonly Int32Array[],
  options: GenerateOptions,
): Promise<GenerateResult> {
  if (model instanceof Decoder) return generateWith(model, prompts, options);
  const maxPrompt = Math.max(1, maxOf(prompts.map((p) => p.length)));
  const decoder = await Decoder.create(model, { batchSize: prompts.length, maxPrompt, maxNew: options.maxNew });
  try {
    return await generateWith(decoder, prompts, options);
  } finally {
    await decoder.dispose();
  }
}

async function generateWith(
  decoder: Decoder,
  prompts: readonly Int32Array[],
  options: GenerateOptions,
): Promise<GenerateResult> {
  const { maxNew, sampling = GREEDY, seed = 0, signal } = options;
  checkSampling(sampling);
  const rngs = prompts.map((_, row) => Rng.of(seed, 'generate', row));
  const rows = prompts.map(() => new Row());
  const started = performance.now();
  let next = await decoder.read(filled(prompts, decoder.batchSize));
  // The engine may still compute; the first answer waits for it.
  await next.best();
  const read = performance.now();
  const ahead = decoder.runsAhead && sampling.temperature === 0;
  let steps = 0;
  while (steps < maxNew) {
    signal?.throwIfAborted();
    const last = steps + 1 === maxNew;
    // The likeliest tokens need not be known here for the step after them, which computes while they come.
    const [chosen, after] = await Promise.all([
      choose(next, decoder, sampling, rngs),
      ahead && !last ? decoder.step(next) : null,
    ]);
    rows.forEach((row, i) => row.take(readI32(chosen, i), i, options));
    steps += 1;
    if (last || rows.every((row) => row.finish !== null)) break;
    next = after ?? (await decoder.step(chosen));
  }
  const seconds = { read: (read - started) / 1000, generate: (performance.now() - read) / 1000 };
  return { rows: rows.map((row) => row.result()), seconds, steps, stateBytes: decoder.stateBytes };
}

class Row {
  readonly #tokens: number[] = [];
  finish: 'stop' | 'done' | null = null;

  take(token: number, row: number, { stopTokens, isDone, onToken }: GenerateOptions): void {
    if (this.finish !== null) return;
    if (stopTokens?.has(token)) {
      this.finish = 'stop';
      return;
    }
    this.#tokens.push(token);
    onToken?.(row, token);
    if (isDone?.(this.#tokens, row)) this.finish = 'done';
  }

  result(): Generation {
    return { tokens: Int32Array.from(this.#tokens), finish: this.finish ?? 'length' };
  }
}

/** Rows without a prompt repeat the first: their results are not read. */
function filled(prompts: readonly Int32Array[], batchSize: number): readonly Int32Array[] {
  const first = prompts[0];
  if (first === undefined || prompts.length >= batchSize) return prompts;
  return [...prompts, ...new Array<Int32Array>(batchSize - prompts.length).fill(first)];
}

async function choose(
  next: NextToken,
  { batchSize, vocabSize }: Decoder,
  sampling: Sampling,
  rngs: readonly Rng[],
): Promise<Int32Array> {
  if (sampling.temperature === 0) return next.best();
  const logits = await next.logits();
  return Int32Array.from({ length: batchSize }, (_, i) => {
    const rng = rngs[i];
    return rng === undefined ? 0 : sampleToken(logits.subarray(i * vocabSize, (i + 1) * vocabSize), sampling, rng);
  });
}
