/**
 * Attention of a chunk on the keys and values of the tokens before it.
 *
 * Shape letters: B rows, n tokens of the chunk, S entries of the cache, H query heads, G key/value heads, R = H/G, D
 * width.
 *
 * Two kinds of cache:
 * - a window of w < maxLength keeps the last w tokens, oldest first, `[B,G,w,D]`: a chunk is appended and as many fall
 *   out;
 * - otherwise entry s is slot s of the sequence, in one list of rows `[B*G*S,D]`: engines that may reuse a donated
 *   input write the new rows into it and copy nothing.
 */
import { at, dims, type Shape } from '../core/index.js';
import {
  add,
  and,
  concat,
  div,
  dot,
  eq,
  exp,
  ge,
  gt,
  iota,
  le,
  matmul,
  max,
  mul,
  reduceMax,
  reduceSum,
  reshape,
  scalar,
  scatterAdd,
  select,
  sliceAxis,
  softcapped,
  softmax,
  sub,
  transpose,
  type Value,
} from '../graph/index.js';
import type { ChunkPlace, StateRoom } from './mixer.js';
import type { HeadGroup } from './plan.js';

/** The queries of a head group, and what is made of their scores. */
export interface AttendInputs {
  /** `[B,T,heads,headDim]` */
  readonly q: Value;
  /** The factor on the scores `q k`. */
  readonly scale: number;
  /** The c of scores `c tanh(s / c)`; null for scores that are not capped. */
  readonly softcap: number | null;
  /** `[heads]` */
  readonly sinks: Value | null;
}

/** What one head group attends with: its queries, keys and values. */
export interface GroupInputs extends AttendInputs {
  /** `[B,T,kvHeads,headDim]` */
  readonly k: Value;
  /** `[B,T,kvHeads,headDim]` */
  readonly v: Value;
}

/** The shape of the cache of one head group, for keys and values alike. */
export function cacheShape(window: number | null, kvHeads: number, headDim: number, room: StateRoom): Shape {
  const { batchSize, maxLength } = room;
  if (window !== null && window < maxLength) return [batchSize, kvHeads, window, headDim];
  return [batchSize * kvHeads * maxLength, headDim];
}

/** The keys and values that a head group keeps of earlier tokens, in one of the two forms that this file describes. */
export interface KeyValueCache {
  readonly keys: Value;
  readonly values: Value;
}

/** The chunk's output `[B,n,H,D]` and the cache after it. */
export function cachedAttention(
  inputs: GroupInputs,
  cache: KeyValueCache,
  place: ChunkPlace,
  { window, chunk }: Pick<HeadGroup, 'window' | 'chunk'>,
): { readonly out: Value; readonly cache: KeyValueCache } {
  const { k, v } = inputs;
  const [newKeys, newValues] = [headsFirst(k), headsFirst(v)];
  const n = at(k.shape, 1);
  if (window !== null && window < place.maxLength) {
    const [keys, values] = [concat([cache.keys, newKeys], 2), concat([cache.values, newValues], 2)];
    const seen = visibleInWindow(place, n, { window, chunk });
    const kept = { keys: sliceAxis(keys, 2, n, n + window), values: sliceAxis(values, 2, n, n + window) };
    return { out: attend(inputs, keys, values, seen), cache: kept };
  }
  const [keys, values] = [insert(cache.keys, newKeys, place), insert(cache.values, newValues, place)];
  const seen = visibleInCache(place, n);
  const [B, , G, D] = dims(k, 4);
  const heads = (x: Value) => reshape(x, [B, G, place.maxLength, D]);
  return { out: attend(inputs, heads(keys), heads(values), seen), cache: { keys, values } };
}

/** A cache behind which a chunk has been put. */
export interface ExtendedCache {
  /** What the chunk's queries may meet, `[B,G,S,D]`. */
  readonly entries: Value;
  /** Which of the entries each query sees, bool `[B,n,S]`. */
  readonly seen: Value;
  /** The cache after the chunk. */
  readonly cache: Value;
}

/** A cache in one of the two forms with a chunk `[B,n,G,D]` behind it. */
export function extended(cache: Value, chunk: Value, place: ChunkPlace, window: number | null): ExtendedCache {
  const [B, n, G, D] = dims(chunk, 4);
  if (window !== null && window < place.maxLength) {
    const entries = concat([cache, headsFirst(chunk)], 2);
    return {
      entries,
      seen: visibleInWindow(place, n, { window, chunk: undefined }),
      cache: sliceAxis(entries, 2, n, n + window),
    };
  }
  const after = insert(cache, headsFirst(chunk), place);
  return { entries: reshape(after, [B, G, place.maxLength, D]), seen: visibleInCache(place, n), cache: after };
}

/** `[B,n,G,D] -> [B,G,n,D]`. */
function headsFirst(x: Value): Value {
  return transpose(x, [0, 2, 1, 3]);
}

/** Writes a chunk `[B,G,n,D]` to its slots of a cache `[B*G*S,D]`. The slots hold zeros: each is written once. */
function insert(cache: Value, chunk: Value, { start, maxLength }: ChunkPlace): Value {
  const [B, G, n, D] = dims(chunk, 4);
  const slot = add(iota('i32', [1, n], 1), start);
  const row = mul(iota('i32', [B * G, 1], 0), maxLength);
  return scatterAdd(cache, add(row, slot), reshape(chunk, [B * G, n, D]));
}

/** bool `[B,n,S]`: entries up to the query's own slot that are no padding. */
function visibleInCache({ start, padding, maxLength }: ChunkPlace, n: number): Value {
  const B = at(padding.shape, 0);
  const query = add(iota('i32', [1, n, 1], 1), start);
  const key = iota('i32', [1, 1, maxLength], 2);
  return and(le(key, query), ge(key, reshape(padding, [B, 1, 1])));
}

/**
 * bool `[B,n,w+n]`: of the cache's w entries and the chunk's n, those in the query's window, and in its chunk of
 * attention where there are such, that are no padding.
 */
function visibleInWindow(
  { start, padding }: ChunkPlace,
  n: number,
  { window, chunk }: { readonly window: number; readonly chunk: number | undefined },
): Value {
  const B = at(padding.shape, 0);
  // Entry j stands for slot start - w + j, the query i for slot start + i.
  const query = iota('i32', [1, n, 1], 1);
  const key = sub(iota('i32', [1, 1, window + n], 2), window);
  const inWindow = and(le(key, query), gt(key, sub(query, window)));
  const slots = reshape(padding, [B, 1, 1]);
  const seen = and(inWindow, ge(add(key, start), slots));
  if (chunk === undefined) return seen;
  // Chunks are counted from the first token; slots of padding, whose numbers are below, are not seen anyway.
  const numbers = (x: Value) => div(sub(add(x, start), slots), chunk);
  return and(seen, eq(numbers(query), numbers(key)));
}

/** Softmax attention of q `[B,n,H,D]` on keys `[B,G,S,D]` and values `[B,G,S,E]` where `seen` (bool `[B,n,S]`). */
export function attend({ q, scale, softcap, sinks }: AttendInputs, keys: Value, values: Value, seen: Value): Value {
  const [B, n, H, D] = dims(q, 4);
  const [, G, S, E] = dims(values, 4);
  const R = H / G;
  const heads = reshape(headsFirst(q), [B, G, R * n, D]);
  const products = dot(heads, keys, { lhsBatch: [0, 1], rhsBatch: [0, 1], lhsContract: [3], rhsContract: [3] });
  const scores = softcapped(mul(products, scale), softcap);
  // A large negative score instead of -inf: a row of padding sees no key, and must come out finite.
  const mask = select(reshape(seen, [B, 1, n, S]), scalar(0, q.dtype), scalar(-1e30, q.dtype));
  const masked = add(reshape(scores, [B, H, n, S]), mask);
  const probabilities = reshape(softmaxWithSinks(masked, sinks), [B, G, R * n, S]);
  const out = reshape(matmul(probabilities, values), [B, H, n, E]);
  return transpose(out, [0, 2, 1, 3]);
}

/** Softmax over the last axis of scores `[B,H,n,S]`; a sink `[H]` joins the denominator. */
function softmaxWithSinks(scores: Value, sinks: Value | null): Value {
  if (sinks === null) return softmax(scores);
  const sink = reshape(sinks, [1, at(scores.shape, 1), 1, 1]);
  const top = max(reduceMax(scores, [3], true), sink);
  const weights = exp(sub(scores, top));
  return div(weights, add(reduceSum(weights, [3], true), exp(sub(sink, top))));
}
