/** The gradients of a chunk of the delta rule: what both kinds of decay have in common. */
import type { Tile } from '../triton/ir.js';
import { CHUNK, type Place } from './shared.js';
import type { DeltaKernel } from './delta-kernel.js';

/** Operands that kernels of gradients read beside queries, keys and decays. Declare them before all results. */
export function cotangentOperands(x: DeltaKernel) {
  const { keyWidth: K, valueWidth: V } = x.shape;
  return {
    v: x.v,
    inverse: x.headRows('x', CHUNK),
    written: x.transposed('n', CHUNK),
    beta: x.scalars('beta'),
    states: x.transposed('states', K),
    dOut: x.headRows('do', V),
    dWritten: x.transposed('dn', CHUNK),
    dStates: x.transposed('dstates', K),
  };
}

/** Results that all kernels of gradients have; `dg` is the caller's. */
export function gradientBuffers(x: DeltaKernel) {
  const { keyWidth: K, valueWidth: V } = x.shape;
  return { dq: x.writtenRows('dq', K), dk: x.writtenRows('dk', K), dv: x.writtenRows('dv', V) };
}

/** Cotangents of a chunk, without the decays. */
export interface Cotangents {
  readonly beta: Tile;
  /**
   * The cotangents of the scores, with scale, and of `(k_r k_s) decay`, over beta_r, `[C,C]`; what is not below
   * the diagonal does not count.
   */
  readonly scores: Tile;
  readonly overlaps: Tile;
  /**
   * The cotangents of queries as they read the state, of keys as they read it (over beta), and as they write it,
   * `[C,K]`.
   */
  readonly read: Tile;
  readonly reread: Tile;
  readonly kept: Tile;
  /** The contribution of the values to beta's cotangent, `[C]`. */
  readonly overBeta: Tile;
  /** State times cotangent, summed over values, `[K]`. */
  readonly both: Tile;
}

/** The cotangents, accumulated over blocks of value columns; stores the gradient of the values. */
export function cotangents(
  x: DeltaKernel,
  place: Place,
  given: ReturnType<typeof cotangentOperands>,
  dv: ReturnType<typeof gradientBuffers>['dv'],
): Cotangents {
  const { b, blockV } = x;
  const { keyWidth: K, valueWidth: V, scale } = x.shape;
  const beta = x.loadScalars(given.beta, place);
  const solve = b.transpose(x.load(given.inverse, place));
  const start = [
    ...[0, 1].map(() => b.zeros([CHUNK, CHUNK])),
    ...[0, 1, 2].map(() => b.zeros([CHUNK, K])),
    b.zeros([CHUNK]),
    b.zeros([K]),
  ];
  const sums = b.loop(0, V / blockV, start, (i, carried) => {
    const [scores, overlaps, read, reread, kept, overBeta, both] = carried as Seven;
    const at = b.mul(i, blockV);
    const d = x.load(given.dOut, place, at, blockV);
    const [state, dState] = [x.loadTransposed(given.states, place, at), x.loadTransposed(given.dStates, place, at)];
    const n = x.loadTransposed(given.written, place, at);
    const dY = b.dot(solve, b.transpose(x.loadTransposed(given.dWritten, place, at)));
    x.store(dv, place, x.scaleRows(dY, beta), at);
    const minus = x.bf16(b.sub(0, dY));
    const product = b.mul(b.convert(state, 'f32'), b.convert(dState, 'f32'));
    return [
      b.dot(d, n, scores),
      b.dot(minus, n, overlaps),
      b.dot(d, state, read),
      b.dot(minus, state, reread),
      b.dot(b.transpose(n), dState, kept),
      b.add(overBeta, x.rowDots(dY, x.load(given.v, place, at, blockV))),
      b.add(both, b.sum(product, 0)),
    ];
  }) as unknown as Seven;
  const [scores, overlaps, read, reread, kept, overBeta, both] = sums;
  return { beta, scores: b.mul(scores, scale), overlaps, read: b.mul(read, scale), reread, kept, overBeta, both };
}

type Seven = [Tile, Tile, Tile, Tile, Tile, Tile, Tile];
