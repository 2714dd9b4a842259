/** The vocabulary of bytes as a `tokenizer.json`. */
import { CHARACTER_BYTES } from './bytes.js';
import { tokenizerJson } from './train.js';

/** The `tokenizer.json` whose ids are the bytes of a text. */
export function bytesJson(): object {
  return tokenizerJson({ vocab: CHARACTER_BYTES, merges: [] }, []);
}
