/** Elements whose presence is certain by construction, without a cast. */
import { LongsightError, invariant } from './errors.js';
import type { Shape } from './tensor.js';

/**
 * `list[i]` where the index is right by construction. Throws an internal error (`LongsightError`) where there is no
 * such element. Not for inner loops over numbers: there the check costs.
 */
export function at<T>(list: ArrayLike<T>, i: number): T {
  const x = list[i];
  if (x === undefined) throwMissing(list.length, i);
  return x;
}

function throwMissing(length: number, i: number): never {
  throw new LongsightError(`internal error: element ${i} of a list of ${length} was asked for; please report this`);
}

/** The last element. Throws an internal error where the list is empty. */
export function last<T>(list: ArrayLike<T>): T {
  return at(list, list.length - 1);
}

type Sizes<N extends number, T extends number[] = []> = T['length'] extends N ? T : Sizes<N, [...T, number]>;

/** The first `count` sizes of a shape, as a tuple to take apart. Throws an internal error where the rank is less. */
export function dims<N extends 1 | 2 | 3 | 4 | 5 | 6>({ shape }: { readonly shape: Shape }, count: N): Sizes<N> {
  invariant(shape.length >= count, `shape [${shape.join(',')}] has fewer than ${count} axes`);
  return shape.slice(0, count) as Sizes<N>;
}
