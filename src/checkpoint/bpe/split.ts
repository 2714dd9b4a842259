/**
 * How text is cut into words before byte-pair merges, as the pre-tokenizers of `tokenizer.json` do. Words are ranges of UTF-16
 * units; together they cover the text.
 */
import * as library from '@huggingface/tokenizers';
import { z } from 'zod';

/** Tells `word` the words of `text` in order. */
export type Splitter = (text: string, word: (from: number, to: number) => void) => void;

export interface Splitting {
  readonly split: Splitter;
  /** Whether text may be cut where `lastCut` says without changing any word. */
  readonly cuttable: boolean;
}

const { SplitPreTokenizer, DigitsPreTokenizer } = library as unknown as Record<
  'SplitPreTokenizer' | 'DigitsPreTokenizer',
  new (config: object) => { readonly pattern: RegExp | null }
>;

/** The pattern of GPT-2, as a regular expression; what `splitGpt2` does by hand. */
export const GPT2_PATTERN =
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\p{White_Space}\\p{L}\\p{N}]+|\\p{White_Space}+(?!\\P{White_Space})|\\p{White_Space}+";

/** Patterns in wide use (Llama 3, Qwen 2 and 3, GPT-4o and OLMo) that agree with the cuts of `lastCut`. */
const CUTTABLE_PATTERNS: ReadonlySet<string> = new Set([
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
  "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
]);

const byteLevel = z.looseObject({
  type: z.literal('ByteLevel'),
  add_prefix_space: z.literal(false),
  use_regex: z.boolean().default(true),
});
const digits = z.looseObject({ type: z.literal('Digits'), individual_digits: z.boolean() });
const pattern = z.looseObject({
  type: z.literal('Split'),
  pattern: z.union([z.strictObject({ Regex: z.string() }), z.strictObject({ String: z.string() })]),
  behavior: z.literal('Isolated'),
  invert: z.literal(false).default(false),
});
const step = z.union([byteLevel, digits, pattern]);
const preTokenizer = z
  .union([byteLevel, z.looseObject({ type: z.literal('Sequence'), pretokenizers: z.array(step) })])
  .transform((value) => (value.type === 'Sequence' ? value.pretokenizers : [value]))
  .refine((steps) => steps.at(-1)?.type === 'ByteLevel' && steps.slice(0, -1).every((s) => s.type !== 'ByteLevel'));

/** The splitting that the `pre_tokenizer` of a `tokenizer.json` describes; null where it is of a kind not known here. */
export function splittingOf(config: unknown): Splitting | null {
  const result = preTokenizer.safeParse(config);
  if (!result.success) return null;
  const steps: Splitting[] = [];
  for (const s of result.data) {
    if (s.type === 'ByteLevel') {
      if (s.use_regex) steps.push({ split: splitGpt2, cuttable: true });
      continue;
    }
    const own = s.type === 'Digits' ? new DigitsPreTokenizer(s).pattern : new SplitPreTokenizer(s).pattern;
    if (own === null) return null;
    const known = s.type === 'Digits' || ('Regex' in s.pattern && CUTTABLE_PATTERNS.has(s.pattern.Regex));
    steps.push({ split: splitByPattern(own), cuttable: known });
  }
  const whole: Splitter = (text, word) => text !== '' && word(0, text.length);
  return {
    split:
      steps.reduceRight<Splitter | null>((inner, s) => (inner === null ? s.split : chain(s.split, inner)), null) ??
      whole,
    cuttable: steps.length > 0 && steps.every((s) => s.cuttable),
  };
}

function chain(outer: Splitter, inner: Splitter): Splitter {
  return (text, word) => outer(text, (from, to) => inner(text.slice(from, to), (a, b) => word(from + a, from + b)));
}

/** Matches of `source`, and what lies between them, are words. */
export function splitByPattern(source: RegExp): Splitter {
  const sticky = new RegExp(source.source, 'uy');
  const search = new RegExp(source.source, 'gu');
  return (text, word) => {
    for (let at = 0; at < text.length;) {
      sticky.lastIndex = at;
      if (sticky.test(text) && sticky.lastIndex > at) {
        word(at, sticky.lastIndex);
        at = sticky.lastIndex;
        continue;
      }
      search.lastIndex = at;
      let next = search.exec(text);
      while (next !== null && next[0] === '') {
        search.lastIndex = next.index + 1;
        next = search.exec(text);
      }
      const end = next?.index ?? text.length;
      word(at, end);
      at = end;
    }
  };
}

const [LETTER, NUMBER, SPACE, OTHER] = [1, 2, 3, 4] as const;

function classOfCharacter(char: string): number {
  if (/\p{L}/u.test(char)) return LETTER;
  if (/\p{N}/u.test(char)) return NUMBER;
  return /\p{White_Space}/u.test(char) ? SPACE : OTHER;
}

/** Classes of the 65,536 UTF-16 units, worked out where first met (0 = not yet); of characters beyond, in a map. */
const unitClasses = new Uint8Array(2 ** 16);
const wideClasses = new Map<number, number>();

/** The class of the character at `at`. */
function classAt(text: string, at: number): number {
  const unit = text.charCodeAt(at);
  const known = unitClasses[unit] as number;
  if (known !== 0) return known;
  const code = text.codePointAt(at) as number;
  if (code < 0x10000)
    return (unitClasses[unit] = isSurrogate(unit) ? 0 : classOfCharacter(String.fromCharCode(unit))) || OTHER;
  let kind = wideClasses.get(code);
  if (kind === undefined) wideClasses.set(code, (kind = classOfCharacter(String.fromCodePoint(code))));
  return kind;
}

const isSurrogate = (unit: number): boolean => unit >= 0xd800 && unit <= 0xdfff;

/** Units of the character at `at`. */
const widthAt = (text: string, at: number): number => {
  const unit = text.charCodeAt(at);
  return unit >= 0xd800 && unit <= 0xdbff && (text.codePointAt(at) as number) > 0xffff ? 2 : 1;
};

/** The words of GPT-2's pattern, by hand: several times as fast as the regular expression. */
export function splitGpt2(text: string, word: (from: number, to: number) => void): void {
  const size = text.length;
  for (let at = 0; at < size;) {
    const from = at;
    const unit = text.charCodeAt(at);
    if (unit === 0x27) {
      const end = contractionEnd(text, at);
      if (end > at) {
        word(from, (at = end));
        continue;
      }
    }
    let kind = classAt(text, at);
    at += widthAt(text, at);
    if (unit === 0x20 && at < size) {
      const next = classAt(text, at);
      if (next !== SPACE) {
        kind = next;
        at += widthAt(text, at);
      }
    }
    let last = from;
    while (at < size && classAt(text, at) === kind) {
      last = at;
      at += widthAt(text, at);
    }
    // White space before a word leaves its last character to that word.
    if (kind === SPACE && at < size && last > from) at = last;
    word(from, at);
  }
}

/** The end of `'s`, `'t`, `'re`, `'ve`, `'m`, `'ll` or `'d` at `at`; `at` if there is none. */
function contractionEnd(text: string, at: number): number {
  const a = text[at + 1];
  if (a === 's' || a === 't' || a === 'm' || a === 'd') return at + 2;
  const b = text[at + 2];
  return ((a === 'r' || a === 'v') && b === 'e') || (a === 'l' && b === 'l') ? at + 3 : at;
}

const isSpace = (text: string, at: number): boolean => classAt(text, at) === SPACE;

/**
 * Where a text may be cut so that both parts, split apart, have the words of the whole: before a single space between two
 * characters that are none, or after a single line feed between such a character and a letter.
 */
function cutAt(text: string, at: number): number {
  const unit = text.charCodeAt(at);
  if (unit !== 0x20 && unit !== 0x0a) return 0;
  if (isSpace(text, at - 1) || isSpace(text, at + 1)) return 0;
  if (unit === 0x20) return at;
  return classAt(text, at + 1) === LETTER ? at + 1 : 0;
}

/** The last place where `text` may be cut; 0 if there is none. */
export function lastCut(text: string): number {
  for (let at = text.length - 2; at > 0; at--) {
    const cut = cutAt(text, at);
    if (cut > 0) return cut;
  }
  return 0;
}

/** The first such place; 0 if there is none. */
export function firstCut(text: string): number {
  for (let at = 1; at + 1 < text.length; at++) {
    const cut = cutAt(text, at);
    if (cut > 0) return cut;
  }
  return 0;
}
