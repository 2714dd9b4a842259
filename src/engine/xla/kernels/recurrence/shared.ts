/**
 * What the tile kernels of the recurrences share: the places of a chunk's rows, and the decays between its tokens.
 *
 * Shape letters: B batch, T tokens, H heads, N chunks, C tokens in a chunk, K key width, V value width. Rows are those
 * of the graph, `[B,T,heads,width]`; states `[B,N,H,K,V]` are those that enter a chunk (or, for cotangents, that leave
 * it).
 */
import { present, dims } from '../../../../core/index.js';
import { KernelBuilder, type Launch } from '../triton/builder.js';
import type { BufferDType, Pointer, Tile } from '../triton/ir.js';

/** Tokens in a chunk. */
export const CHUNK = 64;

/** The sizes of a recurrence as its kernels see them. */
export interface RecurrenceShape {
  /** Sequences. */
  readonly batch: number;
  readonly tokens: number;
  /** Heads of the decay, and of q, k and v, which divide them. */
  readonly heads: number;
  readonly qHeads: number;
  readonly kHeads: number;
  readonly vHeads: number;
  readonly keyWidth: number;
  readonly valueWidth: number;
  /** The factor on what queries read. */
  readonly scale: number;
  /** Whether there is an operand with the document of each token. */
  readonly segments: boolean;
  /** Decays per key channel, not one per head. */
  readonly channels: boolean;
  /** Whether what is removed has keys of its own; only beside decays per key channel. */
  readonly removal: boolean;
}

/**
 * The launch parameters of a kernel: warps of a program, pipeline stages of its loads, and columns of values in a tile.
 */
export interface Tuning {
  /** Warps of a program. */
  readonly numWarps: number;
  /** Stages in which loads are pipelined. */
  readonly numStages: number;
  /** Columns of values in a tile. */
  readonly blockV: number;
}

/** A tensor `[B,T,heads,width]`. */
export interface RowBuffer {
  readonly pointer: Pointer;
  readonly heads: number;
  readonly width: number;
}

/** The chunk of a program instance, or of an iteration of its loop. */
export interface Place {
  readonly batch: Tile;
  readonly head: Tile;
  readonly chunk: Tile;
}

/** The decays of a chunk, zero across documents; see `Decays` in src/graph/recurrence/chunks.ts. */
export interface ChunkDecays {
  readonly within: () => Tile;
  readonly enter: Tile;
  readonly leave: Tile;
  readonly keep: Tile;
}

/** Which tokens of a chunk share a document with the token before it, with its last token, and with one another. */
export interface SharedDocuments {
  /** `[C]`. */
  readonly withStart: Tile | null;
  readonly withEnd: Tile | null;
  /** Whether the token before the chunk and its last one are of one document; null without documents. */
  readonly throughout: Tile | null;
  /** `[C,C]`. */
  readonly pairs: Tile | null;
}

const MASKED = -1e30;

/** What the kernels of all recurrences have in common: chunks, heads, loads and stores. */
export class RecurrenceKernel {
  readonly b: KernelBuilder;
  readonly count: number;

  constructor(
    readonly shape: RecurrenceShape,
    launch: Launch,
  ) {
    this.b = new KernelBuilder(launch);
    this.count = shape.tokens / CHUNK;
  }

  rows(name: string, heads: number, width: number, dtype: BufferDType = 'bf16'): RowBuffer {
    return { pointer: this.b.input(name, dtype, [this.shape.batch, this.shape.tokens, heads, width]), heads, width };
  }

  writtenRows(name: string, width: number, dtype: BufferDType = 'bf16'): RowBuffer {
    const { batch, tokens, heads } = this.shape;
    return { pointer: this.b.output(name, dtype, [batch, tokens, heads, width]), heads, width };
  }

  get q(): RowBuffer {
    return this.rows('q', this.shape.qHeads, this.shape.keyWidth);
  }
  get k(): RowBuffer {
    return this.rows('k', this.shape.kHeads, this.shape.keyWidth);
  }
  get v(): RowBuffer {
    return this.rows('v', this.shape.vHeads, this.shape.valueWidth);
  }

  /** Rows `[B,T,H,width]` with a row for each head. */
  headRows(name: string, width: number): RowBuffer {
    return this.rows(name, this.shape.heads, width);
  }

  /** Per-token scalars `[B,T,H]`. */
  scalars(name: string): Pointer {
    const { batch, tokens, heads } = this.shape;
    return this.b.input(name, 'f32', [batch, tokens, heads]);
  }

  writtenScalars(name: string): Pointer {
    const { batch, tokens, heads } = this.shape;
    return this.b.output(name, 'f32', [batch, tokens, heads]);
  }

  /** The operands with the log decays and, in packed rows, the documents. */
  gates(): { readonly g: Pointer; readonly segments: Pointer | null } {
    return { g: this.scalars('g'), segments: this.segments() };
  }

  segments(): Pointer | null {
    const { batch, tokens, segments } = this.shape;
    return segments ? this.b.input('segments', 'i32', [batch, tokens]) : null;
  }

  /** States of all chunks, `[B,N,H,K,V]`. */
  get stateShape(): number[] {
    const { batch, heads, keyWidth, valueWidth } = this.shape;
    return [batch, this.count, heads, keyWidth, valueWidth];
  }

  /** One state, `[B,H,K,V]`. */
  get oneState(): number[] {
    const { batch, heads, keyWidth, valueWidth } = this.shape;
    return [batch, heads, keyWidth, valueWidth];
  }

  /** `base + row * heads + head`, as a 64-bit number of rows. */
  #row(place: Place, heads: number): Tile {
    const { b, shape } = this;
    const head = heads === shape.heads ? place.head : b.div(place.head, shape.heads / heads);
    const token = b.add(b.mul(place.batch, shape.tokens), b.mul(place.chunk, CHUNK));
    return b.add(b.mul(b.convert(token, 'i64'), heads), b.convert(head, 'i64'));
  }

  /**
   * The chunk's first row of a buffer, and offsets from there of columns `first .. first + columns` of `rows [n,1]`.
   */
  #block(
    x: RowBuffer,
    place: Place,
    rows: Tile,
    first: Tile | number,
    columns: number,
  ): { at: Pointer; offsets: Tile } {
    const { b } = this;
    const at = b.advance(x.pointer, b.mul(this.#row(place, x.heads), x.width));
    return { at, offsets: b.add(b.mul(rows, x.heads * x.width), b.add(b.columns(columns), first)) };
  }

  /** Columns `first .. first + columns` of the chunk's rows, `[C,columns]`. */
  load(x: RowBuffer, place: Place, first: Tile | number = 0, columns = x.width): Tile {
    const { at, offsets } = this.#block(x, place, this.b.rows(CHUNK), first, columns);
    return this.b.load(at, offsets);
  }

  /** Rows of the chunk by their numbers `[n,1]`: `[n,width]`. */
  gather(x: RowBuffer, place: Place, rows: Tile): Tile {
    const { at, offsets } = this.#block(x, place, rows, 0, x.width);
    return this.b.load(at, offsets);
  }

  store(x: RowBuffer, place: Place, value: Tile, first: Tile | number = 0): void {
    const { at, offsets } = this.#block(x, place, this.b.rows(CHUNK), first, present(value.shape[1]));
    this.b.store(at, offsets, value);
  }

  #scalars(pointer: Pointer, place: Place): { at: Pointer; offsets: Tile } {
    const { b, shape } = this;
    return { at: b.advance(pointer, this.#row(place, shape.heads)), offsets: b.mul(b.range(CHUNK), shape.heads) };
  }

  /** Scalars of the chunk's tokens, `[C]`. */
  loadScalars(pointer: Pointer, place: Place): Tile {
    const { at, offsets } = this.#scalars(pointer, place);
    return this.b.load(at, offsets);
  }

  storeScalars(pointer: Pointer, place: Place, value: Tile): void {
    const { at, offsets } = this.#scalars(pointer, place);
    this.b.store(at, offsets, value);
  }

  /**
   * The offset of state `index` of a buffer of states `[K,V]`, and the offsets of a block `[rows,columns]` inside it.
   */
  #state(index: Tile, k: Tile | number, v: Tile | number, rows: number, columns: number): { by: Tile; offsets: Tile } {
    const { b, shape } = this;
    const size = shape.keyWidth * shape.valueWidth;
    const row = b.add(b.rows(rows), k);
    const offsets = b.add(b.mul(row, shape.valueWidth), b.add(b.columns(columns), v));
    return { by: b.mul(b.convert(index, 'i64'), size), offsets };
  }

  /** Index of the state of a chunk in `[B,N,H,K,V]`. */
  chunkState({ batch, head, chunk }: Place): Tile {
    const { b, shape, count } = this;
    return b.add(b.mul(b.add(b.mul(batch, count), chunk), shape.heads), head);
  }

  /** Index of a head's state in `[B,H,K,V]`. */
  headState({ batch, head }: Place): Tile {
    return this.b.add(this.b.mul(batch, this.shape.heads), head);
  }

  loadState(p: Pointer, index: Tile, k: Tile | number, v: Tile | number, rows: number, columns: number): Tile {
    const { by, offsets } = this.#state(index, k, v, rows, columns);
    return this.b.load(this.b.advance(p, by), offsets);
  }

  storeState(p: Pointer, index: Tile, value: Tile, k: Tile | number, v: Tile | number): void {
    const [rows, columns] = dims(value, 2);
    const { by, offsets } = this.#state(index, k, v, rows, columns);
    this.b.store(this.b.advance(p, by), offsets, value);
  }

  /** Which document each token of the chunk belongs to, `[C]`; 0 is that of the token before the chunk. */
  #runs(segments: Pointer, place: Place): Tile {
    const { b, shape } = this;
    const first = b.mul(place.chunk, CHUNK);
    const start = b.advance(segments, b.add(b.mul(place.batch, shape.tokens), first));
    const offsets = b.range(CHUNK);
    const ids = b.load(start, offsets);
    const before = b.load(start, b.sub(offsets, 1), { mask: b.gt(b.add(offsets, first), 0) });
    const changed = b.and(b.ne(ids, before), b.gt(b.add(offsets, first), 0));
    return b.cumsum(b.convert(changed, 'i32'), 0);
  }

  /** What shares a document with what; null everywhere if there are none. */
  documents(segments: Pointer | null, place: Place): SharedDocuments {
    const { b } = this;
    if (!segments) return { withStart: null, withEnd: null, throughout: null, pairs: null };
    const runs = this.#runs(segments, place);
    const last = b.maximum(runs, 0);
    return {
      withStart: b.eq(runs, 0),
      withEnd: b.eq(runs, last),
      throughout: b.eq(last, 0),
      pairs: b.eq(b.expandDims(runs, 1), b.expandDims(runs, 0)),
    };
  }

  /** `exp(log)`, masked to 0 where `shown` is false; null masks nothing. */
  decay(log: Tile, shown: Tile | null): Tile {
    const { b } = this;
    return b.exp(shown ? b.select(b.broadcast(shown, log.shape), log, MASKED) : log);
  }

  decays({ g, segments }: { readonly g: Pointer; readonly segments: Pointer | null }, place: Place): ChunkDecays {
    const { b } = this;
    const log = this.loadScalars(g, place);
    const sum = b.cumsum(log, 0);
    const total = b.sum(log, 0);
    const { withStart, withEnd, throughout, pairs } = this.documents(segments, place);
    const within = (): Tile => {
      const [row, column] = [b.rows(CHUNK), b.columns(CHUNK)];
      const past = b.ge(b.broadcast(row, [CHUNK, CHUNK]), b.broadcast(column, [CHUNK, CHUNK]));
      const difference = b.sub(b.expandDims(sum, 1), b.expandDims(sum, 0));
      return this.decay(difference, pairs ? b.and(past, pairs) : past);
    };
    return {
      within,
      enter: this.decay(sum, withStart),
      leave: this.decay(b.sub(total, sum), withEnd),
      keep: this.decay(total, throughout),
    };
  }

  /** `x [C,n]` with a factor for each row. */
  scaleRows(x: Tile, factors: Tile): Tile {
    const { b } = this;
    return b.mul(b.convert(x, 'f32'), b.expandDims(factors, 1));
  }

  bf16(x: Tile): Tile {
    return this.b.convert(x, 'bf16');
  }

  /** Sum over columns of `x * y`, `[C]`. */
  rowDots(x: Tile, y: Tile): Tile {
    const { b } = this;
    return b.sum(b.mul(b.convert(x, 'f32'), b.convert(y, 'f32')), 1);
  }
}
