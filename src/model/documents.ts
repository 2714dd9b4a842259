/** Where documents and chunks of them begin in rows of tokens. */
import {
  broadcast,
  concat,
  constantFrom,
  convert,
  cumsum,
  div,
  eq,
  full,
  iota,
  max,
  mul,
  ne,
  or,
  select,
  sliceAxis,
  sub,
  type Value,
} from '../graph/index.js';

/** Rows of tokens: how many, and of how many tokens. */
type Rows = readonly [B: number, T: number];

/** Which tokens of whole rows no token of their document precedes, bool `[B,T]`. */
export function firstTokens([B, T]: Rows, segments: Value | null): Value {
  const row = constantFrom(
    'i32',
    [1, T],
    Array.from({ length: T }, (_, t) => Number(t === 0)),
  );
  const first = ne(broadcast(row, [B, T]), 0);
  if (segments === null || T === 1) return first;
  const before = concat([sliceAxis(segments, 1, 0, 1), sliceAxis(segments, 1, 0, T - 1)], 1);
  return or(first, ne(segments, before));
}

/** The position of each token in its document, i32 `[B,T]` from 0. */
export function documentPositions([B, T]: Rows, segments: Value): Value {
  const place = iota('i32', [B, T], 1);
  const first = firstTokens([B, T], segments);
  // The place where each token's document starts: the largest start up to the token, over 1, 2, 4, ... tokens.
  let start = select(first, place, full('i32', [B, T], 0));
  for (let m = 1; m < T; m *= 2) {
    const before = concat([full('i32', [B, m], 0), sliceAxis(start, 1, 0, T - m)], 1);
    start = max(start, before);
  }
  return sub(place, start);
}

/**
 * The number of each token's chunk of `chunk` tokens in its row, i32 `[B,T]`; chunks follow one another from the start
 * of each document, so that none holds tokens of two.
 */
export function chunkNumbers([B, T]: Rows, segments: Value | null, chunk: number): Value {
  if (segments === null) {
    const row = Array.from({ length: T }, (_, t) => Math.floor(t / chunk));
    return broadcast(constantFrom('i32', [1, T], row), [B, T]);
  }
  const position = documentPositions([B, T], segments);
  const first = firstTokens([B, T], segments);
  const begins = eq(sub(position, mul(div(position, chunk), chunk)), 0);
  return cumsum(convert(or(first, begins), 'i32'), 1);
}
