/**
 * RMS norm without gain as tile kernels, and its gradient with the residual sum after it: each row is read once, where
 * XLA reads it once for the mean square and once more for the result. The residual sum before it belongs to the product
 * that it follows.
 */
import { KernelBuilder } from './triton/builder.js';
import type { Kernel, Pointer, Tile } from './triton/ir.js';

/** Rows of `width` channels. */
export interface Rows {
  /** The axes before the channels. */
  readonly shape: readonly number[];
  readonly width: number;
}

/** Widest row that a program keeps in registers. */
export const WIDEST_ROW = 4096;

/** Elements that a warp keeps in registers: one warp a row of this many or fewer measures fastest. */
const WARP_ELEMENTS = 1024;

/** Blocks of rows of a kernel's buffers, of a size that the warps of a program keep in registers. */
class RowBlocks {
  readonly b: KernelBuilder;
  readonly #block: number;
  readonly #first: Tile;
  readonly #offsets: Tile;
  readonly #mask: Tile;
  readonly #rows: Tile;
  readonly #exist: Tile;

  constructor(
    name: string,
    readonly rows: Rows,
  ) {
    const columns = 2 ** Math.ceil(Math.log2(rows.width));
    const count = rows.shape.reduce((n, d) => n * d, 1);
    this.#block = Math.max(1, WARP_ELEMENTS / columns);
    const grid = [Math.ceil(count / this.#block), 1, 1] as const;
    const numWarps = Math.max(1, columns / WARP_ELEMENTS);
    this.b = new KernelBuilder({ name, grid, numWarps, numStages: 1 });
    const { b } = this;
    this.#first = b.mul(b.programId(0), this.#block);
    const row = b.rows(this.#block);
    const column = b.columns(columns);
    this.#offsets = b.add(b.mul(row, rows.width), column);
    const exist = b.lt(b.add(row, this.#first), count);
    this.#mask = b.and(
      b.broadcast(exist, [this.#block, columns]),
      b.broadcast(b.lt(column, rows.width), [this.#block, columns]),
    );
    this.#rows = b.range(this.#block);
    this.#exist = b.lt(b.add(this.#rows, this.#first), count);
  }

  input(name: string): Pointer {
    return this.b.input(name, 'bf16', [...this.rows.shape, this.rows.width]);
  }

  output(name: string): Pointer {
    return this.b.output(name, 'bf16', [...this.rows.shape, this.rows.width]);
  }

  get statistics(): readonly number[] {
    return [...this.rows.shape, 1];
  }

  #at(pointer: Pointer): Pointer {
    const { b } = this;
    return b.advance(pointer, b.mul(b.convert(this.#first, 'i64'), this.rows.width));
  }

  load(pointer: Pointer): Tile {
    return this.b.convert(this.b.load(this.#at(pointer), this.#offsets, { mask: this.#mask }), 'f32');
  }

  store(pointer: Pointer, value: Tile): void {
    this.b.store(this.#at(pointer), this.#offsets, value, this.#mask);
  }

  loadStatistic(pointer: Pointer): Tile {
    return this.b.load(this.b.advance(pointer, this.#first), this.#rows, { mask: this.#exist });
  }

  storeStatistic(pointer: Pointer, value: Tile): void {
    this.b.store(this.b.advance(pointer, this.#first), this.#rows, value, this.#exist);
  }

  mean(x: Tile): Tile {
    return this.b.mul(this.b.sum(x, 1), 1 / this.rows.width);
  }

  column(x: Tile): Tile {
    return this.b.expandDims(x, 1);
  }
}

/** x -> `y` = x / rms(x), `rstd` f32 = 1 / rms(x), rows kept as size 1. */
export function rmsNormKernel(rows: Rows, epsilon: number): Kernel {
  const blocks = new RowBlocks('rms_norm', rows);
  const { b } = blocks;
  const input = blocks.input('x');
  const [y, rstd] = [blocks.output('y'), b.output('rstd', 'f32', blocks.statistics)];
  const x = blocks.load(input);
  const scale = b.rsqrt(b.add(blocks.mean(b.mul(x, x)), epsilon));
  blocks.store(y, b.mul(x, blocks.column(scale)));
  blocks.storeStatistic(rstd, scale);
  return b.build();
}

/** y, rstd, dy, [added] -> `dx` [+ added]. */
export function rmsNormGradKernel(rows: Rows, residual: boolean): Kernel {
  const blocks = new RowBlocks('rms_norm_grad', rows);
  const { b } = blocks;
  const [y, rstd, dy] = [blocks.input('y'), b.input('rstd', 'f32', blocks.statistics), blocks.input('dy')];
  const added = residual ? blocks.input('added') : null;
  const dx = blocks.output('dx');
  const scale = blocks.column(blocks.loadStatistic(rstd));
  const [normal, d] = [blocks.load(y), blocks.load(dy)];
  const inner = blocks.column(blocks.mean(b.mul(d, normal)));
  const direct = b.mul(b.sub(d, b.mul(normal, inner)), scale);
  blocks.store(dx, added ? b.add(direct, blocks.load(added)) : direct);
  return b.build();
}
