/**
 * Attention whose scores have a bias of each query and distance, as in Inkling: `scale q k + r . P[:, t - s]` for a
 * query at t and a key at s, with r states of the query and P a bank of profiles over distances. In primitives: queries
 * go in blocks that meet only the keys which they may see, and a block's biases are one product with the part of the
 * bank that it can reach.
 *
 * Shape letters: B sequences, n queries, S keys, H query heads, G key/value heads, D key width, E value width, R width
 * of the states, X distances of the bank.
 */
import { at, dims } from '../../core/index.js';
import type { Value } from '../ir/types.js';
import { documentRuns } from '../primitives/documents.js';
import * as L from '../primitives/index.js';
import { attendInBlocks, type CacheBlock, type CachePlace } from './cache.js';

/** What a bias of distances is made of. */
export interface DistanceBias {
  /** A state of each query, `[B,n,H,R]`. */
  readonly states: Value;
  /** A profile over distances for each channel of the states, `[R,X]`; column x is for the key x tokens before. */
  readonly bank: Value;
}

/** Queries, and the keys and values that they meet. */
interface Operands {
  /** `[B,n,H,D]`. */
  readonly q: Value;
  /** `[B,G,S,D]`. */
  readonly keys: Value;
  /** `[B,G,S,E]`. */
  readonly values: Value;
  readonly bias: DistanceBias;
}

/** Which keys queries see. */
interface Place extends CachePlace {
  /** The document of each token, i32 `[B,S]`, where queries and keys are those of whole rows; null for one a row. */
  readonly segments: Value | null;
}

/**
 * Causal softmax attention with a bias of distances; query head h uses key head `floor(h / (H/G))`. Query i stands at
 * key `first + i`, and sees the keys up to its own, at most `window` of them (null for all), but for the first `hidden`
 * of its sequence and those of other documents. A key further away than the bank reaches gets no bias. Returns
 * `[B,n,H,E]`. Scores are computed in float32 where queries are narrower.
 */
export function distanceAttention(
  { q, keys, values, bias }: Operands,
  { first, hidden, segments }: Place,
  { window, scale }: { readonly window: number | null; readonly scale: number },
): Value {
  const states = L.transpose(bias.states, [0, 2, 1, 3]);
  const documents = segments === null ? null : documentRuns(segments);
  return attendInBlocks(
    { q, keys, values },
    { first, hidden },
    { window, scale },
    {
      bias: (block) => {
        const own = { states: L.sliceAxis(states, 2, block.row, block.row + block.rows), bank: bias.bank };
        return biasesOf(own, first, block);
      },
      among: documents === null ? undefined : (block) => sameDocument(documents, block),
    },
  );
}

/**
 * The biases of all queries on all keys of whole rows, `[B,n,H,n]`, where keys behind the query and those further away
 * than the bank reaches have 0.
 */
export function distanceBiases({ states, bank }: DistanceBias): Value {
  const [, n] = dims(states, 2);
  const reach = { row: 0, rows: n, low: 0, columns: n };
  return L.transpose(
    biasesOf({ states: L.transpose(states, [0, 2, 1, 3]), bank }, L.scalar(0, 'i32'), reach),
    [0, 2, 1, 3],
  );
}

/** The biases `[B,H,rows,columns]` of a block's states `[B,H,rows,R]`. */
function biasesOf({ states, bank }: DistanceBias, first: Value, { row, rows, low, columns }: CacheBlock): Value {
  const [B, H] = dims(states, 2);
  const X = at(bank.shape, 1);
  // One column for each distance between the block's queries and keys, the largest first; row X of the padded bank
  // stands for distances that it does not have.
  const length = rows + columns - 1;
  const distances = L.sub(L.add(first, row + rows - 1 - low), L.iota('i32', [length], 0));
  const within = L.and(L.ge(distances, 0), L.lt(distances, X));
  const profiles = L.take(L.padAxis(L.transpose(bank, [1, 0]), 0, 0, 1), L.select(within, distances, X));
  const all = L.linear(states, L.transpose(profiles, [1, 0]));
  if (rows === 1) return all;
  // Query i reads `columns` entries from entry rows - 1 - i on: in rows one entry shorter, these are the first.
  const flat = L.sliceAxis(L.reshape(all, [B, H, rows * length]), 2, rows - 1, rows - 1 + rows * (length - 1));
  return L.sliceAxis(L.reshape(flat, [B, H, rows, length - 1]), 3, 0, columns);
}

/** bool `[B,rows,columns]`: which keys are of the query's document, of numbered documents `[B,S]`. */
function sameDocument(documents: Value, { row, rows, low, columns }: CacheBlock): Value {
  const B = at(documents.shape, 0);
  const own = L.reshape(L.sliceAxis(documents, 1, row, row + rows), [B, rows, 1]);
  return L.eq(own, L.reshape(L.sliceAxis(documents, 1, low, low + columns), [B, 1, columns]));
}
