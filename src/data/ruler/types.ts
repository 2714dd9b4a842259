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

/** Makes the prompts of a task for a known budget of tokens. */
export interface RulerGenerator {
  /** The fewest units (words, lines, needles or documents) that a prompt may have. */
  readonly minSize: number;
  /** The most units that a prompt may have; Infinity for no bound. */
  readonly maxSize: number;
  /** A question with `size` units; the same random stream and size give the same question. */
  draw(rng: Rng, size: number, index: number): Draft;
}

/** A RULER task: how many tokens its answer may take, how it is scored, and what makes its prompts. */
export interface RulerTask {
  /** Tokens that are reserved for the answer; they are part of the budget. */
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

/** The words that RULER tasks draw. */
interface WordLists {
  readonly adjectives: readonly string[];
  readonly nouns: readonly string[];
  /** Distinct words, shuffled by the seed: common ones first, then rarer ones of a book. */
  readonly pool: readonly string[];
}

/** The essay that needles are hidden in, by sentence. */
export interface Essay {
  readonly sentences: readonly string[];
  /** The number of words of each sentence. */
  readonly counts: readonly number[];
}

/** A question on a set of documents, with its accepted answers. */
export interface Question {
  readonly question: string;
  readonly answers: readonly string[];
  /** Indices of the documents that hold the answer. */
  readonly gold: readonly number[];
  /** Indices of the documents closest to the gold ones, used as distractors. */
  readonly near: readonly number[];
}

/** Documents with questions about them. */
export interface QuestionSet {
  readonly documents: readonly string[];
  readonly questions: readonly Question[];
}
