/** Files of RULER samples of one length, answered by a model and scored. */
import { maxOf } from '../core/index.js';
import { readRulerFile, type Scoring } from '../data/index.js';
import { PredictionFile, RulerRunner, type RulerModel, type RulerScore } from '../eval/index.js';

/** One file of samples and how it is answered and scored. */
export interface RulerFile {
  readonly task: string;
  /** The length of the samples, in tokens. */
  readonly length: number;
  /** The samples, as JSONL. */
  readonly path: string;
  /** The most tokens of an answer. */
  readonly answerTokens: number;
  readonly scoring: Scoring;
}

/** How the files of one length are answered. */
export interface RulerScoresOptions {
  /** Tokens of a prompt at most, without what the tokenizer puts around a text. */
  readonly length: number;
  /** Whether longer prompts are cut in the middle; they are refused otherwise. */
  readonly truncate: boolean;
  /** Tokens of prompts that are answered together; 64 prompts at most, and one at least. */
  readonly batchTokens: number;
  /** Where the answers to a file are kept; those that are there already are not asked for again. */
  readonly predictions: (file: RulerFile) => string;
  readonly signal: AbortSignal;
  readonly onProgress: (done: number, all: number) => void;
}

/** The score of one file. */
export interface RulerFileScore {
  readonly file: RulerFile;
  readonly score: RulerScore;
  /** How many prompts were cut. */
  readonly cut: number;
}

/**
 * Answers files of samples of one length, one after the other by one decoder, and gives the score of each when it is
 * done.
 *
 * @param files one at least
 * @throws DataError if a prompt is too long and may not be cut
 * @throws StoreError if predictions that are there are not those of the samples
 */
export async function* rulerScores(
  model: RulerModel,
  files: readonly RulerFile[],
  { length, truncate, batchTokens, predictions: pathOf, signal, onProgress }: RulerScoresOptions,
): AsyncGenerator<RulerFileScore> {
  // What the tokenizer puts around a text comes on top of the budget.
  const maxPrompt = length + model.tokenizer.encode('', { special: true }).length;
  const runner = await RulerRunner.create(model, maxOf(files.map((f) => f.answerTokens)), {
    ...{ maxPrompt, truncate, signal, onProgress },
    batchSize: Math.max(1, Math.min(64, Math.floor(batchTokens / length))),
  });
  try {
    for (const file of files) {
      const { task, path, answerTokens, scoring } = file;
      const predictions = new PredictionFile(pathOf(file));
      const job = { name: `${task} ${length}`, samples: readRulerFile(path), answerTokens, scoring };
      const score = await runner.run(job, predictions);
      yield { file, score, cut: predictions.rows.filter((r) => r.truncation).length };
    }
  } finally {
    await runner.dispose();
  }
}
