/** The reference engine's arrays: every dtype as float64 numbers, row-major. */
import {
  at,
  sizeOf,
  stridesOf,
  tensorFrom,
  toNumbers,
  type DType,
  type HostTensor,
  type Shape,
} from '../../core/index.js';
import type { OpName, OpSignatures, Value } from '../../graph/index.js';

/** A dense row-major tensor of float64 numbers, whatever its dtype: `data` holds the elements of `shape`. */
export interface NumberArray {
  readonly shape: Shape;
  readonly data: Float64Array;
}

/** A tensor of `shape`; zeros if no data is given. */
export function numberArray(shape: Shape, data?: Float64Array): NumberArray {
  return { shape, data: data ?? new Float64Array(sizeOf(shape)) };
}

/** Zeros in the shape of `x`. */
export function zerosLike(x: NumberArray): NumberArray {
  return numberArray(x.shape);
}

/** The inputs of an op as arrays. */
export type Arrays<K extends OpName> = ArrayEach<OpSignatures[K]['inputs']>;

type ArrayEach<T extends readonly Value[]> = { readonly [I in keyof T]: NumberArray };

/** A host tensor's elements as float64. */
export function fromHost(t: HostTensor): NumberArray {
  return { shape: t.shape, data: toNumbers(t) };
}

/** A tensor rounded to a dtype. */
export function toHost(a: NumberArray, dtype: DType): HostTensor {
  return tensorFrom(dtype, a.shape, a.data);
}

/** Calls `visit(flatIndex, coordinates)` for each element of a shape in row-major order; `coordinates` is reused. */
export function forEachIndex<const S extends Shape>(
  shape: S,
  visit: (flat: number, at: { readonly [I in keyof S]: number }) => void,
): void {
  const n = sizeOf(shape);
  const place = shape.map(() => 0);
  for (let flat = 0; flat < n; flat++) {
    visit(flat, place as { readonly [I in keyof S]: number });
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      const next = at(place, axis) + 1;
      place[axis] = next < at(shape, axis) ? next : 0;
      if (next < at(shape, axis)) break;
    }
  }
}

/** Strides with which an array of `shape` is read at coordinates of the (broadcast) shape `target`. */
export function broadcastStrides(shape: Shape, target: Shape): number[] {
  const own = stridesOf(shape);
  const offset = target.length - shape.length;
  return target.map((_, i) => (i < offset || shape[i - offset] === 1 ? 0 : at(own, i - offset)));
}

/** The place of an element in row-major data. */
export function offsetOf(place: readonly number[], strides: readonly number[]): number {
  let offset = 0;
  for (let i = 0; i < strides.length; i++) offset += at(place, i) * at(strides, i);
  return offset;
}
