/** What is done with caches of keys and values, as plain loops. */
import { dims, f64At } from '../../core/index.js';
import type { CacheAttentionAttrs } from '../../graph/index.js';
import { forEachIndex, numberArray, type Arrays, type NumberArray } from './array.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const readF64 = f64At;

/** The cache with the chunk's rows in their place. */
export function cacheWrite([cache, rows, start]: Arrays<'cacheWrite'>): NumberArray {
  const out = numberArray(cache.shape, cache.data.slice());
  const [, G, S, D] = dims(cache, 4);
  const first = readF64(start.data, 0);
  forEachIndex([...rows.shape], (flat, place) => {
    const [b = 0, g = 0, i = 0, d = 0] = place;
    out.data[((b * G + g) * S + first + i) * D + d] = readF64(rows.data, flat);
  });
  return out;
}

/** Attention of every query with every entry that it sees, one after another; zeros where it sees none. */
export function cacheAttention(
  [q, keys, values, first, hidden, sinks]: Arrays<'cacheAttention'>,
  { window, scale, softcap, chunk }: CacheAttentionAttrs,
): NumberArray {
  const [B, n, H, D] = dims(q, 4);
  const [, G, S, E] = dims(values, 4);
  const out = numberArray([B, n, H, E]);
  forEachIndex([B, n, H], (flat, [b, i, h]) => {
    const row = (b * G + Math.floor(h / (H / G))) * S;
    const own = readF64(first.data, 0) + i;
    const origin = readF64(hidden.data, b);
    const chunkStart = chunk === undefined ? 0 : own - ((own - origin) % chunk);
    const from = Math.max(0, origin, window === null ? 0 : own - window + 1, own < origin ? 0 : chunkStart);
    const weights: number[] = [];
    let top = sinks ? readF64(sinks.data, h) : -Infinity;
    for (let s = from; s <= own; s++) {
      let product = 0;
      for (let d = 0; d < D; d++) product += readF64(q.data, flat * D + d) * readF64(keys.data, (row + s) * D + d);
      const score = softcap === undefined ? product * scale : softcap * Math.tanh((product * scale) / softcap);
      weights.push(score);
      // NaN where a score is, as on other engines.
      top = Math.max(top, score);
    }
    if (weights.length === 0) return;
    const sink = sinks ? Math.exp(readF64(sinks.data, h) - top) : 0;
    const total = weights.reduce((sum, s) => sum + Math.exp(s - top), sink);
    weights.forEach((s, j) => {
      const p = Math.exp(s - top) / total;
      for (let e = 0; e < E; e++) {
        const value = readF64(values.data, (row + from + j) * E + e);
        out.data[flat * E + e] = readF64(out.data, flat * E + e) + p * value;
      }
    });
  });
  return out;
}
