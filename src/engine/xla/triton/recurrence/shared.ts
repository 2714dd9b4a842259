/**
 * What the tile kernels of the recurrences share: where the rows of a chunk lie, and the decays between its tokens.
 *
 * Shape letters: B batch, T tokens, H heads, N chunks, C tokens in a chunk, K key width, V value width. Rows are those of the
 * graph, `[B,T,heads,width]`; states `[B,N,H,K,V]` are those that enter a chunk (or, for cotangents, that leave it).
 */
import { KernelBuilder, type Launch } from '../builder.js';
import type { BufferDType, Pointer, Tile } from '../ir.js';

/** Tokens in a chunk. */
export const CHUNK = 64;

export interface RecurrenceShape {
  readonly batch: number;
  readonly tokens: number;
  /** Heads of the decay, and of q, k and v, which divide them. */
  readonly heads: number;
  readonly qHeads: number;
  readonly kHeads: number;
  readonly vHeads: number;
  readonly keyWidth: number;
  readonly valueWidth: number;
  readonly scale: number;
  /** Whether the document of each token is given. */
  readonly segments: boolean;
}

/** A tensor `[B,T,heads,width]`. */
export interface RowBuffer {
  readonly pointer: Pointer;
  readonly heads: number;
  readonly width: number;
}

/** The chunk that an instance, or a turn of its loop, works on. */
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

const HIDDEN = -1e30;

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

  /** The log decays, and the documents if given. */
  gates(): { readonly g: Pointer; readonly segments: Pointer | null } {
    const { batch, tokens, segments } = this.shape;
    return { g: this.scalars('g'), segments: segments ? this.b.input('segments', 'i32', [batch, tokens]) : null };
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
    const own = heads === shape.heads ? place.head : b.div(place.head, shape.heads / heads);
    const token = b.add(b.mul(place.batch, shape.tokens), b.mul(place.chunk, CHUNK));
    return b.add(b.mul(b.convert(token, 'i64'), heads), b.convert(own, 'i64'));
  }

  /** Offsets of `columns` of the chunk's rows from `first` on. */
  #offsets({ heads, width }: RowBuffer, first: Tile | number, columns: number, rows = CHUNK): Tile {
    const { b } = this;
    return b.add(b.mul(b.rows(rows), heads * width), b.add(b.columns(columns), first));
  }

  /** Columns `first .. first + columns` of the chunk's rows `[C,columns]`, or of `rows` of them from row `from` on. */
  load(x: RowBuffer, place: Place, first: Tile | number = 0, columns = x.width, from = 0, rows = CHUNK): Tile {
    const { b } = this;
    const start = b.mul(b.add(this.#row(place, x.heads), from * x.heads), x.width);
    return b.load(b.advance(x.pointer, start), this.#offsets(x, first, columns, rows));
  }

  store(x: RowBuffer, place: Place, value: Tile, first: Tile | number = 0, from = 0): void {
    const { b } = this;
    const [rows, columns] = value.shape as [number, number];
    const start = b.mul(b.add(this.#row(place, x.heads), from * x.heads), x.width);
    b.store(b.advance(x.pointer, start), this.#offsets(x, first, columns, rows), value);
  }

  /** Scalars of the chunk's tokens, `[C]` (or `rows` of them from row `from` on). */
  loadScalars(pointer: Pointer, place: Place, from = 0, rows = CHUNK): Tile {
    const { b, shape } = this;
    const start = b.add(this.#row(place, shape.heads), from * shape.heads);
    return b.load(b.advance(pointer, start), b.mul(b.range(rows), shape.heads));
  }

  storeScalars(pointer: Pointer, place: Place, value: Tile): void {
    const { b, shape } = this;
    b.store(b.advance(pointer, this.#row(place, shape.heads)), b.mul(b.range(CHUNK), shape.heads), value);
  }

  /** The place of part `[rows,columns]` of a state: `index` counts states `[K,V]` from the start of the buffer. */
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
    const [rows, columns] = value.shape as [number, number];
    const { by, offsets } = this.#state(index, k, v, rows, columns);
    this.b.store(this.b.advance(p, by), offsets, value);
  }

  /** Which document each of `rows` tokens from row `from` on belongs to; 0 is that of the token before them. */
  #runs(segments: Pointer, place: Place, from = 0, rows = CHUNK): Tile {
    const { b, shape } = this;
    const first = b.add(b.mul(place.chunk, CHUNK), from);
    const start = b.advance(segments, b.add(b.mul(place.batch, shape.tokens), first));
    const own = b.range(rows);
    const ids = b.load(start, own);
    const before = b.load(start, b.sub(own, 1), { mask: b.gt(b.add(own, first), 0) });
    const changed = b.and(b.ne(ids, before), b.gt(b.add(own, first), 0));
    return b.cumsum(b.convert(changed, 'i32'), 0);
  }

  decays({ g, segments }: { readonly g: Pointer; readonly segments: Pointer | null }, place: Place): ChunkDecays {
    const { b } = this;
    const log = this.loadScalars(g, place);
    const sum = b.cumsum(log, 0);
    const total = b.sum(log, 0);
    const runs = segments && this.#runs(segments, place);
    const last = runs && b.maximum(runs, 0);
    const masked = (x: Tile, same: Tile | null): Tile => b.exp(same ? b.select(same, x, HIDDEN) : x);
    const within = (): Tile => {
      const [row, column] = [b.rows(CHUNK), b.columns(CHUNK)];
      const past = b.ge(b.broadcast(row, [CHUNK, CHUNK]), b.broadcast(column, [CHUNK, CHUNK]));
      const same = runs && b.eq(b.expandDims(runs, 1), b.expandDims(runs, 0));
      const difference = b.sub(b.expandDims(sum, 1), b.expandDims(sum, 0));
      return b.exp(b.select(same ? b.and(past, same) : past, difference, HIDDEN));
    };
    return {
      within,
      enter: masked(sum, runs && b.eq(runs, 0)),
      leave: masked(b.sub(total, sum), runs && last && b.eq(runs, last)),
      keep: masked(total, last && b.eq(last, 0)),
    };
  }

  /** The decays between the halves of a chunk, `[C/2,C/2]` each, and from its start to each token, `[C/2]`. */
  halves(
    { g, segments }: { readonly g: Pointer; readonly segments: Pointer | null },
    place: Place,
  ): { readonly between: (r: 0 | 1, s: 0 | 1) => Tile; readonly enter: readonly [Tile, Tile] } {
    const { b } = this;
    const half = CHUNK / 2;
    const logs = [0, 1].map((i) => this.loadScalars(g, place, i * half, half)) as [Tile, Tile];
    const first = b.cumsum(logs[0], 0);
    const sums = [first, b.add(b.cumsum(logs[1], 0), b.sum(logs[0], 0))] as const;
    const firstRuns = segments && this.#runs(segments, place, 0, half);
    const runs = segments &&
      firstRuns && [firstRuns, b.add(this.#runs(segments, place, half, half), b.maximum(firstRuns, 0))];
    const between = (r: 0 | 1, s: 0 | 1): Tile => {
      const difference = b.sub(b.expandDims(sums[r], 1), b.expandDims(sums[s], 0));
      const past = b.ge(b.broadcast(b.rows(half), [half, half]), b.broadcast(b.columns(half), [half, half]));
      const same = runs && b.eq(b.expandDims(runs[r] as Tile, 1), b.expandDims(runs[s] as Tile, 0));
      const seen = r === s ? (same ? b.and(past, same) : past) : same;
      return b.exp(seen ? b.select(seen, difference, HIDDEN) : difference);
    };
    const enter = sums.map((sum, i) => b.exp(runs ? b.select(b.eq(runs[i] as Tile, 0), sum, HIDDEN) : sum));
    return { between, enter: enter as [Tile, Tile] };
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
