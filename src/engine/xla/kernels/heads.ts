/** Blocks of tokens of one head, as tile kernels load and store them, and rotary embedding on them. */
import { at } from '../../../core/index.js';
import type { KernelBuilder } from './triton/builder.js';
import type { Pointer, Tile } from './triton/ir.js';

/** Heads inside the rows of a tensor `[B,T,width]`: head h is channels `offset + h D` to `offset + (h+1) D`. */
export interface HeadRows {
  readonly width: number;
  readonly offset: number;
}

/** A block of a head: one tile `[C,D]`, or two tiles `[C,D/2]`, the halves that rotary embedding rotates together. */
export type Tiles = readonly Tile[];

/** The place of a block: scalars i32. */
export interface Place {
  readonly batch: Tile;
  readonly head: Tile;
  /** Its first token. */
  readonly token: Tile;
}

/** `C` tokens at a time of sequences of `tokens`, heads `headDim` wide. */
export class HeadBlocks {
  /** `0 .. C-1` as a column. */
  readonly rows: Tile;

  constructor(
    readonly b: KernelBuilder,
    readonly tokens: number,
    readonly headDim: number,
    readonly block: number,
  ) {
    this.rows = b.rows(block);
  }

  /** Whether every block is full. */
  get even(): boolean {
    return this.tokens % this.block === 0;
  }

  #start(pointer: Pointer, { width, offset }: HeadRows, { batch, head, token }: Place): Pointer {
    const { b } = this;
    const row = b.convert(b.add(b.mul(batch, this.tokens), token), 'i64');
    const channel = b.convert(b.add(b.mul(head, this.headDim), offset), 'i64');
    return b.advance(pointer, b.add(b.mul(row, width), channel));
  }

  #mask(token: Tile): { mask?: Tile } {
    const { b } = this;
    return this.even ? {} : { mask: b.lt(b.add(this.rows, token), this.tokens) };
  }

  #offsets(width: number, count: number): Tile[] {
    const { b } = this;
    const columns = this.headDim / count;
    const first = b.add(b.mul(this.rows, width), b.columns(columns));
    return Array.from({ length: count }, (_, i) => (i === 0 ? first : b.add(first, i * columns)));
  }

  /** Loads a block of a head as `count` tiles of equal width; rows past the end of the sequence are masked to 0. */
  load(pointer: Pointer, rows: HeadRows, place: Place, count = 1): Tiles {
    const start = this.#start(pointer, rows, place);
    const mask = this.#mask(place.token);
    return this.#offsets(rows.width, count).map((offsets) => this.b.load(start, offsets, mask));
  }

  store(pointer: Pointer, rows: HeadRows, place: Place, tiles: Tiles): void {
    const start = this.#start(pointer, rows, place);
    const { mask } = this.#mask(place.token);
    this.#offsets(rows.width, tiles.length).forEach((offsets, i) => this.b.store(start, offsets, at(tiles, i), mask));
  }

  /** Rows of the rotary tables `[T,D/2]` for the block at `token`. */
  angles(tables: readonly Pointer[], token: Tile): readonly [cos: Tile, sin: Tile] {
    const { b } = this;
    const half = this.headDim / 2;
    const [offsets] = this.#offsets(half, 2) as [Tile];
    const by = b.mul(token, half);
    return tables.map((t) => b.load(b.advance(t, by), offsets, this.#mask(token))) as [Tile, Tile];
  }

  /** Halves in float32, rotated by their angles, or back. */
  rotate([x, y]: Tiles, [cos, sin]: readonly [Tile, Tile], back: boolean): Tiles {
    const { b } = this;
    const [p, q] = [x, y] as [Tile, Tile];
    const [plus, minus] = back ? [b.add, b.sub] : [b.sub, b.add];
    return [plus(b.mul(p, cos), b.mul(q, sin)), minus(b.mul(q, cos), b.mul(p, sin))];
  }

  zeros(count: number): Tiles {
    return Array.from({ length: count }, () => this.b.zeros([this.block, this.headDim / count]));
  }
}
