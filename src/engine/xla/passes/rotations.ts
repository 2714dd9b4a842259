/** Rotary embeddings as the tile kernels have them. */
import { reshape, type RotaryAttrs, type Value } from '../../../graph/index.js';
import { rotaryTables } from './overrides.js';

/** Whether two rotary embeddings rotate by the same angles. */
export const sameRotation = (a: RotaryAttrs, b: RotaryAttrs): boolean =>
  a.inverseFrequencies.length === b.inverseFrequencies.length &&
  a.inverseFrequencies.every((f, i) => f === b.inverseFrequencies[i]);

/** The tables of rotary angles, `[T,D/2]` in float32; equal ones are merged later. */
export function angleTables(T: number, attrs: RotaryAttrs): Value[] {
  const { cos, sin } = rotaryTables(T, { ...attrs, inverse: false }, 'f32');
  return [cos, sin].map((x) => reshape(x, [T, attrs.inverseFrequencies.length]));
}
