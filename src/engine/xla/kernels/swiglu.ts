/**
 * SwiGLU, `silu(gate) * up`, and its gradient as tile kernels: gate and up are read where the projection left them, and
 * the gradient of the whole projection is written in one pass.
 */
import { last, at } from '../../../core/index.js';
import { KernelBuilder } from './triton/builder.js';
import type { HeadRows } from './heads.js';
import type { Kernel, Pointer, Tile } from './triton/ir.js';

/** Gate and up projections, as a kernel reads them. */
export interface Gated {
  /** The axes before the channels. */
  readonly shape: readonly number[];
  /** Channels of gate and of up. */
  readonly width: number;
  readonly gate: HeadRows;
  readonly up: HeadRows;
}

/** Elements of a tile, and the most of them in one row. */
const [TILE, LONGEST] = [2048, 512];

/** The place of a program instance's tile. */
class Tiles {
  readonly b: KernelBuilder;
  readonly #rows: Tile;
  readonly #columns: Tile;
  readonly #mask: Tile | undefined;
  readonly #first: Tile;
  readonly #start: Tile;

  constructor(
    name: string,
    readonly gated: Gated,
  ) {
    const { shape, width } = gated;
    const columns = Math.min(LONGEST, 2 ** Math.ceil(Math.log2(width)));
    const rows = TILE / columns;
    const count = shape.reduce((n, d) => n * d, 1);
    const grid = [Math.ceil(width / columns), Math.ceil(count / rows), 1] as const;
    this.b = new KernelBuilder({ name, grid, numWarps: 4, numStages: 1 });
    const { b } = this;
    this.#first = b.mul(b.programId(1), rows);
    this.#start = b.mul(b.programId(0), columns);
    [this.#rows, this.#columns] = [b.rows(rows), b.columns(columns)];
    const masks = [
      ...(count % rows === 0 ? [] : [b.lt(b.add(this.#rows, this.#first), count)]),
      ...(width % columns === 0 ? [] : [b.lt(b.add(this.#columns, this.#start), width)]),
    ].map((mask) => b.broadcast(mask, [rows, columns]));
    this.#mask = masks.length === 2 ? b.and(at(masks, 0), at(masks, 1)) : masks[0];
  }

  input(name: string, width: number): Pointer {
    return this.b.input(name, 'bf16', [...this.gated.shape, width]);
  }

  output(name: string, width: number): Pointer {
    return this.b.output(name, 'bf16', [...this.gated.shape, width]);
  }

  #at(pointer: Pointer, { width, offset }: HeadRows): { at: Pointer; offsets: Tile } {
    const { b } = this;
    const row = b.mul(b.convert(this.#first, 'i64'), width);
    const at = b.advance(pointer, b.add(row, b.convert(b.add(this.#start, offset), 'i64')));
    return { at, offsets: b.add(b.mul(this.#rows, width), this.#columns) };
  }

  load(pointer: Pointer, rows: HeadRows): Tile {
    const { at, offsets } = this.#at(pointer, rows);
    return this.b.convert(this.b.load(at, offsets, this.#mask ? { mask: this.#mask } : {}), 'f32');
  }

  store(pointer: Pointer, rows: HeadRows, value: Tile): void {
    const { at, offsets } = this.#at(pointer, rows);
    this.b.store(at, offsets, value, this.#mask);
  }

  sigmoid(x: Tile): Tile {
    const { b } = this;
    return b.div(1, b.add(b.exp(b.sub(0, x)), 1));
  }
}

/** gate, up -> `h` `[...,width]`. The operands are the values that gate and up are channels of. */
export function swigluKernel(gated: Gated): Kernel {
  const tiles = new Tiles('swiglu', gated);
  const { b } = tiles;
  const { width, gate, up } = gated;
  const [x, y] = [tiles.input('gate', gate.width), tiles.input('up', up.width)];
  const h = tiles.output('h', width);
  const g = tiles.load(x, gate);
  tiles.store(h, { width, offset: 0 }, b.mul(b.mul(g, tiles.sigmoid(g)), tiles.load(y, up)));
  return b.build();
}

/**
 * gate, up, dh -> `dx` with both gradients where gate and up are all the columns of one tensor (`joined`), or `dgate`,
 * `dup`.
 */
export function swigluGradKernel(gated: Gated, joined: boolean): Kernel {
  const tiles = new Tiles('swiglu_grad', gated);
  const { b } = tiles;
  const { width, gate, up } = gated;
  const rows = { width, offset: 0 };
  const [x, y, dh] = [tiles.input('gate', gate.width), tiles.input('up', up.width), tiles.input('dh', width)];
  const targets = joined
    ? [tiles.output('dx', gate.width)]
    : [tiles.output('dgate', width), tiles.output('dup', width)];
  const [g, u, d] = [tiles.load(x, gate), tiles.load(y, up), tiles.load(dh, rows)];
  const s = tiles.sigmoid(g);
  const silu = b.mul(g, s);
  // d silu / d gate = s + silu (1 - s).
  const slope = b.add(s, b.mul(silu, b.sub(1, s)));
  tiles.store(at(targets, 0), joined ? gate : rows, b.mul(b.mul(d, u), slope));
  tiles.store(last(targets), joined ? up : rows, b.mul(d, silu));
  return b.build();
}
