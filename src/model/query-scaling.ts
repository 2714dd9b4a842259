/**
 * Queries that grow with their position: `q (1 + beta ln(1 + floor((p + offset) / length)))` at position p, as Llama 4
 * and Ministral 3 keep attention sharp over long texts. Positions that stay below `length` change nothing.
 */
import { at, ConfigError } from '../core/index.js';
import { constantFrom, mul, reshape, take, type Value } from '../graph/index.js';
import type { MixerScope } from './mixer.js';
import type { QueryScaling } from './schema.js';

/**
 * Queries `[B,T,heads,headDim]` times what their positions give; the queries themselves where no position reaches the
 * scaling's length.
 *
 * @param turned whether the queries have rotary positions
 * @throws ConfigError for rows of several documents that reach it, whose positions are not those of the row
 */
export function scaleQueries(q: Value, scope: MixerScope, turned: boolean): Value {
  const { config, positions, segments } = scope;
  const { queryScaling: scaling } = config;
  const [B, T] = [at(q.shape, 0), at(q.shape, 1)];
  const limit = positions?.limit ?? T;
  if (scaling === null || (scaling.nope === true && turned) || limit - 1 + (scaling.offset ?? 0) < scaling.length)
    return q;
  if (segments !== null) {
    throw new ConfigError(
      `queries are scaled from position ${scaling.length} on, and rows of ${T} tokens hold several documents; use rows of up to ` +
        `${scaling.length} tokens, or one document a row`,
      { details: { scaling, tokens: T } },
    );
  }
  const dtype = q.dtype === 'f64' ? 'f64' : 'f32';
  const factors = queryFactors(scaling, limit);
  if (positions === null) return mul(q, constantFrom(dtype, [1, T, 1, 1], factors));
  const table = constantFrom(dtype, [limit, 1], factors);
  return mul(q, reshape(take(table, positions.values), [B, T, 1, 1]));
}

/** The factor of each position below `limit`. */
function queryFactors({ beta, length, offset = 0 }: QueryScaling, limit: number): Float64Array<ArrayBuffer> {
  return Float64Array.from({ length: limit }, (_, p) => 1 + beta * Math.log(1 + Math.floor((p + offset) / length)));
}
