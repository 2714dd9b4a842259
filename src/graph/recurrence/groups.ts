/**
 * Heads that share their queries and keys, as those of a Mamba-2 group: what is made of queries and keys alone is
 * computed once for a group, and what they meet stands side by side, so that one product serves all heads of the group.
 *
 * Shape letters as in chunks.ts; G groups of R heads each, `H = G R`. Leading axes are B, H or G, N.
 */
import { at, dims } from '../../core/index.js';
import * as L from '../primitives/index.js';
import type { Value } from '../ir/types.js';
import { fromChunks, perRow, repeatHeads, toChunks, type Chunks } from './chunks.js';

/** Groups of heads that share queries and keys, and how their tensors are laid out. */
export class HeadGroups {
  readonly #R: number;
  /** The chunks of what groups have: G in place of H. */
  readonly shared: Chunks;

  /**
   * Groups of heads with the same query head and key head; with chunks of one token, where repeating it costs less,
   * each head.
   */
  constructor(
    q: Value,
    k: Value,
    private readonly chunks: Chunks,
  ) {
    const [queries, keys] = [at(q.shape, 2), at(k.shape, 2)];
    const most = Math.max(queries, keys);
    const G = chunks.C > 1 && most % queries === 0 && most % keys === 0 ? most : chunks.H;
    this.#R = chunks.H / G;
    this.shared = { ...chunks, H: G };
  }

  /** Tokens `[B,T,h,V]` side by side in chunks, `[B,G,N,C,R*V]`. */
  toChunks(x: Value): Value {
    const own = repeatHeads(x, this.chunks.H);
    const [B, T, , V] = dims(own, 4);
    return toChunks(L.reshape(own, [B, T, this.shared.H, this.#R * V]), this.shared);
  }

  /** `[B,H,N,C,V]` of single heads plus `[B,G,N,C,R*V]` side by side, as tokens `[B,T,H,V]`. */
  sumAsTokens(perHead: Value, grouped: Value): Value {
    if (this.#R === 1) return fromChunks(L.add(perHead, grouped), this.chunks);
    const own = fromChunks(perHead, this.chunks);
    return L.add(own, L.reshape(fromChunks(grouped, this.shared), own.shape));
  }

  /** `x [B,G,N,C,R*V]` times a factor of each token and head, `[b,H,n,C]`. */
  scale(x: Value, factor: Value): Value {
    if (this.#R === 1) return L.mul(x, perRow(factor));
    const [B, G, N, C, wide] = dims(x, 5);
    const [b, , n] = dims(factor, 4);
    const byHead = L.transpose(L.reshape(factor, [b, G, this.#R, n, C]), [0, 1, 3, 4, 2]);
    const scaled = L.mul(L.reshape(x, [B, G, N, C, this.#R, wide / this.#R]), perRow(byHead));
    return L.reshape(scaled, x.shape);
  }

  /** Matrices side by side `[B,G,N,K,R*V]` as those of single heads, `[B,H,N,K,V]`. */
  perHead(x: Value): Value {
    const [B, G, N, K, wide] = dims(x, 5);
    const split = L.reshape(x, [B, G, N, K, this.#R, wide / this.#R]);
    return L.reshape(L.transpose(split, [0, 1, 4, 2, 3, 5]), [B, G * this.#R, N, K, wide / this.#R]);
  }

  /** Sums over the V of each head, `[B,G,N,C,R*V] -> [B,H,N,C]`. */
  sumPerHead(x: Value): Value {
    const [B, G, N, C, wide] = dims(x, 5);
    const sums = L.reduceSum(L.reshape(x, [B, G, N, C, this.#R, wide / this.#R]), [5]);
    return L.reshape(L.transpose(sums, [0, 1, 4, 2, 3]), [B, G * this.#R, N, C]);
  }

  /** The inverse of `perHead`. */
  grouped(x: Value): Value {
    const [B, H, N, K, V] = dims(x, 5);
    const split = L.reshape(x, [B, H / this.#R, this.#R, N, K, V]);
    return L.reshape(L.transpose(split, [0, 1, 3, 4, 2, 5]), [B, H / this.#R, N, K, this.#R * V]);
  }

  /** `shared [B,G,N,C,C]` times `own [b,H,n,C,C]`, for each head `[B,H,N,C,C]`. */
  timesShared(own: Value, shared: Value): Value {
    const [B, G, N, ...matrix] = shared.shape as [number, number, number, ...number[]];
    const [b, , n] = own.shape as [number, number, number, ...number[]];
    const product = L.mul(L.reshape(own, [b, G, this.#R, n, ...matrix]), L.reshape(shared, [B, G, 1, N, ...matrix]));
    return L.reshape(product, [B, G * this.#R, N, ...matrix]);
  }

  /** The sum over the heads of each group, `[B,H,N,C,C] -> [B,G,N,C,C]`. */
  sum(x: Value): Value {
    if (this.#R === 1) return x;
    const [B, H, ...rest] = x.shape as [number, number, ...number[]];
    return L.reduceSum(L.reshape(x, [B, H / this.#R, this.#R, ...rest]), [2]);
  }
}
