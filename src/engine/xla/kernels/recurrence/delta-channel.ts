/**
 * Kimi Delta Attention: a decay for each key channel, so that `sum_k x_rk y_sk exp(G_rk - G_sk)` is no matrix product
 * scaled elementwise. The chunk is split recursively (src/graph/recurrence/channels.ts): for a row in the second half
 * of a block of 2m tokens and a column in its first half, decays are taken relative to the middle of the block, so that
 * both factors are at most 1, whatever the gates. One matrix product for each m = 1, 2, ..., C/2 gives those entries.
 */
import { at } from '../../../../core/index.js';
import type { Kernel, Pointer, Tile } from '../triton/ir.js';
import {
  CHUNK,
  type Place,
  type RecurrenceShape,
  type RowBuffer,
  type SharedDocuments,
  type Tuning,
} from './shared.js';
import { cotangentOperands, cotangents, gradientBuffers } from './delta-cotangents.js';
import type { DeltaKernel } from './delta-kernel.js';
import {
  chunkKernel,
  chunkPlace,
  applyInverse,
  eachSize,
  acrossHalves,
  identity,
  preparedBuffers,
  unitLowerInverse,
} from './delta-kernel.js';

const SUMS: Tuning = { numWarps: 4, numStages: 1, blockV: 64 };
const PREPARE: Tuning = { numWarps: 4, numStages: 1, blockV: 64 };
const GRADIENTS: Tuning = { numWarps: 8, numStages: 1, blockV: 32 };

/** g -> its running sums within chunks, `[B,T,H,K]` in f32. */
export function channelSumsKernel(shape: RecurrenceShape, tuning = SUMS): Kernel {
  const x = chunkKernel(shape, 'delta_channel_sums', tuning);
  const g = x.rows('g', shape.heads, shape.keyWidth, 'f32');
  const sums = x.writtenRows('sums', shape.keyWidth, 'f32');
  const place = chunkPlace(x);
  x.store(sums, place, x.b.cumsum(x.load(g, place), 0));
  return x.b.build();
}

interface Gates {
  readonly sums: RowBuffer;
  readonly segments: Pointer | null;
}

const gatesOf = (x: DeltaKernel): Gates => ({
  sums: x.rows('sums', x.shape.heads, x.shape.keyWidth, 'f32'),
  segments: x.segments(),
});

interface Level {
  readonly factor: Tile;
  /** Which entries this level gives, bool `[C,C]`. */
  readonly entries: Tile;
  readonly load: (from: RowBuffer) => Tile;
}

/**
 * The decays of a chunk by key channel, zero across documents. Each loads the cumulative sums again: kept in registers
 * they would spill.
 */
class ChannelDecays {
  readonly #documents: SharedDocuments;

  constructor(
    readonly x: DeltaKernel,
    readonly gates: Gates,
    readonly place: Place,
  ) {
    this.#documents = x.documents(gates.segments, place);
  }

  #sums(): Tile {
    return this.x.load(this.gates.sums, this.place);
  }

  #total(): Tile {
    return this.x.gather(this.gates.sums, this.place, this.x.b.constant('i32', [1, 1], CHUNK - 1));
  }

  #rows(shown: Tile | null): Tile | null {
    return shown && this.x.b.expandDims(shown, 1);
  }

  /** From the start of the chunk to each token, `[C,K]`. */
  enter(): Tile {
    return this.x.decay(this.#sums(), this.#rows(this.#documents.withStart));
  }

  /** From each token to the end of the chunk, `[C,K]`. */
  leave(): Tile {
    return this.x.decay(this.x.b.sub(this.#total(), this.#sums()), this.#rows(this.#documents.withEnd));
  }

  /** Over the chunk, `[1,K]`. */
  keep(): Tile {
    return this.x.decay(this.#total(), this.#documents.throughout);
  }

  /**
   * One level of the recursive split: the decay between each token and the middle of its block of 2m tokens, the
   * entries that the level gives, and a load of rows inside the loop. The load's addresses depend on m, or the
   * compiler would hoist it out of the loop and keep the rows in every layout that the loop needs, with spills of 732
   * bytes a thread.
   */
  level(m: Tile): Level {
    const { b } = this.x;
    const both = b.mul(m, 2);
    const start = b.mul(b.div(b.rows(CHUNK), both), both);
    const tokens = b.add(start, b.rem(b.rows(CHUNK), both));
    const load = (from: RowBuffer, rows = tokens): Tile => b.convert(this.x.gather(from, this.place, rows), 'f32');
    const away = b.sub(load(this.gates.sums), load(this.gates.sums, b.add(start, b.sub(m, 1))));
    const entries = acrossHalves(b, m);
    const { pairs } = this.#documents;
    return { factor: b.exp(b.sub(0, b.abs(away))), entries: pairs ? b.and(entries, pairs) : entries, load };
  }
}

/** q, k, v, beta, sums, [segments] -> a chunk made ready. */
export function prepareChannelKernel(shape: RecurrenceShape, tuning = PREPARE): Kernel {
  const x = chunkKernel(shape, 'delta_channel_prepare', tuning);
  const { b } = x;
  const [q, k, v] = [x.q, x.k, x.v];
  const betas = x.scalars('beta');
  const gates = gatesOf(x);
  const to = preparedBuffers(x);
  const place = chunkPlace(x);
  const decays = new ChannelDecays(x, gates, place);
  const beta = x.loadScalars(betas, place);
  const rows = (from: RowBuffer): Tile => b.convert(x.load(from, place), 'f32');
  x.store(to.qe, place, b.mul(b.mul(rows(q), decays.enter()), shape.scale));
  x.store(to.kl, place, b.mul(rows(k), decays.leave()));
  x.storeKeep(to.keep, place, decays.keep());
  const diagonal = b.mul(identity(b), b.expandDims(x.rowDots(rows(q), rows(k)), 1));
  const start = [diagonal, b.zeros([CHUNK, CHUNK])];
  const [scores, overlaps] = eachSize(b, start, (m, carried) => {
    const { factor, entries, load } = decays.level(m);
    const keys = b.mul(load(k), factor);
    const queries = x.bf16(b.mul(load(q), factor));
    const products = [
      b.dot(queries, b.transpose(x.bf16(keys))),
      b.dot(keys, b.transpose(keys), undefined, 'tf32'), // to be inverted
    ];
    return products.map((product, i) => b.add(at(carried, i), b.select(entries, product, 0)));
  }) as [Tile, Tile];
  x.store(to.p, place, b.mul(scores, shape.scale));
  const inverse = unitLowerInverse(b, x.scaleRows(overlaps, beta));
  applyInverse(x, place, v, to, { inverse, kEnter: b.mul(rows(k), decays.enter()), beta });
  return b.build();
}

/**
 * q, k, sums, [segments], v, x, n, beta, states, do, dn, dstates -> dq, dk, dg `[B,T,H,K]`, dv `[B,T,H,V]`, dbeta
 * `[B,T,H]`; see `scalarGradsKernel`.
 */
export function channelGradsKernel(shape: RecurrenceShape, tuning = GRADIENTS): Kernel {
  const x = chunkKernel(shape, 'delta_channel_grads', tuning);
  const { b } = x;
  const [q, k, gates] = [x.q, x.k, gatesOf(x)];
  const given = cotangentOperands(x);
  const to = gradientBuffers(x);
  const [dg, dBeta] = [x.writtenRows('dg', shape.keyWidth, 'f32'), x.writtenScalars('dbeta')];
  const place = chunkPlace(x);
  const by = cotangents(x, place, given, to.dv);
  const decays = new ChannelDecays(x, gates, place);
  const rows = (from: RowBuffer): Tile => b.convert(x.load(from, place), 'f32');
  const [dScores, dOverlaps] = [x.bf16(by.scores), x.bf16(by.overlaps)];
  const none = b.zeros([CHUNK, CHUNK], 'bf16');
  const kept = b.mul(by.kept, decays.leave());
  const fromKept = b.sum(b.mul(rows(k), kept), 0);
  const end = b.add(b.mul(decays.keep(), b.expandDims(by.both, 0)), b.expandDims(fromKept, 0));
  // The diagonal: no decay between a token and itself.
  const diagonal = b.expandDims(b.sum(b.mul(by.scores, identity(b)), 1), 1);
  const start = [
    b.add(b.mul(by.read, decays.enter()), b.mul(rows(k), diagonal)),
    b.mul(by.reread, decays.enter()),
    b.add(kept, b.mul(rows(q), diagonal)),
  ];
  const [dq, reading, writers] = eachSize(b, start, (m, carried) => {
    const [read, reread, write] = carried as [Tile, Tile, Tile];
    const { factor, entries, load } = decays.level(m);
    const [scores, overlaps] = [dScores, dOverlaps].map((t) => b.select(entries, t, none)) as [Tile, Tile];
    const key = b.mul(load(k), factor);
    const [readers, writing] = [x.bf16(b.mul(load(q), factor)), x.bf16(key)];
    const written = b.dot(
      b.transpose(overlaps),
      x.bf16(x.scaleRows(key, by.beta)),
      b.dot(b.transpose(scores), readers),
    );
    return [
      b.add(read, b.mul(b.dot(scores, writing), factor)),
      b.add(reread, b.mul(b.dot(overlaps, writing), factor)),
      b.add(write, b.mul(written, factor)),
    ];
  }) as [Tile, Tile, Tile];
  const readers = x.scaleRows(reading, by.beta);
  const keys = rows(k);
  x.store(to.dq, place, dq);
  x.store(to.dk, place, b.add(readers, writers));
  x.storeScalars(dBeta, place, b.add(by.overBeta, x.rowDots(keys, reading)));
  const reads = b.add(b.mul(rows(q), dq), b.mul(keys, b.sub(readers, writers)));
  x.store(dg, place, b.add(b.cumsum(reads, 0, true), end));
  return b.build();
}
