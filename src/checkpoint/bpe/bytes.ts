import { at } from '../../core/index.js';
/** GPT-2's table between bytes and the characters of byte-level tokens: printable bytes stand for themselves. */

const isPrintable = (b: number): boolean => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);

/** The character of each byte. */
export const BYTE_CHARACTERS: readonly string[] = (() => {
  let next = 256;
  return Array.from({ length: 256 }, (_, b) => String.fromCodePoint(isPrintable(b) ? b : next++));
})();

/** The byte of each character. */
export const CHARACTER_BYTES: ReadonlyMap<string, number> = new Map(BYTE_CHARACTERS.map((char, b) => [char, b]));

/** The token text of bytes. */
export function byteCharacters(bytes: Uint8Array): string {
  let text = '';
  for (const b of bytes) text += at(BYTE_CHARACTERS, b);
  return text;
}
