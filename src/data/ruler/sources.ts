/** The texts that RULER tasks draw on: all of them come with Longsight, but for users' question files. */
import { fileURLToPath } from 'node:url';
import { readJson, Rng } from '../../core/index.js';
import { openCorpus } from '../named.js';
import { shuffled } from './draw.js';
import { bookQuestions, readHotpot, readSquad } from './qa.js';
import type { Essay, RulerSources } from './types.js';

const WORDS = fileURLToPath(new URL('../../../presets/words/english.json', import.meta.url));

/** Which texts RULER tasks draw on. */
export interface SourceOptions {
  readonly seed: number;
  /** A named corpus for the essay haystack and the questions on a book. */
  readonly corpus?: string;
  readonly squad?: string;
  readonly hotpot?: string;
}

/**
 * Sentences end at a stop, question or exclamation mark, perhaps quoted, before a space and something that begins one.
 */
export function splitSentences(text: string): string[] {
  return text
    .replace(/\s+/g, ' ')
    .trim()
    .split(/(?<=[.!?]["”’')]*) (?=["“‘'(]*[A-Z])/u);
}

function essayOf(text: string): Essay {
  const sentences = splitSentences(text);
  return { sentences, counts: sentences.map((s) => s.split(' ').length) };
}

/**
 * Lower-case words of a text that stand in it without an apostrophe or hyphen, distinct, in order of their first place.
 */
function wordsOf(text: string): string[] {
  return [...new Set(text.match(/(?<![\p{L}\p{N}'’-])[a-z]{3,}(?![\p{L}\p{N}'’-])/gu) ?? [])];
}

/**
 * Opens the texts that RULER tasks draw on.
 * @throws DataError if a question file cannot be read, or there is no corpus of that name
 */
export function openSources({ seed, corpus = 'moby-dick', squad, hotpot }: SourceOptions): RulerSources {
  const { adjectives, nouns } = readJson(WORDS) as { adjectives: string[]; nouns: string[] };
  const text = openCorpus(corpus).text();
  const common = [...new Set([...adjectives, ...nouns])];
  const rng = Rng.of(seed, 'ruler', 'words');
  const book = bookQuestions(text);
  const known = new Set(common);
  const rare = wordsOf(text).filter((word) => !known.has(word));
  return {
    words: { adjectives, nouns, pool: [...shuffled(rng, common), ...shuffled(rng, rare)] },
    essay: essayOf(text),
    squad: squad === undefined ? null : readSquad(squad),
    hotpot: hotpot === undefined ? null : readHotpot(hotpot),
    book: { ...book, questions: shuffled(Rng.of(seed, 'ruler', 'questions'), book.questions) },
    seed,
  };
}
