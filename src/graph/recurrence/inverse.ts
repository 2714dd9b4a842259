/**
 * Lower triangular matrices by halves, and with them `(I + A)^-1` for strictly lower triangular A: exact for repeated
 * keys too, where the series `(I - A)(I + A^2)(I + A^4)...` overflows (docs/recurrences.md).
 */
import { at, last } from '../../core/index.js';
import * as L from '../primitives/index.js';
import type { Value } from '../ir/types.js';

/** Rows and columns of halves of the last two axes: `quarter(x, 1, 0)` is the lower left one. */
function quarter(x: Value, row: number, column: number): Value {
  const rank = x.shape.length;
  const half = at(x.shape, rank - 1) / 2;
  const rows = L.sliceAxis(x, rank - 2, row * half, (row + 1) * half);
  return L.sliceAxis(rows, rank - 1, column * half, (column + 1) * half);
}

/** The first and the second of neighboring blocks: `[..,n,m,...] -> 2 x [..,n/2,m,...]`, with three leading axes. */
export function splitHalves(x: Value): [Value, Value] {
  const [a, b, c, n, m, ...rest] = x.shape as [number, number, number, number, number, ...number[]];
  const [first, second] = L.split(L.reshape(x, [a, b, c, n / 2, 2 * m, ...rest]), 4, [m, m]) as [Value, Value];
  return [first, second];
}

/** The inverse of `splitHalves`, up to the count of blocks: `[..,n/2,2m,...]`. */
export const joinHalves = (first: Value, second: Value): Value => L.concat([first, second], 4);

/** `[[a, 0], [c, b]]`. */
function lowerBlock(a: Value, c: Value, b: Value): Value {
  const rank = a.shape.length;
  const m = at(a.shape, rank - 1);
  return L.concat([L.padAxis(a, rank - 1, 0, m), L.concat([c, b], rank - 1)], rank - 2);
}

/**
 * The lower left quarters of the diagonal blocks of `A [..,C,C]` at every size: entry i holds those of blocks of
 * `2^(i+1)` rows, `[..,C/2^(i+1),2^i,2^i]`.
 */
export function lowerQuarters(matrix: Value): Value[] {
  const lead = matrix.shape.slice(0, -2);
  let size = last(matrix.shape);
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

const onlyBlock = (x: Value): Value => L.reshape(x, [...x.shape.slice(0, 3), ...x.shape.slice(-2)]);

/**
 * The lower triangular matrix `[..,C,C]` from its diagonal `[..,C]` and the lower left quarters of its diagonal blocks.
 */
export function fromQuarters(diagonal: Value, quarters: readonly Value[]): Value {
  let blocks = L.reshape(diagonal, [...diagonal.shape, 1, 1]);
  for (const corner of quarters) {
    const [a, b] = splitHalves(blocks);
    blocks = lowerBlock(a, corner, b);
  }
  return onlyBlock(blocks);
}

/** `(I + A)^-1 [..,C,C]` from the lower left quarters of A; `one` holds 1 for every row, `[..,C,1,1]`. */
export function unitLowerInverse(quarters: readonly Value[], one: Value): Value {
  let blocks = one;
  for (const corner of quarters) {
    const [a, b] = splitHalves(blocks);
    // Blocks of one row hold 1.
    const lower = a.shape[a.shape.length - 1] === 1 ? corner : L.matmul(b, L.matmul(corner, a));
    blocks = lowerBlock(a, L.neg(lower), b);
  }
  return onlyBlock(blocks);
}
