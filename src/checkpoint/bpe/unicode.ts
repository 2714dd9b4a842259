/** Characters as the Rust library knows them, whatever the Unicode version of this Node. */
import { present, u8At } from '../../core/index.js';
import { NEWER_THAN_NORMAL_FORMS, UNASSIGNED } from './unicode-tables.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const readU8 = u8At;

/** Neither has a class in any Unicode version; one and two UTF-16 units. */
const [NARROW, WIDE] = ['\u{378}', '\u{e0000}'];
/** A letter that is lower case in Unicode 16 and an "other letter" in 17; and one that is lower case in both. */
const [REVISED, LOWER] = ['\u0295', '\u0138'];

const differing = new RegExp(`[${REVISED}${UNASSIGNED}]`, 'gu');
const differingOne = new RegExp(differing.source, 'u');

const [SAME, OTHER] = [1, 2] as const;
/** By code point, worked out where first met (0 = not yet). */
const differences = new Uint8Array(0x110000);

/** Whether `text` has a character of `differing`; by table, which is many times as fast as the expression. */
function mayDiffer(text: string): boolean {
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    if (unit < 0x80) continue;
    const isHigh = unit >= 0xd800 && unit <= 0xdbff;
    const code = isHigh ? present(text.codePointAt(at)) : unit;
    if (code > 0xffff) at++;
    let known = readU8(differences, code);
    if (known === 0) {
      known = differences[code] = differingOne.test(String.fromCodePoint(code)) ? OTHER : SAME;
    }
    if (known === OTHER) return true;
  }
  return false;
}

/** Finds UTF-16 units that may be of a character in `table`, which is much faster than to look for characters. */
function unitsOf(table: string): RegExp {
  return new RegExp(`[${table.split('\\u{')[0]}\\ud800-\\udbff]`);
}

/**
 * `text` with the same UTF-16 length, in which characters that Unicode 16 does not know are unassigned ones: classes of
 * characters then are those of the Rust library's pattern engines.
 */
export function asOfUnicode16(text: string): string {
  if (!mayDiffer(text)) return text;
  return text.replace(differing, (char) => (char === REVISED ? LOWER : char.length === 1 ? NARROW : WIDE));
}

/** Unicode's four normal forms. */
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
