/**
 * Attention of a chunk on the keys and values of the tokens before it.
 *
 * Shape letters: B rows, n tokens of the chunk, S entries of the cache, H query heads, G key/value heads, D width.
 *
 * Two kinds of cache:
 * - a window of w < maxLength keeps the last w tokens, oldest first, `[B,G,w,D]`: a chunk is appended and as many fall
 *   out;
 * - otherwise entry s is slot s of the sequence, `[B,G,S,D]`: engines that may reuse a donated input write the new rows
 *   into it and copy nothing, and a chunk meets the entries that are filled.
 */
import { at, type Shape } from '../core/index.js';
import {
  add,
  cacheAttention,
  cacheWrite,
  concat,
  convert,
  distanceAttention,
  scalar,
  sliceAxis,
  sub,
  transpose,
  type DistanceBias,
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
  /** The bias on the scores by distance, which goes without softcap and sinks; null for none. */
  readonly bias: DistanceBias | null;
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
  return [batchSize, kvHeads, window === null ? maxLength : Math.min(window, maxLength), headDim];
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
  const keys = extended(cache.keys, inputs.k, place, window);
  const values = extended(cache.values, inputs.v, place, window);
  // A window that holds everything holds all of a chunk of attention: there is only one.
  const whole = keys.seen.window === null ? {} : { chunk };
  const out = attend(inputs, keys.entries, values.entries, { ...keys.seen, ...whole });
  return { out, cache: { keys: keys.cache, values: values.cache } };
}

/** Which entries the queries of a chunk see: those of `cacheAttention`. */
export interface SeenEntries {
  /** The entry of the chunk's first token, i32 `[]`. */
  readonly first: Value;
  /** The entries of each sequence that no query sees, i32 `[B]`. */
  readonly hidden: Value;
  /** Entries that a query sees, its own included; null for all up to its own. */
  readonly window: number | null;
  /** Entries of a chunk of attention, counted from a sequence's first token: a query sees none of another. */
  readonly chunk?: number | undefined;
}

/** A cache behind which a chunk has been put. */
export interface ExtendedCache {
  /** What the chunk's queries may meet, `[B,G,S,D]`. */
  readonly entries: Value;
  readonly seen: SeenEntries;
  /** The cache after the chunk. */
  readonly cache: Value;
}

/**
 * A cache in one of the two forms with a chunk `[B,n,G,D]` behind it, in the dtype of the cache, which may be narrower
 * than that of the parameters.
 */
export function extended(cache: Value, chunk: Value, place: ChunkPlace, window: number | null): ExtendedCache {
  const rows = headsFirst(convert(chunk, cache.dtype));
  const seen = seenOf(place, window);
  if (seen.window !== null) {
    const entries = concat([cache, rows], 2);
    const n = at(chunk.shape, 1);
    return { entries, seen, cache: sliceAxis(entries, 2, n, n + seen.window) };
  }
  const after = cacheWrite(cache, rows, place.start);
  return { entries: after, seen, cache: after };
}

/** What the queries of a chunk see of entries that `extended` gives for caches of this window. */
export function seenOf({ start, padding, maxLength }: ChunkPlace, window: number | null): SeenEntries {
  if (window === null || window >= maxLength) return { first: start, hidden: padding, window: null };
  // Entry j stands for slot start - window + j.
  return { first: scalar(window, 'i32'), hidden: sub(add(padding, window), start), window };
}

/** `[B,n,G,D] -> [B,G,n,D]`. */
function headsFirst(x: Value): Value {
  return transpose(x, [0, 2, 1, 3]);
}

/** Attention of q `[B,n,H,D]` on keys `[B,G,S,D]` and values `[B,G,S,E]`, in their dtype; the result has that of q. */
export function attend(
  { q, scale, softcap, sinks, bias }: AttendInputs,
  keys: Value,
  values: Value,
  { window, chunk, ...place }: SeenEntries,
): Value {
  const own = (x: Value): Value => convert(x, keys.dtype);
  if (bias !== null) {
    const inputs = { q: own(q), keys, values, bias: { states: own(bias.states), bank: own(bias.bank) } };
    return convert(distanceAttention(inputs, { ...place, segments: null }, { window, scale }), q.dtype);
  }
  const options = { window, chunk, scale, softcap, sinks: sinks && own(sinks) };
  return convert(cacheAttention({ q: own(q), keys, values }, place, options), q.dtype);
}
