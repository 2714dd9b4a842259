/** Finds run and study folders below the roots that were given, and nothing outside of them. */
import { readdirSync, realpathSync, statSync, type Dirent } from 'node:fs';
import { basename, join, relative, resolve, sep } from 'node:path';
import { fingerprint, isRunFolder, isStudyFolder, isTemporary, StoreError } from '../core/index.js';

/** Orders names by their letters and the numbers in them; made once, as `localeCompare` makes one for each call. */
export const BY_NAME = new Intl.Collator('en', { numeric: true });
/** How deep below a root folders are looked for. */
const MOST_DEPTH = 5;
/** The most folders that one look takes in, so that a root such as `/` ends. */
const MOST_FOLDERS = 200_000;
const PASSED_OVER = new Set(['node_modules', 'checkpoints', 'branches', 'evals', 'analysis', 'logs', 'workers']);

/** A folder that was given. */
export interface Root {
  /** As it was given. */
  readonly given: string;
  /** Without symbolic links. */
  readonly path: string;
  readonly name: string;
}

/** A run or study folder that was found. */
export interface Found {
  readonly kind: 'run' | 'study';
  readonly id: string;
  /** Without symbolic links; below its root. */
  readonly path: string;
  /** Begins with the name of the root. */
  readonly shown: string;
  /** The path of the study that a run lies in; null for others. */
  readonly study: string | null;
}

/**
 * The roots of folders as they were given.
 *
 * @throws StoreError for one that is no folder
 */
export function openRoots(folders: readonly string[]): Root[] {
  return folders.map((given) => {
    const stat = statSync(given, { throwIfNoEntry: false });
    if (stat === undefined)
      throw new StoreError(`there is no folder ${given}; give folders of runs or studies`, { details: { given } });
    if (!stat.isDirectory())
      throw new StoreError(`${given} is a file; give folders of runs or studies`, { details: { given } });
    const path = realpathSync(given);
    return { given, path, name: basename(resolve(given)) };
  });
}

/** Whether a path without symbolic links lies in a root or below it. */
function isInside(roots: readonly Root[], path: string): boolean {
  return roots.some((root) => path === root.path || path.startsWith(root.path === sep ? sep : `${root.path}${sep}`));
}

/** A file of a run or study without symbolic links; null where it is none, or lies outside of the roots. */
export function insidePath(roots: readonly Root[], path: string): string | null {
  try {
    const real = realpathSync.native(path);
    return isInside(roots, real) ? real : null;
  } catch {
    return null;
  }
}

/** Looks for folders; what has not changed since the last look is not read again. */
export class FolderFinder {
  readonly roots: readonly Root[];
  /** By path: the time of change, and what was below. */
  readonly #seen = new Map<string, { readonly stamp: number; readonly below: readonly string[] }>();

  readonly #ids = new Map<string, string>();

  constructor(roots: readonly Root[]) {
    this.roots = roots;
  }

  /** Every run and study folder that there is now, each once. */
  find(): Found[] {
    const found = new Map<string, Found>();
    const visited = new Set<string>();
    const visit = (path: string, root: Root, depth: number, study: string | null): void => {
      if (visited.size > MOST_FOLDERS || depth > MOST_DEPTH || visited.has(path)) return;
      visited.add(path);
      const shown = join(root.name, relative(root.path, path));
      const add = (kind: Found['kind']) => found.set(path, { kind, id: this.#idOf(path), path, shown, study });
      if (isRunFolder(path)) {
        add('run');
        return;
      }
      const isStudy = isStudyFolder(path);
      if (isStudy) add('study');
      for (const inner of this.#below(path)) visit(inner, root, depth + 1, isStudy ? path : study);
    };
    for (const root of this.roots) visit(root.path, root, 0, null);
    return [...found.values()];
  }

  /** The id of a folder: a part of the hash of its path. */
  #idOf(path: string): string {
    let id = this.#ids.get(path);
    if (id === undefined) this.#ids.set(path, (id = fingerprint(path).slice(0, 12)));
    return id;
  }

  #below(path: string): readonly string[] {
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat === undefined) return [];
    const known = this.#seen.get(path);
    // A folder that changed within the last seconds may change again without another time of change.
    if (known?.stamp === stat.mtimeMs && Date.now() - stat.mtimeMs > 2000) return known.below;
    const below = foldersIn(path, (real) => isInside(this.roots, real));
    this.#seen.set(path, { stamp: stat.mtimeMs, below });
    return below;
  }
}

function foldersIn(path: string, isAllowed: (real: string) => boolean): string[] {
  let entries: Dirent[];
  try {
    entries = readdirSync(path, { withFileTypes: true });
  } catch {
    return []; // not ours to read, or gone
  }
  return entries
    .filter(({ name }) => !name.startsWith('.') && !PASSED_OVER.has(name) && !name.endsWith('.lock'))
    .filter(({ name }) => !isTemporary(name))
    .flatMap((entry) => {
      const inner = join(path, entry.name);
      return entry.isDirectory() ? inner : entry.isSymbolicLink() ? (linkedFolder(inner, isAllowed) ?? []) : [];
    })
    .sort();
}

/** Where a symbolic link leads, if that is a folder below the roots. */
function linkedFolder(path: string, isAllowed: (real: string) => boolean): string | null {
  try {
    const real = realpathSync(path);
    return isAllowed(real) && statSync(real).isDirectory() ? real : null;
  } catch {
    return null;
  }
}
