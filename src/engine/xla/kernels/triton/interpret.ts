/**
 * Executes tile kernels on host arrays, instance by instance: the meaning of the program, for tests without a GPU.
 * Memory is checked as a GPU would not: reads and writes outside a buffer, elements written twice with different
 * values, and elements never written are errors.
 */
import {
  present,
  at,
  f64At,
  got,
  dims,
  EngineError,
  fromBf16Bits,
  i32At,
  sizeOf,
  stridesOf,
  toBf16Bits,
  viewOffsets,
} from '../../../../core/index.js';
import type {
  BufferSpec,
  Kernel,
  LoopOp,
  Pointer,
  Tile,
  TileBinary,
  TileCompare,
  TileDType,
  TileOp,
  TileUnary,
} from './ir.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const readF64 = f64At;
const readI32 = i32At;

const identity = (x: number): number => x;

/** How a kernel is computed on the host. */
export interface InterpretOptions {
  /** Floats in float64 throughout, for comparing algebra; else f32 and bf16 round as on the device. */
  readonly exact?: boolean;
}

type Values = Float64Array;

interface Memory {
  readonly spec: BufferSpec;
  readonly data: Values;
  readonly written: Uint8Array;
}

interface Place {
  readonly memory: Memory;
  readonly start: number;
}

const UNARY: Readonly<Record<TileUnary, (x: number) => number>> = {
  exp: Math.exp,
  exp2: (x) => 2 ** x,
  log: Math.log,
  log2: Math.log2,
  sqrt: Math.sqrt,
  rsqrt: (x) => 1 / Math.sqrt(x),
  abs: Math.abs,
};

const BINARY: Readonly<Record<TileBinary, (a: number, b: number) => number>> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  rem: (a, b) => a % b,
  min: Math.min,
  max: Math.max,
  and: (a, b) => a & b,
  or: (a, b) => a | b,
};

const COMPARE: Readonly<Record<TileCompare, (a: number, b: number) => boolean>> = {
  eq: (a, b) => a === b,
  ne: (a, b) => a !== b,
  lt: (a, b) => a < b,
  le: (a, b) => a <= b,
  gt: (a, b) => a > b,
  ge: (a, b) => a >= b,
};

const REDUCE = { add: BINARY.add, max: BINARY.max, min: BINARY.min } as const;

/** Axes before, along and after `axis`, as counts of elements. */
function around(shape: readonly number[], axis: number): readonly [before: number, along: number, after: number] {
  return [sizeOf(shape.slice(0, axis)), at(shape, axis), sizeOf(shape.slice(axis + 1))];
}

function transposed(x: Values, [rows, columns]: readonly number[]): Values {
  const [m, n] = [present(rows), present(columns)];
  const out = new Float64Array(x.length);
  for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) out[j * m + i] = readF64(x, i * n + j);
  return out;
}

function product(a: Values, b: Values, acc: Values, m: number, k: number, n: number): Values {
  const out = acc.slice();
  for (let i = 0; i < m; i++) {
    for (let p = 0; p < k; p++) {
      const x = readF64(a, i * k + p);
      if (x === 0) continue;
      for (let j = 0; j < n; j++) out[i * n + j] = readF64(out, i * n + j) + x * readF64(b, p * n + j);
    }
  }
  return out;
}

/** One instance of a kernel. */
class Instance {
  readonly #values = new Map<Tile, Values>();
  readonly #places = new Map<Pointer, Place>();

  constructor(
    private readonly kernel: Kernel,
    memories: readonly Memory[],
    private readonly at: readonly [number, number, number],
    private readonly round: Readonly<Record<TileDType, (x: number) => number>>,
  ) {
    kernel.pointers.forEach((p, i) => this.#places.set(p, { memory: present(memories[i]), start: 0 }));
  }

  run(body: readonly TileOp[] = this.kernel.body): void {
    for (const op of body) this.#step(op);
  }

  #of(tile: Tile): Values {
    return got(this.#values, tile);
  }

  #set(tile: Tile, values: Values): void {
    const round = this.round[tile.dtype];
    if (round !== identity) for (let i = 0; i < values.length; i++) values[i] = round(readF64(values, i));
    this.#values.set(tile, values);
  }

  #step(op: TileOp): void {
    // Every result goes through `#set`, which rounds it as the device does; reads and writes check their bounds.
    switch (op.op) {
      case 'programId':
        return this.#set(op.out, Float64Array.of(this.at[op.axis]));
      case 'constant':
        return this.#set(op.out, new Float64Array(sizeOf(op.out.shape)).fill(op.value));
      case 'range':
        return this.#set(
          op.out,
          Float64Array.from({ length: at(op.out.shape, 0) }, (_, i) => i),
        );
      case 'unary':
        return this.#set(op.out, this.#of(op.x).map(UNARY[op.fn]));
      case 'binary': {
        const b = this.#of(op.b);
        const f = BINARY[op.fn];
        return this.#set(
          op.out,
          this.#of(op.a).map((x, i) => f(x, readF64(b, i))),
        );
      }
      case 'compare': {
        const b = this.#of(op.b);
        const f = COMPARE[op.fn];
        return this.#set(
          op.out,
          this.#of(op.a).map((x, i) => (f(x, readF64(b, i)) ? 1 : 0)),
        );
      }
      case 'select': {
        const [a, b] = [this.#of(op.a), this.#of(op.b)];
        return this.#set(
          op.out,
          this.#of(op.c).map((c, i) => present(c !== 0 ? a[i] : b[i])),
        );
      }
      case 'convert':
      case 'expandDims':
        return this.#set(op.out, this.#of(op.x).slice());
      case 'broadcast':
        return this.#set(op.out, this.#stretched(op.x, op.out.shape));
      case 'halves': {
        const n = at(op.x.shape, 1);
        const from = this.#of(op.x);
        op.outs.forEach((out, side) => {
          const half = from.filter((_, i) => Math.floor((i % n) / (n / 2)) === side);
          this.#set(out, half);
        });
        return;
      }
      case 'transpose':
        return this.#set(op.out, transposed(this.#of(op.x), op.x.shape));
      case 'dot': {
        const [m, k] = dims(op.a, 2);
        const n = at(op.b.shape, 1);
        return this.#set(op.out, product(this.#of(op.a), this.#of(op.b), this.#of(op.acc), m, k, n));
      }
      case 'reduce':
        return this.#set(op.out, this.#reduced(op.x, op.axis, REDUCE[op.fn]));
      case 'cumsum':
        return this.#set(op.out, this.#running(op.x, op.axis, op.reverse));
      case 'advance': {
        const { memory, start } = got(this.#places, op.pointer);
        this.#places.set(op.out, { memory, start: start + at(this.#of(op.by), 0) });
        return;
      }
      case 'load':
        return this.#load(op);
      case 'store':
        return this.#store(op);
      case 'loop':
        return this.#loop(op);
      default:
        return op satisfies never;
    }
  }

  #stretched(x: Tile, shape: readonly number[]): Values {
    const from = this.#of(x);
    if (x.shape.length === 0) return new Float64Array(sizeOf(shape)).fill(readF64(from, 0));
    const own = stridesOf(x.shape);
    const places = viewOffsets(
      shape,
      x.shape.map((n, axis) => (n === 1 ? 0 : at(own, axis))),
    );
    const out = new Float64Array(places.length);
    for (let i = 0; i < out.length; i++) out[i] = readF64(from, readI32(places, i));
    return out;
  }

  #reduced(x: Tile, axis: number, f: (a: number, b: number) => number): Values {
    const [before, along, after] = around(x.shape, axis);
    const from = this.#of(x);
    const out = new Float64Array(before * after);
    for (let i = 0; i < before; i++) {
      for (let j = 0; j < after; j++) {
        let total = readF64(from, i * along * after + j);
        for (let k = 1; k < along; k++) total = f(total, readF64(from, (i * along + k) * after + j));
        out[i * after + j] = total;
      }
    }
    return out;
  }

  #running(x: Tile, axis: number, reverse: boolean): Values {
    const [before, along, after] = around(x.shape, axis);
    const out = this.#of(x).slice();
    for (let i = 0; i < before; i++) {
      for (let j = 0; j < after; j++) {
        for (let step = 1; step < along; step++) {
          const k = reverse ? along - 1 - step : step;
          const place = (i * along + k) * after + j;
          out[place] = readF64(out, place) + readF64(out, place + (reverse ? after : -after));
        }
      }
    }
    return out;
  }

  /** The place of element `offset` from a pointer. Throws where there is none. */
  #index({ memory, start }: Place, offset: number, what: string): number {
    const index = start + offset;
    if (index >= 0 && index < memory.data.length) return index;
    throw new EngineError(
      `kernel ${this.kernel.name}: instance (${this.at.join(', ')}) ${what} element ${index} of ` +
        `"${memory.spec.name}", which has ${memory.data.length}`,
    );
  }

  #load({ pointer, offsets, mask, other, out }: TileOp & { op: 'load' }): void {
    const place = got(this.#places, pointer);
    const [shown, filled] = [mask && this.#of(mask), other && this.#of(other)];
    const values = this.#of(offsets).map((offset, i) => {
      if (shown && shown[i] === 0) return readF64(present(filled), i);
      return readF64(place.memory.data, this.#index(place, offset, 'reads'));
    });
    this.#set(out, values);
  }

  #store({ pointer, offsets, value, mask }: TileOp & { op: 'store' }): void {
    const place = got(this.#places, pointer);
    const { data, written, spec } = place.memory;
    const [shown, values] = [mask && this.#of(mask), this.#of(value)];
    this.#of(offsets).forEach((offset, i) => {
      if (shown && shown[i] === 0) return;
      const index = this.#index(place, offset, 'writes');
      const v = readF64(values, i);
      if (written[index] !== 0 && !Object.is(data[index], v)) {
        throw new EngineError(`kernel ${this.kernel.name}: element ${index} of "${spec.name}" is written twice`);
      }
      data[index] = v;
      written[index] = 1;
    });
  }

  #loop({ from, to, index, initial, carried, next, outs, body }: LoopOp): void {
    let values = initial.map((v) => this.#of(v));
    const end = at(this.#of(to), 0);
    for (let i = at(this.#of(from), 0); i < end; i++) {
      this.#values.set(index, Float64Array.of(i));
      carried.forEach((c, j) => this.#values.set(c, at(values, j)));
      this.run(body);
      values = next.map((v) => this.#of(v));
    }
    outs.forEach((out, j) => this.#values.set(out, at(values, j)));
  }
}

const toBf16 = (x: number): number => fromBf16Bits(toBf16Bits(x));

/**
 * Runs a kernel on operands given by name, as numbers; returns its results by name.
 *
 * @throws EngineError for memory errors, a missing operand, or one of another length than its buffer
 */
export function runKernel(
  kernel: Kernel,
  operands: Readonly<Record<string, ArrayLike<number>>>,
  { exact = false }: InterpretOptions = {},
): Record<string, Float64Array> {
  const trunc = { i32: Math.trunc, i64: Math.trunc, bool: identity };
  const round = exact ? { f32: identity, bf16: identity, ...trunc } : { f32: Math.fround, bf16: toBf16, ...trunc };
  const memories = kernel.buffers.map((spec): Memory => {
    const size = sizeOf(spec.shape);
    const written = new Uint8Array(size);
    if (spec.written) return { spec, data: new Float64Array(size).fill(NaN), written };
    const given = operands[spec.name];
    if (given?.length !== size) {
      const got = given === undefined ? 'is missing' : `has ${given.length} elements`;
      throw new EngineError(`kernel ${kernel.name}: operand "${spec.name}" ${got}; it needs ${size}`);
    }
    const rounded = round[spec.dtype];
    const data = new Float64Array(size);
    for (let i = 0; i < size; i++) data[i] = rounded(at(given, i));
    return { spec, data, written };
  });
  const [nx, ny, nz] = kernel.grid;
  for (let z = 0; z < nz; z++) {
    for (let y = 0; y < ny; y++) {
      for (let x = 0; x < nx; x++) new Instance(kernel, memories, [x, y, z], round).run();
    }
  }
  const results = memories.filter(({ spec }) => spec.written);
  for (const { spec, written } of results) {
    const missed = written.indexOf(0);
    if (missed >= 0)
      throw new EngineError(`kernel ${kernel.name}: element ${missed} of "${spec.name}" is never written`);
  }
  return Object.fromEntries(results.map(({ spec, data }) => [spec.name, data]));
}
