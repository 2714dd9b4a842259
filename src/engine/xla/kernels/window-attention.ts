/**
 * Sliding-window attention as tile kernels, forward and backward, after FlashAttention-2 (Dao 2023): softmax in
 * blocks, scores recomputed in the backward pass from the log-sum-exp. What differs:
 * - queries, keys and values are strided views of the projection's output, `[B,T,width]` with heads at channel
 *   offsets, and gradients can be stored likewise, so that nothing is split, transposed or concatenated around the
 *   kernels;
 * - blocks that lie inside the window are not masked;
 * - one backward launch: a program computes dk and dv of its block of keys, looping over the queries that see it, then
 *   dq of the same block of queries, and applies the inverse rotary embedding to dq and dk before it stores them.
 *
 * Shape letters: B batch, T tokens, H query heads, G key heads, D head width, C tokens in the block of a program (the
 * outer block), I in a block of its inner loop.
 */
import { at } from '../../../core/index.js';
import type { HeadBlocks, HeadRows, Tiles, Place } from './heads.js';
import type { KernelBuilder } from './triton/builder.js';
import type { Kernel, Pointer, Tile } from './triton/ir.js';
import { MASKED, Windows, type Tuning, type WindowAttention } from './window-blocks.js';

export type { Tuning, WindowAttention } from './window-blocks.js';

const LOG2E = Math.LOG2E;

/** Where the backward kernel puts its results. */
export interface GradientTargets {
  /** Apply the inverse rotary embedding to dq and dk. */
  readonly rotateBack: boolean;
  /** All three gradients as columns of one tensor, and where; null stores each in a separate tensor. */
  readonly joined: { readonly q: HeadRows; readonly k: HeadRows; readonly v: HeadRows } | null;
  /**
   * `sum(do * o)` is an operand, delta `[B,H,T]` in float32, in place of o. Otherwise every program computes it from
   * o in its inner loop: less work where there are few blocks.
   */
  readonly givenDelta?: boolean;
}

const nameOf = ({ documents }: WindowAttention): string =>
  documents === true ? 'packed_attention' : 'window_attention';

/** Operands q, k, v, [starts i32 `[B,T]`]; results `o` `[B,T,H*D]`, log-sum-exp `lse` `[B,H,T]`. */
export function windowAttentionKernel(a: WindowAttention, tuning: Tuning): Kernel {
  const windows = new Windows(nameOf(a), a, tuning, a.heads);
  const { b, outer, inner, group } = windows;
  const C = tuning.block;
  const [q, k, v] = [windows.source('q'), windows.source('k'), windows.source('v')];
  const starts = windows.bounds('starts');
  const out = b.output('o', 'bf16', [a.batch, a.tokens, a.heads * a.headDim]);
  const lse = b.output('lse', 'f32', [a.batch, a.heads, a.tokens]);
  const [head, block, batch] = [b.programId(0), windows.block(), b.programId(2)];
  const token = b.mul(block, C);
  const kvHead = group === 1 ? head : b.div(head, group);
  const query = outer.load(q, a.q, { batch, head, token });
  const unit = a.scale * LOG2E;
  const start = [...outer.zeros(1), b.constant('f32', [C], MASKED), b.zeros([C])];
  const blocks = windows.keys(batch, token, starts);
  const [sum, top, total] = windows.each(blocks, start, (u, masking, carried) => {
    const [acc, m, l] = carried as [Tile, Tile, Tile];
    const place = { batch, head: kvHead, token: blocks.at(u) };
    const keys = inner.load(k, a.k, place);
    const values = inner.load(v, a.v, place);
    const s = windows.scores(query, keys, blocks, u, masking);
    // A row that has seen nothing yet has a very low maximum, and what it summed is multiplied by 0 once it sees a key.
    const next = b.max(m, b.maximum(s, 1));
    const p = b.exp2(b.sub(b.mul(s, unit), b.expandDims(b.mul(next, unit), 1)));
    const shrink = b.exp2(b.mul(b.sub(m, next), unit));
    const scaled = b.mul(acc, b.expandDims(shrink, 1));
    return [...windows.accumulate([scaled], p, values), next, b.add(b.mul(l, shrink), b.sum(p, 1))];
  }) as [Tile, Tile, Tile];
  const rows = { width: a.heads * a.headDim, offset: 0 };
  const place = { batch, head, token };
  outer.store(out, rows, place, [b.div(sum, b.expandDims(total, 1))]);
  const entries = windows.statistics(outer, lse, place);
  b.store(entries.at, entries.offsets, b.mul(b.add(b.mul(top, unit), b.log2(total)), 1 / LOG2E), entries.mask);
  return b.build();
}

/** Queries of a block and what the backward pass needs about them. */
interface Incoming {
  readonly query: Tiles;
  readonly dOut: Tile;
  /** Log-sum-exp in base 2, and `sum(do * o)`, `[C]`. */
  readonly lse: Tile;
  readonly delta: Tile;
}

/**
 * Operands [cos, sin `[T,D/2]`], q, k, v, [starts, ends i32 `[B,T]`], o or delta, lse, do; results `dqkv` with all
 * three gradients, or `dq` `[B,T,H*D]`, `dk` and `dv` `[B,T,G*D]`.
 */
export function windowAttentionGradKernel(a: WindowAttention, tuning: Tuning, targets: GradientTargets): Kernel {
  const windows = new Windows(`${nameOf(a)}_grad`, a, tuning, a.kvHeads);
  const { b, outer, inner, group } = windows;
  const tables = targets.rotateBack ? ['cos', 'sin'].map((t) => b.input(t, 'f32', [a.tokens, a.headDim / 2])) : [];
  const [q, k, v] = [windows.source('q'), windows.source('k'), windows.source('v')];
  const rows = { width: a.heads * a.headDim, offset: 0 };
  const [starts, ends] = [windows.bounds('starts'), windows.bounds('ends')];
  const statistics = [a.batch, a.heads, a.tokens];
  const sums = targets.givenDelta === true ? b.input('delta', 'f32', statistics) : null;
  const o = sums ?? b.input('o', 'bf16', [a.batch, a.tokens, rows.width]);
  const lse = b.input('lse', 'f32', statistics);
  const dOut = b.input('do', 'bf16', [a.batch, a.tokens, rows.width]);
  const results = gradientResults(b, a, targets);
  const [kvHead, block, batch] = [b.programId(0), b.programId(1), b.programId(2)];
  const token = b.mul(block, tuning.block);
  const unit = a.scale * LOG2E;

  const statisticsOf = (blocks: HeadBlocks, pointer: Pointer, place: Place): Tile => {
    const { at, offsets, mask } = windows.statistics(blocks, pointer, place);
    return b.load(at, offsets, mask === undefined ? {} : { mask });
  };
  const incoming = (blocks: HeadBlocks, place: Place): Incoming => {
    const query = blocks.load(q, a.q, place);
    const d = at(blocks.load(dOut, rows, place), 0);
    const products = (): Tile => b.mul(b.convert(d, 'f32'), b.convert(at(blocks.load(o, rows, place), 0), 'f32'));
    const delta = sums ? statisticsOf(blocks, sums, place) : b.sum(products(), 1);
    return { query, dOut: d, lse: b.mul(statisticsOf(blocks, lse, place), LOG2E), delta };
  };
  /** Probabilities and the gradient of scores, where `axis` of the tiles are the queries. */
  const gradients = (s: Tile, dp: Tile, { lse: stats, delta }: Incoming, axis: 0 | 1): { p: Tile; ds: Tile } => {
    const p = b.exp2(b.sub(b.mul(s, unit), b.expandDims(stats, 1 - axis)));
    return { p, ds: b.mul(p, b.sub(dp, b.expandDims(delta, 1 - axis))) };
  };
  /** Stores dq or dk, which lack the scale and may have to be rotated back. */
  const finish = ({ pointer, rows: where }: Target, place: Place, grad: Tiles): void => {
    const rotated = targets.rotateBack
      ? outer.rotate(b.halves(at(grad, 0)), outer.angles(tables, place.token), true)
      : grad;
    const scaled = rotated.map((x) => b.mul(x, a.scale));
    outer.store(pointer, where, place, scaled);
  };
  /** Runs `body` for each query head of the group. */
  const perHead = (start: Tiles, body: (head: Tile, carried: Tiles) => Tiles): Tiles =>
    group === 1
      ? body(kvHead, start)
      : b.loop(0, group, start, (r, carried) => body(b.add(b.mul(kvHead, group), r), carried));

  // dk and dv. Rows of the scores are keys here, so that p and ds need no transpose.
  const place = { batch, head: kvHead, token };
  const keys = outer.load(k, a.k, place);
  const values = outer.load(v, a.v, place);
  const later = windows.queries(batch, token, ends);
  const sent = perHead([...outer.zeros(1), ...outer.zeros(1)], (head, carried) =>
    windows.each(later, carried, (u, masking, sum) => {
      const seen = incoming(inner, { batch, head, token: later.at(u) });
      const s = windows.scores(keys, seen.query, later, u, masking);
      const { p, ds } = gradients(s, windows.products(values, [seen.dOut]), seen, 1);
      return [
        ...windows.accumulate(sum.slice(0, 1), ds, seen.query),
        ...windows.accumulate(sum.slice(1), p, [seen.dOut]),
      ];
    }),
  );

  const storeSent = (): void => {
    finish(results.k, place, sent.slice(0, 1));
    outer.store(results.v.pointer, results.v.rows, place, sent.slice(1));
  };
  if (sums) storeSent();

  // dq of the same block.
  const earlier = windows.keys(batch, token, starts);
  perHead([], (head) => {
    const seen = incoming(outer, { batch, head, token });
    const dq = windows.each(earlier, outer.zeros(1), (u, masking, sum) => {
      const from = { batch, head: kvHead, token: earlier.at(u) };
      const [key, value] = [inner.load(k, a.k, from), inner.load(v, a.v, from)];
      const s = windows.scores(seen.query, key, earlier, u, masking);
      return windows.accumulate(sum, gradients(s, windows.products([seen.dOut], value), seen, 0).ds, key);
    });
    finish(results.q, { batch, head, token }, dq);
    return [];
  });
  if (!sums) storeSent();
  return b.build();
}

interface Target {
  readonly pointer: Pointer;
  readonly rows: HeadRows;
}

function gradientResults(
  b: KernelBuilder,
  { batch, tokens, heads, kvHeads, headDim }: WindowAttention,
  { joined }: GradientTargets,
): Record<'q' | 'k' | 'v', Target> {
  if (joined) {
    const pointer = b.output('dqkv', 'bf16', [batch, tokens, joined.q.width]);
    return {
      q: { pointer, rows: joined.q },
      k: { pointer, rows: joined.k },
      v: { pointer, rows: joined.v },
    };
  }
  const target = (name: string, n: number): Target => ({
    pointer: b.output(name, 'bf16', [batch, tokens, n * headDim]),
    rows: { width: n * headDim, offset: 0 },
  });
  return { q: target('dq', heads), k: target('dk', kvHeads), v: target('dv', kvHeads) };
}
