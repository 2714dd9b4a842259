/** Builds tile kernels: one method per operation, NumPy-like broadcasting, types checked as the program is built. */
import { at, dims, ShapeError, formatShape, sameShape, type Shape } from '../../../../core/index.js';
import type {
  BufferSpec,
  DotPrecision,
  Kernel,
  Pointer,
  Tile,
  TileBinary,
  TileCompare,
  TileDType,
  TileOp,
  TileReduce,
  TileUnary,
} from './ir.js';

/** A tile, or a number, which takes the dtype of the other operand. */
export type Operand = Tile | number;

/** How a kernel is launched. */
export interface Launch {
  readonly name: string;
  /**
   * Program instances along each axis. Where the second or third is more than CUDA launches there, all are launched
   * along the first, and `programId` computes the three indices: in the same order, the first axis fastest.
   */
  readonly grid: readonly [number, number, number];
  readonly numWarps: number;
  readonly numStages: number;
  /** The most registers of a thread; null or absent for no bound. */
  readonly maxRegisters?: number | null;
}

/** Which elements a load reads, and what it gives for the others. */
export interface LoadOptions {
  readonly mask?: Tile;
  /** What masked elements read as; default 0. */
  readonly other?: number;
}

/** The most blocks along the second and third axis of a grid (CUDA C++ Programming Guide, technical specifications). */
const MAX_GRID_YZ = 65_535;

const isFloat = (dtype: TileDType): boolean => dtype === 'f32' || dtype === 'bf16';
const isInteger = (dtype: TileDType): boolean => dtype === 'i32' || dtype === 'i64';
const INTEGER_ONLY: ReadonlySet<TileBinary> = new Set<TileBinary>(['rem']);
const describe = ({ dtype, shape }: Tile): string => `${dtype}${formatShape(shape)}`;

function fail(op: string, message: string): never {
  throw new ShapeError(`tile kernel: ${op}: ${message}`);
}

/** The shape that both stretch to: scalars to anything, axes of size 1 to the other's size. */
function joinShapes(op: string, a: Tile, b: Tile): Shape {
  if (a.shape.length === 0) return b.shape;
  if (b.shape.length === 0) return a.shape;
  if (a.shape.length !== b.shape.length) fail(op, `${describe(a)} and ${describe(b)} differ in rank; use expandDims`);
  return a.shape.map((m, i) => {
    const n = at(b.shape, i);
    if (m !== n && m !== 1 && n !== 1) fail(op, `${describe(a)} and ${describe(b)} do not broadcast`);
    return Math.max(m, n);
  });
}

const isPowerOfTwo = (n: number): boolean => Number.isInteger(n) && n >= 1 && Number.isInteger(Math.log2(n));

/** Builds a tile kernel op by op, with the type of every tile checked. */
export class KernelBuilder {
  readonly #buffers: BufferSpec[] = [];
  readonly #pointers: Pointer[] = [];
  readonly #body: TileOp[] = [];
  #block = this.#body;
  #next = 0;

  readonly #flat: boolean;

  constructor(readonly launch: Launch) {
    const [, y, z] = launch.grid;
    this.#flat = y > MAX_GRID_YZ || z > MAX_GRID_YZ;
  }

  /** An operand of the call. */
  input(name: string, dtype: BufferSpec['dtype'], shape: Shape): Pointer {
    return this.#buffer({ name, dtype, shape, written: false });
  }

  /** A result of the call; the program must write every element. Declare results after operands. */
  output(name: string, dtype: BufferSpec['dtype'], shape: Shape): Pointer {
    return this.#buffer({ name, dtype, shape, written: true });
  }

  #buffer(spec: BufferSpec): Pointer {
    if (!spec.written && this.#buffers.some((b) => b.written)) fail(spec.name, 'operands go before results');
    const pointer: Pointer = { id: this.#next++, dtype: spec.dtype };
    this.#buffers.push(spec);
    this.#pointers.push(pointer);
    return pointer;
  }

  #tile(dtype: TileDType, shape: Shape): Tile {
    if (!shape.every(isPowerOfTwo)) fail('shape', `${formatShape(shape)} has a size that is not a power of two`);
    return { id: this.#next++, dtype, shape };
  }

  #emit<T extends TileOp & { readonly out: Tile | Pointer }>(op: T): T['out'] {
    this.#block.push(op);
    return op.out;
  }

  /** The program instance's index in the grid along an axis, i32 (`tt.get_program_id`). */
  programId(axis: 0 | 1 | 2): Tile {
    if (!this.#flat) return this.#emit({ op: 'programId', axis, out: this.#tile('i32', []) });
    const [x, y] = this.launch.grid;
    const id = this.#emit({ op: 'programId', axis: 0, out: this.#tile('i32', []) });
    if (axis === 0) return this.rem(id, x);
    return axis === 1 ? this.rem(this.div(id, x), y) : this.div(id, x * y);
  }

  constant(dtype: TileDType, shape: Shape, value: number): Tile {
    return this.#emit({ op: 'constant', value, out: this.#tile(dtype, shape) });
  }

  zeros(shape: Shape, dtype: TileDType = 'f32'): Tile {
    return this.constant(dtype, shape, 0);
  }

  /** `0 .. n-1`, i32 `[n]`. */
  range(n: number): Tile {
    return this.#emit({ op: 'range', out: this.#tile('i32', [n]) });
  }

  /** `0 .. n-1` as a column `[n,1]`. */
  rows(n: number): Tile {
    return this.expandDims(this.range(n), 1);
  }

  /** `0 .. n-1` as a row `[1,n]`. */
  columns(n: number): Tile {
    return this.expandDims(this.range(n), 0);
  }

  #unary(fn: TileUnary, x: Tile): Tile {
    if (x.dtype !== 'f32') fail(fn, `needs f32, got ${describe(x)}; convert first`);
    return this.#emit({ op: 'unary', fn, x, out: this.#tile('f32', x.shape) });
  }

  exp = (x: Tile): Tile => this.#unary('exp', x);
  exp2 = (x: Tile): Tile => this.#unary('exp2', x);
  log = (x: Tile): Tile => this.#unary('log', x);
  log2 = (x: Tile): Tile => this.#unary('log2', x);
  sqrt = (x: Tile): Tile => this.#unary('sqrt', x);
  rsqrt = (x: Tile): Tile => this.#unary('rsqrt', x);
  abs = (x: Tile): Tile => this.#unary('abs', x);

  /** Both as tiles of one dtype and shape. */
  #pair(op: string, a: Operand, b: Operand): readonly [Tile, Tile] {
    if (typeof a === 'number') {
      if (typeof b === 'number') fail(op, 'two numbers; one must be a tile');
      return [this.constant(b.dtype, b.shape, a), b];
    }
    if (typeof b === 'number') return [a, this.constant(a.dtype, a.shape, b)];
    if (a.dtype !== b.dtype) fail(op, `${describe(a)} and ${describe(b)} differ in dtype; convert one`);
    const shape = joinShapes(op, a, b);
    return [this.broadcast(a, shape), this.broadcast(b, shape)];
  }

  #binary(fn: TileBinary, x: Operand, y: Operand): Tile {
    const [a, b] = this.#pair(fn, x, y);
    const logical = fn === 'and' || fn === 'or';
    if (logical !== (a.dtype === 'bool')) fail(fn, `does not take ${describe(a)}`);
    if (INTEGER_ONLY.has(fn) && !isInteger(a.dtype)) fail(fn, `does not take ${describe(a)}`);
    if (a.dtype === 'bf16') fail(fn, `arithmetic is in f32, got ${describe(a)}; convert first`);
    return this.#emit({ op: 'binary', fn, a, b, out: this.#tile(a.dtype, a.shape) });
  }

  add = (a: Operand, b: Operand): Tile => this.#binary('add', a, b);
  sub = (a: Operand, b: Operand): Tile => this.#binary('sub', a, b);
  mul = (a: Operand, b: Operand): Tile => this.#binary('mul', a, b);
  /** Integers round toward zero. */
  div = (a: Operand, b: Operand): Tile => this.#binary('div', a, b);
  /** The remainder of integers, with the sign of `a`. */
  rem = (a: Operand, b: Operand): Tile => this.#binary('rem', a, b);
  min = (a: Operand, b: Operand): Tile => this.#binary('min', a, b);
  max = (a: Operand, b: Operand): Tile => this.#binary('max', a, b);
  and = (a: Tile, b: Tile): Tile => this.#binary('and', a, b);
  or = (a: Tile, b: Tile): Tile => this.#binary('or', a, b);

  #compare(fn: TileCompare, x: Operand, y: Operand): Tile {
    const [a, b] = this.#pair(fn, x, y);
    return this.#emit({ op: 'compare', fn, a, b, out: this.#tile('bool', a.shape) });
  }

  eq = (a: Operand, b: Operand): Tile => this.#compare('eq', a, b);
  ne = (a: Operand, b: Operand): Tile => this.#compare('ne', a, b);
  lt = (a: Operand, b: Operand): Tile => this.#compare('lt', a, b);
  le = (a: Operand, b: Operand): Tile => this.#compare('le', a, b);
  gt = (a: Operand, b: Operand): Tile => this.#compare('gt', a, b);
  ge = (a: Operand, b: Operand): Tile => this.#compare('ge', a, b);

  /** `a` where the condition holds, else `b`. */
  select(condition: Tile, x: Operand, y: Operand): Tile {
    const [a, b] = this.#pair('select', x, y);
    const shape = joinShapes('select', condition, a);
    const [c, p, q] = [condition, a, b].map((t) => this.broadcast(t, shape)) as [Tile, Tile, Tile];
    return this.#emit({ op: 'select', c, a: p, b: q, out: this.#tile(a.dtype, shape) });
  }

  /** To another dtype: floats round to nearest even, i32 and i64 and bool widen or narrow, integers to f32. */
  convert(x: Tile, dtype: TileDType): Tile {
    if (x.dtype === dtype) return x;
    const both = isFloat(x.dtype) && isFloat(dtype);
    const integers = (isInteger(x.dtype) || x.dtype === 'bool') && isInteger(dtype);
    if (!both && !integers && !(isInteger(x.dtype) && dtype === 'f32')) {
      fail('convert', `${describe(x)} does not become ${dtype}`);
    }
    return this.#emit({ op: 'convert', x, out: this.#tile(dtype, x.shape) });
  }

  expandDims(x: Tile, axis: number): Tile {
    const shape = [...x.shape.slice(0, axis), 1, ...x.shape.slice(axis)];
    return this.#emit({ op: 'expandDims', x, axis, out: this.#tile(x.dtype, shape) });
  }

  broadcast(x: Tile, shape: Shape): Tile {
    if (sameShape(x.shape, shape)) return x;
    const fits =
      x.shape.length === 0 || (x.shape.length === shape.length && x.shape.every((n, i) => n === 1 || n === shape[i]));
    if (!fits) fail('broadcast', `${describe(x)} does not stretch to ${formatShape(shape)}`);
    return this.#emit({ op: 'broadcast', x, out: this.#tile(x.dtype, shape) });
  }

  /** The left and the right half of the columns of a matrix. */
  halves(x: Tile): readonly [Tile, Tile] {
    const [m, n] = dims(x, 2);
    if (x.shape.length !== 2 || n < 2) fail('halves', `needs a matrix of two columns or more, got ${describe(x)}`);
    const outs = [this.#tile(x.dtype, [m, n / 2]), this.#tile(x.dtype, [m, n / 2])] as const;
    this.#block.push({ op: 'halves', x, outs });
    return outs;
  }

  transpose(x: Tile): Tile {
    if (x.shape.length !== 2) fail('transpose', `needs a matrix, got ${describe(x)}`);
    return this.#emit({ op: 'transpose', x, out: this.#tile(x.dtype, [at(x.shape, 1), at(x.shape, 0)]) });
  }

  /** `a [M,K] · b [K,N] (+ acc [M,N])` in f32, from two bf16 or two f32 matrices with sizes of at least 16. */
  dot(a: Tile, b: Tile, acc?: Tile, precision: DotPrecision = 'ieee'): Tile {
    const [m, k] = dims(a, 2);
    const [k2, n] = dims(b, 2);
    if (a.shape.length !== 2 || b.shape.length !== 2 || k !== k2 || a.dtype !== b.dtype || !isFloat(a.dtype)) {
      fail('dot', `${describe(a)} · ${describe(b)} is no product of two matrices of one float dtype`);
    }
    if (Math.min(m, n, k) < 16) fail('dot', `${describe(a)} · ${describe(b)}: sizes must be at least 16`);
    const sum = acc ?? this.zeros([m, n]);
    if (sum.dtype !== 'f32' || !sameShape(sum.shape, [m, n])) fail('dot', `cannot add to ${describe(sum)}`);
    return this.#emit({ op: 'dot', a, b, acc: sum, precision, out: this.#tile('f32', [m, n]) });
  }

  #reduce(fn: TileReduce, x: Tile, axis: number): Tile {
    if (x.dtype !== 'f32' && x.dtype !== 'i32') fail('reduce', `does not take ${describe(x)}; convert first`);
    const shape = x.shape.filter((_, i) => i !== axis);
    return this.#emit({ op: 'reduce', fn, x, axis, out: this.#tile(x.dtype, shape) });
  }

  sum = (x: Tile, axis: number): Tile => this.#reduce('add', x, axis);
  maximum = (x: Tile, axis: number): Tile => this.#reduce('max', x, axis);
  minimum = (x: Tile, axis: number): Tile => this.#reduce('min', x, axis);

  cumsum(x: Tile, axis: number, reverse = false): Tile {
    if (x.dtype !== 'f32' && x.dtype !== 'i32') fail('cumsum', `does not take ${describe(x)}; convert first`);
    return this.#emit({ op: 'cumsum', x, axis, reverse, out: this.#tile(x.dtype, x.shape) });
  }

  /** `pointer` moved by a scalar number of elements. */
  advance(pointer: Pointer, by: Tile): Pointer {
    if (by.shape.length !== 0 || !isInteger(by.dtype)) fail('advance', `needs a scalar integer, got ${describe(by)}`);
    return this.#emit({ op: 'advance', pointer, by, out: { id: this.#next++, dtype: pointer.dtype } });
  }

  load(pointer: Pointer, offsets: Tile, { mask, other = 0 }: LoadOptions = {}): Tile {
    const out = this.#tile(pointer.dtype, offsets.shape);
    const shown = mask === undefined ? null : this.broadcast(mask, offsets.shape);
    const filled = shown === null ? null : this.constant(pointer.dtype, offsets.shape, other);
    return this.#emit({ op: 'load', pointer, offsets, mask: shown, other: filled, out });
  }

  /** Rounds `value` to the buffer's dtype and writes it. */
  store(pointer: Pointer, offsets: Tile, value: Tile, mask?: Tile): void {
    if (!sameShape(value.shape, offsets.shape)) fail('store', `${describe(value)} at offsets ${describe(offsets)}`);
    const shown = mask === undefined ? null : this.broadcast(mask, offsets.shape);
    const rounded = this.convert(value, pointer.dtype);
    this.#block.push({ op: 'store', pointer, offsets, value: rounded, mask: shown });
  }

  /**
   * `for (i = from; i < to; i++)`, as `scf.for`: `body` gets the index (i32) and the loop-carried values and returns
   * their next values, of the same types. Returns the values after the last iteration.
   */
  loop(
    from: Operand,
    to: Operand,
    initial: readonly Tile[],
    body: (index: Tile, carried: readonly Tile[]) => readonly Tile[],
  ): readonly Tile[] {
    const [start, end] = [from, to].map((v) => (typeof v === 'number' ? this.constant('i32', [], v) : v)) as [
      Tile,
      Tile,
    ];
    const copies = (): Tile[] => initial.map(({ dtype, shape }) => this.#tile(dtype, shape));
    const [index, carried] = [this.#tile('i32', []), copies()];
    const outer = this.#block;
    const inner: TileOp[] = [];
    this.#block = inner;
    const next = body(index, carried);
    this.#block = outer;
    next.forEach((v, i) => {
      const want = initial[i];
      if (want && v.dtype === want.dtype && sameShape(v.shape, want.shape)) return;
      fail('loop', `carried value ${i} is ${want ? describe(want) : 'unknown'} before and ${describe(v)} after a turn`);
    });
    if (next.length !== initial.length)
      fail('loop', `carries ${initial.length} values, the body returns ${next.length}`);
    const outs = copies();
    this.#block.push({ op: 'loop', from: start, to: end, index, initial, carried, next, outs, body: inner });
    return outs;
  }

  /** The finished kernel. */
  build(): Kernel {
    const [x, y, z] = this.launch.grid;
    const grid = this.#flat ? ([x * y * z, 1, 1] as const) : this.launch.grid;
    const { pointers, buffers, body } = { pointers: this.#pointers, buffers: this.#buffers, body: this.#body };
    return { maxRegisters: null, ...this.launch, grid, buffers, pointers, body };
  }
}
