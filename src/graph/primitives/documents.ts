/** Packed documents: which tokens belong together. */
import { dims } from '../../core/index.js';
import * as L from './index.js';
import type { Value } from '../ir/types.js';

/** Where documents begin, i32 `[B,before+T]` of 0 and 1: nothing before the second token begins one. */
export function documentStarts(segments: Value, before = 0): Value {
  const [B, T] = dims(segments, 2);
  if (T === 1) return L.full('i32', [B, before + 1], 0);
  const changes = L.ne(L.sliceAxis(segments, 1, 1, T), L.sliceAxis(segments, 1, 0, T - 1));
  return L.padAxis(L.convert(changes, 'i32'), 1, before + 1, 0);
}

/**
 * Numbers the documents of each row, i32 `[B,T]` from 0: a new one starts wherever the id differs from that of the
 * token before. Ids themselves may return later; the numbers do not.
 */
export function documentRuns(segments: Value): Value {
  const starts = documentStarts(segments);
  return segments.shape[1] === 1 ? starts : L.cumsum(starts, 1);
}
