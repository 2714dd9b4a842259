/** The needle grid: how well a model finds a fact, by its depth and the length of the context. */
import { allPending, ConfigError, LongsightError, pending, present, settled, type Pending } from '../core/index.js';
import {
  byteNeedle,
  BYTE_VOCAB_SIZE,
  MIN_RECALL_NEEDLE_LENGTH,
  minByteNeedleLength,
  recallNeedle,
  type ByteNeedleOptions,
  type OpenedData,
} from '../data/index.js';
import type { TensorMap } from '../engine/index.js';
import { needleSamples, type NeedleTask } from './needle-task.js';
import { answerScore, answerTargets, SequenceScorer, type ModelOnEngine, type SampleScore } from '../loaded/index.js';
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

/** Which needle samples a model is measured on, and how. */
export interface NeedleEvaluatorOptions {
  readonly task: NeedleTask;
  readonly config: NeedleGridSettings;
  /** At most this many tokens in one pass (one sample at least). */
  readonly batchTokens: number;
}

/** A needle grid that is measured again and again, on the same samples. */
export class NeedleEvaluator {
  readonly #options: NeedleEvaluatorOptions;
  /** The scorer of each length's samples. */
  readonly #lengths: readonly SequenceScorer[];

  private constructor(options: NeedleEvaluatorOptions, lengths: readonly SequenceScorer[]) {
    this.#options = options;
    this.#lengths = lengths;
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
    const lengths: SequenceScorer[] = [];
    for (const length of config.lengths) lengths.push(await lengthScorer(model, options, length));
    return new NeedleEvaluator(options, lengths);
  }

  /** Starts to measure a model whose parameters are among `tensors`. */
  async start(tensors: TensorMap): Promise<Pending<NeedleGrid>> {
    const { config, task } = this.#options;
    const lengths: Pending<SampleScore[]>[] = [];
    for (const scorer of this.#lengths) lengths.push(await scorer.start(tensors));
    const all = allPending(lengths);
    return pending(all.numbers, () => {
      const rows = all.result().map((scores) => gridRow(scores, config.depths.length));
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
    for (const scorer of this.#lengths) await scorer.dispose();
  }
}

/** Draws the samples of one length and compiles the pass that scores them. */
async function lengthScorer(
  model: ModelOnEngine,
  { task, config, batchTokens }: NeedleEvaluatorOptions,
  length: number,
): Promise<SequenceScorer> {
  const count = config.samples * config.depths.length;
  const samples = needleSamples(task, { label: 'needle', length, depths: config.depths, count });
  // Samples go through the model whole, as one program: during training there is memory for sequences of that length.
  const targets = samples.map((s) => ({ ...answerTargets(s), end: length }));
  return SequenceScorer.create(model, targets, { batchTokens, saveMemory: false });
}

/** The row of one length, from the scores of its samples, whose depths come in turn. */
function gridRow(scores: readonly SampleScore[], numDepths: number): { accuracy: number[]; probability: number[] } {
  const [accuracy, probability] = [new Array<number>(numDepths).fill(0), new Array<number>(numDepths).fill(0)];
  const perDepth = scores.length / numDepths;
  for (const [i, score] of scores.entries()) {
    const [own, depth] = [answerScore(score), i % numDepths];
    accuracy[depth] = present(accuracy[depth]) + (own.right ? 1 : 0) / perDepth;
    probability[depth] = present(probability[depth]) + own.probability / perDepth;
  }
  return { accuracy, probability };
}
