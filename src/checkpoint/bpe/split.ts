/**
 * The words of GPT-2's pattern, and where a text may be cut without changing words. Words are ranges of UTF-16 units;
 * together they cover the text.
 */
import { present, u8At } from '../../core/index.js';
import { asOfUnicode16 } from './unicode.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const readU8 = u8At;

/** The pattern of GPT-2, as a regular expression; what `splitGpt2` does by hand. */
export const GPT2_PATTERN =
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\p{White_Space}\\p{L}\\p{N}]+|\\p{White_Space}+(?!\\P{White_Space})|\\p{White_Space}+";

const [LETTER, NUMBER, SPACE, OTHER] = [1, 2, 3, 4] as const;

function classOfCharacter(given: string): number {
  const char = asOfUnicode16(given);
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
  const known = readU8(unitClasses, unit);
  if (known !== 0) return known;
  const code = present(text.codePointAt(at));
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
  return unit >= 0xd800 && unit <= 0xdbff && present(text.codePointAt(at)) > 0xffff ? 2 : 1;
};

/** What is cut before GPT-2's pattern: nothing, runs of digits (`\p{N}`) from what is around them, or each digit. */
export type Digits = 'with-space' | 'runs' | 'each';

/** The words of GPT-2's pattern, by hand: several times as fast as the regular expression. */
export function splitGpt2(text: string, word: (from: number, to: number) => void, digits: Digits = 'with-space'): void {
  const size = text.length;
  const cutsDigits = digits !== 'with-space';
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
      if (next !== SPACE && !(cutsDigits && next === NUMBER)) {
        kind = next;
        at += widthAt(text, at);
      }
    }
    if (kind === NUMBER && digits === 'each') {
      word(from, at);
      continue;
    }
    let last = from;
    while (at < size && classAt(text, at) === kind) {
      last = at;
      at += widthAt(text, at);
    }
    // White space before a word leaves its last character to that word, but not to digits that are cut from it.
    if (kind === SPACE && at < size && last > from && !(cutsDigits && classAt(text, at) === NUMBER)) at = last;
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
 * Where a text may be cut so that both parts, split apart, have the words of the whole: before a single space between
 * two characters that are none, or after a single line feed between such a character and a letter.
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
