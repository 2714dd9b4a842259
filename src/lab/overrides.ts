/**
 * Changing one value deep inside a plain configuration, named by a dotted path such as `model.layers` or
 * `data[0].weight`.
 */
import { clip, ConfigError, isPlain, listed, nearest, showValue } from '../core/index.js';

/** The parts of a dotted path; `[n]` and `.n` both index a list. Throws `ConfigError` on an empty part. */
export function parsePath(path: string): (string | number)[] {
  const parts = path.replace(/\[(\d+)\]/g, '.$1').split('.');
  if (parts.some((part) => part === '' || /[[\]]/.test(part)))
    throw new ConfigError(`"${clip(path)}" is not a path; write keys joined by points, such as train.steps`);
  return parts.map((part) => (/^\d+$/.test(part) ? Number(part) : part));
}

/**
 * A copy of `root` with the value at `path` replaced; missing objects on the way are made.
 *
 * @throws ConfigError if a part of the path meets a value that is neither object nor list
 */
export function withValueAt(root: unknown, path: string, value: unknown): unknown {
  const replace = (node: unknown, parts: readonly (string | number)[], done: string): unknown => {
    const [part, ...rest] = parts;
    if (part === undefined) return value;
    const here = done === '' ? String(part) : `${done}.${part}`;
    if (Array.isArray(node)) {
      const list = node as readonly unknown[];
      if (typeof part !== 'number' || part >= list.length)
        throw new ConfigError(`${path}: ${done} is a list of ${list.length}, so "${part}" names no entry of it`);
      return list.map((entry, i) => (i === part ? replace(entry, rest, here) : entry));
    }
    if (node !== undefined && !isPlain(node))
      throw new ConfigError(`${path}: ${done} is ${showValue(node)}, so it has no key "${part}"`);
    return { ...node, [part]: replace(node?.[part], rest, here) };
  };
  return replace(root, parsePath(path), '');
}

/** The value at a dotted path; undefined if there is none. */
export function valueAt(root: unknown, path: string): unknown {
  let node = root;
  for (const part of parsePath(path)) {
    if (typeof node !== 'object' || node === null) return undefined;
    node = (node as Record<string | number, unknown>)[part];
  }
  return node;
}

/** `changes` laid over `base`: objects are merged key by key, everything else is replaced. */
export function merge(base: unknown, changes: unknown): unknown {
  if (!isPlain(base) || !isPlain(changes)) return changes;
  const merged: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(changes)) merged[key] = key in merged ? merge(merged[key], value) : value;
  return merged;
}

/** `ConfigError` for a name that is not among `known`, with the nearest one. */
export function unknownName(what: string, name: string, known: readonly string[]): ConfigError {
  const near = nearest(name, known);
  const hint = near === undefined ? `; there are: ${listed(known)}` : `; did you mean "${near}"?`;
  return new ConfigError(`unknown ${what} "${clip(name)}"${hint}`);
}
