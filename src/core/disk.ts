/**
 * The calls that change files and folders. Every other module of the program goes through here (a test sees to it), so
 * that what is synced, what is never followed and how a failure is worded is one decision.
 */
import {
  closeSync,
  constants,
  existsSync,
  fsync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  write,
  writeSync,
} from 'node:fs';
import { dirname, resolve } from 'node:path';
import { promisify } from 'node:util';
import { LockLostError, messageOf, StoreError } from './errors.js';
import { checkFence } from './fence.js';
import { clip } from './messages.js';

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
  ENAMETOOLONG: 'the name is too long; choose a shorter one',
  ELOOP: 'it is a link, or leads in a circle of them; remove it or choose another path',
  EISDIR: 'a folder is where a file should be; choose another path',
  EBUSY: 'it is in use; choose another path',
  ENOTEMPTY: 'a folder that is not empty is there; choose another path',
  EXDEV: 'it lies on another file system; choose another folder',
  EIO: 'the disk reports an error',
  ENXIO: 'it is a device, a pipe or a socket, which a file would replace; choose another path',
};

/** What temporary names add to the name that a file will have; no message shows it. */
const PASSING = /\.\d+-\d*-[0-9a-f]{8}-[0-9a-f]{16}\.(?:tmp|old)(?=\/|$)/g;

/**
 * The `StoreError` for a failed file operation: what was tried, on which path, why it failed. A lost lock stays what it
 * is.
 */
export function fileError(action: string, path: string, cause: unknown): StoreError | LockLostError {
  if (cause instanceof LockLostError) return cause;
  const code = (cause as NodeJS.ErrnoException).code ?? '';
  const reason = REASONS[code] ?? messageOf(cause);
  return new StoreError(`cannot ${action} ${path.replace(PASSING, '')}: ${reason}`, { details: { path, code }, cause });
}

/** Whether an error, or what led to it, says that there is no room on the disk. */
export function isDiskFull(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause)
    if (['ENOSPC', 'EDQUOT', 'EFBIG'].includes((at as NodeJS.ErrnoException).code ?? '')) return true;
  return false;
}

/**
 * Makes a folder and those above it, level by level: where a file system has no folder to give, as under /proc, Node's
 * own recursive mkdir never comes back. Throws the failing call's error (for `fileError`), with code ENOTSUP in that
 * case. New folders are there after a power cut.
 */
export function makeFolder(path: string): void {
  const missing: string[] = [];
  let at = resolve(path);
  for (; !existsSync(at) && at !== dirname(at); at = dirname(at)) {
    refuseDangling(at, at);
    missing.unshift(at);
  }
  if (!statSync(at).isDirectory()) throw Object.assign(new Error(`${at} is a file`), { code: 'EEXIST' });
  for (const folder of missing) {
    try {
      mkdirSync(folder);
      syncFolder(dirname(folder));
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      // Another process was faster.
      if (code === 'EEXIST' && statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true) continue;
      // Its parent exists: ENOENT means that this file system makes no folders.
      throw code === 'ENOENT' ? Object.assign(new Error(`no folder ${folder}`, { cause }), { code: 'ENOTSUP' }) : cause;
    }
  }
}

/** Makes a folder that is not there yet, those above it too. Throws `StoreError`. */
export function makeNewFolder(path: string): void {
  try {
    makeFolder(dirname(path));
    mkdirSync(path);
  } catch (cause) {
    throw fileError('write', path, cause);
  }
}

/** Makes a folder and those above it where they are missing. Throws `StoreError`. */
export function needFolder(path: string): void {
  try {
    makeFolder(path);
  } catch (cause) {
    throw fileError('make folder', path, cause);
  }
}

/**
 * Refuses a path that a file must not take by rename: what is neither a file nor a folder, a link to such a thing, and
 * any name among the devices (for root, `/dev/stdout` would be a file for everybody from then on). Throws an error with
 * code ENXIO, for `fileError`.
 */
export function refuseDevice(path: string): void {
  const found = statSync(path, { throwIfNoEntry: false });
  const special = found !== undefined && !found.isFile() && !found.isDirectory();
  if (special || realpathSync(dirname(path)) === '/dev')
    throw Object.assign(new Error(`${path} is no file`), { code: 'ENXIO' });
}

/**
 * Where a path leads that a user gave as the place of a file or folder to write. Links are followed: what one leads to
 * is written, and the link stays what it is.
 *
 * @throws StoreError that names the target, for a link that leads nowhere; for a folder where a file is to be
 */
export function outputPath(path: string, kind: 'file' | 'folder'): string {
  try {
    if (isLink(path)) {
      refuseDangling(path, 'it');
      refuseDevice(path);
    }
    const found = statSync(path, { throwIfNoEntry: false });
    if (kind === 'file' && found?.isDirectory() === true)
      throw Object.assign(new Error(`${path} is a folder`), { code: 'EISDIR' });
    return isLink(path) ? realpathSync(path) : path;
  } catch (cause) {
    throw fileError('write', path, cause);
  }
}

const isLink = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true;

/** Throws an error for `fileError` if a path, which it calls `subject`, is a link to what does not exist. */
function refuseDangling(path: string, subject: string): void {
  if (!isLink(path) || statSync(path, { throwIfNoEntry: false }) !== undefined) return;
  const target = clip(readlinkSync(path));
  throw new Error(`${subject} is a link to ${target}, which does not exist; make that, or choose another path`);
}

/** Makes a file that is not there yet and opens it for writing; a link under its name is never followed. */
export const createFile = (path: string): number => openSync(path, 'wx');

/**
 * Opens a file whose writing goes on over several starts, under a name that anybody can know: a link is refused with
 * ELOOP.
 */
export function openPart(path: string, how: 'anew' | 'go on'): number {
  const { O_WRONLY, O_CREAT, O_NOFOLLOW, O_TRUNC, O_APPEND } = constants;
  return openSync(path, O_WRONLY | O_CREAT | O_NOFOLLOW | (how === 'anew' ? O_TRUNC : O_APPEND));
}

/** Opens a file for appending; it is made if need be. */
export const openToAppend = (path: string): number => openSync(path, 'a');

/** One system call writes at most about 2 GiB; stay well below. */
const MAX_WRITE_BYTES = 2 ** 28;

/** Writes all of `bytes`, where the file stands or at `position`. */
export function writeAll(fd: number, bytes: Uint8Array, position: number | null = null): void {
  for (let at = 0; at < bytes.length;) {
    const length = Math.min(bytes.length - at, MAX_WRITE_BYTES);
    at += writeSync(fd, bytes, at, length, position === null ? null : position + at);
  }
}

const writeOnThread = promisify(write);
const syncOnThread = promisify(fsync);

/** `writeAll` on another thread. */
export async function writeAllBehind(fd: number, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    at += (await writeOnThread(fd, bytes, at, Math.min(bytes.length - at, MAX_WRITE_BYTES))).bytesWritten;
  }
}

/** Waits until what was written to a file is on the disk. */
export const syncFile = (fd: number): void => fsyncSync(fd);

/** `syncFile` on another thread. */
export const syncFileBehind = (fd: number): Promise<void> => syncOnThread(fd);

/** Waits until names that were given and taken in a folder are on the disk, where the platform can. */
export function syncFolder(path: string): void {
  let fd: number | undefined;
  try {
    fd = openSync(path, 'r');
    fsyncSync(fd);
  } catch {
    // Not every platform opens folders, and not every file system syncs them.
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/**
 * Gives a file or folder its name, for good: a power cut after this does not undo it. Throws the failing call's error,
 * or `LockLostError` in a folder whose lock this process has lost.
 */
export function renamePath(from: string, to: string): void {
  checkFence(to);
  renameSync(from, to);
  syncFolder(dirname(to));
}

/**
 * Removes a file, or a folder with all that is in it, if it is there. Throws `StoreError`, or `LockLostError` in a
 * folder whose lock this process has lost.
 */
export function removePath(path: string): void {
  checkFence(path);
  try {
    rmSync(path, { recursive: true, force: true });
  } catch (cause) {
    throw fileError('remove', path, cause);
  }
}

/** `removePath` that leaves what cannot be removed; to be used where the next start tries again. */
export function tryToRemove(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true });
  } catch {
    // Left over.
  }
}

/**
 * Writes over the start of a file in its place, which needs no room on most file systems: for a last word on a full
 * disk.
 *
 * @param bytes at most as many as the file has; fewer leave the rest as it is
 * @throws StoreError if even that cannot be done
 */
export function writeInPlace(path: string, bytes: Uint8Array): void {
  checkFence(path);
  let fd: number | undefined;
  try {
    fd = openSync(path, constants.O_WRONLY | constants.O_NOFOLLOW);
    writeAll(fd, bytes, 0);
    fsyncSync(fd);
  } catch (cause) {
    throw fileError('write', path, cause);
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** Opens a file for reading what is written to it: one that was there is emptied, a link is not followed. */
export function openScratch(path: string): number {
  tryToRemove(path);
  return openSync(path, 'wx+');
}
