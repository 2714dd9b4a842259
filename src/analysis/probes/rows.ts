/**
 * Products with rows of features and the solver that they share: what logistic regression spends its time on. Loops
 * take several rows at once, so that each number that is read is used more than once.
 */
import { dotAt, f64At } from '../../core/index.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const read = f64At;

/** Rows of features: feature j of row i is `data[i * width + j]`, with `rows` rows. */
export interface Features {
  readonly data: Float64Array;
  readonly rows: number;
  readonly width: number;
}

/** `X v` `[rows]` of weights `[width + 1]`, the last of which is that of a feature that is always 1. */
export function timesRows({ data, rows, width }: Features, v: Float64Array): Float64Array {
  const out = new Float64Array(rows);
  for (let i = 0; i < rows; i++) out[i] = read(v, width) + dotAt(data, i * width, v, 0, width);
  return out;
}

/** Adds `X^T u` to `into` `[width + 1]`; `u` is `[rows]`. */
export function timesRowsTransposed({ data, rows, width }: Features, u: Float64Array, into: Float64Array): void {
  let i = 0;
  for (; i + 3 < rows; i += 4) {
    const [a, b, c, d] = [read(u, i), read(u, i + 1), read(u, i + 2), read(u, i + 3)];
    const [p, q, r, s] = [i * width, (i + 1) * width, (i + 2) * width, (i + 3) * width];
    for (let j = 0; j < width; j++) {
      into[j] =
        read(into, j) +
        (a * read(data, p + j) + b * read(data, q + j) + (c * read(data, r + j) + d * read(data, s + j)));
    }
    into[width] = read(into, width) + (a + b + (c + d));
  }
  for (; i < rows; i++) {
    const a = read(u, i);
    for (let j = 0; j < width; j++) into[j] = read(into, j) + a * read(data, i * width + j);
    into[width] = read(into, width) + a;
  }
}

/** Gives `M^-1 r` `[width + 1]`. */
export type Preconditioner = (r: Float64Array) => Float64Array;

/**
 * The inverse of `M = I + c X^T X`, the Hessian of logistic regression where all rows have curvature `c`, by a Cholesky
 * factor that is computed once: of `M` itself, or of `I + c X X^T` where there are fewer rows than weights (Woodbury).
 */
export function equalCurvature(x: Features, c: number): Preconditioner {
  const size = x.width + 1;
  if (size <= x.rows) {
    const factor = cholesky(gram(columnsOf(x), size, x.rows, c), size);
    return (r) => solve(factor, size, r);
  }
  const factor = cholesky(gram(rowsOf(x), x.rows, size, c), x.rows);
  return (r) => {
    const inner = solve(factor, x.rows, timesRows(x, r));
    const out = Float64Array.from(r);
    timesRowsTransposed(
      x,
      inner.map((v) => -c * v),
      out,
    );
    return out;
  };
}

/** The features with the one that is always 1, each a row: `[width + 1, rows]`. */
function columnsOf({ data, rows, width }: Features): Float64Array {
  const out = new Float64Array((width + 1) * rows).fill(1, width * rows);
  for (let i = 0; i < rows; i++) for (let j = 0; j < width; j++) out[j * rows + i] = read(data, i * width + j);
  return out;
}

/** The rows with the feature that is always 1: `[rows, width + 1]`. */
function rowsOf({ data, rows, width }: Features): Float64Array {
  const out = new Float64Array(rows * (width + 1)).fill(1);
  for (let i = 0; i < rows; i++) out.set(data.subarray(i * width, (i + 1) * width), i * (width + 1));
  return out;
}

/** The lower half of `I + c A A^T` `[n, n]` of `A` `[n, m]`, two rows by four at a time. */
function gram(a: Float64Array, n: number, m: number, c: number): Float64Array {
  const out = new Float64Array(n * n);
  const put = (i: number, j: number, value: number) => (out[i * n + j] = c * value + (i === j ? 1 : 0));
  for (let i = 0; i < n; i += 2) {
    let j = 0;
    for (; i + 1 < n && j + 3 < i; j += 4) {
      const [p, q] = [i * m, (i + 1) * m];
      const [t, u, v, w] = [j * m, (j + 1) * m, (j + 2) * m, (j + 3) * m];
      let [pt, pu, pv, pw, qt, qu, qv, qw] = [0, 0, 0, 0, 0, 0, 0, 0];
      for (let k = 0; k < m; k++) {
        const x = read(a, p + k);
        const y = read(a, q + k);
        const d = read(a, t + k);
        const e = read(a, u + k);
        const f = read(a, v + k);
        const g = read(a, w + k);
        pt += x * d;
        pu += x * e;
        pv += x * f;
        pw += x * g;
        qt += y * d;
        qu += y * e;
        qv += y * f;
        qw += y * g;
      }
      [pt, pu, pv, pw].forEach((value, l) => put(i, j + l, value));
      [qt, qu, qv, qw].forEach((value, l) => put(i + 1, j + l, value));
    }
    for (const row of i + 1 < n ? [i, i + 1] : [i])
      for (let l = j; l <= row; l++) put(row, l, dotAt(a, row * m, a, l * m, m));
  }
  return out;
}

/** The lower factor of a positive definite matrix `[n, n]`, in its place; the upper half is not read. */
function cholesky(a: Float64Array, n: number): Float64Array {
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      const rest = read(a, i * n + j) - dotAt(a, i * n, a, j * n, j);
      a[i * n + j] = i === j ? Math.sqrt(rest) : rest / read(a, j * n + j);
    }
  }
  return a;
}

/** Solves `L L^T z = r`. */
function solve(factor: Float64Array, n: number, r: Float64Array): Float64Array {
  const z = Float64Array.from(r);
  for (let i = 0; i < n; i++) z[i] = (read(z, i) - dotAt(factor, i * n, z, 0, i)) / read(factor, i * n + i);
  for (let i = n - 1; i >= 0; i--) {
    const value = read(z, i) / read(factor, i * n + i);
    z[i] = value;
    for (let j = 0; j < i; j++) z[j] = read(z, j) - value * read(factor, i * n + j);
  }
  return z;
}
