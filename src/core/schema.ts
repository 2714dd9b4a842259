/**
 * Configuration values checked against a zod schema, with errors that a user can act on.
 *
 * Schemas are `z.strictObject`s, so that a misspelt key is an error and not a silent default.
 */
import { closest, distance } from 'fastest-levenshtein';
import type { z } from 'zod';
import { knownAs } from './aliases.js';
import { ConfigError } from './errors.js';
import { clip, showValue } from './messages.js';

type Path = readonly PropertyKey[];
type Issue = z.core.$ZodIssue;

/** At most this many problems are spelt out in one message. */
const MAX_LISTED = 5;
/** Problems past this many are counted only: a list may have a wrong value in each of a million places. */
const MAX_DESCRIBED = 1000;
/** Words longer than this are no slip of the keyboard. */
const MAX_WORD = 100;

/**
 * The candidate that was probably meant by `word`: one that differs in case or hyphens only, one that others call so
 * (`aliases.ts`), or the nearest if it is near enough to be a slip of the keyboard.
 */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  if (candidates.length === 0 || word.length > MAX_WORD) return undefined;
  const known = knownAs(word, candidates);
  if (known !== undefined) return known;
  const best = closest(word, [...candidates]);
  return distance(word, best) <= Math.max(1, Math.ceil(Math.max(word.length, best.length) / 3)) ? best : undefined;
}

/**
 * `value` as `schema` reads it, defaults filled in.
 *
 * @param where what the value is, to open the message with (a file name, `--set`); empty for none
 * @throws ConfigError naming each wrong key by its path, what was expected and what was there; an unknown key comes
 *   with the nearest valid one
 */
export function parseConfig<S extends z.ZodType>(schema: S, value: unknown, where: string): z.output<S> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const { text, problems } = problemsOf(schema, value, result.error);
  throw new ConfigError(`${where === '' ? '' : `${where}: `}${text}`, {
    details: { where, problems },
    cause: result.error,
  });
}

/**
 * What is wrong with a value that a schema refused, in words: each wrong key by its path, what was expected and what
 * was there. `text` joins the first five.
 */
export function problemsOf(
  schema: z.core.$ZodType,
  value: unknown,
  error: z.ZodError,
): { readonly text: string; readonly problems: readonly string[] } {
  const issues = tightest(error.issues);
  const problems = [...new Set(issues.slice(0, MAX_DESCRIBED).flatMap((issue) => describe(schema, value, issue, [])))];
  const others = problems.length - MAX_LISTED + Math.max(0, issues.length - MAX_DESCRIBED);
  const listed = problems.slice(0, MAX_LISTED).join('; ');
  return { text: others > 0 ? `${listed}; and ${others} more` : listed, problems };
}

/** The problems without bounds that a closer bound on the same value makes idle. */
function tightest(issues: readonly Issue[]): readonly Issue[] {
  const [most, least] = [new Map<string, number>(), new Map<string, number>()];
  const keyOf = (issue: Issue): string => JSON.stringify(issue.path.map(String));
  for (const issue of issues) {
    const key = keyOf(issue);
    if (issue.code === 'too_big') most.set(key, Math.min(most.get(key) ?? Infinity, Number(issue.maximum)));
    if (issue.code === 'too_small') least.set(key, Math.max(least.get(key) ?? -Infinity, Number(issue.minimum)));
  }
  return issues.filter((issue) => {
    if (issue.code === 'too_big') return Number(issue.maximum) === most.get(keyOf(issue));
    return issue.code !== 'too_small' || Number(issue.minimum) === least.get(keyOf(issue));
  });
}

/** `model.layers[2]`; empty for the root. */
export function formatPath(path: Path): string {
  let text = '';
  for (const part of path)
    text += typeof part === 'number' ? `[${part}]` : text === '' ? clip(String(part)) : `.${clip(String(part))}`;
  return text;
}

function describe(schema: z.core.$ZodType, root: unknown, issue: Issue, base: Path): string[] {
  const path = [...base, ...issue.path];
  const at = formatPath(path);
  const subject = at === '' ? 'the value' : at;
  const got = showValue(valueAt(root, path));
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.slice(0, MAX_DESCRIBED).map((key, i) => {
        if (i >= MAX_LISTED) return `unknown key "${clip(key)}"`; // counted, not shown
        const known = knownKeys(schema, root, path);
        const elsewhere = knownAs(key, known) === undefined ? pathOfKey(key, schema) : undefined;
        return describeUnknownKey(key, at, known, elsewhere);
      });
    case 'invalid_type':
      if (valueAt(root, path) === undefined) return [`${subject} is missing; expected ${article(issue.expected)}`];
      return [`${subject} must be ${article(issue.expected)}, got ${got}`];
    case 'invalid_value':
      return [describeChoice(subject, valueAt(root, path), issue.values)];
    case 'invalid_union':
      return describeUnion(schema, root, issue, path);
    case 'too_small':
      return [`${subject} must ${limit(issue, issue.minimum, issue.inclusive ? 'at least' : 'more than')}, got ${got}`];
    case 'too_big':
      return [`${subject} must ${limit(issue, issue.maximum, issue.inclusive ? 'at most' : 'less than')}, got ${got}`];
    case 'not_multiple_of':
      return [`${subject} must be a multiple of ${issue.divisor}, got ${got}`];
    case 'custom':
      return [at === '' ? issue.message : `${at}: ${issue.message}`];
    case 'invalid_format':
    case 'invalid_key':
    case 'invalid_element':
      return [`${subject}: ${issue.message}, got ${got}`];
  }
}

function describeUnknownKey(key: string, at: string, known: readonly string[], elsewhere: string | undefined): string {
  const unknown = `unknown key "${clip(key)}"${at === '' ? '' : ` in ${at}`}`;
  if (elsewhere === key) return `${unknown}; it stands at the top level`;
  const near = elsewhere ?? nearest(key, known);
  if (near !== undefined) return `${unknown}; did you mean "${near}"?`;
  return known.length === 0 ? unknown : `${unknown}; valid keys: ${known.join(', ')}`;
}

function describeChoice(subject: string, value: unknown, values: readonly unknown[]): string {
  const choices = values.map((v) => (typeof v === 'string' ? v : String(v)));
  const near = typeof value === 'string' ? nearest(value, choices) : undefined;
  const expected = choices.length === 1 ? `${choices[0]}` : `one of ${choices.join(', ')}`;
  if (value === undefined) return `${subject} is missing; expected ${expected}`;
  return `${subject} must be ${expected}, got ${showValue(value)}${near === undefined ? '' : `; did you mean "${near}"?`}`;
}

/** A union reports the branch that the value was most probably meant for: the one that got furthest into the value. */
function describeUnion(
  schema: z.core.$ZodType,
  root: unknown,
  issue: z.core.$ZodIssueInvalidUnion,
  path: Path,
): string[] {
  const subject = path.length === 0 ? 'the value' : formatPath(path);
  if (issue.discriminator !== undefined) {
    const choices = discriminatorValues(schema, root, path.slice(0, -1), issue.discriminator);
    return [describeChoice(subject, valueAt(root, path), choices)];
  }
  const isWrongKind = (branch: readonly Issue[]) =>
    branch.some((i) => i.path.length === 0 && (i.code === 'invalid_type' || i.code === 'invalid_value'));
  const fitting = issue.errors.filter((branch) => !isWrongKind(branch));
  const best = fitting.sort((a, b) => a.length - b.length)[0];
  if (best !== undefined) return tightest(best).flatMap((i) => describe(schema, root, i, path));
  const kinds = issue.errors.flat().flatMap((i) => {
    if (i.code === 'invalid_type') return [article(i.expected)];
    return i.code === 'invalid_value' ? i.values.map((v) => showValue(v)) : [];
  });
  return [`${subject} must be ${[...new Set(kinds)].join(' or ')}, got ${showValue(valueAt(root, path))}`];
}

function article(expected: string): string {
  const names: Readonly<Record<string, string>> = {
    int: 'a whole number',
    record: 'an object',
    nonoptional: 'a value',
    tuple: 'a list',
    array: 'a list',
  };
  if (expected === 'boolean') return 'true or false';
  return names[expected] ?? (/^[aeiou]/.test(expected) ? `an ${expected}` : `a ${expected}`);
}

function limit(issue: { readonly origin: string }, bound: number | bigint, relation: string): string {
  const units: Readonly<Record<string, [string, string]>> = {
    string: ['character', 'characters'],
    array: ['entry', 'entries'],
  };
  const unit = units[issue.origin];
  return unit === undefined
    ? `be ${relation} ${bound}`
    : `have ${relation} ${bound} ${unit[Number(bound) === 1 ? 0 : 1]}`;
}

function valueAt(root: unknown, path: Path): unknown {
  let value = root;
  for (const part of path) {
    if (typeof value !== 'object' || value === null) return undefined;
    value = (value as Record<PropertyKey, unknown>)[part];
  }
  return value;
}

/** The schemas that may describe the value at `path`, wrappers (optional, default, pipe) taken off. */
function schemasAt(schema: z.core.$ZodType, root: unknown, path: Path): z.core.$ZodType[] {
  let found = unwrap(schema, root);
  let value = root;
  for (const part of path) {
    value = valueAt(value, [part]);
    found = found.flatMap((s) => children(s as z.core.$ZodTypes, part)).flatMap((s) => unwrap(s, value));
  }
  return found;
}

function unwrap(schema: z.core.$ZodType, value: unknown): z.core.$ZodType[] {
  const def = (schema as z.core.$ZodTypes)._zod.def;
  if (def.type === 'pipe') return [...unwrap(def.in, value), ...unwrap(def.out, value)];
  if (def.type === 'lazy') return unwrap(def.getter(), value);
  if (def.type === 'union') return unionOptions(def, value).flatMap((s) => unwrap(s, value));
  return 'innerType' in def ? unwrap(def.innerType, value) : [schema];
}

/** The options of a union; of a discriminated one, those whose discriminator fits the value. */
function unionOptions(def: z.core.$ZodUnionDef, value: unknown): readonly z.core.$ZodType[] {
  const key = 'discriminator' in def && typeof def.discriminator === 'string' ? def.discriminator : undefined;
  if (key === undefined) return def.options;
  const chosen = valueAt(value, [key]);
  return def.options.filter((option) => option._zod.propValues?.[key]?.has(chosen as z.core.util.Primitive) ?? true);
}

function children(schema: z.core.$ZodTypes, part: PropertyKey): z.core.$ZodType[] {
  const def = schema._zod.def;
  if (def.type === 'object') {
    const child = def.shape[String(part)];
    return child === undefined ? [] : [child];
  }
  if (def.type === 'array') return [def.element];
  if (def.type === 'record') return [def.valueType];
  if (def.type === 'tuple') return def.items.slice(Number(part), Number(part) + 1);
  return [];
}

function knownKeys(schema: z.core.$ZodType, root: unknown, path: Path): string[] {
  const keys = schemasAt(schema, root, path).flatMap((s) => {
    const def = (s as z.core.$ZodTypes)._zod.def;
    return def.type === 'object' ? Object.keys(def.shape) : [];
  });
  return [...new Set(keys)];
}

/**
 * Where in the objects of a schema a key of this name (or one that it is an alias of) has its place; lists are not
 * entered.
 */
function pathOfKey(key: string, schema: z.core.$ZodType, path: Path = []): string | undefined {
  const shapes = unwrap(schema, undefined).flatMap((s) => {
    const def = (s as z.core.$ZodTypes)._zod.def;
    return def.type === 'object' ? [def.shape] : [];
  });
  const here = shapes.flatMap((shape) => knownAs(key, Object.keys(shape)) ?? [])[0];
  if (here !== undefined) return formatPath([...path, here]);
  return shapes
    .flatMap((shape) => Object.entries(shape))
    .flatMap(([name, child]) => pathOfKey(key, child, [...path, name]) ?? [])[0];
}

function discriminatorValues(schema: z.core.$ZodType, root: unknown, path: Path, key: string): unknown[] {
  const values = new Set<unknown>();
  const visit = (s: z.core.$ZodType): void => {
    const def = (s as z.core.$ZodTypes)._zod.def;
    if (def.type === 'union') for (const option of def.options) visit(option);
    else if (def.type === 'pipe') visit(def.in);
    else if ('innerType' in def) visit(def.innerType);
    else for (const v of s._zod.propValues?.[key] ?? []) values.add(v);
  };
  // Walk to the union itself: unwrapping would already have dropped the options that do not fit.
  let found: z.core.$ZodType[] = [schema];
  let value = root;
  for (const part of path) {
    found = found.flatMap((s) => unwrap(s, value)).flatMap((s) => children(s as z.core.$ZodTypes, part));
    value = valueAt(value, [part]);
  }
  for (const s of found) visit(s);
  return [...values];
}
