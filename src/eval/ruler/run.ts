/** RULER on a model: greedy answers to prepared samples, kept as they come, and their scores. */
import type { TextTokenizer } from '../../checkpoint/index.js';
import { concatIds, DataError, StoreError } from '../../core/index.js';
import type { RulerSample, Scoring } from '../../data/index.js';
import { Decoder, generate } from '../../generate/index.js';
import type { LoadedModel } from '../../loaded/index.js';
import type { PredictionFile, PredictionRow } from './predictions.js';
import { scoreTask, type RulerScore } from './score.js';

/** A model that reads texts, and where its answers end. */
export interface RulerModel extends LoadedModel {
  readonly tokenizer: TextTokenizer;
  /** Tokens that end an answer. */
  readonly stopTokens: ReadonlySet<number>;
}

/** What is asked of a model in one file of samples. */
export interface RulerJob {
  readonly name: string;
  readonly samples: readonly RulerSample[];
  readonly answerTokens: number;
  readonly scoring: Scoring;
}

/** How RULER samples are answered. */
export interface RulerRunOptions {
  /** The longest prompt, in tokens. Longer ones are refused, or cut in the middle with `truncate`. */
  readonly maxPrompt: number;
  readonly truncate: boolean;
  readonly batchSize: number;
  readonly signal?: AbortSignal;
  /** Called after every batch with the samples that are done, and with all. */
  readonly onProgress?: (done: number, all: number) => void;
}

/**
 * The first and the last tokens of a prompt that is too long, `maxPrompt` in all, the first half the longer if it is
 * odd.
 */
export function cutMiddle(ids: Int32Array, maxPrompt: number): Int32Array {
  if (ids.length <= maxPrompt) return ids;
  const half = Math.ceil(maxPrompt / 2);
  return concatIds(ids.subarray(0, half), ids.subarray(ids.length - (maxPrompt - half)));
}

/** Answers of one model at one length, compiled once for all jobs. */
export class RulerRunner {
  readonly #of: RulerModel;
  readonly #options: RulerRunOptions;
  readonly #decoder: Decoder;

  private constructor(of: RulerModel, options: RulerRunOptions, decoder: Decoder) {
    this.#of = of;
    this.#options = options;
    this.#decoder = decoder;
  }

  /**
   * Compiles the decoder that answers.
   *
   * @param answerTokens the tokens of the longest answers of any job
   */
  static async create(of: RulerModel, answerTokens: number, options: RulerRunOptions): Promise<RulerRunner> {
    const { batchSize, maxPrompt } = options;
    return new RulerRunner(of, options, await Decoder.create(of, { batchSize, maxPrompt, maxNew: answerTokens }));
  }

  /**
   * Answers the samples that `file` has no prediction for, and scores all. Samples are known by their place: others'
   * files repeat an `index`.
   *
   * @throws DataError if a prompt is too long, naming the sample
   * @throws StoreError if the file's predictions are not those of the first samples
   */
  async run(job: RulerJob, file: PredictionFile): Promise<RulerScore> {
    const { batchSize, signal, onProgress } = this.#options;
    const wrong = file.rows.findIndex((row, i) => row.index !== job.samples[i]?.index);
    if (wrong >= 0) {
      throw new StoreError(
        `${file.path}:${wrong + 1} is not the prediction of sample ${wrong}; remove the file to make it again`,
      );
    }
    const open = job.samples.slice(file.rows.length);
    for (let at = 0; at < open.length; at += batchSize) {
      signal?.throwIfAborted();
      file.add(await this.#answer(job, open.slice(at, at + batchSize)));
      onProgress?.(job.samples.length - open.length + Math.min(open.length, at + batchSize), job.samples.length);
    }
    return scoreTask(file.rows, job.scoring);
  }

  async #answer(job: RulerJob, samples: readonly RulerSample[]): Promise<PredictionRow[]> {
    const { tokenizer, stopTokens } = this.#of;
    const prompts = samples.map((sample) => this.#prompt(job, sample));
    const { signal } = this.#options;
    const { rows } = await generate(
      this.#decoder,
      prompts.map((p) => p.ids),
      { maxNew: job.answerTokens, stopTokens, ...(signal === undefined ? {} : { signal }) },
    );
    return samples.map((sample, i) => ({
      index: sample.index,
      pred: tokenizer.decode(rows[i]?.tokens ?? []),
      outputs: sample.outputs,
      length: prompts[i]?.ids.length ?? 0,
      truncation: prompts[i]?.cut ?? false,
    }));
  }

  #prompt(job: RulerJob, { prompt, index }: RulerSample): { ids: Int32Array; cut: boolean } {
    const { maxPrompt, truncate } = this.#options;
    const ids = this.#of.tokenizer.encode(prompt, { special: true });
    if (ids.length <= maxPrompt) return { ids, cut: false };
    if (!truncate) {
      throw new DataError(
        `${job.name}: the prompt of sample ${index} has ${ids.length} tokens, more than ${maxPrompt}; ` +
          'raise the limit, or allow cutting prompts in the middle',
      );
    }
    return { ids: cutMiddle(ids, maxPrompt), cut: true };
  }

  async dispose(): Promise<void> {
    await this.#decoder.dispose();
  }
}
