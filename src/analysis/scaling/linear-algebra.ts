import { at, numberAt } from '../../core/index.js';
/** Small dense linear algebra on rows of numbers. */

/** A small dense matrix, row by row. */
export type Matrix = readonly (readonly number[])[];

const get = (m: Matrix, i: number, j: number): number => numberAt(at(m, i), j);

/** The lower Cholesky factor of a symmetric matrix; null unless it is positive definite to working precision. */
export function factorize(a: Matrix): Matrix | null {
  const l: number[][] = a.map(() => a.map(() => 0));
  for (let i = 0; i < a.length; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = get(a, i, j);
      for (let k = 0; k < j; k++) sum -= get(l, i, k) * get(l, j, k);
      if (i === j && !(sum > 1e-14 * Math.abs(get(a, i, i)))) return null;
      at(l, i)[j] = i === j ? Math.sqrt(sum) : sum / get(l, j, j);
    }
  }
  return l;
}

/** Solves `L L^T x = b`. */
export function solveFactorized(l: Matrix, b: readonly number[]): number[] {
  const x = [...b];
  for (let i = 0; i < x.length; i++) {
    for (let k = 0; k < i; k++) x[i] = numberAt(x, i) - get(l, i, k) * numberAt(x, k);
    x[i] = numberAt(x, i) / get(l, i, i);
  }
  for (let i = x.length - 1; i >= 0; i--) {
    for (let k = i + 1; k < x.length; k++) x[i] = numberAt(x, i) - get(l, k, i) * numberAt(x, k);
    x[i] = numberAt(x, i) / get(l, i, i);
  }
  return x;
}

/** The product of a matrix and a vector. */
export function multiply(a: Matrix, x: readonly number[]): number[] {
  return a.map((row) => row.reduce((sum, v, j) => sum + v * numberAt(x, j), 0));
}

/** `J^T diag(w) J` of rows `J`. */
export function gram(rows: Matrix, weights?: readonly number[]): number[][] {
  const n = rows[0]?.length ?? 0;
  const out = Array.from({ length: n }, () => new Array<number>(n).fill(0));
  rows.forEach((row, r) => {
    const w = weights?.[r] ?? 1;
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++) at(out, i)[j] = get(out, i, j) + w * numberAt(row, i) * numberAt(row, j);
  });
  return out;
}

/** Eigenvalues of a symmetric matrix, ascending, by cyclic Jacobi rotations. */
export function symmetricEigenvalues(a: Matrix): number[] {
  const m = a.map((row) => [...row]);
  const n = m.length;
  for (let sweep = 0; sweep < 60; sweep++) {
    let off = 0;
    for (let p = 0; p < n; p++) for (let q = p + 1; q < n; q++) off += get(m, p, q) ** 2;
    if (off < 1e-30 * m.reduce((s, row, i) => s + numberAt(row, i) ** 2, 0)) break;
    for (let p = 0; p < n; p++) for (let q = p + 1; q < n; q++) rotate(m, p, q);
  }
  return m.map((row, i) => numberAt(row, i)).sort((x, y) => x - y);
}

function rotate(m: number[][], p: number, q: number): void {
  const off = get(m, p, q);
  if (off === 0) return;
  const theta = (get(m, q, q) - get(m, p, p)) / (2 * off);
  const t = Math.sign(theta || 1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
  const c = 1 / Math.sqrt(t * t + 1);
  const s = t * c;
  for (let k = 0; k < m.length; k++) {
    const row = at(m, k);
    const [a, b] = [numberAt(row, p), numberAt(row, q)];
    row[p] = c * a - s * b;
    row[q] = s * a + c * b;
  }
  const [rp, rq] = [at(m, p), at(m, q)];
  for (let k = 0; k < m.length; k++) {
    const [a, b] = [numberAt(rp, k), numberAt(rq, k)];
    rp[k] = c * a - s * b;
    rq[k] = s * a + c * b;
  }
}
