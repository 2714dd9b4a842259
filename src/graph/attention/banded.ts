/**
 * The banded form of attention, for windows shorter than the sequence: all blocks of C queries at once, each against
 * its own keys and those of the `ceil((window-1)/C)` blocks before it. Shape letters as in tile.ts.
 */
import { dims, at, type DType } from '../../core/index.js';
import * as L from '../primitives/index.js';
import type { Value } from '../ir/types.js';
import {
  MASKED,
  differentiateTile,
  visibleMask,
  within,
  type Dims,
  type Incoming,
  type ScoreLaw,
  type Tile,
  type TileGrads,
} from './tile.js';

/** The block length of the banded form: near the window, within 16 to 128. */
export function bandedBlock(window: number): number {
  let block = 16;
  while (block < 128 && block * 2 <= window) block *= 2;
  return block;
}

/** The blocks of a banded attention: N blocks of C queries, and the mask of the keys that each block meets. */
export interface Band {
  /** Queries of a block. */
  readonly C: number;
  /** Blocks of a sequence, the last one padded. */
  readonly N: number;
  /** Blocks of keys before a query's own block into which its window extends. */
  readonly before: number;
  /** What is added to scores, `[N,1,C,(before + 1) C]`: 0 where a key is seen, a large negative number elsewhere. */
  readonly mask: Value;
}

/** The blocks of C queries for a window, with their mask. Keys before the start of the sequence are masked too. */
export function bandOf(dims: Dims, window: number, C: number, dtype: DType): Band {
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
  const [B, G, R, T, D] = dims(x, 5);
  const padded = T === N * C ? x : L.padAxis(x, 3, 0, N * C - T);
  const blocks = L.reshape(padded, [B, G, R, N, C, D]);
  return R === 1
    ? L.reshape(blocks, [B, G, N, C, D])
    : L.reshape(L.transpose(blocks, [0, 1, 3, 2, 4, 5]), [B, G, N, R * C, D]);
}

/** Blocks `[B,G,N,R*C,D]` as a sequence of heads `[B,G,R,T,D]`, without the padding of the last block. */
export function unblockQueries(x: Value, { C, N }: Band, { B, G, R, T }: Dims): Value {
  const D = at(x.shape, 4);
  const blocks = L.reshape(x, [B, G, N, R, C, D]);
  const joined = L.reshape(R === 1 ? blocks : L.transpose(blocks, [0, 1, 3, 2, 4, 5]), [B, G, R, N * C, D]);
  return T === N * C ? joined : L.sliceAxis(joined, 3, 0, T);
}

/**
 * Keys in bands: `[B,G,1,T,D] -> [B,G,N,L,D]`, block i after the `before` blocks that precede it; one row-wise `take`.
 */
function bandKeys(x: Value, { C, N, before }: Band): Value {
  const [B, G, , T, D] = dims(x, 5);
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
 * The transpose of `bandKeys`: sums the gradients of each key over the bands that contain it. Block i is block
 * `before - s` of band i + s. Where band i + s does not exist, band i + s - N is read instead: that block of it lies
 * before the start of the sequence, so the mask made its gradient exactly zero.
 */
function unbandKeys(x: Value, { C, N, before }: Band, { B, G, T }: Dims): Value {
  const D = at(x.shape, 4);
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

/** The mask of a band with documents `[B,T]`: `[B,1,N,1,C,L]`. */
function bandMask(band: Band, documents: Value | null): Value {
  if (!documents) return band.mask;
  const [B, T] = dims(documents, 2);
  const { C, N, before } = band;
  const whole = L.reshape(documents, [B, 1, 1, T, 1]);
  const own = L.reshape(blockQueries(whole, band), [B, 1, N, 1, C, 1]);
  return within(band.mask, own, L.reshape(bandKeys(whole, band), [B, 1, N, 1, 1, (before + 1) * C]));
}

/** All blocks of queries with the keys and values that they meet, as one tile. */
export function bandTile(q: Value, k: Value, v: Value, band: Band, documents: Value | null, law: ScoreLaw): Tile {
  const mask = bandMask(band, documents);
  return { q: blockQueries(q, band), k: bandKeys(k, band), v: bandKeys(v, band), mask, law };
}

/** The gradients of queries, keys and values from those of one tile of all blocks. */
export function bandedGrads(tile: Tile, { dOut, delta, lse }: Incoming, dims: Dims, band: Band): TileGrads {
  const block = (x: Value): Value => blockQueries(x, band);
  const grads = differentiateTile(tile, dims.R, lse && block(lse), block(dOut), block(delta));
  return {
    dq: unblockQueries(grads.dq, band, dims),
    dk: unbandKeys(grads.dk, band, dims),
    dv: unbandKeys(grads.dv, band, dims),
  };
}
