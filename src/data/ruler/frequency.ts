/** Aggregation: the most common words of a numbered list, and the most frequent of coded words. */
import { at, Rng } from '../../core/index.js';
import { choose, randomWords, shuffled } from './draw.js';
import type { Draft, RulerSources, RulerTask } from './types.js';

const COMMON_WORDS = 10;
/** Below this budget RULER repeats words less often and shows a shorter example. */
const LONG_BUDGET = 4096;

interface Repeats {
  readonly common: number;
  readonly uncommon: number;
}

function wordList(rng: Rng, words: readonly string[], { common, uncommon }: Repeats): string {
  const repeated = words.flatMap((word, i) => new Array<string>(i < COMMON_WORDS ? common : uncommon).fill(word));
  return shuffled(rng, repeated)
    .map((word, i) => `${i + 1}. ${word}`)
    .join(' ');
}

function cwePrompt(context: string): [string, string] {
  return [
    'Below is a numbered list of words. In these words, some appear more often than others. Memorize the ones that ' +
      `appear most often.\n${context}\nQuestion: What are the 10 most common words in the above list?`,
    ' Answer: The top 10 words that appear most often in the list are:',
  ];
}

function drawCommon(rng: Rng, size: number, budget: number, { words }: RulerSources): Draft {
  const long = budget >= LONG_BUDGET;
  const draw = (count: number) => choose(rng, words.pool.length, count).map((i) => at(words.pool, i));
  const shown = draw(long ? 40 : 20);
  const shownList = wordList(rng, shown, long ? { common: 10, uncommon: 3 } : { common: 3, uncommon: 1 });
  const [exampleInput, examplePrefix] = cwePrompt(shownList);
  const answers = shown.slice(0, COMMON_WORDS).map((word, i) => `${i + 1}. ${word}`);
  const chosen = draw(size);
  const list = wordList(rng, chosen, long ? { common: 30, uncommon: 3 } : { common: 6, uncommon: 1 });
  const [question, answerPrefix] = cwePrompt(list);
  const input = `${exampleInput}${examplePrefix} ${answers.join(' ')}\n\n${question}`;
  return { input, answerPrefix, outputs: chosen.slice(0, COMMON_WORDS), answerAt: null };
}

/** RULER's `cwe`: find the ten most common words of a numbered list. */
export const commonWordsTask: RulerTask = {
  answerTokens: 120,
  scoring: 'all',
  generator: (budget, sources) => ({
    minSize: COMMON_WORDS + 1,
    maxSize: sources.words.pool.length,
    draw: (rng, size) => drawCommon(rng, size, budget, sources),
  }),
};

const ALPHA = 2;
const ZETA_2 = Math.PI ** 2 / 6;
/** Least words in all at which ranks 2, 3, 4 and 5 differ in number. */
const MIN_CODED = 300;

/** Times that rank `k` (from 1) appears among `size` words. */
const codedCount = (size: number, k: number): number => Math.floor((size * k ** -ALPHA) / ZETA_2);

/** Coded words, the same for all samples of a budget: the first stands for the dots. */
function vocabulary(budget: number, seed: number): string[] {
  const rng = Rng.of(seed, 'ruler', 'fwe', 'vocabulary', budget);
  return ['...', ...randomWords(rng, Math.max(4, Math.floor(budget / 50)), 6).slice(1)];
}

/** RULER's `fwe`: find the three most frequent coded words of a text. */
export const frequentWordsTask: RulerTask = {
  answerTokens: 50,
  scoring: 'all',
  generator: (budget, { seed }) => {
    const base = vocabulary(budget, seed);
    return {
      minSize: MIN_CODED,
      maxSize: Infinity,
      draw: (rng, size) => {
        const words = ['...', ...shuffled(rng, base.slice(1))];
        const text = words.flatMap((word, i) => new Array<string>(codedCount(size, i + 1)).fill(word));
        const input =
          'Read the following coded text and track the frequency of each coded word. Find the three most frequently ' +
          `appeared coded words. ${shuffled(rng, text).join(' ')}\nQuestion: Do not provide any explanation. Please ignore ` +
          "the dots '....'. What are the three most frequently appeared words in the above coded text?";
        const answerPrefix =
          ' Answer: According to the coded text above, the three most frequently appeared words are:';
        return { input, answerPrefix, outputs: words.slice(1, 4), answerAt: null };
      },
    };
  },
};
