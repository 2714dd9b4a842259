/**
 * What exported configurations say a second time for readers that know older names than Transformers 5 writes: mlx-lm
 * and earlier versions of Transformers take the base of rotary positions from `rope_theta`, and where it is missing
 * compute with another one without a word.
 */
import type { HfConfigJson } from './family/family.js';

type Json = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/**
 * `json` with the older names of what `rope_parameters` says: `rope_theta`, `partial_rotary_factor`, and `rope_scaling`
 * for scaled positions. Of positions by layer type they are those of full attention, and only where those of windows
 * have the same base and are not scaled, as older readers have it.
 *
 * @param scalings whether the class takes `rope_scaling` beside `rope_parameters`
 */
export function withOlderNames(json: HfConfigJson, scalings = true): HfConfigJson {
  const rope = commonRope(json['rope_parameters']);
  if (rope === null || typeof rope['rope_theta'] !== 'number') return json;
  const { rope_theta: theta, partial_rotary_factor: fraction, rope_type: type } = rope;
  return {
    rope_theta: theta,
    ...(fraction === undefined ? {} : { partial_rotary_factor: fraction }),
    ...(type === 'default' || !scalings ? {} : { rope_scaling: rope }),
    ...json,
  };
}

function commonRope(rope: unknown): Json | null {
  if (!isObject(rope)) return null;
  const { full_attention: full, sliding_attention: sliding } = rope;
  if (!isObject(full) || !isObject(sliding)) return rope;
  return sliding['rope_type'] === 'default' && sliding['rope_theta'] === full['rope_theta'] ? full : null;
}
