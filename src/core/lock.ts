/** Keeps a second process out of a folder, on this host and on others that share the file system. */
import { linkSync, readFileSync, readlinkSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { StoreError } from './errors.js';
import { fileError, makeFolder } from './files.js';

/** The process that holds a lock, as its lock file names it. */
export interface LockHolder {
  /** The process number on its host. */
  readonly pid: number;
  /** The host's name. */
  readonly host: string;
  /** When the process started, in clock ticks of the kernel since boot; null where the system does not say. */
  readonly start: string | null;
  /** The id of the host's current boot; null where the system does not say. */
  readonly boot: string | null;
  /**
   * The namespace of process numbers, which differs between containers of one host; null where the system does not say.
   */
  readonly space: string | null;
}

/** How `takeLock` treats locks of processes that it cannot see, and who takes the lock. */
export interface LockOptions {
  /**
   * Whether to take over the lock of a process that cannot be seen from this one, such as one of another host (default:
   * false).
   */
  readonly takeOver?: boolean | undefined;
  /** The process that takes the lock (default: this one). */
  readonly self?: LockHolder;
}

const ATTEMPTS = 5;

/** This process, as its lock files name it. */
export function thisProcess(): LockHolder {
  return processOf(process.pid);
}

/** A process of this host, as locks name it. */
export function processOf(pid: number): LockHolder {
  return {
    pid,
    host: hostname(),
    start: startOf(pid),
    boot: textOf(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()),
    space: textOf(() => readlinkSync('/proc/self/ns/pid')),
  };
}

/**
 * Takes the lock file `path`. The lock of a process of this host that is gone is taken over, and so is a half-written
 * one. Whether a process of another host, or of another container, still lives cannot be seen: its lock stays unless
 * `takeOver` is set. A living process of this host keeps its lock in any case.
 *
 * @param what names what is locked, for the message
 * @returns what releases the lock; a lock that another process has taken over since stays
 * @throws StoreError naming the process and host that hold it
 */
export function takeLock(
  path: string,
  what: string,
  { takeOver = false, self = thisProcess() }: LockOptions = {},
): () => void {
  const text = JSON.stringify(self);
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    if (createWhole(path, text, self)) return () => releaseOwn(path, text);
    const found = readText(path);
    if (found === null) continue; // released meanwhile
    const holder = parseHolder(found);
    const state = holder === null ? 'gone' : stateOf(holder, self);
    if (holder !== null && (state === 'alive' || (state === 'unseen' && !takeOver)))
      throw inUse(path, what, holder, state);
    removeStale(path, found, self);
  }
  throw new StoreError(`cannot lock ${path}: other processes take it at the same time; try again`, {
    details: { path },
  });
}

/** Makes the lock file with all its content at once; false if it exists. */
function createWhole(path: string, text: string, { pid, host }: LockHolder): boolean {
  const temporary = `${path}.${host}.${pid}.tmp`;
  try {
    makeFolder(dirname(path));
    writeFileSync(temporary, text);
    try {
      linkSync(temporary, path);
    } catch (cause) {
      if (codeOf(cause) === 'EEXIST') return false;
      // File systems without hard links: made first, filled next.
      writeFileSync(path, text, { flag: 'wx' });
    }
    return true;
  } catch (cause) {
    if (codeOf(cause) === 'EEXIST') return false;
    throw fileError('lock', path, cause);
  } finally {
    rmSync(temporary, { force: true });
  }
}

function inUse(path: string, what: string, holder: LockHolder, state: 'alive' | 'unseen'): StoreError {
  const who = `process ${holder.pid} on host ${holder.host}`;
  const message =
    state === 'alive'
      ? `${what} is in use by ${who} (this one); wait for it, stop it, or choose another folder`
      : `${what} is in use by ${who}, which cannot be seen from here; wait for it or stop it there. If it is gone, take the ` +
        'folder over with --take-over';
  return new StoreError(message, { details: { path, pid: holder.pid, host: holder.host } });
}

/** Whether a process that a file names still runs, as far as `self` can see. */
export function stateOf(holder: LockHolder, self: LockHolder = thisProcess()): 'alive' | 'gone' | 'unseen' {
  if (holder.host !== self.host) return 'unseen';
  // After a reboot nothing of before runs, whatever the numbers say.
  if (holder.boot !== null && self.boot !== null && holder.boot !== self.boot) return 'gone';
  if (holder.space !== null && self.space !== null && holder.space !== self.space) return 'unseen';
  // Process numbers come round again; the time of start tells two apart.
  return isAlive(holder.pid) && (holder.start === null || holder.start === startOf(holder.pid)) ? 'alive' : 'gone';
}

/** What a lock file says; null for a file that is half-written. */
export function parseHolder(text: string): LockHolder | null {
  let value: Partial<Record<keyof LockHolder, unknown>> | null;
  try {
    value = JSON.parse(text) as typeof value;
  } catch {
    return null;
  }
  if (typeof value?.pid !== 'number' || typeof value.host !== 'string') return null;
  const optional = (field: unknown) => (typeof field === 'string' ? field : null);
  const { pid, host, start, boot, space } = value;
  return { pid, host, start: optional(start), boot: optional(boot), space: optional(space) };
}

/** Moves a stale lock out of the way; puts back what another process has taken in between. */
function removeStale(path: string, stale: string, { pid, host }: LockHolder): void {
  const aside = `${path}.${host}.${pid}.stale`;
  try {
    renameSync(path, aside);
    if (readText(aside) !== stale) linkSync(aside, path);
  } catch (cause) {
    if (!['ENOENT', 'EEXIST'].includes(codeOf(cause) ?? '')) throw fileError('lock', path, cause);
  } finally {
    rmSync(aside, { force: true });
  }
}

function releaseOwn(path: string, text: string): void {
  if (readText(path) === text) rmSync(path, { force: true });
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    if (codeOf(cause) === 'ENOENT') return null;
    throw fileError('lock', path, cause);
  }
}

const codeOf = (cause: unknown): string | undefined => (cause as NodeJS.ErrnoException).code;

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (cause) {
    return codeOf(cause) === 'EPERM';
  }
}

function startOf(pid: number): string | null {
  return textOf(() => {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  });
}

function textOf(read: () => string | null): string | null {
  try {
    return read();
  } catch {
    return null;
  }
}
