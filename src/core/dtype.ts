/**
 * Element types and the host arrays that hold them.
 *
 * `bf16` is held as its 16 bits in a `Uint16Array`; `bool` as 0 or 1 in a `Uint8Array`.
 */

/** The type of a tensor's elements. */
export type DType = 'f64' | 'f32' | 'bf16' | 'i32' | 'bool';

/** Any host array that holds tensor elements: the union of `HostArrayOf` over dtypes. */
export type HostArray = Float64Array | Float32Array | Uint16Array | Int32Array | Uint8Array;

/**
 * The host array that holds the elements of each dtype: f64, f32 and i32 as they are, bf16 as its 16 bits, bool as 0 or
 * 1.
 */
export interface HostArrayOf {
  f64: Float64Array;
  f32: Float32Array;
  bf16: Uint16Array;
  i32: Int32Array;
  bool: Uint8Array;
}

/** All dtypes, floats first. */
export const DTYPES: readonly DType[] = ['f64', 'f32', 'bf16', 'i32', 'bool'];

/** The bytes that one element of each dtype takes on the host. */
export const DTYPE_BYTES: Readonly<Record<DType, number>> = { f64: 8, f32: 4, bf16: 2, i32: 4, bool: 1 };

/** Whether a dtype is a floating-point one (f64, f32 or bf16). */
export function isFloat(dtype: DType): boolean {
  return dtype === 'f64' || dtype === 'f32' || dtype === 'bf16';
}

const ALLOCATE: { readonly [K in DType]: (length: number) => HostArrayOf[K] } = {
  f64: (n) => new Float64Array(n),
  f32: (n) => new Float32Array(n),
  bf16: (n) => new Uint16Array(n),
  i32: (n) => new Int32Array(n),
  bool: (n) => new Uint8Array(n),
};

/** A zeroed host array of `length` elements. */
export function allocate<K extends DType>(dtype: K, length: number): HostArrayOf[K] {
  return ALLOCATE[dtype](length);
}

const f32Scratch = new Float32Array(1);
const u32Scratch = new Uint32Array(f32Scratch.buffer);

/** The bf16 bits nearest to `x` (ties to even; NaN stays NaN). */
export function toBf16Bits(x: number): number {
  f32Scratch[0] = x;
  const bits = u32Scratch[0] as number;
  if (Number.isNaN(x)) return 0x7fc0;
  return (((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff) >>> 0;
}

/** The number that 16 bits of bf16 stand for. */
export function fromBf16Bits(bits: number): number {
  u32Scratch[0] = (bits << 16) >>> 0;
  return f32Scratch[0] as number;
}
