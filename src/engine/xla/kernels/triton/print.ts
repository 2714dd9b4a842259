/** Tile kernels as Triton IR (the `tt`, `arith`, `math` and `scf` dialects of MLIR), which XLA takes as text. */
import { entry, got, dims, at } from '../../../../core/index.js';
import type { BufferSpec, Kernel, LoopOp, Pointer, Tile, TileDType, TileOp, TileType } from './ir.js';

const ELEMENT: Readonly<Record<TileDType, string>> = { f32: 'f32', bf16: 'bf16', i32: 'i32', i64: 'i64', bool: 'i1' };

/** Buffers of XLA start at multiples of this many bytes at least. */
const ALIGNMENT = 16;

const shaped = (shape: readonly number[], element: string): string =>
  shape.length === 0 ? element : `tensor<${[...shape, element].join('x')}>`;
const typeOf = ({ dtype, shape }: TileType): string => shaped(shape, ELEMENT[dtype]);
const pointerTo = (dtype: TileDType): string => `!tt.ptr<${ELEMENT[dtype]}>`;
const isFloat = (dtype: TileDType): boolean => dtype === 'f32' || dtype === 'bf16';

function literal(value: number, dtype: TileDType): string {
  if (dtype === 'bool') return value === 0 ? 'false' : 'true';
  if (!isFloat(dtype)) return `${value}`;
  if (value === Infinity) return dtype === 'f32' ? '0x7F800000' : '0x7F80';
  if (value === -Infinity) return dtype === 'f32' ? '0xFF800000' : '0xFF80';
  const [mantissa, exponent] = value.toExponential().split('e') as [string, string];
  return `${mantissa.includes('.') ? mantissa : `${mantissa}.0`}e${exponent}`;
}

const UNARY = {
  exp: 'exp',
  exp2: 'exp2',
  log: 'log',
  log2: 'log2',
  sqrt: 'sqrt',
  rsqrt: 'rsqrt',
  abs: 'absf',
} as const;

const FLOAT_BINARY: Readonly<Record<string, string>> = {
  ...{ add: 'addf', sub: 'subf', mul: 'mulf', div: 'divf', min: 'minnumf', max: 'maxnumf' },
};
const INTEGER_BINARY: Readonly<Record<string, string>> = {
  ...{ add: 'addi', sub: 'subi', mul: 'muli', div: 'divsi', rem: 'remsi', min: 'minsi', max: 'maxsi' },
  ...{ and: 'andi', or: 'ori' },
};
const binaryName = (fn: string, dtype: TileDType): string => entry(isFloat(dtype) ? FLOAT_BINARY : INTEGER_BINARY, fn);

const FLOAT_COMPARE = { eq: 'oeq', ne: 'une', lt: 'olt', le: 'ole', gt: 'ogt', ge: 'oge' } as const;
const INTEGER_COMPARE = { eq: 'eq', ne: 'ne', lt: 'slt', le: 'sle', gt: 'sgt', ge: 'sge' } as const;

function convertName(from: TileDType, to: TileDType): string {
  if (isFloat(from)) return to === 'bf16' ? 'truncf' : 'extf';
  if (to === 'f32') return 'sitofp';
  if (from === 'bool') return 'extui';
  return to === 'i64' ? 'extsi' : 'trunci';
}

class Printer {
  readonly #lines: string[] = [];
  readonly #names = new Map<Tile | Pointer, string>();
  #next = 0;
  #depth = 2;

  name(value: Tile | Pointer, text = `%${this.#next++}`): string {
    this.#names.set(value, text);
    return text;
  }

  of(value: Tile | Pointer): string {
    return got(this.#names, value);
  }

  line(text: string): void {
    this.#lines.push('  '.repeat(this.#depth) + text);
  }

  #define(out: Tile | Pointer, text: string): void {
    this.line(`${this.name(out)} = ${text}`);
  }

  #fresh(text: string): string {
    const name = `%${this.#next++}`;
    this.line(`${name} = ${text}`);
    return name;
  }

  #region(body: readonly TileOp[]): void {
    this.#depth++;
    body.forEach((op) => this.op(op));
    this.#depth--;
  }

  /** Pointers to each element at `offsets`. */
  #addresses(pointer: Pointer, offsets: Tile): { text: string; type: string } {
    const scalar = pointerTo(pointer.dtype);
    const type = shaped(offsets.shape, scalar);
    const start =
      offsets.shape.length === 0
        ? this.of(pointer)
        : this.#fresh(`tt.splat ${this.of(pointer)} : ${scalar} -> ${type}`);
    return { text: this.#fresh(`tt.addptr ${start}, ${this.of(offsets)} : ${type}, ${typeOf(offsets)}`), type };
  }

  op(op: TileOp): void {
    // One case an operation and no default: the compiler names an operation that is missing here.
    switch (op.op) {
      case 'programId':
        return this.#define(op.out, `tt.get_program_id ${'xyz'[op.axis]} : i32`);
      case 'constant': {
        const value = literal(op.value, op.out.dtype);
        const scalar = op.out.shape.length === 0;
        const typed = op.out.dtype === 'bool' && scalar ? '' : ` : ${typeOf(op.out)}`;
        return this.#define(op.out, `arith.constant ${scalar ? value : `dense<${value}>`}${typed}`);
      }
      case 'range':
        return this.#define(
          op.out,
          `tt.make_range {end = ${op.out.shape[0]} : i32, start = 0 : i32} : ${typeOf(op.out)}`,
        );
      case 'unary':
        return this.#define(op.out, `math.${UNARY[op.fn]} ${this.of(op.x)} : ${typeOf(op.out)}`);
      case 'binary':
        return this.#define(
          op.out,
          `arith.${binaryName(op.fn, op.a.dtype)} ${this.of(op.a)}, ${this.of(op.b)} : ${typeOf(op.out)}`,
        );
      case 'compare': {
        const [kind, how] = isFloat(op.a.dtype) ? ['cmpf', FLOAT_COMPARE[op.fn]] : ['cmpi', INTEGER_COMPARE[op.fn]];
        return this.#define(op.out, `arith.${kind} ${how}, ${this.of(op.a)}, ${this.of(op.b)} : ${typeOf(op.a)}`);
      }
      case 'select': {
        const types = op.c.shape.length === 0 ? typeOf(op.out) : `${typeOf(op.c)}, ${typeOf(op.out)}`;
        return this.#define(op.out, `arith.select ${this.of(op.c)}, ${this.of(op.a)}, ${this.of(op.b)} : ${types}`);
      }
      case 'convert': {
        const name = convertName(op.x.dtype, op.out.dtype);
        return this.#define(op.out, `arith.${name} ${this.of(op.x)} : ${typeOf(op.x)} to ${typeOf(op.out)}`);
      }
      case 'expandDims':
        return this.#define(
          op.out,
          op.x.shape.length === 0
            ? `tt.splat ${this.of(op.x)} : ${typeOf(op.x)} -> ${typeOf(op.out)}`
            : `tt.expand_dims ${this.of(op.x)} {axis = ${op.axis} : i32} : ${typeOf(op.x)} -> ${typeOf(op.out)}`,
        );
      case 'broadcast': {
        const name = op.x.shape.length === 0 ? 'splat' : 'broadcast';
        return this.#define(op.out, `tt.${name} ${this.of(op.x)} : ${typeOf(op.x)} -> ${typeOf(op.out)}`);
      }
      case 'halves':
        return this.#halves(op.x, op.outs);
      case 'transpose':
        return this.#define(
          op.out,
          `tt.trans ${this.of(op.x)} {order = array<i32: 1, 0>} : ${typeOf(op.x)} -> ${typeOf(op.out)}`,
        );
      case 'dot': {
        const precision = op.a.dtype === 'f32' && op.precision === 'tf32' ? ', inputPrecision = tf32' : '';
        const types = `${typeOf(op.a)} * ${typeOf(op.b)} -> ${typeOf(op.out)}`;
        return this.#define(
          op.out,
          `tt.dot ${this.of(op.a)}, ${this.of(op.b)}, ${this.of(op.acc)}${precision} : ${types}`,
        );
      }
      case 'reduce':
        return this.#combining(
          op.out,
          op.x,
          `"tt.reduce"(${this.of(op.x)}) <{axis = ${op.axis} : i32}> ({`,
          op.fn,
          'tt.reduce.return',
        );
      case 'cumsum': {
        const head = `"tt.scan"(${this.of(op.x)}) <{axis = ${op.axis} : i32, reverse = ${op.reverse}}> ({`;
        return this.#combining(op.out, op.x, head, 'add', 'tt.scan.return');
      }
      case 'advance': {
        const type = pointerTo(op.pointer.dtype);
        return this.#define(op.out, `tt.addptr ${this.of(op.pointer)}, ${this.of(op.by)} : ${type}, ${typeOf(op.by)}`);
      }
      case 'load': {
        const { text, type } = this.#addresses(op.pointer, op.offsets);
        const masked = op.mask && op.other ? `, ${this.of(op.mask)}, ${this.of(op.other)}` : '';
        return this.#define(op.out, `tt.load ${text}${masked} : ${type}`);
      }
      case 'store': {
        const { text, type } = this.#addresses(op.pointer, op.offsets);
        const masked = op.mask ? `, ${this.of(op.mask)}` : '';
        return this.line(`tt.store ${text}, ${this.of(op.value)}${masked} : ${type}`);
      }
      case 'loop':
        return this.#loop(op);
      default:
        return op satisfies never;
    }
  }

  /** Triton splits a last axis of size 2, so the halves go there first. */
  #halves(x: Tile, [left, right]: readonly [Tile, Tile]): void {
    const [m, n] = dims(x, 2);
    const [halved, last] = [
      { dtype: x.dtype, shape: [m, 2, n / 2] },
      { dtype: x.dtype, shape: [m, n / 2, 2] },
    ].map(typeOf);
    const split = this.#fresh(`tt.reshape ${this.of(x)} : ${typeOf(x)} -> ${halved}`);
    const transposed = this.#fresh(`tt.trans ${split} {order = array<i32: 0, 2, 1>} : ${halved} -> ${last}`);
    this.line(`${this.name(left)}, ${this.name(right)} = tt.split ${transposed} : ${last} -> ${typeOf(left)}`);
  }

  /** An op with a region that combines two scalars. */
  #combining(out: Tile, x: Tile, head: string, fn: string, terminator: string): void {
    const result = this.name(out);
    const scalar = ELEMENT[x.dtype];
    const [a, b, c] = [0, 1, 2].map(() => `%${this.#next++}`) as [string, string, string];
    this.line(`${result} = ${head}`);
    this.line(`^bb0(${a}: ${scalar}, ${b}: ${scalar}):`);
    this.line(`  ${c} = arith.${binaryName(fn, x.dtype)} ${a}, ${b} : ${scalar}`);
    this.line(`  ${terminator} ${c} : ${scalar}`);
    this.line(`}) : (${typeOf(x)}) -> ${typeOf(out)}`);
  }

  #loop({ from, to, index, initial, carried, next, outs, body }: LoopOp): void {
    const step = this.#fresh('arith.constant 1 : i32');
    const types = outs.map(typeOf).join(', ');
    const bounds = `${this.name(index)} = ${this.of(from)} to ${this.of(to)} step ${step}`;
    if (outs.length === 0) {
      this.line(`scf.for ${bounds} : i32 {`);
      this.#region(body);
      this.line('}');
      return;
    }
    const pairs = carried.map((c, i) => `${this.name(c)} = ${this.of(at(initial, i))}`).join(', ');
    const result = `%${this.#next++}`;
    outs.forEach((out, i) => this.name(out, outs.length === 1 ? result : `${result}#${i}`));
    const count = outs.length === 1 ? '' : `:${outs.length}`;
    this.line(`${result}${count} = scf.for ${bounds} iter_args(${pairs}) -> (${types}) : i32 {`);
    this.#region(body);
    this.line(`  scf.yield ${next.map((v) => this.of(v)).join(', ')} : ${types}`);
    this.line('}');
  }

  text(): string {
    return this.#lines.join('\n');
  }
}

const parameter = ({ dtype }: BufferSpec, i: number): string =>
  `%arg${i}: ${pointerTo(dtype)} {tt.divisibility = ${ALIGNMENT} : i32}`;

/** The kernel as a module with one public function of its name, whose parameters are the buffers; stable text. */
export function printKernel(kernel: Kernel): string {
  const printer = new Printer();
  kernel.pointers.forEach((p, i) => printer.name(p, `%arg${i}`));
  kernel.body.forEach((op) => printer.op(op));
  return [
    kernel.maxRegisters === null ? 'module {' : `module attributes {"ttg.maxnreg" = ${kernel.maxRegisters} : i32} {`,
    `  tt.func public @${kernel.name}(${kernel.buffers.map(parameter).join(', ')}) {`,
    printer.text(),
    '    tt.return',
    '  }',
    '}',
    '',
  ].join('\n');
}
