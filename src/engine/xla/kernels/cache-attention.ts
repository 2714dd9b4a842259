/**
 * Attention of a chunk of queries on a cache of keys and values as a tile kernel, after FlashAttention-2 (Dao 2023). A
 * program takes a block of queries of one head and meets the blocks of entries that any of them sees: the filled part
 * of the cache, or a window of it. Where the chunk stands is an operand, so one program serves every position.
 *
 * Shape letters: B batch, n queries, S entries, H query heads, G key heads, D head width, C queries in the block of a
 * program, I entries in a block of its inner loop.
 */
import { at } from '../../../core/index.js';
import { HeadBlocks, type HeadRows, type Tiles } from './heads.js';
import { KernelBuilder } from './triton/builder.js';
import type { Kernel, Tile } from './triton/ir.js';
import { MASKED, type Tuning } from './window-blocks.js';

/** The shapes and attributes of an attention on a cache. */
export interface CacheAttentionShape {
  /** Sequences. */
  readonly batch: number;
  /** Queries of a sequence. */
  readonly queries: number;
  /** Entries of the cache, for each sequence. */
  readonly entries: number;
  /** Query heads. */
  readonly heads: number;
  readonly kvHeads: number;
  /** Channels of a head, a power of two. */
  readonly headDim: number;
  /** Entries that a query sees, its own included; null for all up to its own. */
  readonly window: number | null;
  /** Entries of a chunk of attention, of which a query sees only its own; null where there are none. */
  readonly chunk: number | null;
  /** The factor on the scores `q k`, above 0. */
  readonly scale: number;
  /** The c of scores `c tanh(s / c)`; null for scores that are not capped. */
  readonly softcap: number | null;
  /** Sinks, one a head, join the sums of the softmax. */
  readonly sinks: boolean;
  /** Where queries lie in their rows. */
  readonly q: HeadRows;
}

const LOG2E = Math.LOG2E;

/** Products of queries and keys, or `c tanh(x scale / c)` of them where there is a cap. */
function scoresOf(b: KernelBuilder, products: Tile, { scale, softcap }: CacheAttentionShape): Tile {
  if (softcap === null) return products;
  const twice = b.exp2(b.mul(products, (2 * LOG2E * scale) / softcap));
  // tanh(x) = 1 - 2 / (exp(2x) + 1).
  return b.sub(softcap, b.div(2 * softcap, b.add(twice, 1)));
}

/** The first entry that a query at entry `own` sees, if it sees any: it never falls from a query to the next. */
function leastSeen(b: KernelBuilder, own: Tile, hidden: Tile, { window, chunk }: CacheAttentionShape): Tile {
  const near = window === null ? b.max(b.mul(own, 0), hidden) : b.max(b.sub(own, window - 1), hidden);
  return chunk === null ? near : b.max(near, b.sub(own, b.rem(b.sub(own, hidden), chunk)));
}

/**
 * Operands q `[B,n,width]`, keys and values `[B,G,S,D]`, first i32 `[1]`, hidden i32 `[B]`, [sinks f32 `[H]`]; result
 * `o` `[B,n,H*D]`, zeros for queries that see nothing in their block's entries.
 */
export function cacheAttentionKernel(a: CacheAttentionShape, tuning: Tuning): Kernel {
  const { block: C, inner: I, numWarps, numStages, maxRegisters = null, lastFirst = false } = tuning;
  const count = Math.ceil(a.queries / C);
  const launch = { grid: [a.heads, count, a.batch] as const, numWarps, numStages, maxRegisters };
  const b = new KernelBuilder({ name: 'cache_attention', ...launch });
  const outer = new HeadBlocks(b, a.queries, a.headDim, C);
  const inner = new HeadBlocks(b, a.entries, a.headDim, I);
  const q = b.input('q', 'bf16', [a.batch, a.queries, a.q.width]);
  const cache = [a.batch, a.kvHeads, a.entries, a.headDim];
  const [keys, values] = [b.input('keys', 'bf16', cache), b.input('values', 'bf16', cache)];
  const [firstAt, hiddenAt] = [b.input('first', 'i32', [1]), b.input('hidden', 'i32', [a.batch])];
  const sinks = a.sinks ? b.input('sinks', 'f32', [a.heads]) : null;
  const out = b.output('o', 'bf16', [a.batch, a.queries, a.heads * a.headDim]);
  const [head, id, batch] = [b.programId(0), b.programId(1), b.programId(2)];
  const block = lastFirst ? b.sub(count - 1, id) : id;
  const group = a.heads / a.kvHeads;
  const row = b.add(b.mul(batch, a.kvHeads), group === 1 ? head : b.div(head, group));
  const [token, zero] = [b.mul(block, C), b.constant('i32', [], 0)];
  const [first, hidden] = [b.load(firstAt, zero), b.load(hiddenAt, batch)];
  const query = outer.load(q, a.q, { batch, head, token });

  // The entries of the queries themselves: of each, of the first, of the last.
  const from = b.add(first, token);
  const [own, to] = [b.add(outer.rows, from), b.add(from, C - 1)];
  const limit = leastSeen(b, own, hidden, a);
  const [least, most] = [leastSeen(b, from, hidden, a), leastSeen(b, to, hidden, a)];
  // Blocks of entries: the first and the end of those that some query sees, and of those that all see whole.
  const start = b.div(b.max(least, 0), I);
  const end = b.add(b.div(b.min(to, a.entries - 1), I), 1);
  const clearFrom = b.min(b.max(b.div(b.add(b.max(most, 0), I - 1), I), start), end);
  const clearTo = b.max(b.min(b.div(b.add(from, 1), I), end), clearFrom);

  const unit = a.softcap === null ? a.scale * LOG2E : LOG2E;
  const body = (masked: boolean) => (u: Tile, carried: readonly Tile[]) => {
    const [acc, m, l] = [at(carried, 0), at(carried, 1), at(carried, 2)];
    const place = { batch: row, head: zero, token: b.mul(u, I) };
    const rows = { width: a.headDim, offset: 0 };
    const key = at(inner.load(keys, rows, place), 0);
    const value = at(inner.load(values, rows, place), 0);
    const plain = scoresOf(b, b.dot(at(query, 0), b.transpose(key)), a);
    const entry = b.add(b.columns(I), place.token);
    const s = masked ? b.select(b.and(b.le(entry, own), b.ge(entry, limit)), plain, MASKED) : plain;
    // A row that has seen nothing yet has a very low maximum, and what it summed is multiplied by 0 once it sees a key.
    const next = b.max(m, b.maximum(s, 1));
    const p = b.exp2(b.sub(b.mul(s, unit), b.expandDims(b.mul(next, unit), 1)));
    const shrink = b.exp2(b.mul(b.sub(m, next), unit));
    const sum = b.dot(b.convert(p, 'bf16'), value, b.mul(acc, b.expandDims(shrink, 1)));
    return [sum, next, b.add(b.mul(l, shrink), b.sum(p, 1))];
  };
  const initial = [...outer.zeros(1), b.constant('f32', [C], MASKED), b.zeros([C])];
  const near = b.loop(start, clearFrom, initial, body(true));
  const clear = b.loop(clearFrom, clearTo, near, body(false));
  const last = b.loop(clearTo, end, clear, body(true));
  const [sum, top, seen] = [at(last, 0), at(last, 1), at(last, 2)];
  const total = sinks === null ? seen : b.add(seen, sinkShare(b, b.load(sinks, head), b.mul(top, unit)));
  // Queries of padding may meet no entry at all.
  const o: Tiles = [b.div(sum, b.expandDims(b.max(total, 1e-30), 1))];
  outer.store(out, { width: a.heads * a.headDim, offset: 0 }, { batch, head, token }, o);
  return b.build();
}

/** What a sink adds to sums that are relative to `top`, in base 2. */
function sinkShare(b: KernelBuilder, sink: Tile, top: Tile): Tile {
  return b.exp2(b.sub(b.mul(sink, LOG2E), top));
}
