/** Dense row-major tensors on the host. */
import { at, f64At, i32At } from './at.js';
import { allocate, fromBf16Bits, fromF16Bits, toBf16Bits, toF16Bits, type DType, type HostArrayOf } from './dtype.js';
import { ShapeError } from './errors.js';

/** The sizes of a tensor's dimensions, outermost first; empty for a scalar. */
export type Shape = readonly number[];

/** A dense row-major host tensor; `data.length` is the product of `shape`. */
export interface HostTensor<K extends DType = DType> {
  /** The element type. */
  readonly dtype: K;
  /** The sizes of the dimensions, outermost first. */
  readonly shape: Shape;
  /** The elements in row-major order; bf16 and f16 as their 16 bits, bool as 0 or 1. */
  readonly data: HostArrayOf[K];
}

/** The number of elements of a shape; 1 for a scalar. */
export function sizeOf(shape: Shape): number {
  let n = 1;
  for (const d of shape) n *= d;
  return n;
}

/** Row-major strides of a shape, in elements. */
export function stridesOf(shape: Shape): number[] {
  const strides = new Array<number>(shape.length).fill(1);
  for (let i = shape.length - 2; i >= 0; i--) strides[i] = at(strides, i + 1) * at(shape, i + 1);
  return strides;
}

/** Whether two shapes have the same rank and sizes. */
export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((d, i) => d === b[i]);
}

/** A shape as messages show it: `[2,3]`. */
export function formatShape(shape: Shape): string {
  return `[${shape.join(',')}]`;
}

/** Wraps `data` (not copied). Throws `ShapeError` if the length does not fit the shape. */
export function hostTensor<K extends DType>(dtype: K, shape: Shape, data: HostArrayOf[K]): HostTensor<K> {
  if (data.length !== sizeOf(shape)) {
    throw new ShapeError(`tensor ${dtype}${formatShape(shape)} needs ${sizeOf(shape)} elements, got ${data.length}`);
  }
  return { dtype, shape, data };
}

/** A tensor of zeros. */
export function zeros<K extends DType>(dtype: K, shape: Shape): HostTensor<K> {
  return { dtype, shape, data: allocate(dtype, sizeOf(shape)) };
}

/**
 * A tensor from numbers, each rounded to the dtype.
 * @throws ShapeError if the number of values does not fit the shape
 */
export function tensorFrom<K extends DType>(dtype: K, shape: Shape, values: ArrayLike<number>): HostTensor<K> {
  const t = zeros(dtype, shape);
  if (values.length !== t.data.length) {
    throw new ShapeError(`tensor ${dtype}${formatShape(shape)} needs ${t.data.length} values, got ${values.length}`);
  }
  const data = t.data;
  const encode = ENCODE[dtype];
  for (let i = 0; i < data.length; i++) data[i] = encode(at(values, i));
  return t;
}

const itself = (x: number): number => x;

/** How a number becomes an element of a host array. */
const ENCODE: Readonly<Record<DType, (x: number) => number>> = {
  f64: itself,
  f32: itself,
  bf16: toBf16Bits,
  f16: toF16Bits,
  i32: itself,
  bool: (x) => (x !== 0 ? 1 : 0),
};

/** The elements of a tensor as float64 numbers, whatever its dtype. */
export function toNumbers(t: HostTensor): Float64Array {
  const out = new Float64Array(t.data);
  if (t.dtype === 'bf16') for (let i = 0; i < out.length; i++) out[i] = fromBf16Bits(f64At(out, i));
  if (t.dtype === 'f16') for (let i = 0; i < out.length; i++) out[i] = fromF16Bits(f64At(out, i));
  return out;
}

/** Where each element of a view lies in row-major data: from `base` on, one stride apart along each axis of `shape`. */
export function viewOffsets(shape: Shape, strides: readonly number[], base = 0): Int32Array {
  const offsets = new Int32Array(sizeOf(shape)).fill(base);
  if (offsets.length === 0) return offsets;
  // From the last axis to the first: what is filled, once more for each further index of the axis.
  let filled = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const stride = at(strides, axis);
    const size = filled * at(shape, axis);
    for (let to = filled; to < size; to++) offsets[to] = i32At(offsets, to - filled) + stride;
    filled = size;
  }
  return offsets;
}
