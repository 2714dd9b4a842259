/** File patterns: `*` and `?` within a name, `**` over folders, `{a,b}` for choices. */
import { readdirSync, statSync } from 'node:fs';
import { isAbsolute, join, resolve } from 'node:path';
import { at, DataError } from '../core/index.js';

const MAGIC = /[*?{}]/;

/**
 * The files that `patterns` name, absolute, each once, sorted by path. Hidden files and folders are found only where a
 * pattern spells their dot out.
 *
 * @param baseDir where relative patterns start
 * @throws DataError if a file is missing, is a folder, or a pattern matches nothing
 */
export function expandFiles(patterns: readonly string[], baseDir: string): string[] {
  const found = new Set<string>();
  for (const pattern of patterns) {
    const matches = MAGIC.test(pattern) ? matchGlob(pattern, baseDir) : [resolve(baseDir, pattern)];
    if (matches.length === 0)
      throw new DataError(`no file matches ${pattern} (looked in ${baseDir}); correct data.files`);
    for (const path of matches) found.add(checkFile(path));
  }
  return [...found].sort();
}

function checkFile(path: string): string {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) throw new DataError(`text file ${path} does not exist; correct data.files`);
  if (stat.isDirectory()) throw new DataError(`${path} is a folder; name its files, as in ${path}/**/*.txt`);
  return path;
}

function matchGlob(pattern: string, baseDir: string): string[] {
  return expandBraces(pattern).flatMap((choice) => {
    const parts = choice.split('/').filter((part, i) => part !== '' || i === 0);
    const root = isAbsolute(choice) ? '/' : baseDir;
    return walk(root, isAbsolute(choice) ? parts.slice(1) : parts);
  });
}

function expandBraces(pattern: string): string[] {
  const open = /\{([^{}]*)\}/.exec(pattern);
  if (open === null) return [pattern];
  const before = pattern.slice(0, open.index);
  const after = pattern.slice(open.index + open[0].length);
  return at(open, 1)
    .split(',')
    .flatMap((choice) => expandBraces(before + choice + after));
}

function walk(folder: string, parts: readonly string[]): string[] {
  const [part, ...rest] = parts;
  if (part === undefined) return [];
  if (!MAGIC.test(part)) {
    const path = join(folder, part);
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat === undefined) return [];
    if (rest.length === 0) return stat.isFile() ? [path] : [];
    return stat.isDirectory() ? walk(path, rest) : [];
  }
  const entries = readdirSync(folder, { withFileTypes: true });
  if (part === '**') {
    const here = rest.length === 0 ? walk(folder, ['*']) : walk(folder, rest);
    const below = entries.filter((e) => e.isDirectory() && !e.name.startsWith('.'));
    return [...here, ...below.flatMap((e) => walk(join(folder, e.name), parts))];
  }
  const name = nameMatcher(part);
  return entries
    .filter((e) => name.test(e.name) && (!e.name.startsWith('.') || part.startsWith('.')))
    .flatMap((e) => {
      const path = join(folder, e.name);
      const stat = statSync(path, { throwIfNoEntry: false });
      if (stat === undefined) return [];
      if (rest.length === 0) return stat.isFile() ? [path] : [];
      return stat.isDirectory() ? walk(path, rest) : [];
    });
}

function nameMatcher(part: string): RegExp {
  const escaped = part.replace(/[.+^$()|[\]\\]/g, '\\$&');
  return new RegExp(`^${escaped.replaceAll('*', '.*').replaceAll('?', '.')}$`, 's');
}
