/**
 * Paths in run configurations, made absolute in one place: relative ones start at the folder of the file that has them.
 */
import { isAbsolute, join, resolve } from 'node:path';
import { SOURCE_KINDS } from './table.js';

/** Where paths are in a run configuration: keys joined by points, without the places in lists. */
const PATH_KEYS: ReadonlySet<string> = new Set([
  ...Object.values(SOURCE_KINDS).flatMap(({ paths }) => paths.map((field) => `data.${field}`)),
  ...['train.init', 'train.init.folder'],
]);

/**
 * A copy of a part of a run configuration, not checked yet, with its relative paths made absolute.
 *
 * @param keys where the part is in the configuration, such as `['data', 0, 'path']`; none for the whole
 * @param dir where relative paths start
 */
export function absolutePaths(value: unknown, keys: readonly (string | number)[], dir: string): unknown {
  const place = keys.filter((key) => typeof key === 'string');
  // A list's entries are at the place of the list.
  if (Array.isArray(value)) return value.map((entry) => absolutePaths(entry, place, dir));
  if (typeof value === 'string' && value !== '' && PATH_KEYS.has(place.join('.')))
    return isAbsolute(value) ? value : join(resolve(dir), value);
  if (typeof value !== 'object' || value === null) return value;
  if (place.length > 0 && ![...PATH_KEYS].some((key) => key.startsWith(`${place.join('.')}.`))) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, part]) => [key, absolutePaths(part, [...place, key], dir)]),
  );
}
