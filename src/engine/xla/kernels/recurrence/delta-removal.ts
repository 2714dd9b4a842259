/**
 * RWKV-7: what is removed has keys of its own, p that read and e that erase, beside a decay for each key channel
 * (docs/recurrences.md, "Keys of removal"). Log decays have a lower bound, so that half a chunk decays by no more than
 * float32 holds: tokens meet across the middle of the chunk, `x_r exp(b_r - b_m)` with `y_s exp(b_m - b_s)`, and every
 * one of the four products is a single matrix product. A factor may be large, but what it multiplies is a term of
 * a sum whose other factor is small: every term keeps its relative precision, and what is above the diagonal is masked.
 *
 * With e and v times beta and `[x,y]` for the products below the diagonal, a chunk writes `n = -u`,
 * `(I + [p,e]) n = -([p,k] v + p S)`, so that states, and what outputs ask of them, are those of the delta rule
 * (`deltaStatesKernel`) with `w = X p`, `kl = e` decayed to the end, and beside `p = scale [q,e]`:
 *
 * - `s [B,T,H,C]`: `scale [q,k]`, by which outputs read the values, and `recalls [B,T,H,C]`, `[p,k]`;
 * - `kk [B,T,H,K]`: k decayed to the end;
 * - `c [B,N,H,V,K]`: what the values of the chunk write to the state, transposed;
 * - `sums [B,T,H,K]`: the cumulative log decays, f32.
 */
import type { Kernel, Pointer, Tile } from '../triton/ir.js';
import {
  CHUNK,
  type Place,
  type RecurrenceShape,
  type RowBuffer,
  type SharedDocuments,
  type Tuning,
} from './shared.js';
import type { DeltaKernel } from './delta-kernel.js';
import { chunkKernel, chunkPlace, preparedBuffers, unitLowerInverse, type TransposedBuffer } from './delta-kernel.js';

/**
 * The least log decay of a token that these kernels take: over half a chunk `exp(2 * 32)` and its inverse are numbers
 * of float32 and of bfloat16.
 */
export const LEAST_LOG_DECAY = -2;

const PREPARE: Tuning = { numWarps: 4, numStages: 1, blockV: 64 };
const OUTPUTS: Tuning = { numWarps: 4, numStages: 1, blockV: 64 };
const SCORE_GRADIENTS: Tuning = { numWarps: 4, numStages: 1, blockV: 64 };
const READ_GRADIENTS: Tuning = { numWarps: 4, numStages: 1, blockV: 64 };
const WRITE_GRADIENTS: Tuning = { numWarps: 4, numStages: 1, blockV: 64 };

/** Rows of p, by which the state is read for removal, and of e, by which the reading is taken out of it, in f32. */
const removalKeys = (x: DeltaKernel): { readonly read: RowBuffer; readonly erase: RowBuffer } => {
  const { heads, keyWidth } = x.shape;
  return { read: x.rows('read', heads, keyWidth, 'f32'), erase: x.rows('erase', heads, keyWidth, 'f32') };
};

/** Cumulative log decays of a chunk: at each token `[C,K]`, before its second half and at its end `[1,K]`. */
interface Sums {
  readonly each: () => Tile;
  readonly middle: Tile;
  readonly total: Tile;
}

/** The decays of a chunk across its middle, and those from and to its ends, zero across documents. */
class HalvedDecays {
  readonly #documents: SharedDocuments;

  constructor(
    readonly x: DeltaKernel,
    readonly sums: Sums,
    segments: Pointer | null,
    place: Place,
  ) {
    this.#documents = x.documents(segments, place);
  }

  /** From the middle to each token, `[C,K]`: over 1 in the first half. */
  after(): Tile {
    const { b } = this.x;
    return b.exp(b.sub(this.sums.each(), this.sums.middle));
  }

  /** From each token to the middle, `[C,K]`: over 1 in the second half. */
  before(): Tile {
    const { b } = this.x;
    return b.exp(b.sub(this.sums.middle, this.sums.each()));
  }

  #shown(factor: Tile, rows: Tile | null): Tile {
    const { b } = this.x;
    return rows === null ? factor : b.select(b.expandDims(rows, 1), factor, 0);
  }

  /** From the start of the chunk to each token, `[C,K]`. */
  enter(): Tile {
    const { b } = this.x;
    return this.#shown(b.mul(this.after(), b.exp(this.sums.middle)), this.#documents.withStart);
  }

  /** From each token to the end of the chunk, `[C,K]`. */
  leave(): Tile {
    const { b } = this.x;
    const rest = b.exp(b.sub(this.sums.total, this.sums.middle));
    return this.#shown(b.mul(this.before(), rest), this.#documents.withEnd);
  }

  /** Over the chunk, `[1,K]`. */
  keep(): Tile {
    return this.x.decay(this.sums.total, this.#documents.throughout);
  }

  /** Below the diagonal, or there too, and within a document, else 0. */
  lower(matrix: Tile, diagonal: boolean): Tile {
    return lowerWithin(this.x, this.#documents)(matrix, diagonal);
  }
}

/** Keeps what is below the diagonal of `[C,C]`, or there too, and within a document; else 0. */
function lowerWithin({ b }: DeltaKernel, { pairs }: SharedDocuments): (matrix: Tile, diagonal: boolean) => Tile {
  const row = b.broadcast(b.rows(CHUNK), [CHUNK, CHUNK]);
  const column = b.broadcast(b.columns(CHUNK), [CHUNK, CHUNK]);
  return (matrix, diagonal) => {
    const past = diagonal ? b.ge(row, column) : b.gt(row, column);
    return b.select(pairs ? b.and(past, pairs) : past, matrix, 0);
  };
}

/**
 * q, k, v, beta, g, read, erase, [segments] -> a chunk made ready, and s, recalls, kk, c and sums. Rows are loaded anew
 * behind each store, which the compiler does not undo: kept in registers they would spill.
 */
export function prepareRemovalKernel(shape: RecurrenceShape, tuning = PREPARE): Kernel {
  // In this order few tiles are alive at once: the inverse, which needs most registers, comes last.
  const x = chunkKernel(shape, 'delta_removal_prepare', tuning);
  const { b } = x;
  const { keyWidth: K, scale } = shape;
  const [q, k, v, betas] = [x.q, x.k, x.v, x.scalars('beta')];
  const g = x.rows('g', shape.heads, K, 'f32');
  const { read, erase } = removalKeys(x);
  const segments = x.segments();
  const to = { ...preparedBuffers(x), ...readsOfValues(x) };
  const place = chunkPlace(x);
  const first = b.zeros([], 'i32');
  const rows = (from: RowBuffer): Tile => b.convert(x.load(from, place), 'f32');
  const log = rows(g);
  const each = b.cumsum(log, 0);
  const middle = b.expandDims(b.sum(b.select(b.lt(b.rows(CHUNK), CHUNK / 2), log, 0), 0), 0);
  const decays = new HalvedDecays(
    x,
    { each: () => each, middle, total: b.expandDims(b.sum(log, 0), 0) },
    segments,
    place,
  );
  x.store(to.sums, place, each);
  x.storeKeep(to.keep, place, decays.keep());
  const beta = x.loadScalars(betas, place);
  const erasing = (): Tile => x.scaleRows(rows(erase), beta);
  const values = x.bf16(x.scaleRows(x.load(v, place), beta));
  const kept = x.bf16(b.mul(rows(k), decays.leave()));
  x.store(to.kk, place, kept);
  x.storeTransposed(to.c, place, first, b.dot(b.transpose(values), kept));
  const writers = b.transpose(x.bf16(b.mul(rows(k), decays.before())));
  const queries = x.bf16(b.mul(b.mul(rows(q), scale), decays.after()));
  x.store(to.s, place, decays.lower(b.dot(queries, writers), true));
  x.store(to.qe, place, b.mul(b.mul(rows(q), scale), decays.enter()));
  x.store(to.kl, place, b.mul(erasing(), decays.leave()));
  const erasers = b.mul(erasing(), decays.before());
  x.store(to.p, place, decays.lower(b.dot(queries, b.transpose(x.bf16(erasers))), true));
  const reading = rows(read);
  const readers = b.mul(reading, decays.after());
  const recalls = x.bf16(decays.lower(b.dot(x.bf16(readers), writers), false));
  x.store(to.recalls, place, recalls);
  const recalled = x.bf16(b.sub(0, b.dot(recalls, values)));
  const entering = x.bf16(b.mul(reading, decays.enter()));
  const overlaps = b.dot(readers, b.transpose(erasers), undefined, 'tf32'); // to be inverted
  const solve = x.bf16(unitLowerInverse(b, decays.lower(overlaps, false)));
  x.store(to.inverse, place, solve);
  x.store(to.w, place, b.dot(solve, entering));
  x.storeTransposed(to.u, place, first, b.transpose(b.dot(solve, recalled)));
  return b.build();
}

/** What `prepareRemovalKernel` writes beside `preparedBuffers`. Declare it after all operands. */
function readsOfValues(x: DeltaKernel) {
  const { keyWidth: K } = x.shape;
  return {
    s: x.writtenRows('s', CHUNK),
    recalls: x.writtenRows('recalls', CHUNK),
    kk: x.writtenRows('kk', K),
    c: x.writtenTurned('c', K),
    sums: x.writtenRows('sums', K, 'f32'),
  };
}

/** p, s, qe, v, beta, n, states -> o `[B,T,H,V]`. */
export function removalOutputsKernel(shape: RecurrenceShape, tuning = OUTPUTS): Kernel {
  const x = chunkKernel(shape, 'delta_removal_outputs', tuning);
  const { b } = x;
  const [erased, scores, queries] = [x.headRows('p', CHUNK), x.headRows('s', CHUNK), x.headRows('qe', shape.keyWidth)];
  const [v, betas] = [x.v, x.scalars('beta')];
  const [written, states] = [x.transposed('n', CHUNK), x.transposed('states', shape.keyWidth)];
  const out = x.writtenRows('o', shape.valueWidth);
  const place = chunkPlace(x);
  const first = b.zeros([], 'i32');
  const values = x.bf16(x.scaleRows(x.load(v, place), x.loadScalars(betas, place)));
  const before = b.dot(x.load(queries, place), b.transpose(x.loadTransposed(states, place, first)));
  const read = b.dot(x.load(scores, place), values, before);
  x.store(out, place, b.dot(x.load(erased, place), b.transpose(x.loadTransposed(written, place, first)), read));
  return b.build();
}

/** The cotangents of the products of a chunk, `[B,T,H,C]`. */
const productBuffers = (rows: (name: string, width: number) => RowBuffer) => ({
  /** `[q,k]`, `[q,e]`, `[p,k]` and `[p,e]`. */
  scores: rows('dscores', CHUNK),
  erased: rows('derased', CHUNK),
  recalls: rows('drecalls', CHUNK),
  overlaps: rows('doverlaps', CHUNK),
});

/**
 * s, recalls, kk, v, beta, x, n, do, dn, dstates, [segments] -> the cotangents of `[q,k]`, `[q,e]`, `[p,k]` and `[p,e]`
 * `[B,T,H,C]`, with scale and zero where those are; `dy` `[B,T,H,V]`, the cotangent of `[p,k] v + p S`; dv; and what
 * values give to the gradient of beta, `dvbeta [B,T,H]`.
 */
export function removalScoreGradsKernel(shape: RecurrenceShape, tuning = SCORE_GRADIENTS): Kernel {
  const x = chunkKernel(shape, 'delta_removal_score_grads', tuning);
  const { b } = x;
  const { keyWidth: K, valueWidth: V, scale } = shape;
  const [scores, recalls, kept] = [x.headRows('s', CHUNK), x.headRows('recalls', CHUNK), x.headRows('kk', K)];
  const [v, betas, inverse, dOut] = [x.v, x.scalars('beta'), x.headRows('x', CHUNK), x.headRows('do', V)];
  const [n, dn, dStates] = [x.transposed('n', CHUNK), x.transposed('dn', CHUNK), x.transposed('dstates', K)];
  const segments = x.segments();
  const to = productBuffers((name, width) => x.writtenRows(name, width));
  const [dy, dv] = [x.writtenRows('dy', V), x.writtenRows('dv', V)];
  const overBeta = x.writtenScalars('dvbeta');
  const place = chunkPlace(x);
  const first = b.zeros([], 'i32');
  const lower = lowerWithin(x, x.documents(segments, place));
  const solve = b.transpose(x.load(inverse, place));
  const minus = x.bf16(b.sub(0, b.dot(solve, b.transpose(x.loadTransposed(dn, place, first)))));
  x.store(dy, place, minus);
  const beta = x.loadScalars(betas, place);
  const d = x.load(dOut, place);
  const values = b.transpose(x.bf16(x.scaleRows(x.load(v, place), beta)));
  const written = x.loadTransposed(n, place, first);
  x.store(to.scores, place, lower(b.mul(b.dot(d, values), scale), true));
  x.store(to.erased, place, lower(b.mul(b.dot(d, written), scale), true));
  x.store(to.recalls, place, lower(b.dot(minus, values), false));
  x.store(to.overlaps, place, lower(b.dot(minus, written), false));
  const fromState = b.dot(x.load(kept, place), b.transpose(x.loadTransposed(dStates, place, first)));
  const recalled = b.dot(b.transpose(x.load(recalls, place)), minus, fromState);
  const dValues = b.dot(b.transpose(x.load(scores, place)), d, recalled);
  x.store(dv, place, x.scaleRows(dValues, beta));
  x.storeScalars(overBeta, place, x.rowDots(dValues, x.load(v, place)));
  return b.build();
}

/** What kernels of gradients share: the decays of a chunk by sums that are loaded anew each time, and loads. */
class GradientRows {
  readonly decays: HalvedDecays;
  readonly #first: Tile;

  constructor(
    readonly x: DeltaKernel,
    sums: RowBuffer,
    segments: Pointer | null,
    readonly place: Place,
  ) {
    const at = (token: number): Tile => x.gather(sums, place, x.b.constant('i32', [1, 1], token));
    const [middle, total] = [at(CHUNK / 2 - 1), at(CHUNK - 1)];
    this.decays = new HalvedDecays(x, { each: () => this.wide(sums), middle, total }, segments, place);
    this.#first = x.b.zeros([], 'i32');
  }

  load = (from: RowBuffer): Tile => this.x.load(from, this.place);
  wide = (from: RowBuffer): Tile => this.x.b.convert(this.load(from), 'f32');
  turned = (from: TransposedBuffer): Tile => this.x.loadTransposed(from, this.place, this.#first);

  /** Rows as they meet others across the middle of the chunk, rounded. */
  factor(rows: Tile, decay: Tile): Tile {
    return this.x.bf16(this.x.b.mul(rows, decay));
  }
}

/**
 * q, k, read, erase, sums, [segments], beta, states, do, and of `removalScoreGradsKernel` dy and the cotangents of the
 * products -> dq `[B,T,H,K]`, dread `[B,T,H,K]`, and `reads [B,T,H,K]`: what of the decays' gradient goes through what
 * reads. Within the chunk that takes the rounded factors of the products, as `removalWriteGradsKernel` does: a pair of
 * tokens gives as much on both sides, and cancels where both lie behind a decay.
 */
export function removalReadGradsKernel(shape: RecurrenceShape, tuning = READ_GRADIENTS): Kernel {
  const x = chunkKernel(shape, 'delta_removal_read_grads', tuning);
  const { b } = x;
  const { keyWidth: K, valueWidth: V, scale } = shape;
  const [q, k, { read, erase }] = [x.q, x.k, removalKeys(x)];
  const sums = x.rows('sums', shape.heads, K, 'f32');
  const segments = x.segments();
  const [betas, states, dOut, dY] = [
    x.scalars('beta'),
    x.transposed('states', K),
    x.headRows('do', V),
    x.headRows('dy', V),
  ];
  const products = productBuffers((name, width) => x.headRows(name, width));
  const [dq, dRead] = [x.writtenRows('dq', K), x.writtenRows('dread', K, 'f32')];
  const toReads = x.writtenRows('reads', K, 'f32');
  const from = new GradientRows(x, sums, segments, chunkPlace(x));
  const { decays, load, wide, place } = from;
  const erasing = x.scaleRows(wide(erase), x.loadScalars(betas, place));
  const erasers = from.factor(erasing, decays.before());
  const writers = from.factor(wide(k), decays.before());
  const gradient = (
    to: RowBuffer,
    own: RowBuffer,
    by: RowBuffer,
    [ofWriters, ofErasers]: Pair,
    factor: number,
  ): Tile => {
    const within = b.dot(load(ofWriters), writers, b.dot(load(ofErasers), erasers));
    const fromState = b.mul(b.mul(b.dot(load(by), from.turned(states)), factor), decays.enter());
    const after = decays.after();
    x.store(to, place, b.add(b.mul(within, after), fromState));
    const rows = wide(own);
    const rounded = b.convert(from.factor(rows, decays.after()), 'f32');
    return b.add(b.mul(rounded, within), b.mul(rows, fromState));
  };
  const ofQueries = gradient(dq, q, dOut, [products.scores, products.erased], scale);
  x.store(toReads, place, b.add(ofQueries, gradient(dRead, read, dY, [products.recalls, products.overlaps], 1)));
  return b.build();
}

/**
 * q, k, read, erase, sums, [segments], v, beta, n, states, dstates, what `removalScoreGradsKernel` gives, reads -> dk
 * `[B,T,H,K]`, derase and dg `[B,T,H,K]`, and dbeta `[B,T,H]`. The gradient of a cumulative decay is what its token
 * reads less what it writes.
 */
export function removalWriteGradsKernel(shape: RecurrenceShape, tuning = WRITE_GRADIENTS): Kernel {
  // Both gradients at once, for that of the decays takes the difference of all that is read and written.
  const x = chunkKernel(shape, 'delta_removal_write_grads', tuning);
  const { b } = x;
  const { keyWidth: K } = shape;
  const [q, k, { read, erase }] = [x.q, x.k, removalKeys(x)];
  const sums = x.rows('sums', shape.heads, K, 'f32');
  const segments = x.segments();
  const [v, betas, written] = [x.v, x.scalars('beta'), x.transposed('n', CHUNK)];
  const [states, dStates] = [x.transposed('states', K), x.transposed('dstates', K)];
  const products = productBuffers((name, width) => x.headRows(name, width));
  const fromValues = x.scalars('dvbeta');
  const reads = x.rows('reads', shape.heads, K, 'f32');
  const [dk, dErase] = [x.writtenRows('dk', K), x.writtenRows('derase', K, 'f32')];
  const [dg, dBeta] = [x.writtenRows('dg', K, 'f32'), x.writtenScalars('dbeta')];
  const from = new GradientRows(x, sums, segments, chunkPlace(x));
  const { decays, load, wide, place } = from;
  const beta = x.loadScalars(betas, place);
  const queries = from.factor(wide(q), decays.after());
  const readers = from.factor(wide(read), decays.after());
  const gradient = (by: Tile, [ofQueries, ofReaders]: Pair) => {
    const within = b.dot(b.transpose(load(ofQueries)), queries, b.dot(b.transpose(load(ofReaders)), readers));
    const toState = b.mul(b.dot(by, from.turned(dStates)), decays.leave());
    return { within, toState, sum: b.add(b.mul(within, decays.before()), toState) };
  };
  const terms = (own: Tile, { within, toState }: { readonly within: Tile; readonly toState: Tile }) => {
    const rounded = b.convert(from.factor(own, decays.before()), 'f32');
    const kept = b.mul(own, toState);
    return { each: b.add(b.mul(rounded, within), kept), kept: b.sum(kept, 0) };
  };
  const ofKeys = gradient(x.bf16(x.scaleRows(load(v), beta)), [products.scores, products.recalls]);
  x.store(dk, place, ofKeys.sum);
  const byKeys = terms(wide(k), ofKeys);
  const ofErasers = gradient(b.transpose(from.turned(written)), [products.erased, products.overlaps]);
  x.store(dErase, place, x.scaleRows(ofErasers.sum, beta));
  const erasing = wide(erase);
  x.storeScalars(dBeta, place, b.add(x.rowDots(ofErasers.sum, erasing), x.loadScalars(fromValues, place)));
  const byErasers = terms(x.scaleRows(erasing, beta), ofErasers);
  const both = b.mul(b.convert(from.turned(states), 'f32'), b.convert(from.turned(dStates), 'f32'));
  const passing = b.mul(decays.keep(), b.expandDims(b.sum(both, 0), 0));
  const end = b.add(passing, b.expandDims(b.add(byKeys.kept, byErasers.kept), 0));
  const each = b.sub(wide(reads), b.add(byKeys.each, byErasers.each));
  x.store(dg, place, b.add(b.cumsum(each, 0, true), end));
  return b.build();
}

type Pair = readonly [RowBuffer, RowBuffer];
