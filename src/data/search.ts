import { f64At } from '../core/index.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const readF64 = f64At;
/** The last index with `starts[index] <= position`. */

/** The last index with `starts[index] <= position` in a rising list, by binary search. */
export function lastAtOrBelow(starts: Float64Array, position: number): number {
  let low = 0;
  let high = starts.length - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (readF64(starts, middle) <= position) low = middle;
    else high = middle - 1;
  }
  return low;
}
