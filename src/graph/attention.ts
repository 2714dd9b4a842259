/**
 * Attention in primitives, never T×T where the window is smaller than T: queries go in blocks that meet only the keys which
 * they may see. Two shapes of that idea:
 * - banded (window < T): all blocks of C queries at once, each against its own and the `ceil((w-1)/C)` blocks before it;
 * - causal (no window): one block of C queries after another, each against the keys up to its end.
 *
 * Shape letters: B batch, T tokens, H query heads, G key heads, R = H/G, D key width, E value width, C block, N blocks,
 * L keys that a block meets. The backward pass recomputes the probabilities (mixers.md section 1b; Dao et al. 2022).
 */
import type { DType } from '../core/index.js';
import * as L from './lib.js';
import { documentRuns } from './recurrence/documents.js';
import type { AttentionAttrs, Value } from './types.js';

export interface AttentionBlocks {
  /** Queries in a block of the banded form; null chooses by window. */
  readonly banded: number | null;
  /** Queries in a block of the causal form; null chooses by length. */
  readonly causal: number | null;
}

export const DEFAULT_BLOCKS: AttentionBlocks = { banded: null, causal: null };

/** Queries and the keys that they meet. */
interface Tile {
  /** Queries, `[B,G,(N,)R*C,D]`. */
  readonly q: Value;
  /** `[B,G,(N,)L,D]`, and v `[B,G,(N,)L,E]`. */
  readonly k: Value;
  readonly v: Value;
  /** Additive, `[(N,)1,C,L]`, or `[B,1,(N,)1,C,L]` where rows hold several documents. */
  readonly mask: Value;
  readonly scale: number;
}

/** A large negative score instead of -inf: exp gives exactly 0 next to any visible key, and no row is fully masked. */
const MASKED: Readonly<Record<DType, number>> = { f64: -1e30, f32: -1e30, bf16: -1e30, i32: 0, bool: 0 };

interface Dims {
  readonly B: number;
  readonly T: number;
  readonly H: number;
  readonly G: number;
  readonly R: number;
  readonly D: number;
  readonly E: number;
}

function dimsOf(q: Value, k: Value, v: Value): Dims {
  const [B, T, H, D] = q.shape as [number, number, number, number];
  const G = k.shape[2] as number;
  return { B, T, H, G, R: H / G, D, E: v.shape[3] as number };
}

/** The block length of the banded form: near the window, within 16 to 128. */
export function bandedBlock(window: number): number {
  let block = 16;
  while (block < 128 && block * 2 <= window) block *= 2;
  return block;
}

/** `[B,T,H,D] -> [B,G,R,T,D]` (R = 1 for keys and values). */
function heads(x: Value, G: number): Value {
  const [B, T, H, D] = x.shape as [number, number, number, number];
  return L.reshape(L.transpose(x, [0, 2, 1, 3]), [B, G, H / G, T, D]);
}

/** `[B,G,R,T,D] -> [B,T,H,D]`. */
function unheads(x: Value): Value {
  const [B, G, R, T, D] = x.shape as [number, number, number, number, number];
  return L.transpose(L.reshape(x, [B, G * R, T, D]), [0, 2, 1, 3]);
}

/** Additive mask `[rows, columns]`: 0 where `0 <= row + offset - column < window`, else a large negative number. */
function visibleMask(dtype: DType, rows: number, columns: number, offset: number, window: number | null): Value {
  const row = L.iota('i32', [rows, 1], 0);
  const column = L.iota('i32', [1, columns], 1);
  const distance = L.sub(L.add(row, offset), column);
  const past = L.ge(distance, 0);
  const seen = window === null ? past : L.and(past, L.lt(distance, window));
  return L.select(seen, L.scalar(0, dtype), L.scalar(MASKED[dtype], dtype));
}

interface Band {
  readonly C: number;
  readonly N: number;
  /** Blocks before a query's own that its window reaches into. */
  readonly before: number;
  readonly mask: Value;
}

function bandOf(dims: Dims, window: number, C: number, dtype: DType): Band {
  const N = Math.ceil(dims.T / C);
  const before = Math.ceil((window - 1) / C);
  const width = (before + 1) * C;
  const inWindow = visibleMask(dtype, C, width, before * C, window);
  // Keys before the start of the sequence: block i meets column c at key (i - before) * C + c.
  const block = L.iota('i32', [N, 1, 1], 0);
  const column = L.iota('i32', [1, 1, width], 2);
  const exists = L.ge(L.add(L.mul(L.sub(block, before), C), column), 0);
  const start = L.select(exists, L.scalar(0, dtype), L.scalar(MASKED[dtype], dtype));
  return { C, N, before, mask: L.reshape(L.min(inWindow, start), [N, 1, C, width]) };
}

/** Queries in blocks: `[B,G,R,T,D] -> [B,G,N,R*C,D]`. */
function blockQueries(x: Value, { C, N }: Band): Value {
  const [B, G, R, T, D] = x.shape as [number, number, number, number, number];
  const padded = T === N * C ? x : L.padAxis(x, 3, 0, N * C - T);
  const blocks = L.reshape(padded, [B, G, R, N, C, D]);
  return R === 1
    ? L.reshape(blocks, [B, G, N, C, D])
    : L.reshape(L.transpose(blocks, [0, 1, 3, 2, 4, 5]), [B, G, N, R * C, D]);
}

function unblockQueries(x: Value, { C, N }: Band, { B, G, R, T }: Dims): Value {
  const D = x.shape[4] as number;
  const blocks = L.reshape(x, [B, G, N, R, C, D]);
  const joined = L.reshape(R === 1 ? blocks : L.transpose(blocks, [0, 1, 3, 2, 4, 5]), [B, G, R, N * C, D]);
  return T === N * C ? joined : L.sliceAxis(joined, 3, 0, T);
}

/** Keys in bands: `[B,G,1,T,D] -> [B,G,N,L,D]`, block i after the `before` blocks that precede it; one row-wise `take`. */
function bandKeys(x: Value, { C, N, before }: Band): Value {
  const [B, G, , T, D] = x.shape as [number, number, number, number, number];
  const padded = L.padAxis(L.reshape(x, [B, G, T, D]), 2, 0, N * C - T);
  const rows: number[] = [];
  for (let bg = 0; bg < B * G; bg++) {
    // Before the start there is no block: the mask hides whatever stands there, here block 0.
    for (let i = 0; i < N; i++) for (let j = before; j >= 0; j--) rows.push(bg * N + Math.max(0, i - j));
  }
  const band = L.take(L.reshape(padded, [B * G * N, C * D]), L.constantFrom('i32', [rows.length], rows));
  return L.reshape(band, [B, G, N, (before + 1) * C, D]);
}

/**
 * The transpose of `bandKeys`: adds up what each key received in the bands that hold it. Block i stands at place
 * `before - s` of band i + s. Where band i + s does not exist, band i + s - N is read instead: at that place it reaches before
 * the start of the sequence, so the mask made its gradient exactly zero.
 */
function unbandKeys(x: Value, { C, N, before }: Band, { B, G, T }: Dims): Value {
  const D = x.shape[4] as number;
  const rows = L.reshape(x, [B * G * N * (before + 1), C * D]);
  const parts = Array.from({ length: before + 1 }, (_, s) => {
    const from: number[] = [];
    for (let bg = 0; bg < B * G; bg++) {
      for (let i = 0; i < N; i++) from.push((bg * N + ((i + s) % N)) * (before + 1) + before - s);
    }
    return L.take(rows, L.constantFrom('i32', [from.length], from));
  });
  const sum = parts.slice(0, N).reduce((a, b) => L.add(a, b));
  return L.sliceAxis(L.reshape(sum, [B, G, 1, N * C, D]), 3, 0, T);
}

/** `a [..., M, K] · b [..., N, K] -> [..., M, N]`. */
function matmulTransposed(a: Value, b: Value): Value {
  const batch = a.shape.slice(0, -2).map((_, i) => i);
  const last = a.shape.length - 1;
  return L.dot(a, b, { lhsBatch: batch, rhsBatch: batch, lhsContract: [last], rhsContract: [last] });
}

/** `a [..., K, M] · b [..., K, N] -> [..., M, N]`. */
function transposedMatmul(a: Value, b: Value): Value {
  const batch = a.shape.slice(0, -2).map((_, i) => i);
  const rows = a.shape.length - 2;
  return L.dot(a, b, { lhsBatch: batch, rhsBatch: batch, lhsContract: [rows], rhsContract: [rows] });
}

/** Masked scores of a tile, `[..., R*C, L]`. The mask repeats over R. */
function scoresOf(tile: Tile, R: number): Value {
  const s = L.mul(matmulTransposed(tile.q, tile.k), tile.scale);
  const [rows, columns] = s.shape.slice(-2) as [number, number];
  const C = rows / R;
  if (R === 1) return L.add(s, L.reshape(tile.mask, [...tile.mask.shape.slice(0, -3), C, columns]));
  const perHead = L.reshape(s, [...s.shape.slice(0, -2), R, C, columns]);
  return L.reshape(L.add(perHead, tile.mask), s.shape);
}

/** Per query of a tile: output `[..., R*C, E]` and log-sum-exp `[..., R*C, 1]`. `sink [..., R*C, 1]` joins the denominator. */
function attendTile(tile: Tile, R: number, sink: Value | null): { out: Value; lse: Value } {
  const s = scoresOf(tile, R);
  const last = s.shape.length - 1;
  const top = L.reduceMax(s, [last], true);
  const m = L.stopGradient(sink ? L.max(top, sink) : top);
  const p = L.exp(L.sub(s, m));
  const sum = L.reduceSum(p, [last], true);
  const total = sink ? L.add(sum, L.exp(L.sub(sink, m))) : sum;
  const lse = L.add(m, L.log(total));
  if (sink) return { out: L.div(L.matmul(p, tile.v), total), lse };
  // Without sinks the softmax composite says the same, and engines have a kernel for it.
  return { out: L.matmul(L.softmax(s), tile.v), lse };
}

interface TileGrads {
  readonly dq: Value;
  readonly dk: Value;
  readonly dv: Value;
}

/** Gradients of a tile; `lse` null means no sinks, so that the probabilities are a plain softmax. */
function differentiateTile(tile: Tile, R: number, lse: Value | null, dOut: Value, delta: Value): TileGrads {
  const s = scoresOf(tile, R);
  const p = lse ? L.exp(L.sub(s, lse)) : L.softmax(s);
  const dp = matmulTransposed(dOut, tile.v);
  const ds = L.mul(p, L.sub(dp, delta));
  return {
    dq: L.mul(L.matmul(ds, tile.k), tile.scale),
    dk: L.mul(transposedMatmul(ds, tile.q), tile.scale),
    dv: transposedMatmul(p, dOut),
  };
}

/** Sinks `[H]` as a column that follows the rows of a tile: `[G,(1,)R*C,1]`. */
function sinkColumn(sinks: Value, { G, R }: Dims, C: number, banded: boolean): Value {
  const shaped = L.broadcast(L.reshape(sinks, [G, R, 1]), [G, R, C]);
  return L.reshape(shaped, banded ? [G, 1, R * C, 1] : [G, R * C, 1]);
}

/** The block length of the causal form: a quarter of the sequence within 16 to 128, and 256 from 2048 tokens on. */
function causalBlock(T: number): number {
  let block = T < 2048 ? 16 : 256;
  while (block < 128 && block * 8 <= T) block *= 2;
  return block;
}

/** The sinks and the documents (i32 `[B,T]`, numbered) that follow the `fixed` inputs of an attention. */
function optionalInputs(
  inputs: readonly Value[],
  fixed: number,
  attrs: AttentionAttrs,
): { readonly sinks: Value | null; readonly documents: Value | null } {
  const segments = attrs.segments === true ? 1 : 0;
  const sinks = inputs.slice(fixed, inputs.length - segments)[0] ?? null;
  return { sinks, documents: segments === 1 ? documentRuns(inputs[inputs.length - 1] as Value) : null };
}

/** `mask` where query and key belong to the same document, else hidden; `own` and `others` broadcast to its shape. */
function within(mask: Value, own: Value, others: Value): Value {
  return L.select(L.eq(own, others), mask, L.scalar(MASKED[mask.dtype], mask.dtype));
}

/** The mask of a band with documents `[B,T]`: `[B,1,N,1,C,L]`. */
function bandMask(band: Band, documents: Value | null): Value {
  if (!documents) return band.mask;
  const [B, T] = documents.shape as [number, number];
  const { C, N, before } = band;
  const whole = L.reshape(documents, [B, 1, 1, T, 1]);
  const own = L.reshape(blockQueries(whole, band), [B, 1, N, 1, C, 1]);
  return within(band.mask, own, L.reshape(bandKeys(whole, band), [B, 1, N, 1, 1, (before + 1) * C]));
}

/** Start and end of each query block of the causal form. */
function causalBlocks(T: number, C: number): Span[] {
  return Array.from({ length: Math.ceil(T / C) }, (_, i) => ({ start: i * C, end: Math.min(T, (i + 1) * C) }));
}

/** The first `end` tokens of keys `[B,G,1,T,D]`: `[B,G,end,D]`; as a row-wise `take` of blocks where blocks divide T. */
function prefix(x: Value, end: number, C: number): Value {
  const [B, G, , T, D] = x.shape as [number, number, number, number, number];
  if (end === T || T % C !== 0) return L.sliceAxis(L.reshape(x, [B, G, T, D]), 2, 0, end);
  const rows: number[] = [];
  for (let bg = 0; bg < B * G; bg++) for (let i = 0; i < end / C; i++) rows.push((bg * T) / C + i);
  const taken = L.take(L.reshape(x, [(B * G * T) / C, C * D]), L.constantFrom('i32', [rows.length], rows));
  return L.reshape(taken, [B, G, end, D]);
}

interface Span {
  readonly start: number;
  readonly end: number;
}

/** `[B,G,R,T,D]` in the rows of each block, `[B,G,R*rows,D]`. */
function splitRows(x: Value, blocks: readonly Span[]): Value[] {
  const [B, G, R, , D] = x.shape as [number, number, number, number, number];
  const sizes = blocks.map(({ start, end }) => end - start);
  return L.split(x, 3, sizes).map((part, i) => L.reshape(part, [B, G, R * (sizes[i] as number), D]));
}

/** From this length on the masks of causal blocks are cut from a shared one as they are needed, not kept for every block. */
const SHARED_MASK_FROM = 4096;

/**
 * The mask of each causal block, `[1,rows,end]`. Seen from its end every block of C rows has the same one: the last `end` columns
 * of that of the last block. A barrier keeps engines from cutting all of them beforehand.
 */
function causalMasks(
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
    const B = documents.shape[0] as number;
    const part = (from: number, shape: number[]): Value => L.reshape(L.sliceAxis(documents, 1, from, end), shape);
    return within(shaped, part(start, [B, 1, 1, rows, 1]), part(0, [B, 1, 1, 1, end]));
  };
}

/** The tile of causal query rows `start..end` (`q` holds just those) and all keys before `end`. */
function causalTile(q: Value, k: Value, v: Value, mask: Value, scale: number, end: number, C: number): Tile {
  return { q, k: prefix(k, end, C), v: prefix(v, end, C), mask, scale };
}

/** Which of the two forms, in which blocks. */
type Plan = { readonly band: Band } | { readonly band: null; readonly blocks: readonly Span[]; readonly C: number };

function planOf(dims: Dims, attrs: AttentionAttrs, blocks: AttentionBlocks, dtype: DType): Plan {
  if (attrs.window !== null) {
    const C = blocks.banded ?? bandedBlock(attrs.window);
    if (attrs.window + C < dims.T) return { band: bandOf(dims, attrs.window, C, dtype) };
  }
  const C = blocks.causal ?? causalBlock(dims.T);
  return { band: null, blocks: causalBlocks(dims.T, C), C };
}

function bandTile(q: Value, k: Value, v: Value, band: Band, documents: Value | null, scale: number): Tile {
  const mask = bandMask(band, documents);
  return { q: blockQueries(q, band), k: bandKeys(k, band), v: bandKeys(v, band), mask, scale };
}

/**
 * `values`, not to be used before all of `previous` are there: blocks of causal attention go one after another, the largest
 * first, so that the scores of one block at a time are held, and each fits where those of the block before it were.
 */
function afterwards(values: readonly Value[], previous: readonly Value[]): readonly Value[] {
  return previous.length > 0 ? L.barrier([...values, ...previous]).slice(0, values.length) : values;
}

/** attention in primitives: q `[B,T,H,D]`, k, v, [sinks] -> o `[B,T,H,E]`, log-sum-exp `[B,H,T]`. */
export function decomposeAttention(
  inputs: readonly Value[],
  attrs: AttentionAttrs,
  blocks: AttentionBlocks = DEFAULT_BLOCKS,
): readonly Value[] {
  const [q, k, v] = inputs as [Value, Value, Value];
  const { sinks, documents } = optionalInputs(inputs, 3, attrs);
  const dims = dimsOf(q, k, v);
  const { B, T, H, G, R, E } = dims;
  const [qh, kh, vh] = [heads(q, G), heads(k, G), heads(v, G)];
  const plan = planOf(dims, attrs, blocks, q.dtype);
  if (plan.band) {
    const { band } = plan;
    const sink = sinks ? sinkColumn(sinks, dims, band.C, true) : null;
    const { out, lse } = attendTile(bandTile(qh, kh, vh, band, documents, attrs.scale), R, sink);
    const o = unblockQueries(out, band, dims);
    return [unheads(o), L.reshape(unblockQueries(lse, band, dims), [B, H, T])];
  }
  const qs = splitRows(qh, plan.blocks);
  const maskOf = causalMasks(q, T, plan.C, attrs.window, documents);
  const parts: { out: Value; lse: Value }[] = [];
  for (let i = plan.blocks.length - 1; i >= 0; i--) {
    const span = plan.blocks[i] as Span;
    const rows = span.end - span.start;
    const sink = sinks ? sinkColumn(sinks, dims, rows, false) : null;
    const [own] = afterwards([qs[i] as Value], parts[0] ? [parts[0].out] : []) as [Value];
    const { out, lse } = attendTile(causalTile(own, kh, vh, maskOf(span), attrs.scale, span.end, plan.C), R, sink);
    parts.unshift({ out: L.reshape(out, [B, G, R, rows, E]), lse: L.reshape(lse, [B, H, rows]) });
  }
  const outs = parts.map((p) => p.out);
  const lses = parts.map((p) => p.lse);
  return [unheads(L.concat(outs, 3)), L.concat(lses, 2)];
}

/** Cotangents per head: of the output, `delta = sum_e do * o`, and the log-sum-exp where sinks take part of the mass. */
interface Incoming {
  readonly dOut: Value;
  readonly delta: Value;
  readonly lse: Value | null;
}

/**
 * attentionGrad in primitives: q, k, v, o, lse, do, [sinks], [segments] -> dq, dk, dv, [dsinks]. A barrier ties q to `do`, so that the
 * probabilities are computed anew and not kept from the forward pass.
 */
export function decomposeAttentionGrad(
  inputs: readonly Value[],
  attrs: AttentionAttrs,
  blocks: AttentionBlocks = DEFAULT_BLOCKS,
): readonly Value[] {
  const [q, k, v, o, lse, dOut] = inputs as [Value, Value, Value, Value, Value, Value];
  const { sinks, documents } = optionalInputs(inputs, 6, attrs);
  const dims = dimsOf(q, k, v);
  const { B, T, H, G, R } = dims;
  const qh = L.barrier([heads(q, G), dOut])[0] as Value;
  const [kh, vh] = [heads(k, G), heads(v, G)];
  const incoming: Incoming = {
    dOut: heads(dOut, G),
    delta: L.reshape(L.transpose(L.reduceSum(L.mul(dOut, o), [3]), [0, 2, 1]), [B, G, R, T, 1]),
    lse: sinks ? L.reshape(lse, [B, G, R, T, 1]) : null,
  };
  const plan = planOf(dims, attrs, blocks, q.dtype);
  const grads = plan.band
    ? bandedGrads(bandTile(qh, kh, vh, plan.band, documents, attrs.scale), incoming, dims, plan.band)
    : causalGrads(qh, kh, vh, incoming, dims, attrs, { ...plan, documents });
  const result = [unheads(grads.dq), unheads(grads.dk), unheads(grads.dv)];
  if (!sinks) return result;
  // The sink takes probability exp(z - lse) and carries no value: dz = -sum p * delta (mixers.md section 3).
  const p = L.exp(L.sub(L.reshape(sinks, [1, H, 1]), lse));
  return [...result, L.neg(L.reduceSum(L.mul(p, L.reshape(incoming.delta, [B, H, T])), [0, 2]))];
}

function bandedGrads(tile: Tile, { dOut, delta, lse }: Incoming, dims: Dims, band: Band): TileGrads {
  const block = (x: Value): Value => blockQueries(x, band);
  const grads = differentiateTile(tile, dims.R, lse && block(lse), block(dOut), block(delta));
  return {
    dq: unblockQueries(grads.dq, band, dims),
    dk: unbandKeys(grads.dk, band, dims),
    dv: unbandKeys(grads.dv, band, dims),
  };
}

/** Runs from the last block to the first: what a block of keys has received is complete once its own queries are done. */
function causalGrads(
  q: Value,
  k: Value,
  v: Value,
  incoming: Incoming,
  dims: Dims,
  attrs: AttentionAttrs,
  { blocks, C, documents }: { readonly blocks: readonly Span[]; readonly C: number; readonly documents: Value | null },
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
    const span = blocks[i] as Span;
    const rows = span.end - span.start;
    const own = afterwards([qs[i] as Value, dOuts[i] as Value], done);
    const tile = causalTile(own[0] as Value, k, v, maskOf(span), attrs.scale, span.end, C);
    const grads = differentiateTile(tile, R, lses && (lses[i] as Value), own[1] as Value, deltas[i] as Value);
    dqs.unshift(L.reshape(grads.dq, [B, G, R, rows, D]));
    const dk: Value = open ? L.add(open.dk, grads.dk) : grads.dk;
    const dv: Value = open ? L.add(open.dv, grads.dv) : grads.dv;
    done = [grads.dq, dk, dv];
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
    return L.reshape(x, [B, G, 1, T, x.shape[3] as number]);
  };
  return { dq: L.concat(dqs, 3), dk: whole(dks), dv: whole(dvs) };
}
