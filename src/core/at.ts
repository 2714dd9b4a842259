/** Elements whose presence is certain by construction, without a cast. */
import { LongsightError, invariant } from './errors.js';

/**
 * `list[i]` where the index is right by construction. Throws an internal error (`LongsightError`) where there is no
 * such element. Not for inner loops over numbers: see `f64At`.
 */
export function at<T>(list: ArrayLike<T>, i: number): T {
  const x = list[i];
  if (x === undefined) throwMissing(list.length, i);
  return x;
}

function throwMissing(length: number, i: number): never {
  throw new LongsightError(`internal error: element ${i} of a list of ${length} was asked for; please report this`);
}

/**
 * As `at`, for loops over numbers. V8 inlines it, and as it only ever sees one kind of array its read costs as much as
 * one that is not checked.
 */
export function f64At(list: Float64Array, i: number): number {
  const x = list[i];
  if (x === undefined) throwMissing(list.length, i);
  return x;
}

/** The element of a list of numbers at an index that is right by construction; see `f64At`. */
export function numberAt(list: readonly number[], i: number): number {
  const x = list[i];
  if (x === undefined) throwMissing(list.length, i);
  return x;
}

/** The element of a list of 32-bit integers at an index that is right by construction; see `f64At`. */
export function i32At(list: Int32Array, i: number): number {
  const x = list[i];
  if (x === undefined) throwMissing(list.length, i);
  return x;
}

/** The element of a list of bytes at an index that is right by construction; see `f64At`. */
export function u8At(list: Uint8Array, i: number): number {
  const x = list[i];
  if (x === undefined) throwMissing(list.length, i);
  return x;
}

/**
 * `record[key]` where the key is there by construction. Throws an internal error (`LongsightError`) where it is not.
 */
export function entry<T>(record: Readonly<Record<string, T>>, key: string): NonNullable<T> {
  const x = record[key];
  if (x === undefined || x === null) {
    throw new LongsightError(
      `internal error: "${key}" was asked for among ${Object.keys(record).length}; please report this`,
    );
  }
  return x;
}

/**
 * `map.get(key)` where the key is there by construction. Throws an internal error (`LongsightError`) where it is not.
 */
export function got<K, T>(map: ReadonlyMap<K, T>, key: K): NonNullable<T> {
  const x = map.get(key);
  if (x === undefined || x === null) {
    throw new LongsightError(`internal error: a key was asked for that is not among ${map.size}; please report this`);
  }
  return x;
}

/** A value that is there by construction. Throws an internal error (`LongsightError`) where it is not. */
export function present<T>(x: T): NonNullable<T> {
  if (x === undefined || x === null) {
    throw new LongsightError('internal error: a value was asked for that is not there; please report this');
  }
  return x;
}

/** The last element. Throws an internal error where the list is empty. */
export function last<T>(list: ArrayLike<T>): T {
  return at(list, list.length - 1);
}

type Sizes<N extends number, T extends number[] = []> = T['length'] extends N ? T : Sizes<N, [...T, number]>;

/** The first `count` sizes of a shape, as a tuple to take apart. Throws an internal error where the rank is less. */
export function dims<N extends 1 | 2 | 3 | 4 | 5 | 6>(
  { shape }: { readonly shape: readonly number[] },
  count: N,
): Sizes<N> {
  invariant(shape.length >= count, `shape [${shape.join(',')}] has fewer than ${count} axes`);
  return shape.slice(0, count) as Sizes<N>;
}
