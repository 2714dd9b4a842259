/**
 * Byte-level byte-pair encoding, by far the most frequent kind, many times as fast as step by step: words are ranges of
 * the text, and their ids come from a table.
 */
import { chain, preTokenizerSteps, splitterOfStep } from './pre-tokenizers.js';
import type { Splitter } from './pattern.js';
import type { BpeConfig, PreTokenizerStep, TokenizerFile } from './schema.js';
import { BYTE_CHARACTERS, CHARACTER_BYTES } from '../bpe/bytes.js';
import { mergesOf } from '../bpe/merges.js';
import { splitGpt2 } from '../bpe/split.js';
import { WordEncoder, type IdBuffer, type Merges } from '../bpe/words.js';

/** Patterns in wide use (Llama 3, Qwen 2 and 3, GPT-4o and OLMo) that agree with the cuts of `lastCut`. */
const CUTTABLE_PATTERNS: ReadonlySet<string> = new Set([
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
  "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
]);

/** A byte-level BPE encoder. */
export interface ByteBpe {
  /** Appends the ids of a normalized text without added tokens. */
  readonly encode: (text: string, first: boolean, out: IdBuffer) => void;
  /** Whether text may be cut at `lastCut` without changing ids. */
  readonly cuttable: boolean;
}

/** An encoder for the tokenizers that this covers; null for others. */
export function byteBpeOf(file: TokenizerFile, ids: ReadonlyMap<string, number>): ByteBpe | null {
  const bpe = file.model;
  if (bpe.type !== 'BPE' || bpe.continuing_subword_prefix || bpe.end_of_word_suffix) return null;
  const splitting = splittingOf(preTokenizerSteps(file.pre_tokenizer));
  const merges = byteMergesOf(bpe, ids);
  if (splitting === null || merges === null) return null;
  const words = new WordEncoder(merges);
  return {
    cuttable: splitting.cuttable,
    encode: (text, _, out) => splitting.split(text, (from, to) => words.encode(text, from, to, out)),
  };
}

interface Splitting {
  readonly split: Splitter;
  readonly cuttable: boolean;
}

/** How the steps split a text; null unless they cut it as it is and then take its bytes. */
function splittingOf(steps: readonly PreTokenizerStep[]): Splitting | null {
  const last = steps.at(-1);
  if (last?.type !== 'ByteLevel' || last.add_prefix_space) return null;
  const before = steps.slice(0, -1);
  const digits = before.at(-1);
  const cutsDigits = last.use_regex && digits?.type === 'Digits';
  if (cutsDigits) before.pop();
  const splitters: Splitter[] = [];
  for (const step of before) {
    const split = splitterOfStep(step);
    if (split === null) return null;
    splitters.push(split);
  }
  // Digits before GPT-2's pattern are cut in one pass with it, which takes no slices of the text.
  if (cutsDigits) splitters.push((text, word) => splitGpt2(text, word, digits.individual_digits ? 'each' : 'runs'));
  else if (last.use_regex) splitters.push(splitGpt2);
  const whole: Splitter = (text, word) => text !== '' && word(0, text.length);
  return {
    split: splitters.length === 0 ? whole : splitters.reduceRight((inner, outer) => chain(outer, inner)),
    cuttable: splitters.length > 0 && steps.every(agreesWithCuts),
  };
}

/** Whether a step changes no word where `lastCut` cuts. */
function agreesWithCuts(step: PreTokenizerStep): boolean {
  if (step.type !== 'Split') return step.type === 'ByteLevel' || step.type === 'Digits';
  const known = 'Regex' in step.pattern && CUTTABLE_PATTERNS.has(step.pattern.Regex);
  return known && step.behavior === 'Isolated' && !step.invert;
}

/** The merges over bytes; null where a byte is not in the vocabulary. */
function byteMergesOf(bpe: BpeConfig, ids: ReadonlyMap<string, number>): Merges | null {
  const byteIds = BYTE_CHARACTERS.map((char) => ids.get(char) ?? -1);
  if (byteIds.includes(-1)) return null;
  const whole = bpe.ignore_merges
    ? new Map([...ids].flatMap(([text, id]) => latin1Of(text).map((key) => [key, id] as const)))
    : null;
  return { ...mergesOf(bpe, ids), byteIds: Int32Array.from(byteIds), whole };
}

/** A token's bytes as a Latin-1 string; none if it is not made of byte characters. */
function latin1Of(token: string): string[] {
  const bytes = Array.from(token, (char) => CHARACTER_BYTES.get(char));
  if (bytes.some((b) => b === undefined)) return [];
  return [Buffer.from(bytes as number[]).toString('latin1')];
}
