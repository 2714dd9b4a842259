/** What a RULER task is made of (Hsieh et al. 2024, NVIDIA/RULER; differences are listed in docs/ruler.md). */
import type { Rng } from '../../core/index.js';

/** One question before its length is settled. */
export interface Draft {
  /** The prompt up to the answer's beginning. */
  readonly input: string;
  /** How the answer begins; the model continues `input + answerPrefix`. */
  readonly answerPrefix: string;
  /** What the continuation has to contain. */
  readonly outputs: readonly string[];
  /** Character of `input` at which what holds the (first) answer begins; null where it has no one place. */
  readonly answerAt: number | null;
}

/** How many of `outputs` count: the share that is found, or whether any is. */
export type Scoring = 'all' | 'part';

/** A task at a known budget. */
export interface RulerGenerator {
  /** The fewest and most units (words, lines, needles, documents) of a prompt. */
  readonly minSize: number;
  readonly maxSize: number;
  /** A question with `size` units; the same random stream and size give the same question. */
  draw(rng: Rng, size: number, index: number): Draft;
}

export interface RulerTask {
  /** Tokens that the answer may take; part of the budget. */
  readonly answerTokens: number;
  readonly scoring: Scoring;
  /** The generator for prompts of up to `budget` tokens, the answer's not included. */
  generator(budget: number, sources: RulerSources): RulerGenerator;
}

/** Texts that tasks draw on. */
export interface RulerSources {
  readonly words: WordLists;
  /** The words of the essay haystack, and where each of its sentences begins among them. */
  readonly essay: Essay;
  /** Questions of a user's SQuAD or HotpotQA file; null if none was named. */
  readonly squad: QuestionSet | null;
  readonly hotpot: QuestionSet | null;
  /** Passages and questions of the essay's book. */
  readonly book: QuestionSet;
  /** Seeds what is the same for all samples of a task. */
  readonly seed: number;
}

export interface WordLists {
  readonly adjectives: readonly string[];
  readonly nouns: readonly string[];
  /** Distinct words, shuffled by the seed: common ones first, then rarer ones of a book. */
  readonly pool: readonly string[];
}

export interface Essay {
  readonly sentences: readonly string[];
  /** Words of each sentence. */
  readonly counts: readonly number[];
}

export interface Question {
  readonly question: string;
  readonly answers: readonly string[];
  /** Indices of the documents that hold the answer, and of those that are closest to them. */
  readonly gold: readonly number[];
  readonly near: readonly number[];
}

export interface QuestionSet {
  readonly documents: readonly string[];
  readonly questions: readonly Question[];
}
