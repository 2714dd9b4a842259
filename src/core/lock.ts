/** Keeps a second process out of a folder. */
import { closeSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { StoreError } from './errors.js';
import { fileError, makeFolder } from './files.js';

interface Holder {
  readonly pid?: unknown;
  readonly host?: unknown;
  readonly start?: unknown;
}

/**
 * Takes the lock file `path`. The lock of a process that is gone, or half-written, is taken over.
 *
 * @param what names what is locked, for the message
 * @returns what releases the lock
 * @throws StoreError if a living process of this machine holds it
 */
export function takeLock(path: string, what: string): () => void {
  for (let attempt = 0; ; attempt++) {
    try {
      makeFolder(dirname(path));
      const holder: Holder = { pid: process.pid, host: hostname(), start: startOf(process.pid) };
      const fd = openSync(path, 'wx');
      try {
        writeSync(fd, JSON.stringify(holder));
      } finally {
        closeSync(fd);
      }
      return () => rmSync(path, { force: true });
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'EEXIST' || attempt > 0) throw fileError('lock', path, cause);
      const pid = livingHolder(path);
      if (pid !== null) {
        throw new StoreError(`${what} is in use by process ${pid}; wait for it, stop it, or choose another folder`, {
          details: { path, pid },
        });
      }
      rmSync(path, { force: true });
    }
  }
}

function livingHolder(path: string): number | null {
  let holder: Holder;
  try {
    holder = JSON.parse(readFileSync(path, 'utf8')) as Holder;
  } catch {
    return null; // half-written by a process that died: nobody holds it
  }
  if (typeof holder.pid !== 'number' || holder.host !== hostname() || !isAlive(holder.pid)) return null;
  // Process numbers come round again; the time of start tells two apart.
  return holder.start === startOf(holder.pid) ? holder.pid : null;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (cause) {
    return (cause as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** When a process started, in the kernel's clock ticks; null where `/proc` does not tell. */
function startOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  } catch {
    return null;
  }
}
