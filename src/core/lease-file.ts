/**
 * The files of a lock. A lock is a folder; every holder that it has had took the next number in it:
 *
 *     run.lock/7    one line of JSON says who holds it; the second counts heartbeats and says `held` or `free`
 *
 * A number is taken by a hard link to a file that is whole already: of several takers one gets it, on file servers
 * too. The second line is changed in place, and by the holder alone: nothing that a process does late reaches another's
 * file. These calls go past `checkFence`, which asks them.
 */
import {
  closeSync,
  linkSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { errorCode } from './errors.js';
import { fileError, makeFolder } from './files.js';
import { parseHolder, type LockHolder } from './holder.js';

/** What the first line of a lock's file says. */
export interface Lease extends LockHolder {
  /** The number of the file, which grows from holder to holder. */
  readonly number: number;
  /** Tells this holder from all others, as text that no other file holds. */
  readonly token: string;
  /** Seconds without a heartbeat after which the holder counts as dead where it cannot be seen. */
  readonly seconds: number;
}

/** A file of a lock as it was read. */
export interface SeenLease {
  readonly path: string;
  /** The number that the file is named by, from 1. */
  readonly number: number;
  /** All that the file held; a heartbeat changes it. */
  readonly text: string;
  /** The first line; null for a file that a process which died left half-written. */
  readonly lease: Lease | null;
  /** True once the holder has given the lock back. */
  readonly free: boolean;
}

const DIGITS = 12;
const [HELD, FREE] = ['held', 'free'];
const NUMBER = /^[1-9]\d*$/;
const PASSING = '.tmp';

/** Where in a file the count of heartbeats stands, in bytes. */
export function beatPlace(lease: Lease): { readonly offset: number; readonly digits: number } {
  return { offset: Buffer.byteLength(JSON.stringify(lease)) + 1, digits: DIGITS };
}

function textOf(lease: Lease): string {
  return `${JSON.stringify(lease)}\n${'0'.repeat(DIGITS)} ${HELD}\n`;
}

/** The path of a lock's file. */
export function leasePath(lock: string, number: number): string {
  return join(lock, String(number));
}

/** Whether a failed call says that the file is not there (any more); on file servers a handle grows stale. */
function isAbsent(cause: unknown): boolean {
  return ['ENOENT', 'ESTALE'].includes(errorCode(cause) ?? '');
}

/** A file's text; null if it is not there. Opening asks a file server for what is new. */
function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    if (isAbsent(cause)) return null;
    throw fileError('lock', path, cause);
  }
}

/** One file of a lock; null if it is not there. */
export function readLease(path: string, number: number): SeenLease | null {
  const text = readText(path);
  if (text === null) return null;
  const [first = '', second = ''] = text.split('\n');
  const holder = parseHolder(first);
  const rest = holder === null ? {} : (JSON.parse(first) as Partial<Record<keyof Lease, unknown>>);
  const { token, seconds } = rest;
  const whole = holder !== null && typeof token === 'string' && typeof seconds === 'number' && second !== '';
  const lease = whole ? { ...holder, number, token, seconds } : null;
  return { path, number, text, lease, free: lease !== null && second.endsWith(FREE) };
}

/** The files of a lock in order of their numbers; none if there is no such lock yet. */
export function readLeases(lock: string): SeenLease[] {
  let names: string[];
  try {
    names = readdirSync(lock);
  } catch (cause) {
    if (isAbsent(cause)) return [];
    throw fileError('lock', lock, cause);
  }
  const numbers = names.filter((name) => NUMBER.test(name)).map(Number);
  return numbers.sort((a, b) => a - b).flatMap((number) => readLease(leasePath(lock, number), number) ?? []);
}

/** Whether a lock's file is still that of a holder. */
export function isOwn(path: string, token: string): boolean {
  try {
    return readText(path)?.includes(token) === true;
  } catch {
    return true; // a server that does not answer has taken nothing away
  }
}

/** Makes the lock with its first number taken, all at once; false if there is one. */
export function createLock(lock: string, lease: Lease): boolean {
  const passing = `${lock}.${lease.pid}-${lease.token}${PASSING}`;
  try {
    makeFolder(dirname(lock));
    makeFolder(passing);
    writeFileSync(leasePath(passing, lease.number), textOf(lease));
    // Takes the place of no folder but an empty one.
    renameSync(passing, lock);
    return true;
  } catch (cause) {
    if (isAbsent(cause)) return false; // whoever took the lock has cleaned up
    if (['EEXIST', 'ENOTEMPTY', 'ENOTDIR'].includes(errorCode(cause) ?? '') && isThere(lock)) return false;
    throw fileError('lock', lock, cause);
  } finally {
    rmSync(passing, { recursive: true, force: true });
  }
}

function isThere(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch {
    return false;
  }
}

/** Takes a number of a lock; false if another has it. */
export function claimNumber(lock: string, lease: Lease): boolean {
  const path = leasePath(lock, lease.number);
  const passing = join(lock, `${lease.pid}-${lease.token}${PASSING}`);
  try {
    writeFileSync(passing, textOf(lease), { flag: 'wx' });
    try {
      linkSync(passing, path);
    } catch (cause) {
      if (isAbsent(cause)) return false; // whoever took the lock has cleaned up
      if (errorCode(cause) === 'EEXIST') return isOwn(path, lease.token); // the answer of a server may get lost
      // File systems without hard links: made first, filled next.
      writeFileSync(path, textOf(lease), { flag: 'wx' });
    }
    return isOwn(path, lease.token);
  } catch (cause) {
    if (errorCode(cause) === 'EEXIST' || isAbsent(cause)) return false;
    throw fileError('lock', path, cause);
  } finally {
    rmSync(passing, { force: true });
  }
}

/** Says in a holder's own file that the lock is free. What fails leaves it to be found dead. */
export function markFree(lock: string, lease: Lease): void {
  const path = leasePath(lock, lease.number);
  let fd: number | undefined;
  try {
    if (!isOwn(path, lease.token)) return;
    fd = openSync(path, 'r+');
    const { offset, digits } = beatPlace(lease);
    writeSync(fd, FREE, offset + digits + 1);
  } catch {
    // The process that takes the lock next sees that this one has ended.
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** Removes a file of a lock, if it is there. */
export function removeLease(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch (cause) {
    if (!isAbsent(cause)) throw fileError('lock', path, cause);
  }
}

/** Removes what takers that died left in a lock and beside it; one that lives tries again. */
export function removePassing(lock: string): void {
  const [folder, beside] = [dirname(lock), `${basename(lock)}.`];
  for (const name of readdirSync(lock)) if (name.endsWith(PASSING)) removeLease(join(lock, name));
  for (const name of readdirSync(folder))
    if (name.startsWith(beside) && name.endsWith(PASSING)) rmSync(join(folder, name), { recursive: true, force: true });
}
