/** Names of a study's runs: readable, safe as file names on every system, and never the same for two different runs. */
import { canonicalJson, fingerprint, type Plain } from '../core/index.js';

/** File names may have 255 bytes; logs and temporary files add an ending to the run's. */
const MAX_NAME = 220;
/** Hexadecimal digits of a fingerprint that tell names apart where words do not; more where even these are the same. */
const SHORT_HASH = 8;

/**
 * A label as a folder name: lower case letters, digits and points, everything else one hyphen. Not unique: see
 * `distinctNames`.
 */
export function slug(text: string): string {
  const plain = text
    .toLowerCase()
    .replace(/[^a-z0-9.]+/g, '-')
    .replace(/^[-.]+|[-.]+$/g, '');
  return plain === '' ? 'x' : plain;
}

/**
 * Names for things, each by its canonical text: the first of `spellings` that no other thing shares, else the first
 * with the head of a fingerprint. Names differ in more than case, and do not depend on the order of things.
 *
 * @param spellings of a thing, shortest first, at least one
 */
export function distinctNames<T>(
  things: readonly T[],
  spellings: (thing: T) => readonly string[],
): ReadonlyMap<string, string> {
  const open = new Map(things.map((thing) => [canonicalJson(thing), thing]));
  const named = new Map<string, string>();
  const taken = new Set<string>();
  const settle = (nameOf: (thing: T) => string | undefined) => {
    const wanted = [...open].flatMap(([key, thing]) => {
      const name = nameOf(thing);
      return name === undefined ? [] : [{ key, name, folded: name.toLowerCase() }];
    });
    const times = new Map<string, number>();
    for (const { folded } of wanted) times.set(folded, (times.get(folded) ?? 0) + 1);
    for (const { key, name, folded } of wanted) {
      if (times.get(folded) !== 1 || taken.has(folded)) continue;
      named.set(key, name);
      taken.add(folded);
      open.delete(key);
    }
  };
  const most = things.reduce((n, thing) => Math.max(n, spellings(thing).length), 0);
  for (let i = 0; i < most && open.size > 0; i++) settle((thing) => spellings(thing)[i]);
  for (let digits = SHORT_HASH; open.size > 0; digits++)
    settle((thing) => `${spellings(thing)[0]}-${fingerprint(thing).slice(0, digits)}`);
  return named;
}

function textOf(value: unknown): string {
  if (typeof value === 'string') return value;
  return typeof value === 'number' && !Number.isFinite(value) ? String(value) : JSON.stringify(value);
}

/** Spellings of a setting's value: its slug, and the slug with minus signs as words. */
function spellingsOf(value: unknown): string[] {
  const text = textOf(value);
  return [slug(text), slug(text.replace(/(^|[\s,[:(])-(?=[\d.])/g, '$1minus '))];
}

/** Spellings of a path: its last key, its last two, and so on. */
function pathSpellings(path: string): string[] {
  const keys = path.split('.');
  return keys.map((_, i) =>
    keys
      .slice(keys.length - 1 - i)
      .map(slug)
      .join('-'),
  );
}

/** What the name of a run is made of. */
export interface NamedRunParts {
  readonly architecture: string;
  readonly long: boolean;
  readonly point: Plain;
  readonly seed: number;
}

/**
 * What names the runs of a study: `ARCHITECTURE[_long][_KEY-VALUE …]_seed-N`.
 *
 * @param labels of all architectures
 * @param grid all values of each setting, by path
 */
export function runNamer(
  labels: readonly string[],
  grid: Readonly<Record<string, readonly unknown[]>>,
): (run: NamedRunParts) => string {
  const architectures = distinctNames(labels, (label) => [slug(label)]);
  const paths = distinctNames(Object.keys(grid), pathSpellings);
  const values = new Map(Object.entries(grid).map(([path, all]) => [path, distinctNames(all, spellingsOf)]));
  return ({ architecture, long, point, seed }) => {
    const settings = Object.entries(point).map(
      ([path, value]) => `${paths.get(canonicalJson(path))}-${values.get(path)?.get(canonicalJson(value))}`,
    );
    const head = [architectures.get(canonicalJson(architecture)), ...(long ? ['long'] : []), ...settings].join('_');
    const tail = `_seed-${seed}`;
    if (head.length + tail.length <= MAX_NAME) return head + tail;
    // The fingerprint of the whole: what is cut off still tells names apart.
    const hash = `-${fingerprint([architecture, long, point]).slice(0, 2 * SHORT_HASH)}`;
    return head.slice(0, MAX_NAME - tail.length - hash.length) + hash + tail;
  };
}
