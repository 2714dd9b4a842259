/**
 * Where a family's tensors stand under other names than its own: the text part of a model that also reads images, and
 * base models saved without their head.
 */
import type { Family, TensorShapes } from './family.js';
import type { ParameterLayout } from './layout.js';

/** Beginnings of names in files. */
export interface Prefixes {
  /** In place of the model's own, such as `model.`; the first is that of the model in memory. */
  readonly body: readonly string[];
  /** Before `lm_head`. */
  readonly head: readonly string[];
  /** Tensors of other parts, which a text does not meet; null for none. */
  readonly others: RegExp | null;
}

/** A base model is saved without the prefix that it has within the whole model. */
const PLAIN: Prefixes = { body: [], head: [''], others: null };

const OWN_PREFIX = /^(model|backbone|transformer)\./;

/** The names that a tensor of the family may have in a file, the likeliest first. */
function candidates(name: string, prefixes: Prefixes): string[] {
  const own = OWN_PREFIX.exec(name)?.[0];
  if (own === undefined) return prefixes.head.map((prefix) => prefix + name);
  const rest = name.slice(own.length);
  return prefixes === PLAIN ? [name, rest] : prefixes.body.map((prefix) => prefix + rest);
}

/** A family whose tensors may stand under other names. */
export function named(family: Family, prefixes: Prefixes = PLAIN): Family {
  const stored = (shapes: TensorShapes) => (name: string) => {
    const names = candidates(name, prefixes);
    return names.find((other) => shapes(other) !== undefined) ?? names[0] ?? name;
  };
  // The family's own name of a tensor of a file or in memory.
  const plainName = (name: string): string => {
    if (prefixes === PLAIN) return name;
    const body = [...prefixes.body].sort((a, b) => b.length - a.length).find((p) => p !== '' && name.startsWith(p));
    if (body !== undefined) return `model.${name.slice(body.length)}`;
    const head = prefixes.head.find((p) => p !== '' && name.startsWith(p));
    return head === undefined ? name : name.slice(head.length);
  };
  const renamed = (layout: ParameterLayout | null, shapes: TensorShapes): ParameterLayout | null => {
    const find = stored(shapes);
    return layout && { ...layout, sources: layout.sources.map((s) => ({ ...s, tensor: find(s.tensor) })) };
  };
  const within =
    (shapes: TensorShapes): TensorShapes =>
    (name) =>
      shapes(stored(shapes)(name));
  return {
    ...family,
    layout: (config, layer, name, shapes) => renamed(family.layout(config, layer, name, within(shapes)), shapes),
    ignored: (name, config) =>
      prefixes.others?.test(name) === true || family.ignored?.(plainName(name), config) === true,
    alias: (name, config) => {
      const own = plainName(name);
      const names = [own, ...(family.alias?.(own, config) ?? [])].flatMap((n) => candidates(n, prefixes));
      return names.filter((other) => other !== name);
    },
    ...(family.adopt === undefined
      ? {}
      : {
          adopt: (config, read) =>
            family.adopt?.(config, (name) => candidates(name, prefixes).flatMap((n) => read(n) ?? [])[0]) ?? {
              config,
              notes: [],
            },
        }),
    constants: (config, shapes) =>
      (family.constants?.(config, within(shapes)) ?? []).map((c) => ({ ...c, name: stored(shapes)(c.name) })),
  };
}
