import { describe, expect, it } from 'vitest';
import { append, concatIds, maxOf, minOf } from './lists.js';

/** Twice as many as may be arguments. */
const LONG = 300_000;

describe('lists of any length', () => {
  it('have a largest and a smallest value', () => {
    const values = Array.from({ length: LONG }, (_, i) => (i * 7919) % LONG);
    expect([maxOf(values), minOf(values)]).toEqual([LONG - 1, 0]);
    expect([maxOf([]), minOf([])]).toEqual([Math.max(), Math.min()]);
    expect([maxOf([1, NaN, 2]), minOf([1, NaN, 2])]).toEqual([NaN, NaN]);
    expect([maxOf([-0, 0]), minOf([0, -0])]).toEqual([0, -0]);
  });

  it('are appended and joined', () => {
    const ids = Int32Array.from({ length: LONG }, (_, i) => i);
    const list = [-1];
    append(list, ids);
    expect([list.length, list[0], list.at(-1)]).toEqual([LONG + 1, -1, LONG - 1]);
    const joined = concatIds(ids, [], [5, 6], ids);
    expect([joined.length, joined[LONG], joined[LONG + 1], joined[LONG + 2]]).toEqual([2 * LONG + 2, 5, 6, 0]);
  });
});
