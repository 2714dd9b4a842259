import { describe, expect, it } from 'vitest';
import { describeDifferences, differences } from './differences.js';

describe('differences', () => {
  it('lists what differs by path, list entries by their place', () => {
    expect(differences({ a: { b: 1, c: [1] }, d: 0 }, { a: { b: 2, c: [1] }, e: 3 })).toEqual([
      { path: 'a.b', a: 1, b: 2 },
      { path: 'd', a: 0, b: undefined },
      { path: 'e', a: undefined, b: 3 },
    ]);
    expect(differences({ a: [{ b: 1 }] }, { a: [{ b: 2 }, null] })).toEqual([
      { path: 'a[0].b', a: 1, b: 2 },
      { path: 'a[1]', a: undefined, b: null },
    ]);
    expect(differences({ a: [] }, { a: {} })).toEqual([{ path: 'a', a: [], b: {} }]);
    expect(differences({ a: undefined }, {})).toEqual([]);
  });

  it('are spelt out up to a number', () => {
    const found = differences({ a: 1, b: [2], c: 'x' }, { a: 2 });
    expect(describeDifferences(found, 2)).toBe('a was 1, now 2; b was [2], now nothing; and 1 more');
    expect(describeDifferences(found.slice(0, 1))).toBe('a was 1, now 2');
  });
});
