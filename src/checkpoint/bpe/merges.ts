/** The merges of a byte-pair vocabulary as a table of token ids. */
import { DataError, clip } from '../../core/index.js';
import type { MergeTable } from './words.js';

/** The part of a `tokenizer.json` that says how pairs merge. */
export interface MergesConfig {
  readonly merges: readonly (string | readonly [string, string])[];
  readonly continuing_subword_prefix?: string | null | undefined;
}

/**
 * Builds the table of merges of a BPE model.
 * @throws DataError if a merge takes or makes a token that the vocabulary does not have
 */
export function mergesOf(config: MergesConfig, ids: ReadonlyMap<string, number>): MergeTable {
  const prefix = config.continuing_subword_prefix ?? '';
  if (Buffer.byteLength(prefix) !== prefix.length) {
    throw new DataError('model (BPE): a continuing_subword_prefix beyond ASCII is not supported');
  }
  let vocabSize = 1;
  for (const id of ids.values()) vocabSize = Math.max(vocabSize, id + 1);
  const pairs = config.merges.filter((merge) => typeof merge !== 'string' || !merge.startsWith('#version'));
  const ranks = new Map<number, number>();
  const merged = new Int32Array(pairs.length);
  for (const [rank, merge] of pairs.entries()) {
    const [left = '', right = '', ...more] = typeof merge === 'string' ? merge.split(' ') : merge;
    const [a, b, both] = [ids.get(left), ids.get(right), ids.get(left + right.slice(prefix.length))];
    if (a === undefined || b === undefined || both === undefined || more.length > 0) {
      throw new DataError(
        `model.merges: merge ${rank}, ${clip(JSON.stringify(merge))}, is not one of two tokens into a third`,
      );
    }
    // Of a merge listed twice the last counts, as in the library's table.
    ranks.set(a * vocabSize + b, rank);
    merged[rank] = both;
  }
  return { ranks, merged, vocabSize };
}
