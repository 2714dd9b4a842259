/** How a text is cut into the words that the model takes one by one: the pre-tokenizers of `tokenizer.json`. */
import { byteCharacters } from '../bpe/bytes.js';
import { splitGpt2 } from '../bpe/split.js';
import { finderOf, finderOfRegExp, finderOfText, splitterOf, type Behavior, type Splitter } from './pattern.js';
import type { PreTokenizerConfig, PreTokenizerStep } from './schema.js';
import { PUNCTUATION } from '../bpe/unicode-tables.js';

/** A piece of a text. `first` says whether it begins where the text as given begins. */
interface Piece {
  readonly text: string;
  readonly first: boolean;
}

/** Cuts a piece of text into smaller ones. */
export type PreTokenizer = (piece: Piece) => readonly Piece[];

/** The steps of a pre-tokenizer, in order. */
export function preTokenizerSteps(config: PreTokenizerConfig | null | undefined): readonly PreTokenizerStep[] {
  if (config == null) return [];
  return config.type === 'Sequence' ? config.pretokenizers : [config];
}

/** The steps of a pre-tokenizer, one after another. */
export function preTokenizerOf(steps: readonly PreTokenizerStep[]): PreTokenizer {
  const all = steps.map(stepOf);
  return (piece) => all.reduce<readonly Piece[]>((pieces, step) => pieces.flatMap(step), [piece]);
}

const SPACE = /\p{White_Space}/u;
const WHITESPACE_WORDS =
  /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]+|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}\p{White_Space}]+/u;
const punctuation = new RegExp(`[!-/:-@[-\`{-~${PUNCTUATION}]`, 'u');

/** The cuts of a step that leaves the characters as they are; null for others. */
export function splitterOfStep(step: PreTokenizerStep): Splitter | null {
  const at = (pattern: RegExp, behavior: Behavior) => splitterOf(finderOfRegExp(pattern), behavior, false);
  switch (step.type) {
    case 'Split':
      return splitterOf(finderOf(step.pattern), step.behavior, step.invert);
    case 'Digits':
      return at(step.individual_digits ? /\P{N}+|\p{N}/u : /\P{N}+|\p{N}+/u, 'Isolated');
    case 'Punctuation':
      return at(punctuation, step.behavior);
    case 'WhitespaceSplit':
      return at(SPACE, 'Removed');
    case 'Whitespace':
      return splitterOf(finderOfRegExp(WHITESPACE_WORDS), 'Removed', true);
    case 'CharDelimiterSplit':
      return splitterOf(finderOfText(step.delimiter), 'Removed', false);
    case 'BertPreTokenizer': {
      const [words, marks] = [at(SPACE, 'Removed'), at(punctuation, 'Isolated')];
      return chain(words, marks);
    }
    case 'FixedLength':
      return splitterOf(finderOfRegExp(new RegExp(`[^]{1,${step.length}}`, 'u')), 'Isolated', false);
    case 'ByteLevel':
    case 'Metaspace':
      return null;
  }
}

/** What `inner` makes of the pieces of `outer`. */
export function chain(outer: Splitter, inner: Splitter): Splitter {
  return (text, word) => outer(text, (from, to) => inner(text.slice(from, to), (a, b) => word(from + a, from + b)));
}

function stepOf(step: PreTokenizerStep): PreTokenizer {
  if (step.type === 'ByteLevel') return byteLevel(step);
  if (step.type === 'Metaspace') return metaspace(step);
  const split = splitterOfStep(step);
  return split === null ? (piece) => [piece] : cut(split);
}

function cut(split: Splitter): PreTokenizer {
  return ({ text, first }) => {
    const pieces: Piece[] = [];
    split(text, (from, to) => pieces.push({ text: text.slice(from, to), first: first && from === 0 }));
    return pieces;
  };
}

function byteLevel(step: PreTokenizerStep & { type: 'ByteLevel' }): PreTokenizer {
  const words = step.use_regex ? cut(splitGpt2) : (piece: Piece) => [piece];
  return (piece) => {
    const spaced = step.add_prefix_space && !piece.text.startsWith(' ') ? { ...piece, text: ` ${piece.text}` } : piece;
    return words(spaced).map(({ text, first }) => ({ text: byteCharacters(Buffer.from(text)), first }));
  };
}

function metaspace(step: PreTokenizerStep & { type: 'Metaspace' }): PreTokenizer {
  const { replacement, prepend_scheme: scheme } = step;
  const words = cut(splitterOf(finderOfText(replacement), 'MergedWithNext', false));
  return ({ text: given, first }) => {
    const spaced = given.replaceAll(' ', replacement);
    const prepends = scheme === 'always' || (scheme === 'first' && first);
    const text = prepends && !spaced.startsWith(replacement) ? replacement + spaced : spaced;
    return step.split === false ? [{ text, first }] : words({ text, first });
  };
}
