/**
 * What the chunkwise forms share: tokens in chunks, decays between the tokens of a chunk, precision of products (
 * docs/recurrences.md).
 *
 * Shape letters: B batch, T tokens, H heads, N chunks, C tokens in a chunk, K key width, V value width; `..` stands for
 * the three leading axes B, H and N in the order of `Chunks.order`.
 */
import { dims, at, last, type DType } from '../../core/index.js';
import * as L from '../primitives/index.js';
import type { Value } from '../ir/types.js';
import { documentRuns } from '../primitives/documents.js';
import type { SelectiveScanAttrs } from './type.js';

/** The sizes of a chunkwise recurrence: B batch, T tokens, H heads, N chunks of C tokens. */
export interface Chunks {
  readonly B: number;
  readonly T: number;
  readonly H: number;
  readonly N: number;
  readonly C: number;
  /**
   * The order of the leading axes of everything in chunks: chunks last for products over all of them, first to scan
   * over them.
   */
  readonly order: 'BHN' | 'NBH';
}

/** Chunk length where none is asked for. */
export const DEFAULT_CHUNK = 64;

/** The smallest power of two that is at least `n`. */
const powerOfTwo = (n: number): number => 2 ** Math.ceil(Math.log2(n));

/** The chunks of x `[B,T,...]`: of `chunk` tokens, or of the next power of two if the sequence is shorter. */
export function chunksOf(x: Value, H: number, chunk: number, order: Chunks['order']): Chunks {
  const [B, T] = dims(x, 2);
  const C = Math.min(chunk, powerOfTwo(T));
  return { B, T, H, C, N: Math.ceil(T / C), order };
}

/** `[B,T,h,...]` with each head repeated so that there are H (query head i uses head `floor(i / (H/h))`). */
export function repeatHeads(x: Value, H: number): Value {
  const [B, T, h, ...rest] = x.shape as [number, number, number, ...number[]];
  if (h === H) return x;
  const wide = L.broadcast(L.reshape(x, [B, T, h, 1, ...rest]), [B, T, h, H / h, ...rest]);
  return L.reshape(wide, [B, T, H, ...rest]);
}

/** `[B,T,h,...] -> [..,C,...]`; the tail of the last chunk is zero. */
export function toChunks(x: Value, chunks: Chunks): Value {
  const { T, H, N, C, order } = chunks;
  const own = repeatHeads(x, H);
  const [b, , h, ...rest] = own.shape as [number, number, number, ...number[]];
  const padded = T === N * C ? own : L.padAxis(own, 1, 0, N * C - T);
  const blocks = L.reshape(padded, [b, N, C, h, ...rest]);
  const after = rest.map((_, i) => i + 4);
  return L.transpose(blocks, order === 'BHN' ? [0, 3, 1, 2, ...after] : [1, 0, 3, 2, ...after]);
}

/** `[..,C,D] -> [B,T,H,D]`. */
export function fromChunks(x: Value, { B, T, H, N, C, order }: Chunks): Value {
  const D = at(x.shape, 4);
  const tokens = L.reshape(L.transpose(x, order === 'BHN' ? [0, 2, 3, 1, 4] : [1, 0, 3, 2, 4]), [B, N * C, H, D]);
  return T === N * C ? tokens : L.sliceAxis(tokens, 1, 0, T);
}

/** The gradient `[B,T,H,D]` of repeated heads as that of the heads themselves, in the shape and dtype of `like`. */
export function sumHeads(dx: Value, like: Value): Value {
  const [B, T, H, D] = dims(dx, 4);
  const h = at(like.shape, 2);
  const own = h === H ? dx : L.reduceSum(L.reshape(dx, [B, T, h, H / h, D]), [3]);
  return L.convert(own, like.dtype);
}

/** What goes through the decays of a chunk: products with their cotangents, each a term of the loss's derivative. */
export interface DecayTerms {
  /** The term of each pair of tokens, a reader (row), an earlier writer (column), `[..,C,C]`; others do not count. */
  readonly within: Value;
  /** The term of the state that enters the chunk, for each token that reads it, `[..,C]`. */
  readonly enter: Value;
  /** The term of the state that leaves the chunk, for each token that writes to it, `[..,C]`. */
  readonly leave: Value;
  /** The term of what passes from the one to the other, `[..,1]`. */
  readonly keep: Value;
}

/**
 * The gradient of the log decays `[B,T,H]`: that of token t is the sum of everything that passes it, from a writer or
 * state before it to a reader or state that is not. Nothing is subtracted: the difference of what later tokens read and
 * write is the same, but what they exchange among themselves cancels in it, and where decays are strong that is nearly
 * all, so that no digit is left in float32.
 */
export function tokenDecayGradient({ within, enter, leave, keep }: DecayTerms, chunks: Chunks): Value {
  const { B, T, H, N, C, order } = chunks;
  const [row, column] = [L.iota('i32', [C, 1], 0), L.iota('i32', [1, C], 1)];
  const earlier = L.convert(L.lt(row, column), within.dtype);
  // Entry (r, t): what reader r has from the tokens before t, where r is not before t itself.
  const pairs = L.reshape(L.select(L.gt(row, column), within, 0), [B * H * N * C, C]);
  const before = L.reshape(L.matmul(pairs, earlier), within.shape);
  const passing = L.reduceSum(L.select(L.ge(row, column), before, 0), [3]);
  const reading = L.cumsum(enter, 3, { reverse: true });
  const written = L.cumsum(leave, 3, { exclusive: true });
  const dg = L.add(L.add(passing, keep), L.add(reading, written));
  const tokens = L.reshape(L.transpose(dg, order === 'BHN' ? [0, 2, 3, 1] : [1, 0, 3, 2]), [B, N * C, H]);
  return T === N * C ? tokens : L.sliceAxis(tokens, 1, 0, T);
}

/** x with its last entry along `axis` repeated `count` times behind it. */
export function padWithLast(x: Value, axis: number, count: number): Value {
  const n = at(x.shape, axis);
  const shape = x.shape.map((d, i) => (i === axis ? count : d));
  return count === 0 ? x : L.concat([x, L.broadcast(L.sliceAxis(x, axis, n - 1, n), shape)], axis);
}

/**
 * The document of each token, counted from 0, in chunks `[..,C]` with one head; the tail belongs to the last document.
 */
export function runsInChunks(segments: Value | null, chunks: Chunks): Value | null {
  if (!segments) return null;
  const { B, T, N, C } = chunks;
  const padded = padWithLast(documentRuns(segments), 1, N * C - T);
  return toChunks(L.reshape(padded, [B, N * C, 1]), { ...chunks, T: N * C, H: 1 });
}

/**
 * A running sum along the last axis in two parts whose differences lose nothing: multiples of 1/256, which add up
 * exactly, and the small rest. Plain sums in f32 would cost a decay of 100 nats 1e-5 of relative error.
 */
interface RunningSum {
  readonly coarse: Value;
  readonly fine: Value;
}

const GRAIN = 256;

/**
 * The running sum of log decays over the last axis in two parts, a coarse one on a grid and the rest: differences of
 * the coarse parts are exact.
 */
export function runningSum(g: Value): RunningSum {
  const axis = g.shape.length - 1;
  const coarse = L.mul(L.floor(L.mul(g, GRAIN)), 1 / GRAIN);
  return { coarse: L.cumsum(coarse, axis), fine: L.cumsum(L.sub(g, coarse), axis) };
}

/** A log decay that leaves nothing: exp gives exactly 0, and its derivative too. */
const GONE = -1e30;

const asColumn = (x: Value): Value => L.reshape(x, [...x.shape, 1]);
const asRow = (x: Value): Value => L.reshape(x, [...x.shape.slice(0, -1), 1, last(x.shape)]);

/**
 * `exp(b_r - b_s)` where s <= r and both belong to one document, else 0: `[...,n] -> [...,n,n]`; subtract, mask, then
 * exp.
 */
export function decayMatrix({ coarse, fine }: RunningSum, runs: Value | null): Value {
  const n = last(fine.shape);
  const difference = L.add(L.sub(asColumn(coarse), asRow(coarse)), L.sub(asColumn(fine), asRow(fine)));
  const past = L.ge(L.iota('i32', [n, 1], 0), L.iota('i32', [1, n], 1));
  const seen = runs ? L.and(past, L.eq(asColumn(runs), asRow(runs))) : past;
  return L.exp(L.select(seen, difference, GONE));
}

/** The document of the token before each chunk `[..,1]` and of its last token `[..,1]`. */
export interface ChunkEnds {
  readonly before: Value;
  readonly last: Value;
}

/** The document index at the end of each chunk, and before its first token. */
export function chunkEnds(runs: Value, { N, C, order }: Chunks): ChunkEnds {
  const axis = order === 'BHN' ? 2 : 0;
  const last = L.sliceAxis(runs, 3, C - 1, C);
  // The state before the first token belongs to the first document, number 0.
  return { last, before: L.padAxis(L.sliceAxis(last, axis, 0, N - 1), axis, 1, 0) };
}

/** `exp(x)`, 0 where the documents a and b differ (null: they do not); x may have an axis of channels behind theirs. */
export function maskedDecay(x: Value, a: Value | null, b: Value | null): Value {
  if (!a || !b) return L.exp(x);
  const same = L.eq(a, b);
  return L.exp(L.select(x.shape.length > same.shape.length ? asColumn(same) : same, x, GONE));
}

/** The scalar decays of chunks, zero across documents. */
export interface Decays {
  /** The decay from token s to token r of a chunk, `[..,C,C]`. */
  readonly within: Value;
  /** The decay from the start of the chunk to each token, its own included, `[..,C]`. */
  readonly enter: Value;
  /** The decay from each token to the end of the chunk, `[..,C]`. */
  readonly leave: Value;
  /** Over the whole chunk, `[..,1]`. */
  readonly keep: Value;
}

/** The decays of chunks from log decays `[..,C]`, whose leading axes may be 1 where they do not vary. */
export function decaysOf(g: Value, runs: Value | null, chunks: Chunks): Decays {
  const { C } = chunks;
  const sum = runningSum(g);
  const end = (x: Value): Value => L.sliceAxis(x, 3, C - 1, C);
  const total = L.add(sum.coarse, sum.fine);
  const rest = L.add(L.sub(end(sum.coarse), sum.coarse), L.sub(end(sum.fine), sum.fine));
  const ends = runs && chunkEnds(runs, chunks);
  return {
    within: decayMatrix(sum, runs),
    enter: maskedDecay(total, runs, ends && ends.before),
    leave: maskedDecay(rest, runs, ends && ends.last),
    keep: maskedDecay(end(total), ends && ends.last, ends && ends.before),
  };
}

/**
 * `x` as a product takes it: rounded to bf16 where the inputs were bf16 (and back, so that sums are carried in f32).
 */
export type Rounding = (x: Value) => Value;

/** Rounds operands of products to bf16 where the inputs are bf16; the identity for other dtypes. */
export function roundingTo(dtype: DType): Rounding {
  if (dtype !== 'bf16') return (x) => x;
  return (x) => {
    const exact = x.node.op === 'convert' && x.node.inputs[0]?.dtype === 'bf16';
    return exact ? x : L.convert(L.convert(x, 'bf16'), x.dtype);
  };
}

/** Rounded values as they are stored between the steps of a scan: in bf16 where `dtype` is that. */
export function narrowTo(dtype: DType): Rounding {
  return (x) => (dtype === 'bf16' ? L.convert(x, 'bf16') : x);
}

/** `[..,C] -> [..,C,1]`: one factor for each row. */
export const perRow = asColumn;

/** Segments and initial state behind the `fixed` inputs that are always there. */
export function optionalInputs(
  inputs: readonly Value[],
  fixed: number,
  attrs: SelectiveScanAttrs,
): { readonly segments: Value | null; readonly initialState: Value | null } {
  return {
    segments: attrs.segments ? at(inputs, fixed) : null,
    initialState: attrs.initialState ? at(inputs, fixed + Number(attrs.segments)) : null,
  };
}
