/**
 * `(I + A)^-1` for strictly lower triangular A, by halves: exact for repeated keys too, where the series
 * `(I - A)(I + A^2)(I + A^4)...` overflows (mixers.md section 6).
 */
import * as L from '../lib.js';
import type { Value } from '../types.js';

/** Rows and columns of halves of the last two axes: `part(x, 1, 0)` is the lower left quarter. */
function quarter(x: Value, row: number, column: number): Value {
  const rank = x.shape.length;
  const half = (x.shape[rank - 1] as number) / 2;
  const rows = L.sliceAxis(x, rank - 2, row * half, (row + 1) * half);
  return L.sliceAxis(rows, rank - 1, column * half, (column + 1) * half);
}

/** Neighbours of the last but two axis `[...,2n,m,m]` apart: two of `[...,n,m,m]`. */
function neighbours(x: Value): [Value, Value] {
  const lead = x.shape.slice(0, -3);
  const [n, m] = x.shape.slice(-3) as [number, number];
  const pairs = L.reshape(x, [...lead, n / 2, 2 * m, m]);
  return L.split(pairs, pairs.shape.length - 2, [m, m]) as unknown as [Value, Value];
}

/** `[[a, 0], [c, b]]`. */
export function lowerBlock(a: Value, c: Value, b: Value): Value {
  const rank = a.shape.length;
  const m = a.shape[rank - 1] as number;
  return L.concat([L.padAxis(a, rank - 1, 0, m), L.concat([c, b], rank - 1)], rank - 2);
}

/**
 * The lower left quarters of the diagonal blocks of `A [...,C,C]` at every size: entry i holds those of blocks of `2^(i+1)` rows,
 * `[...,C/2^(i+1),2^i,2^i]`.
 */
export function lowerQuarters(matrix: Value): Value[] {
  const lead = matrix.shape.slice(0, -2);
  let size = matrix.shape[matrix.shape.length - 1] as number;
  let blocks = L.reshape(matrix, [...lead, 1, size, size]);
  const quarters: Value[] = [];
  for (let count = 1; size > 1; count *= 2) {
    quarters.unshift(quarter(blocks, 1, 0));
    const both = L.concat([quarter(blocks, 0, 0), quarter(blocks, 1, 1)], blocks.shape.length - 2);
    size /= 2;
    blocks = L.reshape(both, [...lead, count * 2, size, size]);
  }
  return quarters;
}

/** `(I + A)^-1` from the lower left quarters of A; `lead` are the axes before the matrix and `C` its size. */
export function unitLowerInverse(quarters: readonly Value[], one: Value): Value {
  let blocks = one;
  for (const corner of quarters) {
    const [a, b] = neighbours(blocks);
    const m = a.shape[a.shape.length - 1] as number;
    // Blocks of one row hold 1.
    const lower = m === 1 ? corner : L.matmul(b, L.matmul(corner, a));
    blocks = lowerBlock(a, L.neg(lower), b);
  }
  return L.reshape(blocks, [...blocks.shape.slice(0, -3), ...blocks.shape.slice(-2)]);
}
