/**
 * Element types and the host arrays that hold them.
 *
 * `bf16` and `f16` are held as their 16 bits in a `Uint16Array`; `bool` as 0 or 1 in a `Uint8Array`.
 */

/** The type of a tensor's elements. */
export type DType = 'f64' | 'f32' | 'bf16' | 'f16' | 'i32' | 'bool';

/** Any host array that holds tensor elements: the union of `HostArrayOf` over dtypes. */
export type HostArray = Float64Array | Float32Array | Uint16Array | Int32Array | Uint8Array;

/**
 * The host array that holds the elements of each dtype: f64, f32 and i32 as they are, bf16 and f16 as their 16 bits,
 * bool as 0 or 1.
 */
export interface HostArrayOf {
  f64: Float64Array;
  f32: Float32Array;
  bf16: Uint16Array;
  f16: Uint16Array;
  i32: Int32Array;
  bool: Uint8Array;
}

/** All dtypes, floats first. */
export const DTYPES: readonly DType[] = ['f64', 'f32', 'bf16', 'f16', 'i32', 'bool'];

/** The bytes that one element of each dtype takes on the host. */
export const DTYPE_BYTES: Readonly<Record<DType, number>> = { f64: 8, f32: 4, bf16: 2, f16: 2, i32: 4, bool: 1 };

/** Whether a dtype is a floating-point one (f64, f32, bf16 or f16). */
export function isFloat(dtype: DType): boolean {
  return dtype === 'f64' || dtype === 'f32' || isHalf(dtype);
}

/** The floating-point dtypes of two bytes, in which weights are stored: bfloat16, and IEEE half precision. */
export type HalfDType = 'bf16' | 'f16';

/** Whether a dtype is a floating-point one of two bytes (bf16 or f16). */
export function isHalf(dtype: DType): dtype is HalfDType {
  return dtype === 'bf16' || dtype === 'f16';
}

const ALLOCATE: { readonly [K in DType]: (length: number) => HostArrayOf[K] } = {
  f64: (n) => new Float64Array(n),
  f32: (n) => new Float32Array(n),
  bf16: (n) => new Uint16Array(n),
  f16: (n) => new Uint16Array(n),
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
  const bits = u32Scratch[0] ?? 0;
  if (Number.isNaN(x)) return 0x7fc0;
  return (((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff) >>> 0;
}

/** The number that 16 bits of bf16 stand for. */
export function fromBf16Bits(bits: number): number {
  u32Scratch[0] = (bits << 16) >>> 0;
  return f32Scratch[0] as number;
}

const f64Scratch = new Float64Array(1);
const u32Pair = new Uint32Array(f64Scratch.buffer);

/** The upper half of a float64: sign, exponent and the first bits of the fraction. */
function upperHalf(x: number): number {
  f64Scratch[0] = x;
  return u32Pair[1] ?? 0;
}

/** `x` rounded to a whole number, ties to even. */
function roundEven(x: number): number {
  const down = Math.floor(x);
  const rest = x - down;
  return rest > 0.5 || (rest === 0.5 && down % 2 === 1) ? down + 1 : down;
}

/** The IEEE half-precision bits nearest to `x` (ties to even; too large is infinite; NaN stays NaN). */
export function toF16Bits(x: number): number {
  if (Number.isNaN(x)) return 0x7e00;
  const upper = upperHalf(x);
  const sign = (upper >>> 16) & 0x8000;
  const size = Math.abs(x);
  if (size >= 65520) return sign | 0x7c00;
  // Below the smallest normal number all have its step; one that rounds up to it has its bits.
  if (size < 2 ** -14) return sign | roundEven(size * 2 ** 24);
  const exponent = ((upper >>> 20) & 0x7ff) - 1023;
  return sign | (((exponent + 15) << 10) + roundEven(size * 2 ** (10 - exponent)) - 1024);
}

/** The number that IEEE half-precision bits stand for. */
export function fromF16Bits(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

let f16Values: Float32Array | null = null;

/** f32 numbers of two-byte elements, which are exact; `bits` holds them as `HostArrayOf` says. */
export function widenHalf(dtype: HalfDType, bits: Uint16Array): Float32Array {
  if (dtype === 'bf16') return new Float32Array(Uint32Array.from(bits, (v) => v << 16).buffer);
  const values = (f16Values ??= Float32Array.from({ length: 65536 }, (_, i) => fromF16Bits(i)));
  return lookUp(values, bits);
}

/** The numbers of a table at places that are right by construction, one for each place. */
export function lookUp(table: Float32Array, places: Uint8Array | Uint16Array): Float32Array {
  const out = new Float32Array(places.length);
  for (let i = 0; i < out.length; i++) out[i] = table[places[i] ?? 0] ?? 0;
  return out;
}
