/**
 * A tile of attention: some queries and the keys that they meet, with a mask. Both forms of attention are made of
 * tiles.
 *
 * Shape letters: B batch, T tokens, H query heads, G key heads, R = H/G, D key width, E value width, C queries of a
 * block, N blocks, L keys that a block meets.
 */
import { dims, at, type DType } from '../../core/index.js';
import { softmax } from '../composites/loss.js';
import * as L from '../primitives/index.js';
import type { Value } from '../ir/types.js';
import { softcapSlope, softcapped } from './softcap.js';
import type { AttentionAttrs } from './op.js';

/** What scores are made of products `q k`: a factor, and a softcap where there is one. */
export type ScoreLaw = Pick<AttentionAttrs, 'scale' | 'softcap'>;

/** Queries and the keys that they meet. */
export interface Tile {
  /** Queries, `[B,G,(N,)R*C,D]`. */
  readonly q: Value;
  /** `[B,G,(N,)L,D]`, and v `[B,G,(N,)L,E]`. */
  readonly k: Value;
  /** The values of the keys, `[..,L,E]`. */
  readonly v: Value;
  /** Additive, `[(N,)1,C,L]`, or `[B,1,(N,)1,C,L]` where rows hold several documents. */
  readonly mask: Value;
  readonly law: ScoreLaw;
}

/** A large negative score instead of -inf: exp gives exactly 0 next to any visible key, and no row is fully masked. */
export const MASKED: Readonly<Record<DType, number>> = {
  f64: -1e30,
  f32: -1e30,
  bf16: -1e30,
  // The least of its numbers.
  f16: -65504,
  i32: 0,
  bool: 0,
};

/**
 * The sizes of an attention: B batch, T tokens, H query heads, G key/value heads, R = H/G, D key width, E value width.
 */
export interface Dims {
  readonly B: number;
  readonly T: number;
  readonly H: number;
  readonly G: number;
  readonly R: number;
  readonly D: number;
  readonly E: number;
}

/** The sizes of an attention of q `[B,T,H,D]`, k `[B,T,G,D]` and v `[B,T,G,E]`. */
export function dimsOf(q: Value, k: Value, v: Value): Dims {
  const [B, T, H, D] = dims(q, 4);
  const G = at(k.shape, 2);
  return { B, T, H, G, R: H / G, D, E: at(v.shape, 3) };
}

/** `[B,T,H,D] -> [B,G,R,T,D]` (R = 1 for keys and values). */
export function heads(x: Value, G: number): Value {
  const [B, T, H, D] = dims(x, 4);
  return L.reshape(L.transpose(x, [0, 2, 1, 3]), [B, G, H / G, T, D]);
}

/** `[B,G,R,T,D] -> [B,T,H,D]`. */
export function unheads(x: Value): Value {
  const [B, G, R, T, D] = dims(x, 5);
  return L.transpose(L.reshape(x, [B, G * R, T, D]), [0, 2, 1, 3]);
}

/** Additive mask `[rows, columns]`: 0 where `0 <= row + offset - column < window`, else a large negative number. */
export function visibleMask(dtype: DType, rows: number, columns: number, offset: number, window: number | null): Value {
  const row = L.iota('i32', [rows, 1], 0);
  const column = L.iota('i32', [1, columns], 1);
  const distance = L.sub(L.add(row, offset), column);
  const past = L.ge(distance, 0);
  const seen = window === null ? past : L.and(past, L.lt(distance, window));
  return L.select(seen, L.scalar(0, dtype), L.scalar(MASKED[dtype], dtype));
}

/** Scores of a tile before the mask, `[..., R*C, L]`. */
function plainScores({ q, k, law }: Tile): Value {
  return softcapped(L.mul(L.matmulTransposed(q, k), law.scale), law.softcap);
}

/** Masked scores of a tile, `[..., R*C, L]`, from those before the mask. The mask repeats over R. */
function maskedScores(tile: Tile, R: number, s: Value): Value {
  const [rows, columns] = s.shape.slice(-2) as [number, number];
  const C = rows / R;
  if (R === 1) return L.add(s, L.reshape(tile.mask, [...tile.mask.shape.slice(0, -3), C, columns]));
  const perHead = L.reshape(s, [...s.shape.slice(0, -2), R, C, columns]);
  return L.reshape(L.add(perHead, tile.mask), s.shape);
}

/**
 * Per query of a tile: output `[..., R*C, E]` and log-sum-exp `[..., R*C, 1]`. `sink [..., R*C, 1]` joins the
 * denominator.
 */
export function attendTile(tile: Tile, R: number, sink: Value | null): { out: Value; lse: Value } {
  const s = maskedScores(tile, R, plainScores(tile));
  const last = s.shape.length - 1;
  const top = L.reduceMax(s, [last], true);
  const m = L.stopGradient(sink ? L.max(top, sink) : top);
  const p = L.exp(L.sub(s, m));
  const sum = L.reduceSum(p, [last], true);
  const total = sink ? L.add(sum, L.exp(L.sub(sink, m))) : sum;
  const lse = L.add(m, L.log(total));
  if (sink) return { out: L.div(L.matmul(p, tile.v), total), lse };
  // Without sinks the softmax composite says the same, and engines have a kernel for it.
  return { out: L.matmul(softmax(s), tile.v), lse };
}

/**
 * The gradients of a tile: `dq` of its queries, `dk` of its keys, `dv` of its values, each of the shape of what it is
 * the gradient of.
 */
export interface TileGrads {
  readonly dq: Value;
  readonly dk: Value;
  readonly dv: Value;
}

/** Gradients of a tile; `lse` null means no sinks, so that the probabilities are a plain softmax. */
export function differentiateTile(tile: Tile, R: number, lse: Value | null, dOut: Value, delta: Value): TileGrads {
  const plain = plainScores(tile);
  const s = maskedScores(tile, R, plain);
  const p = lse ? L.exp(L.sub(s, lse)) : softmax(s);
  const dp = L.matmulTransposed(dOut, tile.v);
  const { scale, softcap } = tile.law;
  const dCapped = L.mul(p, L.sub(dp, delta));
  const ds = softcap === undefined ? dCapped : L.mul(dCapped, softcapSlope(plain, softcap));
  return {
    dq: L.mul(L.matmul(ds, tile.k), scale),
    dk: L.mul(L.transposedMatmul(ds, tile.q), scale),
    dv: L.transposedMatmul(p, dOut),
  };
}

/** Sinks `[H]` as a column that follows the rows of a tile: `[G,(1,)R*C,1]`. */
export function sinkColumn(sinks: Value, { G, R }: Dims, C: number, banded: boolean): Value {
  const shaped = L.broadcast(L.reshape(sinks, [G, R, 1]), [G, R, C]);
  return L.reshape(shaped, banded ? [G, 1, R * C, 1] : [G, R * C, 1]);
}

/** `mask` where query and key belong to one document, else masked; the documents of both broadcast to its shape. */
export function within(mask: Value, ofQueries: Value, ofKeys: Value): Value {
  return L.select(L.eq(ofQueries, ofKeys), mask, L.scalar(MASKED[mask.dtype], mask.dtype));
}

/**
 * Cotangents per head: of the output, `delta = sum_e do * o`, and the log-sum-exp where sinks take part of the mass.
 */
export interface Incoming {
  /** The cotangent of the output. */
  readonly dOut: Value;
  readonly delta: Value;
  /** The log-sum-exp of the scores where the forward pass kept it, else null. */
  readonly lse: Value | null;
}
