/** Processes as files name them, and whether they still run. */
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { errorCode } from './errors.js';

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

/** The environment variable that names this host in locks, for hosts that share a name. */
const HOST_VARIABLE = 'LONGSIGHT_HOST';

/** This process, as its lock files name it. */
export function thisProcess(): LockHolder {
  return processOf(process.pid);
}

/** A process of this host, as locks name it. */
export function processOf(pid: number): LockHolder {
  const named = process.env[HOST_VARIABLE];
  return {
    pid,
    host: named === undefined || named === '' ? hostname() : named,
    start: startOf(pid),
    boot: textOf(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()),
    space: textOf(() => readlinkSync('/proc/self/ns/pid')),
  };
}

/**
 * Whether a process that a file names still runs, as far as `self` can see: one of another host, of another container
 * or of an earlier boot is `unseen`. (Two machines may share a name: another boot is no proof of a restart.)
 */
export function stateOf(holder: LockHolder, self: LockHolder = thisProcess()): 'alive' | 'gone' | 'unseen' {
  const differs = (field: 'boot' | 'space') =>
    holder[field] !== null && self[field] !== null && holder[field] !== self[field];
  if (holder.host !== self.host || differs('boot') || differs('space')) return 'unseen';
  // Process numbers come round again; the time of start tells two apart.
  return isAlive(holder.pid) && (holder.start === null || holder.start === startOf(holder.pid)) ? 'alive' : 'gone';
}

/** The process that JSON text names; null for text that names none. */
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

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (cause) {
    return errorCode(cause) === 'EPERM';
  }
}

/** When a process started; null where the system does not say, and for one that ended and waits to be noticed. */
function startOf(pid: number): string | null {
  return textOf(() => {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // Behind the name in brackets: the state first, the start as the 20th.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return ['Z', 'X'].includes(fields[0] ?? '') ? null : (fields[19] ?? null);
  });
}

function textOf(read: () => string | null): string | null {
  try {
    return read();
  } catch {
    return null;
  }
}
