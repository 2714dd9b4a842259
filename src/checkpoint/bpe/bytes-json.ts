/** The vocabulary of bytes as a `tokenizer.json`. */
import { BYTE_CHARACTERS } from './bytes.js';
import { tokenizerJson } from './train.js';

/** The token of byte 0, which no text holds, and which ends documents. */
export const BYTES_END = '<|endoftext|>';

/** The `tokenizer.json` whose ids are the bytes of a text; id 0 is the special token that ends documents. */
export function bytesJson(): object {
  const vocab = new Map(BYTE_CHARACTERS.map((char, byte) => [byte === 0 ? BYTES_END : char, byte]));
  return tokenizerJson({ vocab, merges: [] }, [BYTES_END]);
}
