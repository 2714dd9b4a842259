/**
 * Queries that grow with their position p, so that attention stays sharp over long texts: by `1 + beta ln(1 + floor((p
 * + offset) / length))`, as in Llama 4 and Ministral 3, where positions that stay below `length` change nothing; by `(1
 * + (p + offset) / length)^beta`, as in Beam; or by `1 + beta ln((p + offset) / length)` where that is above 1, as in
 * Inkling.
 */
import { at } from '../core/index.js';
import { constantFrom, mul, reshape, take, type Value } from '../graph/index.js';
import { documentPositions } from './documents.js';
import type { MixerScope } from './mixer.js';
import type { HeadGroup } from './plan.js';
import type { QueryScaling } from './schema.js';

/**
 * Queries `[B,T,heads,headDim]` times what their positions give, which in rows of several documents are those in each;
 * the queries themselves where no position changes them.
 *
 * @param group what the queries have: rotary positions, and a window
 */
export function scaleQueries(q: Value, scope: MixerScope, group: Pick<HeadGroup, 'rope' | 'window'>): Value {
  const { config, positions, segments } = scope;
  const { queryScaling: scaling } = config;
  const [B, T] = [at(q.shape, 0), at(q.shape, 1)];
  const limit = positions?.limit ?? T;
  if (scaling === null || (scaling.nope === true && group.rope !== false)) return q;
  if (scaling.full === true && group.window !== null) return q;
  const factors = queryFactors(scaling, limit);
  if (factors.every((factor) => factor === 1)) return q;
  const dtype = q.dtype === 'f64' ? 'f64' : 'f32';
  const places = positions?.values ?? (segments === null ? null : documentPositions([B, T], segments));
  if (places === null) return mul(q, constantFrom(dtype, [1, T, 1, 1], factors));
  const table = constantFrom(dtype, [limit, 1], factors);
  return mul(q, reshape(take(table, places), [B, T, 1, 1]));
}

/** The factor of each position below `limit`. */
function queryFactors(scaling: QueryScaling, limit: number): Float64Array<ArrayBuffer> {
  const { law = 'log', beta, length, offset = 0 } = scaling;
  const factor = {
    log: (p: number) => 1 + beta * Math.log(1 + Math.floor((p + offset) / length)),
    power: (p: number) => (1 + (p + offset) / length) ** beta,
    beyond: (p: number) => 1 + beta * Math.log(Math.max(1, (p + offset) / length)),
  }[law];
  return Float64Array.from({ length: limit }, (_, p) => factor(p));
}
