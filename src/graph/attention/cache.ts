/**
 * Caches of keys and values: writing a chunk of tokens to one, and the attention of the chunk's queries on it.
 *
 * Shape letters: B sequences, n tokens of the chunk, S entries of the cache, H query heads, G key/value heads, R = H/G,
 * D key width, E value width.
 */
import { at, dims, type DType } from '../../core/index.js';
import { softmax } from '../composites/loss.js';
import type { Operands } from '../ir/checks.js';
import { build1, define } from '../ir/emit.js';
import type { Decomposition, DerivativeRule } from '../ir/rules.js';
import type { TensorType, Value } from '../ir/types.js';
import { throughDecomposition } from '../primitives/differentiate.js';
import * as L from '../primitives/index.js';
import { uniformValue } from '../ir/leaves.js';
import { afterwards } from './causal.js';
import { softcapped } from './softcap.js';
import { MASKED } from './tile.js';

/** Attention on a cache. */
export interface CacheAttentionAttrs {
  /** Entries that a query sees, its own included; null sees all up to its own. */
  readonly window: number | null;
  /** The factor on the scores `q k`. */
  readonly scale: number;
  /** The c of scores `c tanh(s / c)` in place of the scaled scores s; not capped where it is left out. */
  readonly softcap?: number;
  /** Entries of a chunk of attention, counted from entry `hidden`: a query sees none of another chunk. */
  readonly chunk?: number;
}

declare module '../ir/types.js' {
  interface OpSignatures {
    /** cache `[B,G,S,D]`, rows `[B,G,n,D]`, start i32 `[]` -> the cache with the rows at `start .. start + n - 1`. */
    readonly cacheWrite: Signature<NoAttrs, readonly [cache: Value, rows: Value, start: Value]>;
    /**
     * q `[B,n,H,D]`, keys `[B,G,S,D]`, values `[B,G,S,E]`, first i32 `[]`, hidden i32 `[B]`, [sinks `[H]`] -> o
     * `[B,n,H,E]`. Query i stands at entry `first + i`; see `cacheAttention`.
     */
    readonly cacheAttention: Signature<
      CacheAttentionAttrs,
      readonly [q: Value, keys: Value, values: Value, first: Value, hidden: Value, ...sinks: Value[]]
    >;
  }
}

function checkAttention(inputs: Operands, { window, scale, softcap, chunk }: CacheAttentionAttrs): TensorType {
  inputs.requireCount(5, 6);
  const floats = [...inputs.types.slice(0, 3), ...inputs.types.slice(5)];
  inputs.slice(0, 3).floatDtype();
  if (floats.some(({ dtype }) => dtype !== inputs.at(0).dtype)) throw inputs.dtypeError('dtypes differ');
  if (inputs.types.slice(0, 3).some(({ shape }) => shape.length !== 4)) {
    throw inputs.shapeError('q, keys and values must have four axes');
  }
  const [B, n, H, D] = dims(inputs.at(0), 4);
  const [, G, S] = dims(inputs.at(1), 3);
  inputs.requireShape(1, [B, G, S, D], 'keys');
  inputs.requireShape(2, [B, G, S, at(inputs.shape(2), 3)], 'values');
  if (G < 1 || H % G !== 0) throw inputs.shapeError(`${H} query heads are not a multiple of ${G} key heads`);
  if (n > S) throw inputs.shapeError(`${n} queries do not fit a cache of ${S} entries`);
  if (window !== null && (!Number.isInteger(window) || window < 1)) {
    throw inputs.shapeError(`window ${window} must be a whole number of keys >= 1, or null`);
  }
  if (chunk !== undefined && (!Number.isInteger(chunk) || chunk < 1)) {
    throw inputs.shapeError(`chunk ${chunk} must be a whole number of keys >= 1`);
  }
  if (!Number.isFinite(scale)) throw inputs.shapeError(`scale ${scale} is not a number`);
  if (softcap !== undefined && !(softcap > 0 && Number.isFinite(softcap)))
    throw inputs.shapeError(`softcap ${softcap} is not a number above 0`);
  inputs.requireIndex(3, 'first');
  inputs.requireShape(3, [], 'first');
  inputs.requireIndex(4, 'hidden');
  inputs.requireShape(4, [B], 'hidden');
  if (inputs.length > 5) inputs.requireShape(5, [H], 'sinks');
  return { dtype: inputs.at(0).dtype, shape: [B, n, H, at(inputs.shape(2), 3)] };
}

/** Definitions of what is done with caches. */
export const CACHE = {
  cacheWrite: define('cacheWrite', 3, { precision: 'follows', locality: 'any', merging: 'fold' }, (inputs) => {
    const [cache, rows] = [inputs.at(0), inputs.at(1)];
    inputs.slice(0, 2).sameDtype();
    if (cache.shape.length !== 4) throw inputs.shapeError('a cache must be [B,G,S,D]');
    const [B, G, S, D] = dims(cache, 4);
    const n = at(rows.shape, 2);
    inputs.requireShape(1, [B, G, n, D], 'rows');
    if (n > S) throw inputs.shapeError(`${n} rows do not fit a cache of ${S} entries`);
    inputs.requireIndex(2, 'start');
    inputs.requireShape(2, [], 'start');
    return [cache];
  }),
  cacheAttention: define(
    'cacheAttention',
    null,
    { precision: 'bf16', locality: 'any', merging: 'fold' },
    (inputs, attrs) => [checkAttention(inputs, attrs)],
  ),
};

/**
 * `cache` `[B,G,S,D]` with `rows` `[B,G,n,D]` in place of its entries `start .. start + n - 1`; start is i32 `[]` and
 * at most `S - n`.
 */
export function cacheWrite(cache: Value, rows: Value, start: Value): Value {
  return build1(CACHE.cacheWrite, [cache, rows, start], {});
}

/**
 * Softmax attention of the queries of a chunk on a cache that holds their own keys and values: q `[B,n,H,D]`, keys
 * `[B,G,S,D]`, values `[B,G,S,E]` (query head h uses key head `floor(h / (H/G))`). Query i stands at entry `first + i`
 * (first is i32 `[]`, at most `S - n`) and sees the entries up to its own, at most `window` of them, but for the first
 * `hidden` of its sequence (i32 `[B]`; entry `hidden` is the sequence's first token, perhaps before the cache). With
 * `chunk` it sees none of another chunk of so many tokens. A query that sees no entry gets finite numbers of no use.
 * sinks `[H]` join the sums of the softmax. Returns `[B,n,H,E]`.
 */
export function cacheAttention(
  { q, keys, values }: { readonly q: Value; readonly keys: Value; readonly values: Value },
  place: { readonly first: Value; readonly hidden: Value },
  options: Omit<CacheAttentionAttrs, 'softcap' | 'chunk'> & {
    readonly softcap?: number | null;
    readonly chunk?: number | undefined;
    readonly sinks?: Value | null;
  },
): Value {
  const { window, scale, softcap = null, sinks = null, chunk } = options;
  const cap = softcap === null ? {} : { softcap };
  const attrs = { window, scale, ...cap, ...(chunk === undefined ? {} : { chunk }) };
  const given = [q, keys, values, place.first, place.hidden] as const;
  return build1(CACHE.cacheAttention, [...given, ...(sinks === null ? [] : [sinks])], attrs);
}

/** Queries of a block, unless that makes more than `MOST_BLOCKS`. */
const BLOCK = 128;
const MOST_BLOCKS = 16;

/** A chunk's queries in blocks, which are scored one after another. */
export function cacheBlocks(n: number): { readonly from: number; readonly to: number }[] {
  const size = Math.max(BLOCK, Math.ceil(n / MOST_BLOCKS));
  return Array.from({ length: Math.ceil(n / size) }, (_, i) => ({ from: i * size, to: Math.min(n, (i + 1) * size) }));
}

/** Some entries of a cache, `[B,G,to-from,D]`. */
const entries = (cache: Value, from: number, to: number): Value =>
  from === 0 && to === cache.shape[2] ? cache : L.sliceAxis(cache, 2, from, to);

/** bool `[B,rows,columns]`: which of a block's entries each of its queries sees. */
function visible(
  { first, hidden }: CachePlace,
  { row, rows, low, columns }: CacheBlock,
  { window, chunk }: CacheAttentionAttrs,
): Value {
  const own = L.add(L.iota('i32', [1, rows, 1], 1), L.add(first, row));
  const entry = L.add(L.iota('i32', [1, 1, columns], 2), low);
  const past = L.le(entry, own);
  const near = window === null ? past : L.and(past, L.gt(entry, L.sub(own, window)));
  const origin = L.reshape(hidden, [at(hidden.shape, 0), 1, 1]);
  const seen = L.and(near, L.ge(entry, origin));
  if (chunk === undefined) return seen;
  // Integer division truncates: numbers of entries before the first token are wrong, and these are not seen anyway.
  const numbers = (x: Value): Value => L.div(L.sub(x, origin), chunk);
  return L.and(seen, L.eq(numbers(own), numbers(entry)));
}

/** Where queries stand among the entries of a cache. */
export interface CachePlace {
  /** The entry of the first query, i32 `[]`. */
  readonly first: Value;
  /** How many entries of each sequence nobody sees, i32 `[B]`. */
  readonly hidden: Value;
}

/** `rows` queries from `row` on, and the `columns` entries from `low` on that they may see. */
export type CacheBlock = Readonly<Record<'row' | 'rows' | 'low' | 'columns', number>>;

/** What some attentions have beside the others. */
interface BlockExtras {
  /** Joins the sums of the softmax, `[H]`. */
  readonly sinks?: Value | undefined;
  /** Added to the scores of a block, `[B,H,rows,columns]`. */
  readonly bias?: (block: CacheBlock) => Value;
  /** bool `[B,rows,columns]`: which of a block's entries are seen of those that place and window show. */
  readonly among?: ((block: CacheBlock) => Value) | undefined;
}

/**
 * Attention of queries `[B,n,H,D]` on keys `[B,G,S,D]` and values `[B,G,S,E]`, as `cacheAttention` says, block by block
 * of queries. Returns `[B,n,H,E]`. Scores of bf16 and f16 are computed in float32.
 */
export function attendInBlocks(
  { q, keys, values }: { readonly q: Value; readonly keys: Value; readonly values: Value },
  place: CachePlace,
  attrs: CacheAttentionAttrs,
  { sinks, bias, among }: BlockExtras = {},
): Value {
  const { window, scale, softcap } = attrs;
  const [B, n, H, D] = dims(q, 4);
  const [, G, S] = dims(keys, 3);
  const [R, E] = [H / G, at(values.shape, 3)];
  const queries = L.transpose(q, [0, 2, 1, 3]);
  const soft: DType = q.dtype === 'bf16' || q.dtype === 'f16' ? 'f32' : q.dtype;
  // Where the place of the chunk is known beforehand, entries outside of all windows are left out.
  const known = uniformValue(place.first);
  const outs: Value[] = [];
  for (const { from, to } of cacheBlocks(n)) {
    const rows = to - from;
    const high = known === null ? S : known + to;
    const low = known === null || window === null ? 0 : Math.max(0, known + from - window + 1);
    const columns = high - low;
    const block = { row: from, rows, low, columns };
    const part = rows === n ? queries : L.sliceAxis(queries, 2, from, to);
    const own = at(afterwards([L.reshape(part, [B, G, R * rows, D])], outs.slice(-1)), 0);
    const products = L.matmulTransposed(own, entries(keys, low, high));
    const scaled = L.mul(L.convert(products, soft), scale);
    const plain = L.reshape(softcapped(scaled, softcap), [B, H, rows, columns]);
    const scores = bias === undefined ? plain : L.add(plain, L.convert(bias(block), soft));
    const near = visible(place, block, attrs);
    const seen = among === undefined ? near : L.and(near, among(block));
    // A large negative score instead of -inf: a row that sees no entry must come out finite.
    const mask = L.select(L.reshape(seen, [B, 1, rows, columns]), L.scalar(0, soft), L.scalar(MASKED[soft], soft));
    const sink = sinks && L.convert(sinks, soft);
    const p = L.reshape(softmaxWithSinks(L.add(scores, mask), sink), [B, G, R * rows, columns]);
    outs.push(L.reshape(L.matmul(L.convert(p, q.dtype), entries(values, low, high)), [B, H, rows, E]));
  }
  return L.transpose(outs.length === 1 ? at(outs, 0) : L.concat(outs, 2), [0, 2, 1, 3]);
}

const decomposeAttention: Decomposition<'cacheAttention'> = ([q, keys, values, first, hidden, sinks], attrs) => [
  attendInBlocks({ q, keys, values }, { first, hidden }, attrs, { sinks }),
];

/** Softmax over the last axis of scores `[B,H,n,S]`; a sink `[H]` joins the denominator. */
function softmaxWithSinks(scores: Value, sinks: Value | undefined): Value {
  if (sinks === undefined) return softmax(scores);
  const sink = L.reshape(sinks, [1, at(scores.shape, 1), 1, 1]);
  const top = L.max(L.reduceMax(scores, [3], true), sink);
  const weights = L.exp(L.sub(scores, top));
  return L.div(weights, L.add(L.reduceSum(weights, [3], true), L.exp(L.sub(sink, top))));
}

const decomposeWrite: Decomposition<'cacheWrite'> = ([cache, rows, start]) => {
  const [, , S] = dims(cache, 3);
  const n = at(rows.shape, 2);
  const place = L.sub(L.iota('i32', [S], 0), start);
  const last = L.select(L.gt(place, n - 1), n - 1, place);
  const source = L.select(L.lt(last, 0), 0, last);
  const spread = L.transpose(L.take(L.transpose(rows, [2, 0, 1, 3]), source), [1, 2, 0, 3]);
  const written = L.reshape(L.eq(place, source), [1, 1, S, 1]);
  return [L.select(written, spread, cache)];
};

/** Decompositions of what is done with caches. */
export const CACHE_DECOMPOSITIONS: { readonly [K in keyof typeof CACHE]: Decomposition<K> } = {
  cacheWrite: decomposeWrite,
  cacheAttention: decomposeAttention,
};

/** The derivative rules of what is done with caches. */
export const CACHE_DERIVATIVES: { readonly [K in keyof typeof CACHE]: DerivativeRule<K> } = {
  cacheWrite: throughDecomposition(CACHE_DECOMPOSITIONS.cacheWrite),
  cacheAttention: throughDecomposition(CACHE_DECOMPOSITIONS.cacheAttention),
};
