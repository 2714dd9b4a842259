/**
 * The causal form of attention, for windows that reach as far as the sequence: one block of C queries after another,
 * each against the keys up to its end. Shape letters as in tile.ts.
 */
import { dims, at } from '../../core/index.js';
import * as L from '../primitives/index.js';
import type { Value } from '../ir/types.js';
import {
  differentiateTile,
  visibleMask,
  within,
  type Dims,
  type Incoming,
  type ScoreLaw,
  type Tile,
  type TileGrads,
} from './tile.js';
import type { AttentionAttrs } from './op.js';

/** The block length of the causal form: a quarter of the sequence within 16 to 128, and 256 from 2048 tokens on. */
export function causalBlock(T: number): number {
  let block = T < 2048 ? 16 : 256;
  while (block < 128 && block * 8 <= T) block *= 2;
  return block;
}

/** Start and end of each query block of the causal form. */
export function causalBlocks(T: number, C: number): Span[] {
  return Array.from({ length: Math.ceil(T / C) }, (_, i) => ({ start: i * C, end: Math.min(T, (i + 1) * C) }));
}

/**
 * The first `end` tokens of keys `[B,G,1,T,D]`: `[B,G,end,D]`; as a row-wise `take` of blocks where blocks divide T.
 */
function prefix(x: Value, end: number, C: number): Value {
  const [B, G, , T, D] = dims(x, 5);
  if (end === T || T % C !== 0) return L.sliceAxis(L.reshape(x, [B, G, T, D]), 2, 0, end);
  const rows: number[] = [];
  for (let bg = 0; bg < B * G; bg++) for (let i = 0; i < end / C; i++) rows.push((bg * T) / C + i);
  const taken = L.take(L.reshape(x, [(B * G * T) / C, C * D]), L.constantFrom('i32', [rows.length], rows));
  return L.reshape(taken, [B, G, end, D]);
}

/** The queries of a block, from `start` to before `end`. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** `[B,G,R,T,D]` in the rows of each block, `[B,G,R*rows,D]`. */
export function splitRows(x: Value, blocks: readonly Span[]): Value[] {
  const [B, G, R, , D] = dims(x, 5);
  const sizes = blocks.map(({ start, end }) => end - start);
  return L.split(x, 3, sizes).map((part, i) => L.reshape(part, [B, G, R * at(sizes, i), D]));
}

/**
 * From this length on the masks of causal blocks are cut from a shared one as they are needed, not kept for every
 * block.
 */
const SHARED_MASK_FROM = 4096;

/**
 * The mask of each causal block, `[1,rows,end]`. Seen from its end every block of C rows has the same one: the last
 * `end` columns of that of the last block. A barrier keeps engines from cutting all of them beforehand.
 */
export function causalMasks(
  q: Value,
  T: number,
  C: number,
  window: number | null,
  documents: Value | null,
): (span: Span) => Value {
  const own = (rows: number, columns: number): Value => visibleMask(q.dtype, rows, columns, columns - rows, window);
  const [shared] = (T >= SHARED_MASK_FROM ? L.barrier([own(C, T), q]) : [null]) as [Value | null];
  return ({ start, end }) => {
    const rows = end - start;
    const mask = shared && rows === C ? L.sliceAxis(shared, 1, T - end, T) : own(rows, end);
    const shaped = L.reshape(mask, [1, rows, end]);
    if (!documents) return shaped;
    const B = at(documents.shape, 0);
    const part = (from: number, shape: number[]): Value => L.reshape(L.sliceAxis(documents, 1, from, end), shape);
    return within(shaped, part(start, [B, 1, 1, rows, 1]), part(0, [B, 1, 1, 1, end]));
  };
}

/** The tile of causal query rows `start..end` (`q` holds just those) and all keys before `end`. */
export function causalTile(q: Value, k: Value, v: Value, mask: Value, law: ScoreLaw, end: number, C: number): Tile {
  return { q, k: prefix(k, end, C), v: prefix(v, end, C), mask, law };
}

/**
 * `values`, not to be used before all of `previous` are there: blocks of causal attention go one after another, the
 * largest first, so that the scores of one block at a time are held, and each fits where those of the block before it
 * were.
 */
export function afterwards(values: readonly Value[], previous: readonly Value[]): readonly Value[] {
  return previous.length > 0 ? L.barrier([...values, ...previous]).slice(0, values.length) : values;
}

/**
 * Runs from the last block to the first: what a block of keys has received is complete once its own queries are done.
 * With `keeps` blocks do not wait for each other: their probabilities are there already.
 */
export function causalGrads(
  q: Value,
  k: Value,
  v: Value,
  incoming: Incoming,
  dims: Dims,
  attrs: AttentionAttrs,
  {
    blocks,
    C,
    documents,
    keeps,
  }: {
    readonly blocks: readonly Span[];
    readonly C: number;
    readonly documents: Value | null;
    readonly keeps: boolean;
  },
): TileGrads {
  const { B, T, G, R, D } = dims;
  const rowsOf = (x: Value): Value[] => splitRows(x, blocks);
  const [qs, dOuts, deltas] = [rowsOf(q), rowsOf(incoming.dOut), rowsOf(incoming.delta)];
  const lses = incoming.lse && rowsOf(incoming.lse);
  const maskOf = causalMasks(q, T, C, attrs.window, documents);
  const dqs: Value[] = [];
  const [dks, dvs]: [Value[], Value[]] = [[], []];
  let open: { dk: Value; dv: Value } | null = null;
  let done: readonly Value[] = [];
  for (let i = blocks.length - 1; i >= 0; i--) {
    const span = at(blocks, i);
    const rows = span.end - span.start;
    const own = afterwards([at(qs, i), at(dOuts, i)], keeps ? [] : done);
    const tile = causalTile(at(own, 0), k, v, maskOf(span), attrs, span.end, C);
    const grads = differentiateTile(tile, R, lses && at(lses, i), at(own, 1), at(deltas, i));
    dqs.unshift(L.reshape(grads.dq, [B, G, R, rows, D]));
    const dk: Value = open ? L.add(open.dk, grads.dk) : grads.dk;
    const dv: Value = open ? L.add(open.dv, grads.dv) : grads.dv;
    done = [grads.dq, dk, dv];
    // The keys of this block's own span meet no earlier queries, so their gradients are complete.
    if (span.start === 0) {
      dks.unshift(dk);
      dvs.unshift(dv);
      break;
    }
    const [restK, lastK] = L.split(dk, 2, [span.start, rows]) as [Value, Value];
    const [restV, lastV] = L.split(dv, 2, [span.start, rows]) as [Value, Value];
    dks.unshift(lastK);
    dvs.unshift(lastV);
    open = { dk: restK, dv: restV };
  }
  const whole = (xs: Value[]): Value => {
    const x = L.concat(xs, 2);
    return L.reshape(x, [B, G, 1, T, at(x.shape, 3)]);
  };
  return { dq: L.concat(dqs, 3), dk: whole(dks), dv: whole(dvs) };
}
