/** Characters as the Rust library knows them, whatever the Unicode version of this Node. */
import { NEWER_THAN_NORMAL_FORMS, UNASSIGNED } from './unicode-tables.js';

/** Neither has a class in any Unicode version; one and two UTF-16 units. */
const [NARROW, WIDE] = ['\u{378}', '\u{e0000}'];
/** A letter that is lower case in Unicode 16 and an "other letter" in 17; and one that is lower case in both. */
const [REVISED, LOWER] = ['\u0295', '\u0138'];

const mayDiffer = unitsOf(REVISED + UNASSIGNED);
const differing = new RegExp(`[${REVISED}${UNASSIGNED}]`, 'gu');

/** Finds UTF-16 units that may be of a character in `table`, which is much faster than to look for characters. */
function unitsOf(table: string): RegExp {
  return new RegExp(`[${table.split('\\u{')[0]}\\ud800-\\udbff]`);
}

/**
 * `text` with the same UTF-16 length, in which characters that Unicode 16 does not know are unassigned ones: classes of
 * characters then are those of the Rust library's pattern engines.
 */
export function asOfUnicode16(text: string): string {
  if (!mayDiffer.test(text)) return text;
  return text.replace(differing, (char) => (char === REVISED ? LOWER : char.length === 1 ? NARROW : WIDE));
}

export type NormalForm = 'NFC' | 'NFD' | 'NFKC' | 'NFKD';

const mayBeNewer = unitsOf(NEWER_THAN_NORMAL_FORMS);
const newer = new RegExp(`([${NEWER_THAN_NORMAL_FORMS}]+)`, 'u');

/**
 * The normal form of `text` in the Unicode version of the Rust library, to which newer characters neither decompose nor
 * combine.
 */
export function normalForm(text: string, form: NormalForm): string {
  if (!mayBeNewer.test(text) || !newer.test(text)) return text.normalize(form);
  return text
    .split(newer)
    .map((part, i) => (i % 2 === 0 ? part.normalize(form) : part))
    .join('');
}

const wordCharacter = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u;

/** Whether the character that begins at `at` is one of words (`\w` of the Rust library's `regex`). */
export function isWordCharacterAt(text: string, at: number): boolean {
  return wordCharacter.test(asOfUnicode16(String.fromCodePoint(text.codePointAt(at) ?? 0)));
}

/** `text` with lone surrogates, which UTF-8 cannot hold, replaced by U+FFFD. */
export function wellFormed(text: string): string {
  return text.isWellFormed() ? text : text.toWellFormed();
}
