/** YAML files given by the user, with errors that name the file and the line. */
import { statSync } from 'node:fs';
import { LineCounter, parseDocument, stringify, type Document } from 'yaml';
import { ZodError, type z } from 'zod';
import { messageOf, ConfigError, decodeUtf8, readBytes, parseConfig, LIMITS } from '../core/index.js';

/** A parsed YAML file that still knows where each value stood. */
export interface YamlFile {
  readonly path: string;
  readonly value: unknown;
  /** The 1-based line of the value at `keys`, or of the nearest value above it that exists. */
  lineOf(keys: readonly PropertyKey[]): number;
  /** The keys of the map at `keys` in the order of the file: objects put those that look like numbers first. */
  keysAt(keys: readonly string[]): string[];
}

/**
 * Reads a YAML (or JSON) file.
 *
 * @throws ConfigError if the file cannot be read, is empty, or does not parse (names the line and column)
 */
export function readYamlFile(path: string): YamlFile {
  let text: string;
  try {
    const stat = statSync(path);
    if (stat.isDirectory()) throw new ConfigError(`${path} is a folder; give a YAML file`);
    const { most } = LIMITS.configBytes;
    if (stat.size > most)
      throw new ConfigError(`${path} has ${stat.size} bytes; a YAML file of more than ${most} bytes is not read`);
    text = decodeUtf8(readBytes(path, most), 'refuse', (offset) => {
      return new ConfigError(`${path}: byte ${offset} is not valid UTF-8; convert the file to UTF-8`, {
        details: { path },
      });
    });
  } catch (cause) {
    if (cause instanceof ConfigError) throw cause;
    const { code, message } = cause as NodeJS.ErrnoException;
    const reason = code === 'ENOENT' ? 'there is no such file' : code === 'EACCES' ? 'permission denied' : message;
    throw new ConfigError(`cannot read ${path}: ${reason}`, { details: { path }, cause });
  }
  return parseYaml(text, path);
}

const TOO_DEEP = 'YAML nests lists and objects too deeply; use fewer levels';

/** Parses YAML text; `path` is what messages call it. Throws as `readYamlFile` does. */
export function parseYaml(text: string, path: string): YamlFile {
  const lines = new LineCounter();
  const doc = parseNested(path, () => parseDocument(text, { lineCounter: lines, prettyErrors: false, merge: true }));
  const problem = doc.errors[0];
  if (problem !== undefined) {
    const { line, col } = lines.linePos(problem.pos[0]);
    // The library reports its own end of the stack as a problem of the text.
    const what = /call stack/.test(problem.message)
      ? TOO_DEEP
      : `YAML does not parse: ${firstSentence(problem.message)}`;
    throw new ConfigError(`${path}:${line}:${col}: ${what}`, {
      details: { path, line, column: col },
      cause: problem,
    });
  }
  const value = toValue(doc, path);
  if (value === null || value === undefined) throw new ConfigError(`${path} is empty; it needs a configuration`);
  return { path, value, lineOf: (keys) => lineOf(doc, lines, keys), keysAt: (keys) => keysAt(doc, keys) };
}

/** What `parse` returns. The YAML library, and what follows it, walk values by recursion: the stack is the limit. */
function parseNested<T>(path: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new ConfigError(`${path}: ${TOO_DEEP}`, { details: { path }, cause });
  }
}

/**
 * The value of a YAML file as `schema` reads it, defaults filled in.
 *
 * @throws ConfigError opening with `FILE:LINE` of the first problem
 */
export function parseYamlConfig<S extends z.ZodType>(schema: S, file: YamlFile): z.output<S> {
  return locate(file, [], () => parseConfig(schema, file.value, ''));
}

/**
 * What `parse` returns. A `ConfigError` that it throws is thrown again, opened with where it is: `FILE:LINE` of the
 * first problem below `keys`, or the text given in place of a file.
 */
export function locate<T>(place: YamlFile | string, keys: readonly PropertyKey[], parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const at = typeof place === 'string' ? place : `${place.path}:${place.lineOf([...keys, ...problemPath(error)])}`;
    throw new ConfigError(`${at}: ${error.message}`, { details: { ...error.details, where: at }, cause: error.cause });
  }
}

/** Where in the value the first problem of a schema error is; nothing for other errors. */
function problemPath({ cause, message }: ConfigError): readonly PropertyKey[] {
  if (!(cause instanceof ZodError)) return /^model\.layers\b/.test(message) ? ['layers'] : [];
  // A misspelt key is a better place to look at than the key that it leaves missing.
  const issue = cause.issues.find((i) => i.code === 'unrecognized_keys') ?? cause.issues[0];
  if (issue === undefined) return [];
  return issue.code === 'unrecognized_keys' ? [...issue.path, ...issue.keys.slice(0, 1)] : issue.path;
}

/** YAML text of a plain value, for showing a configuration to people. */
export function toYaml(value: unknown): string {
  return stringify(value, { lineWidth: 0, aliasDuplicateObjects: false });
}

function toValue(doc: Document.Parsed, path: string): unknown {
  try {
    return doc.toJS() as unknown;
  } catch (cause) {
    throw new ConfigError(`${path}: YAML does not parse: ${messageOf(cause)}`, { details: { path }, cause });
  }
}

function lineOf(doc: Document.Parsed, lines: LineCounter, keys: readonly PropertyKey[]): number {
  for (let depth = keys.length; depth > 0; depth--) {
    const offset = offsetOf(doc, keys.slice(0, depth));
    if (offset !== undefined) return lines.linePos(offset).line;
  }
  return lines.linePos(doc.contents?.range?.[0] ?? 0).line;
}

function keysAt(doc: Document.Parsed, keys: readonly string[]): string[] {
  let map: unknown = doc.toJS({ mapAsMap: true });
  for (const key of keys) map = map instanceof Map ? map.get(key) : undefined;
  return map instanceof Map ? [...map.keys()].map(String) : [];
}

/** The offset of the key (in a map) or the entry (in a list) that `keys` leads to. */
function offsetOf(doc: Document.Parsed, keys: readonly PropertyKey[]): number | undefined {
  const parent: unknown = keys.length === 1 ? doc.contents : doc.getIn(keys.slice(0, -1), true);
  const last = keys.at(-1);
  if (typeof parent !== 'object' || parent === null || !('items' in parent)) return undefined;
  const items = parent.items as readonly Node[];
  if (typeof last === 'number') return items[last]?.range?.[0];
  return items.find((item) => item.key?.value === last)?.key?.range?.[0];
}

interface Node {
  readonly range?: readonly number[];
  readonly key?: { readonly value?: unknown; readonly range?: readonly number[] };
}

function firstSentence(message: string): string {
  return (message.split('\n')[0] ?? message).replace(/[.:]\s*$/, '');
}
