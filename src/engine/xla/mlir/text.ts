/** Pieces of StableHLO text: types, literals, and a builder that numbers values and indents regions. */
import {
  present,
  f64At,
  at,
  DTYPE_BYTES,
  LongsightError,
  isFloat,
  sizeOf,
  toNumbers,
  type DType,
  type HostTensor,
} from '../../../core/index.js';
import type { TensorType } from '../../../graph/index.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const readF64 = f64At;

const ELEMENT: Readonly<Record<DType, string>> = {
  f64: 'f64',
  f32: 'f32',
  bf16: 'bf16',
  f16: 'f16',
  i32: 'i32',
  bool: 'i1',
};

/** A named value of the text. */
export interface Operand {
  readonly name: string;
  readonly type: TensorType;
}

/** `tensor<2x3xf32>` */
export function typeText({ dtype, shape }: TensorType): string {
  return `tensor<${[...shape, ELEMENT[dtype]].join('x')}>`;
}

/** `[1, 2]` */
export function listText(values: readonly (number | string)[]): string {
  return `[${values.join(', ')}]`;
}

type FloatDType = 'f64' | 'f32' | 'bf16' | 'f16';

const INFINITY_BITS: Readonly<Record<FloatDType, readonly [string, string, string]>> = {
  f64: ['0x7FF0000000000000', '0xFFF0000000000000', '0x7FF8000000000000'],
  f32: ['0x7F800000', '0xFF800000', '0x7FC00000'],
  bf16: ['0x7F80', '0xFF80', '0x7FC0'],
  f16: ['0x7C00', '0xFC00', '0x7E00'],
};

/** One element as MLIR writes it; floats by their shortest decimal digits, which read back to the same bits. */
export function literal(value: number, dtype: DType): string {
  if (dtype === 'bool') return value === 0 ? 'false' : 'true';
  if (!isFloat(dtype)) return `${value}`;
  const [infinity, minusInfinity, nan] = INFINITY_BITS[dtype as FloatDType];
  if (Number.isNaN(value)) return nan;
  if (!Number.isFinite(value)) return value > 0 ? infinity : minusInfinity;
  if (Object.is(value, -0)) return '-0.0';
  const text = Math.abs(value) >= 1e-4 && Math.abs(value) < 1e7 ? `${value}` : value.toExponential();
  return text.includes('.') ? text : text.includes('e') ? text.replace('e', '.0e') : `${text}.0`;
}

/** Constants of more elements than this are written as their bytes in hexadecimal. */
const LISTED_ELEMENTS = 16;

/** `dense<...>` of a tensor. */
export function denseText(tensor: HostTensor): string {
  const { dtype, shape } = tensor;
  const size = sizeOf(shape);
  if (size === 0) return 'dense<>';
  const values = toNumbers(tensor);
  const first = readF64(values, 0);
  if (values.every((v) => Object.is(v, first))) return `dense<${literal(first, dtype)}>`;
  if (size > LISTED_ELEMENTS && dtype !== 'bool') {
    const { buffer, byteOffset } = tensor.data;
    return `dense<"0x${Buffer.from(buffer, byteOffset, size * DTYPE_BYTES[dtype])
      .toString('hex')
      .toUpperCase()}">`;
  }
  let at = 0;
  const nested = (axis: number): string =>
    axis === shape.length
      ? literal(readF64(values, at++), dtype)
      : listText(Array.from({ length: present(shape[axis]) }, () => nested(axis + 1)));
  return `dense<${nested(0)}>`;
}

/**
 * The body of a function as lines, with numbered values. Values are named in the order of their making: text is stable.
 */
export class TextBuilder {
  readonly #lines: string[] = [];
  #next = 0;
  #depth = 2;

  line(text: string): void {
    this.#lines.push('  '.repeat(this.#depth) + text);
  }

  /** A fresh value name. */
  name(): string {
    return `%${this.#next++}`;
  }

  /** A line that defines one value. */
  define(text: string): string {
    const name = this.name();
    this.line(`${name} = ${text}`);
    return name;
  }

  /** A line that defines `count` values. */
  defineMany(count: number, text: string): string[] {
    if (count === 1) return [this.define(text)];
    const name = this.name();
    this.line(`${name}:${count} = ${text}`);
    return Array.from({ length: count }, (_, i) => `${name}#${i}`);
  }

  /** Runs `body` one level deeper. */
  indented(body: () => void): void {
    this.#depth++;
    body();
    this.#depth--;
  }

  constant(tensor: HostTensor): string {
    return this.define(`stablehlo.constant ${denseText(tensor)} : ${typeText(tensor)}`);
  }

  scalar(value: number, dtype: DType): string {
    return this.define(`stablehlo.constant dense<${literal(value, dtype)}> : ${typeText({ dtype, shape: [] })}`);
  }

  /** `x` stretched to `shape` by NumPy's rules; `x` itself where nothing changes. */
  broadcast(x: string, from: TensorType, shape: readonly number[]): string {
    if (from.shape.length === shape.length && from.shape.every((d, i) => d === shape[i])) return x;
    const lead = shape.length - from.shape.length;
    const dims = listText(from.shape.map((_, i) => i + lead));
    const to = { dtype: from.dtype, shape };
    return this.define(`stablehlo.broadcast_in_dim ${x}, dims = ${dims} : (${typeText(from)}) -> ${typeText(to)}`);
  }

  convert(x: string, from: TensorType, dtype: DType): string {
    if (from.dtype === dtype) return x;
    const to = { dtype, shape: from.shape };
    return this.define(`stablehlo.convert ${x} : (${typeText(from)}) -> ${typeText(to)}`);
  }

  reshape(x: string, from: TensorType, shape: readonly number[]): string {
    const to = { dtype: from.dtype, shape };
    return this.define(`stablehlo.reshape ${x} : (${typeText(from)}) -> ${typeText(to)}`);
  }

  transpose(x: string, from: TensorType, permutation: readonly number[]): string {
    const to = { dtype: from.dtype, shape: permutation.map((a) => at(from.shape, a)) };
    return this.define(
      `stablehlo.transpose ${x}, dims = ${listText(permutation)} : (${typeText(from)}) -> ${typeText(to)}`,
    );
  }

  /** Reduces `x` over `axes` without keeping them. */
  reduce(
    x: string,
    from: TensorType,
    axes: readonly number[],
    by: 'add' | 'maximum' | 'minimum',
    initial: number,
  ): string {
    const shape = from.shape.filter((_, i) => !axes.includes(i));
    const scalar = typeText({ dtype: from.dtype, shape: [] });
    const start = this.scalar(initial, from.dtype);
    return this.define(
      `stablehlo.reduce(${x} init: ${start}) applies stablehlo.${by} across dimensions = ${listText(axes)} : ` +
        `(${typeText(from)}, ${scalar}) -> ${typeText({ dtype: from.dtype, shape })}`,
    );
  }

  text(): string {
    if (this.#depth !== 2) throw new LongsightError('internal error: a region of StableHLO text was left open');
    return this.#lines.join('\n');
  }
}
