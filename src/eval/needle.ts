/** The needle grid: how well a model finds a fact, by its depth and the length of the context. */
import { allPending, at, ConfigError, LongsightError, pending, present, settled, type Pending } from '../core/index.js';
import {
  byteNeedle,
  BYTE_VOCAB_SIZE,
  MIN_RECALL_NEEDLE_LENGTH,
  minByteNeedleLength,
  recallNeedle,
  type ByteNeedleOptions,
  type NeedleSample,
  type OpenedData,
} from '../data/index.js';
import type { DeviceTensor, Engine, TensorMap } from '../engine/index.js';
import { needleSamples, type NeedleTask } from './needle-task.js';
import { answerScore, Scorer, startedOn, type ModelOnEngine, type Scores } from '../loaded/index.js';
import { tokenNeedleTask } from './token-needle.js';

/**
 * Byte needles where the data has text, the same in the tokens of its shards, else recall needles.
 *
 * @throws ConfigError, DataError where the data can hold none of them
 */
export function needleTask(data: OpenedData, options: ByteNeedleOptions): NeedleTask {
  const { needles } = data;
  switch (needles?.kind) {
    case undefined:
      throw new ConfigError('the data has neither text nor recall sequences to hold a needle');
    case 'text':
      return {
        task: 'bytes',
        minLength: minByteNeedleLength(options),
        draw: (rng, place) => byteNeedle(rng, options, { ...place, corpus: needles.corpus }),
      };
    case 'tokens':
      return tokenNeedleTask(needles.tokenizer, options);
    case 'recall':
      return {
        task: 'recall',
        minLength: MIN_RECALL_NEEDLE_LENGTH,
        draw: (rng, place) => recallNeedle(rng, needles.options, place),
      };
  }
}

/** Throws `ConfigError` if a length cannot hold a needle and its question. */
function checkNeedleLengths(task: NeedleTask, lengths: readonly number[]): void {
  const short = lengths.find((length) => length < task.minLength);
  if (short === undefined) return;
  throw new ConfigError(
    `a sample of ${short} tokens cannot hold a needle and its question; the least is ${task.minLength}`,
    { details: { length: short, minimum: task.minLength } },
  );
}

/**
 * The needle task of a run's data, as far as data and lengths can hold needles; else one sentence that says why not.
 */
export function plannedNeedles(
  data: OpenedData,
  options: ByteNeedleOptions,
  lengths: readonly number[],
): { readonly task: NeedleTask; readonly problem: null } | { readonly task: null; readonly problem: string } {
  try {
    const task = needleTask(data, options);
    checkNeedleLengths(task, lengths);
    return { task, problem: null };
  } catch (error) {
    if (error instanceof LongsightError) return { task: null, problem: error.message };
    throw error;
  }
}

/** Which needle samples a grid is measured on. */
export interface NeedleGridSettings {
  /** Tokens of a sample, question and answer included. */
  readonly lengths: readonly number[];
  /** 0 = start of the context, 1 = right before the question. */
  readonly depths: readonly number[];
  /** Samples of each length and depth. */
  readonly samples: number;
}

/** Rows are lengths, columns depths. */
export interface NeedleGrid {
  /** `bytes`: a number in text; `recall`: a key's value in a recall sequence. */
  readonly task: 'bytes' | 'recall';
  /** Tokens, question and answer included. */
  readonly lengths: readonly number[];
  /** 0 = start of the context, 1 = right before the question. */
  readonly depths: readonly number[];
  /**
   * Share of samples whose answer is right, token for token, under greedy decoding. One teacher-forced pass decides it:
   * greedy decoding gives the whole answer exactly if each of its tokens is the likeliest after the ones before.
   */
  readonly accuracy: readonly (readonly number[])[];
  /** Mean over samples of the geometric mean, over the answer's tokens, of their teacher-forced probabilities. */
  readonly probability: readonly (readonly number[])[];
  /** Per cell. */
  readonly samples: number;
}

/** Samples of one length, on the engine. */
interface LengthPlan {
  readonly length: number;
  readonly samples: readonly NeedleSample[];
  readonly batchSize: number;
  readonly scorer: Scorer;
  readonly batches: readonly { tokens: DeviceTensor; targets: DeviceTensor; positions: DeviceTensor }[];
}

/** Which needle samples a model is measured on, and how. */
export interface NeedleEvaluatorOptions {
  readonly task: NeedleTask;
  readonly config: NeedleGridSettings;
  /** At most this many tokens in one pass (one sample at least). */
  readonly batchTokens: number;
}

/** A needle grid that is measured again and again, on the same samples. */
export class NeedleEvaluator {
  readonly #engine: Engine;
  readonly #options: NeedleEvaluatorOptions;
  readonly #plans: readonly LengthPlan[];

  private constructor(engine: Engine, options: NeedleEvaluatorOptions, plans: readonly LengthPlan[]) {
    this.#engine = engine;
    this.#options = options;
    this.#plans = plans;
  }

  /**
   * Draws the samples and compiles the pass that scores them.
   *
   * @throws ConfigError if a length cannot hold a needle, or the model's vocabulary not its bytes
   */
  static async create(model: ModelOnEngine, options: NeedleEvaluatorOptions): Promise<NeedleEvaluator> {
    const { task, config } = options;
    checkNeedleLengths(task, config.lengths);
    if (task.task === 'bytes' && model.config.vocabSize < BYTE_VOCAB_SIZE) {
      throw new ConfigError(
        `eval.needle: needles in text are bytes, but model.vocabSize is ${model.config.vocabSize}; use 256 or needle: false`,
        { details: { vocabSize: model.config.vocabSize } },
      );
    }
    const plans: LengthPlan[] = [];
    for (const length of config.lengths) plans.push(await planLength(model, options, length));
    return new NeedleEvaluator(model.engine, options, plans);
  }

  /** Starts to measure a model whose parameters are among `tensors`. */
  async start(tensors: TensorMap): Promise<Pending<NeedleGrid>> {
    const { config, task } = this.#options;
    const lengths: Pending<Scores[]>[] = [];
    for (const { scorer, batches } of this.#plans) {
      const started: Pending<Scores>[] = [];
      for (const batch of batches) started.push(await startedOn(this.#engine, scorer.start(tensors, batch)));
      lengths.push(allPending(started));
    }
    const all = allPending(lengths);
    return pending(all.numbers, () => {
      const rows = all.result().map((scores, i) => gridRow(at(this.#plans, i), scores, config.depths.length));
      return {
        task: task.task,
        lengths: config.lengths,
        depths: config.depths,
        accuracy: rows.map((r) => r.accuracy),
        probability: rows.map((r) => r.probability),
        samples: config.samples,
      };
    });
  }

  async evaluate(tensors: TensorMap): Promise<NeedleGrid> {
    return settled(await this.start(tensors));
  }

  async dispose(): Promise<void> {
    for (const { scorer } of this.#plans) await scorer.dispose();
  }
}

async function planLength(
  model: ModelOnEngine,
  { task, config, batchTokens }: NeedleEvaluatorOptions,
  length: number,
): Promise<LengthPlan> {
  const count = config.samples * config.depths.length;
  const samples = needleSamples(task, { label: 'needle', length, depths: config.depths, count });
  const answerLength = at(samples, 0).answer.length;
  const batchSize = Math.max(1, Math.min(count, Math.floor(batchTokens / length)));
  const numPositions = batchSize * answerLength;
  const scorer = await Scorer.create(model, { batchSize, seqLen: length, numPositions });
  const batches = Array.from({ length: Math.ceil(count / batchSize) }, (_, b) => {
    // The last batch is filled up with its last sample; what that scores is not read.
    const rows = Array.from({ length: batchSize }, (_, row) => at(samples, Math.min(b * batchSize + row, count - 1)));
    const positions = rows.flatMap((s, row) => Array.from(s.answer, (_, i) => row * length + s.queryPosition + i));
    return {
      tokens: scorer.upload(
        [batchSize, length],
        rows.flatMap((s) => [...s.tokens]),
      ),
      targets: scorer.upload(
        [numPositions],
        rows.flatMap((s) => [...s.answer]),
      ),
      positions: scorer.upload([numPositions], positions),
    };
  });
  return { length, samples, batchSize, scorer, batches };
}

function gridRow(
  { samples, batchSize }: LengthPlan,
  scores: readonly Scores[],
  numDepths: number,
): { accuracy: number[]; probability: number[] } {
  const [accuracy, probability] = [new Array<number>(numDepths).fill(0), new Array<number>(numDepths).fill(0)];
  const perDepth = samples.length / numDepths;
  for (const [b, { loss, hit }] of scores.entries()) {
    const own = samples.slice(b * batchSize, (b + 1) * batchSize);
    own.forEach(({ answer }, row) => {
      const at = row * answer.length;
      const depth = (b * batchSize + row) % numDepths;
      const [from, to] = [at, at + answer.length];
      const own = answerScore({ loss: loss.subarray(from, to), hit: hit.subarray(from, to) });
      accuracy[depth] = present(accuracy[depth]) + (own.right ? 1 : 0) / perDepth;
      probability[depth] = present(probability[depth]) + own.probability / perDepth;
    });
  }
  return { accuracy, probability };
}
