/**
 * Files and folders that matter appear whole or not at all: written under a temporary name beside the target, synced,
 * then renamed, and the folder synced, so that a power cut leaves the old or the new one.
 */
import { present } from './at.js';
import { closeSync, existsSync, ftruncateSync, fstatSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import {
  createFile,
  fileError,
  makeFolder,
  makeNewFolder,
  openToAppend,
  outputPath,
  refuseDevice,
  renamePath,
  syncFile,
  syncFileBehind,
  syncFolder,
  tryToRemove,
  writeAll,
  writeAllBehind,
} from './disk.js';
import { checkFence } from './fence.js';
import { removeLeftovers, temporaryPath } from './temporary.js';

export { fileError, makeFolder };

const bytesOf = (part: string | Uint8Array): Uint8Array => (typeof part === 'string' ? Buffer.from(part) : part);

/**
 * A file written piece by piece that appears under its name only on `commit`. Before that, disposing it (or `abort`)
 * leaves nothing behind and an older file stays. What dead processes were writing in the same folder is removed. Every
 * method throws `StoreError` and aborts on failure; `commit` throws `LockLostError` in a folder whose lock this process
 * has lost.
 */
export class AtomicFile implements Disposable {
  /** The name under which the file appears on `commit`. */
  readonly path: string;
  readonly #temporary: string;
  #fd: number | undefined;
  #created = false;

  constructor(path: string) {
    this.path = path;
    this.#temporary = temporaryPath(path);
    this.#attempt(() => {
      makeFolder(dirname(path));
      refuseDevice(path);
      removeLeftovers(dirname(path));
      this.#fd = createFile(this.#temporary);
      this.#created = true;
    });
  }

  /** Appends text (as UTF-8) or bytes to the file. */
  write(part: string | Uint8Array): void {
    this.#attempt(() => writeAll(present(this.#fd), bytesOf(part)));
  }

  /** Syncs the file to disk and renames it to `path`. */
  commit(): void {
    this.#attempt(() => {
      syncFile(present(this.#fd));
      this.#appear();
    });
  }

  /** `write` on another thread: this one goes on meanwhile. Calls must not overlap, and `part` must not change. */
  async writeBehind(part: string | Uint8Array): Promise<void> {
    await this.#attemptBehind(() => writeAllBehind(present(this.#fd), bytesOf(part)));
  }

  /** `commit` on another thread. */
  async commitBehind(): Promise<void> {
    await this.#attemptBehind(async () => {
      await syncFileBehind(present(this.#fd));
      this.#appear();
    });
  }

  /** Removes what was written; an older file under `path` stays. */
  abort(): void {
    if (this.#created) tryToRemove(this.#temporary);
    this.#created = false;
    const fd = this.#fd;
    this.#fd = undefined;
    if (fd !== undefined) closeSync(fd);
  }

  [Symbol.dispose](): void {
    if (this.#fd !== undefined) this.abort();
  }

  #appear(): void {
    const fd = present(this.#fd);
    this.#fd = undefined;
    closeSync(fd);
    renamePath(this.#temporary, this.path);
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
 * A folder that appears whole under its name on `commit`: until then its files are written in `inside`. Disposed before
 * that, it leaves nothing behind. Methods throw `StoreError`.
 */
export class AtomicFolder implements Disposable {
  /** The name under which the folder appears on `commit`. */
  readonly path: string;
  /** Where its files are written. */
  readonly inside: string;
  #open = true;

  constructor(path: string) {
    this.path = path;
    this.inside = temporaryPath(path);
    outputPath(path, 'folder');
    removeLeftovers(dirname(path));
    makeNewFolder(this.inside);
  }

  /**
   * Gives the folder its name.
   *
   * @param existing what happens to a folder that has it already: it stays and this one fails, or it is replaced, and
   *   for a moment there is none
   */
  commit(existing: 'keep' | 'replace'): void {
    const old = temporaryPath(this.path, 'old');
    try {
      syncFolder(this.inside);
      if (existing === 'replace' && existsSync(this.path)) renamePath(this.path, old);
      renamePath(this.inside, this.path);
      this.#open = false;
    } catch (cause) {
      this[Symbol.dispose]();
      throw fileError('write', this.path, cause);
    }
    tryToRemove(old);
  }

  [Symbol.dispose](): void {
    if (this.#open) tryToRemove(this.inside);
    this.#open = false;
  }
}

/** A file that grows line by line. A line that does not fit on the disk leaves nothing of itself behind. */
export class AppendedFile implements Disposable {
  readonly #path: string;
  #fd: number | undefined;

  /** Opens a file to write on at its end; it is made if need be. Throws `StoreError`. */
  constructor(path: string) {
    this.#path = path;
    try {
      makeFolder(dirname(path));
      this.#fd = openToAppend(path);
    } catch (cause) {
      throw fileError('write', path, cause);
    }
  }

  /** Writes text at the end, whole or not at all. Throws `StoreError`, or `LockLostError` as `AtomicFile` does. */
  append(text: string): void {
    checkFence(this.#path);
    const fd = present(this.#fd);
    const { size } = fstatSync(fd);
    try {
      writeAll(fd, Buffer.from(text));
    } catch (cause) {
      ftruncateSync(fd, size);
      throw fileError('write', this.#path, cause);
    }
  }

  /** Waits until all that was written is on the disk. Throws `StoreError`. */
  sync(): void {
    try {
      syncFile(present(this.#fd));
    } catch (cause) {
      throw fileError('write', this.#path, cause);
    }
  }

  [Symbol.dispose](): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }
}

/**
 * The whole lines of a file that grows by lines: without a last one that a kill cut off, and without zeros, which a
 * power cut may leave in the place of what was not synced.
 */
export function wholeLines(text: string): string {
  const zero = text.indexOf('\0');
  const written = zero === -1 ? text : text.slice(0, zero);
  return written.slice(0, written.lastIndexOf('\n') + 1);
}

/** Copies a file whole. Throws `StoreError`. */
export function copyFileAtomic(from: string, to: string): void {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(from);
  } catch (cause) {
    throw fileError('read', from, cause);
  }
  writeFileAtomic(to, bytes);
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
