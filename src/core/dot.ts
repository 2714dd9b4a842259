/** The inner product that host-side numerics spend their time on. */
import { f64At } from './at.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const read = f64At;

/** The inner product of `n` numbers, from `i` on in `a` and from `j` on in `b`: four sums, added at the end. */
export function dotAt(a: Float64Array, i: number, b: Float64Array, j: number, n: number): number {
  let s = 0;
  let t = 0;
  let u = 0;
  let v = 0;
  let k = 0;
  for (; k + 3 < n; k += 4) {
    s += read(a, i + k) * read(b, j + k);
    t += read(a, i + k + 1) * read(b, j + k + 1);
    u += read(a, i + k + 2) * read(b, j + k + 2);
    v += read(a, i + k + 3) * read(b, j + k + 3);
  }
  for (; k < n; k++) s += read(a, i + k) * read(b, j + k);
  return s + t + (u + v);
}
