/**
 * Multiple choice by log-likelihood: how likely a model finds each choice after the context, in all and for each byte.
 * The token boundary between context and choice is that of EleutherAI/lm-evaluation-harness: both are encoded together,
 * what lies behind as many tokens as the context has alone is the choice's, and it is scored after the context's own
 * tokens.
 */
import type { TextTokenizer } from '../checkpoint/index.js';
import {
  present,
  at,
  f64At,
  i32At,
  checkTokenIds,
  concatIds,
  DataError,
  maxOf,
  wilson,
  type Interval,
  showValue,
} from '../core/index.js';
import type { TensorMap } from '../engine/index.js';
import type { LoadedModel } from '../loaded/index.js';
import type { ChoiceQuestion } from './choice-file.js';
import { Scorer } from '../loaded/index.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const readF64 = f64At;
const readI32 = i32At;

/** One choice of a question, in tokens. */
export interface ChoiceTokens {
  /** The tokens of context and choice, i32. */
  readonly ids: Int32Array;
  /** Tokens at the end of `ids` that are the choice's. */
  readonly count: number;
  /** Bytes of the choice in UTF-8, without the space before it. */
  readonly bytes: number;
}

/** How likely a choice is. */
export interface ChoiceScore {
  /** Sum over the choice's tokens, in nats. */
  readonly logLikelihood: number;
  /** UTF-8 bytes of the choice, which the normalized score divides by. */
  readonly bytes: number;
  readonly tokens: number;
}

/** A share with its 95 % interval (Wilson 1927). */
export interface Proportion extends Interval {
  /** The share, 0 to 1. */
  readonly value: number;
}

/** Accuracies over all questions, by two ways to choose. */
export interface ChoiceResult {
  /** The number of questions. */
  readonly questions: number;
  /** The likeliest choice is the right one. */
  readonly accuracy: Proportion;
  /** The likeliest choice for each byte is the right one. */
  readonly normalizedAccuracy: Proportion;
}

/**
 * The choices of a question in tokens. A space is put between context and choice unless there is white space already.
 * What the tokenizer puts in front of texts comes first; a context without any token is the end of a text, as after
 * another document.
 *
 * @throws DataError if a choice adds no token to its context
 */
export function choiceTokens({ context, choices }: ChoiceQuestion, tokenizer: TextTokenizer): ChoiceTokens[] {
  // Trailing white space belongs to the choice: tokenizers join it to the word that follows.
  const bare = context.trimEnd();
  const gap = context.slice(bare.length) || ' ';
  const before = tokenizer.encode(bare, { special: true });
  const begin = before.length > 0 ? before : endOfText(tokenizer);
  return choices.map((choice) => {
    const continuation = /^\s/.test(choice) || bare === '' ? choice : gap + choice;
    // The context keeps its own tokens, whatever those of the whole are.
    const own = tokenizer.encode(bare + continuation, { special: true }).subarray(before.length);
    if (own.length === 0) {
      throw new DataError(`the choice ${showValue(choice)} adds no token to its context, so it has no likelihood`);
    }
    return { ids: concatIds(begin, own), count: own.length, bytes: Buffer.byteLength(choice.trimStart()) };
  });
}

function endOfText({ endOfText: end }: TextTokenizer): Int32Array {
  if (end !== null) return Int32Array.of(end);
  throw new DataError(
    'a question has an empty context, and the tokenizer names no token that ends texts; give a context',
  );
}

const proportion = (hits: number, n: number): Proportion => ({ value: hits / n, ...wilson(hits, n) });

const likeliest = (values: readonly number[]): number => values.indexOf(maxOf(values));

/** Accuracies of questions whose choices are scored. */
export function summarizeChoices(
  questions: readonly ChoiceQuestion[],
  scores: readonly (readonly ChoiceScore[])[],
): ChoiceResult {
  const hits = (value: (s: ChoiceScore) => number) =>
    questions.filter(({ answer }, i) => likeliest((scores[i] ?? []).map(value)) === answer).length;
  const n = questions.length;
  return {
    questions: n,
    accuracy: proportion(
      hits((s) => s.logLikelihood),
      n,
    ),
    normalizedAccuracy: proportion(
      hits((s) => s.logLikelihood / s.bytes),
      n,
    ),
  };
}

/** How choices are scored. */
export interface ChoiceScorerOptions {
  /** Tokens in one pass at most, but one sequence at least. */
  readonly batchTokens: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, all: number) => void;
}

/** What multiple choice of a task gives: accuracies, and the scores behind them. */
export interface EvaluatedChoices {
  readonly result: ChoiceResult;
  /** The scores of every choice, question by question. */
  readonly scores: readonly (readonly ChoiceScore[])[];
}

/**
 * Scores the choices of questions and says how often the likeliest one is right.
 *
 * @param tokens the choices of each question in tokens, as `choiceTokens` gives them
 * @throws DataError if a token is not one of the model's
 */
export async function evaluateChoices(
  model: LoadedModel,
  questions: readonly ChoiceQuestion[],
  { tokens, ...options }: ChoiceScorerOptions & { readonly tokens: readonly (readonly ChoiceTokens[])[] },
): Promise<EvaluatedChoices> {
  const flat = await scoreChoices(model, tokens.flat(), options);
  const scores = tokens.map((choices) => flat.splice(0, choices.length));
  return { result: summarizeChoices(questions, scores), scores };
}

/** The next length of a series that grows by a quarter or so: few graphs are compiled, little is padded. */
function roundedLength(n: number): number {
  let step = 16;
  while (n > 8 * step) step *= 2;
  return Math.ceil(n / step) * step;
}

/**
 * Log-likelihoods of choices, in their order. Sequences of like length are scored together.
 *
 * @throws DataError if a token is not one of the model's
 */
export async function scoreChoices(
  model: LoadedModel,
  choices: readonly ChoiceTokens[],
  { batchTokens, signal, onProgress }: ChoiceScorerOptions,
): Promise<ChoiceScore[]> {
  for (const { ids } of choices) checkTokenIds(ids, model.config.vocabSize, 'the tokenizer gives');
  // The last token of a sequence is only a target.
  const byLength = new Map<number, number[]>();
  choices.forEach(({ ids }, i) => {
    const length = roundedLength(ids.length - 1);
    byLength.set(length, [...(byLength.get(length) ?? []), i]);
  });
  const scores: ChoiceScore[] = [];
  let done = 0;
  for (const [seqLen, members] of [...byLength].sort((a, b) => a[0] - b[0])) {
    const batchSize = Math.max(1, Math.min(members.length, Math.floor(batchTokens / seqLen)));
    const most = roundedLength(maxOf(members.map((i) => at(choices, i).count)));
    const scorer = await Scorer.create(model, { batchSize, seqLen, numPositions: batchSize * most });
    for (let at = 0; at < members.length; at += batchSize) {
      signal?.throwIfAborted();
      const batch = members.slice(at, at + batchSize);
      const rows = batch.map((i) => present(choices[i]));
      const losses = await scoreBatch(scorer, model.tensors, rows, { batchSize, seqLen, most });
      rows.forEach(({ bytes, count }, b) => {
        let sum = 0;
        for (let k = 0; k < count; k++) sum += readF64(losses, b * most + k);
        scores[present(batch[b])] = { logLikelihood: -sum, bytes, tokens: count };
      });
      done += batch.length;
      onProgress?.(done, choices.length);
    }
    await scorer.dispose();
  }
  return scores;
}

async function scoreBatch(
  scorer: Scorer,
  tensors: TensorMap,
  rows: readonly ChoiceTokens[],
  { batchSize, seqLen, most }: { batchSize: number; seqLen: number; most: number },
): Promise<Float64Array> {
  const tokens = new Int32Array(batchSize * seqLen);
  const [positions, targets] = [new Int32Array(batchSize * most), new Int32Array(batchSize * most)];
  rows.forEach(({ ids, count }, b) => {
    // Padding comes after the sequence, where causal models do not look.
    tokens.set(ids.subarray(0, ids.length - 1), b * seqLen);
    for (let k = 0; k < count; k++) {
      const target = ids.length - count + k;
      positions[b * most + k] = b * seqLen + target - 1;
      targets[b * most + k] = readI32(ids, target);
    }
  });
  const { loss } = await scorer.score(tensors, {
    tokens: scorer.upload([batchSize, seqLen], tokens),
    targets: scorer.upload([batchSize * most], targets),
    positions: scorer.upload([batchSize * most], positions),
  });
  return loss;
}
