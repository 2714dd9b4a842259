/**
 * Files that matter appear whole or not at all: written to a temporary name beside the target, synced, then renamed.
 */
import { present } from './at.js';
import {
  closeSync,
  existsSync,
  fsync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  write,
  writeSync,
} from 'node:fs';
import { dirname, resolve } from 'node:path';
import { promisify } from 'node:util';
import { messageOf, StoreError } from './errors.js';

const REASONS: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full; free some space or choose another folder',
  EDQUOT: 'the disk quota is used up; free some space or choose another folder',
  EFBIG: 'the file would be larger than allowed here; raise the limit (ulimit -f) or choose another folder',
  EROFS: 'the file system is read-only; choose another folder',
  EACCES: 'permission denied; choose a folder that you may write to',
  EPERM: 'permission denied; choose a folder that you may write to',
  EEXIST: 'a file is where a folder should be; choose another path',
  ENOTDIR: 'a part of the path is a file, not a folder; choose another path',
  ENOENT: 'a part of the path does not exist',
  ENOTSUP: 'no files can be made there; choose another folder',
};

const writeOnThread = promisify(write);
const syncOnThread = promisify(fsync);

/** One system call writes at most about 2 GiB; stay well below. */
const MAX_WRITE_BYTES = 2 ** 28;

/** The `StoreError` for a failed file operation: what was tried, on which path, why it failed. */
export function fileError(action: string, path: string, cause: unknown): StoreError {
  const code = (cause as NodeJS.ErrnoException).code ?? '';
  const reason = REASONS[code] ?? (cause instanceof Error ? cause.message : String(cause));
  return new StoreError(`cannot ${action} ${path}: ${reason}`, { details: { path, code }, cause });
}

/**
 * Makes a folder and those above it, level by level: where a file system has no folder to give, as under /proc, Node's
 * own recursive mkdir never comes back. Throws the failing call's error (for `fileError`), with code ENOTSUP in that
 * case.
 */
export function makeFolder(path: string): void {
  const missing: string[] = [];
  let at = resolve(path);
  for (; !existsSync(at); at = dirname(at)) missing.unshift(at);
  if (!statSync(at).isDirectory()) throw Object.assign(new Error(`${at} is a file`), { code: 'EEXIST' });
  for (const folder of missing) {
    try {
      mkdirSync(folder);
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      if (code === 'EEXIST' && statSync(folder).isDirectory()) continue; // another process was faster
      // Its parent exists: ENOENT means that this file system makes no folders.
      throw code === 'ENOENT' ? Object.assign(new Error(`no folder ${folder}`, { cause }), { code: 'ENOTSUP' }) : cause;
    }
  }
}

/**
 * A file written piece by piece that appears under its name only on `commit`. Before that, disposing it (or `abort`)
 * leaves nothing behind and an older file stays. Every method throws `StoreError` and aborts on failure.
 */
export class AtomicFile implements Disposable {
  /** The name under which the file appears on `commit`. */
  readonly path: string;
  readonly #temporary: string;
  #fd: number | undefined;
  #created = false;

  constructor(path: string) {
    this.path = path;
    this.#temporary = `${path}.${process.pid}.tmp`;
    this.#attempt(() => {
      makeFolder(dirname(path));
      this.#fd = openSync(this.#temporary, 'w');
      this.#created = true;
    });
  }

  /** Appends text (as UTF-8) or bytes to the file. */
  write(part: string | Uint8Array): void {
    this.#attempt(() => {
      const bytes = typeof part === 'string' ? Buffer.from(part) : part;
      for (let at = 0; at < bytes.length;) {
        at += writeSync(present(this.#fd), bytes, at, Math.min(bytes.length - at, MAX_WRITE_BYTES));
      }
    });
  }

  /** Syncs the file to disk and renames it to `path`. */
  commit(): void {
    this.#attempt(() => {
      const fd = present(this.#fd);
      fsyncSync(fd);
      this.#fd = undefined;
      closeSync(fd);
      renameSync(this.#temporary, this.path);
    });
  }

  /** `write` on another thread: this one goes on meanwhile. Calls must not overlap, and `part` must not change. */
  async writeBehind(part: string | Uint8Array): Promise<void> {
    await this.#attemptBehind(async () => {
      const bytes = typeof part === 'string' ? Buffer.from(part) : part;
      for (let at = 0; at < bytes.length;) {
        const length = Math.min(bytes.length - at, MAX_WRITE_BYTES);
        at += (await writeOnThread(present(this.#fd), bytes, at, length)).bytesWritten;
      }
    });
  }

  /** `commit` on another thread. */
  async commitBehind(): Promise<void> {
    await this.#attemptBehind(async () => {
      const fd = present(this.#fd);
      await syncOnThread(fd);
      this.#fd = undefined;
      closeSync(fd);
      renameSync(this.#temporary, this.path);
    });
  }

  /** Removes what was written; an older file under `path` stays. */
  abort(): void {
    if (this.#created) rmSync(this.#temporary, { force: true });
    this.#created = false;
    const fd = this.#fd;
    this.#fd = undefined;
    if (fd !== undefined) closeSync(fd);
  }

  [Symbol.dispose](): void {
    if (this.#fd !== undefined) this.abort();
  }

  #attempt(action: () => void): void {
    try {
      action();
    } catch (cause) {
      this.#fail(cause);
    }
  }

  async #attemptBehind(action: () => Promise<void>): Promise<void> {
    try {
      await action();
    } catch (cause) {
      this.#fail(cause);
    }
  }

  #fail(cause: unknown): never {
    try {
      this.abort();
    } catch {
      // What failed first counts; the temporary file is left over.
    }
    throw fileError('write', this.path, cause);
  }
}

/**
 * Writes `parts` one after another to `path`, atomically. On failure nothing is left behind and an older file stays.
 */
export function writeFileAtomic(path: string, ...parts: (string | Uint8Array)[]): void {
  using file = new AtomicFile(path);
  for (const part of parts) file.write(part);
  file.commit();
}

/**
 * Writes a value as indented JSON to `path`, atomically.
 * @throws StoreError if the file cannot be written
 */
export function writeJsonAtomic(path: string, value: unknown): void {
  writeFileAtomic(path, JSON.stringify(value, null, 2) + '\n');
}

/**
 * Reads and parses a JSON file. Throws `StoreError` naming the path if it is missing or not JSON.
 *
 * @param repair changes the text before it is parsed
 */
export function readJson(path: string, repair: (text: string) => string = (text) => text): unknown {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw fileError('read', path, cause);
  }
  try {
    return JSON.parse(repair(text)) as unknown;
  } catch (cause) {
    throw new StoreError(`${path} is not valid JSON: ${messageOf(cause)}`, { details: { path }, cause });
  }
}
