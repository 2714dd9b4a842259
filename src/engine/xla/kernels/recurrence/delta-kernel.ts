/**
 * What the kernels of the gated delta rule share. A chunk is made ready once (`prepareScalarKernel`,
 * `prepareChannelKernel`); what follows knows nothing of decays:
 *
 * - `p [B,T,H,C]`: scores `scale (q_r k_s) decay(s to r)` for s <= r;
 * - `x [B,T,H,C]`: `X = (I + A)^-1` with `A_rs = beta_r (k_r k_s) decay(s to r)` for s < r;
 * - `u = X (beta v)`, transposed, and `w = X (beta kEnter) [B,T,H,K]`;
 * - `qe = scale q decay(start to r)`, `kl = k decay(r to end)`, `[B,T,H,K]`;
 * - `keep [B,N,H,K or 1]`: the decay over the chunk, f32.
 *
 * Between kernels states, written values and their cotangents are stored transposed, `[B,N,H,V,K or C]`: as left
 * operands of the products of a step they stay in registers.
 */
import { present } from '../../../../core/index.js';
import type { KernelBuilder, Launch } from '../triton/builder.js';
import type { Pointer, Tile } from '../triton/ir.js';
import { CHUNK, RecurrenceKernel, type Place, type RecurrenceShape, type RowBuffer, type Tuning } from './shared.js';

/** A tensor `[B,N,H,V,width]`. */
export interface TransposedBuffer {
  readonly pointer: Pointer;
  readonly width: number;
}

/** What the kernels of the delta rule have in common. */
export class DeltaKernel extends RecurrenceKernel {
  /** Columns of values in a tile. */
  readonly blockV: number;

  constructor(shape: RecurrenceShape, name: string, grid: Launch['grid'], { numWarps, numStages, blockV }: Tuning) {
    super(shape, { name, grid, numWarps, numStages });
    this.blockV = Math.min(blockV, shape.valueWidth);
  }

  /** The widths by which `keep` and the log decays vary: of one channel, or of all. */
  get gateWidth(): number {
    return this.shape.channels ? this.shape.keyWidth : 1;
  }

  /** Matrices of a chunk transposed, values as rows: `[B,N,H,V,width]`. */
  #turnedBuffer(pointer: (shape: number[]) => Pointer, width: number): TransposedBuffer {
    const { batch, heads, valueWidth } = this.shape;
    return { pointer: pointer([batch, this.count, heads, valueWidth, width]), width };
  }

  transposed(name: string, width: number): TransposedBuffer {
    return this.#turnedBuffer((shape) => this.b.input(name, 'bf16', shape), width);
  }

  writtenTurned(name: string, width: number): TransposedBuffer {
    return this.#turnedBuffer((shape) => this.b.output(name, 'bf16', shape), width);
  }

  get keepShape(): number[] {
    return [this.shape.batch, this.count, this.shape.heads, this.gateWidth];
  }

  #keep(keep: Pointer, place: Place): { at: Pointer; offsets: Tile } {
    const { b, gateWidth } = this;
    return { at: b.advance(keep, b.mul(this.chunkState(place), gateWidth)), offsets: b.columns(gateWidth) };
  }

  /** `[1,K or 1]`. */
  loadKeep(keep: Pointer, place: Place): Tile {
    const { at, offsets } = this.#keep(keep, place);
    return this.b.load(at, offsets);
  }

  storeKeep(keep: Pointer, place: Place, value: Tile): void {
    const { at, offsets } = this.#keep(keep, place);
    this.b.store(at, offsets, value);
  }

  /** The address and offsets of rows `v .. v + blockV` of a chunk's transposed matrix. */
  #rowsOf({ pointer, width }: TransposedBuffer, place: Place, v: Tile): { at: Pointer; offsets: Tile } {
    const { b, blockV } = this;
    const index = b.mul(b.convert(this.chunkState(place), 'i64'), this.shape.valueWidth * width);
    return { at: b.advance(pointer, index), offsets: b.add(b.mul(b.add(b.rows(blockV), v), width), b.columns(width)) };
  }

  /** A tile `[blockV,width]`. */
  loadTransposed(from: TransposedBuffer, place: Place, v: Tile): Tile {
    const { at, offsets } = this.#rowsOf(from, place, v);
    return this.b.load(at, offsets);
  }

  storeTransposed(to: TransposedBuffer, place: Place, v: Tile, value: Tile): void {
    const { at, offsets } = this.#rowsOf(to, place, v);
    this.b.store(at, offsets, value);
  }

  /** `x` below the diagonal, else 0. */
  below(x: Tile): Tile {
    const { b } = this;
    const [row, column] = [b.rows(CHUNK), b.columns(CHUNK)].map((t) => b.broadcast(t, [CHUNK, CHUNK])) as [Tile, Tile];
    return b.select(b.gt(row, column), x, 0);
  }
}

/**
 * A loop over the levels m = 1, 2, ..., C/2 of the recursive split into blocks of m tokens. Not unrolled: that would
 * keep the tiles of all levels in registers at once.
 */
export function eachSize(
  b: KernelBuilder,
  initial: readonly Tile[],
  body: (m: Tile, carried: readonly Tile[]) => readonly Tile[],
): readonly Tile[] {
  const start = [b.constant('i32', [], 1), ...initial];
  const end = b.loop(0, Math.log2(CHUNK), start, (_, [m, ...carried]) => [
    b.mul(present(m), 2),
    ...body(present(m), carried),
  ]);
  return end.slice(1);
}

/**
 * Mask of the entries whose row is in the second half of a block of 2m tokens and whose column in its first half, bool
 * `[C,C]`.
 */
export function acrossHalves(b: KernelBuilder, m: Tile): Tile {
  const [row, column] = [b.div(b.rows(CHUNK), m), b.div(b.columns(CHUNK), m)];
  return b.and(b.eq(b.sub(row, column), 1), b.eq(b.rem(b.broadcast(row, [CHUNK, CHUNK]), 2), 1));
}

/** The identity `[C,C]`, the inverse of blocks of one. */
export function identity(b: KernelBuilder): Tile {
  return b.select(b.eq(b.rows(CHUNK), b.columns(CHUNK)), b.constant('f32', [CHUNK, CHUNK], 1), 0);
}

/**
 * `(I + A)^-1` of the strictly lower triangle A of a matrix: from the inverses of its diagonal blocks
 * of m tokens those of 2m, `[[a, 0], [c, b]]^-1 = [[a', 0], [-b' c a', b']]`. Products in tf32: the inverse is rounded
 * to bf16 in the end.
 */
export function unitLowerInverse(b: KernelBuilder, matrix: Tile): Tile {
  const product = (x: Tile, y: Tile): Tile => b.dot(x, y, undefined, 'tf32');
  const [inverse] = eachSize(b, [identity(b)], (m, [inner]) => {
    const corner = b.select(acrossHalves(b, m), matrix, 0);
    return [b.sub(present(inner), product(present(inner), product(corner, present(inner))))];
  }) as [Tile];
  return inverse;
}

/** The buffers that `prepare*Kernel` writes. Declare them after all operands. */
export function preparedBuffers(x: DeltaKernel) {
  const { keyWidth: K } = x.shape;
  return {
    p: x.writtenRows('p', CHUNK),
    inverse: x.writtenRows('x', CHUNK),
    u: x.writtenTurned('u', CHUNK),
    w: x.writtenRows('w', K),
    qe: x.writtenRows('qe', K),
    kl: x.writtenRows('kl', K),
    keep: x.b.output('keep', 'f32', x.keepShape),
  };
}

/** Stores the inverse times the values, and times the keys with which tokens read the state, `kEnter [C,K]`. */
export function applyInverse(
  x: DeltaKernel,
  place: Place,
  v: RowBuffer,
  to: ReturnType<typeof preparedBuffers>,
  { inverse, kEnter, beta }: { readonly inverse: Tile; readonly kEnter: Tile; readonly beta: Tile },
): void {
  const { b } = x;
  const solve = x.bf16(inverse);
  x.store(to.inverse, place, solve);
  x.store(to.w, place, b.dot(solve, x.bf16(x.scaleRows(kEnter, beta))));
  b.loop(0, x.shape.valueWidth / x.blockV, [], (i) => {
    const at = b.mul(i, x.blockV);
    const strong = x.bf16(x.scaleRows(x.load(v, place, at, x.blockV), beta));
    x.storeTransposed(to.u, place, at, b.transpose(b.dot(solve, strong)));
    return [];
  });
}

/** A kernel of which each program works on a chunk of a head. */
export const chunkKernel = (shape: RecurrenceShape, name: string, tuning: Tuning): DeltaKernel =>
  new DeltaKernel(shape, name, [shape.heads, shape.tokens / CHUNK, shape.batch], tuning);

/** The head, chunk and sequence of a program of such a kernel. */
export const chunkPlace = ({ b }: DeltaKernel): Place => ({
  head: b.programId(0),
  chunk: b.programId(1),
  batch: b.programId(2),
});
