/**
 * Names of files and folders that are being written: `NAME.PID-START-PLACE-RANDOM.tmp`. Nobody can foresee them, and
 * they say which process writes, so that what a dead one left is known from what a living one has under way.
 */
import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, rmSync, statSync, type Dirent } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { isFenced } from './fence.js';
import { stateOf, thisProcess, type LockHolder } from './holder.js';

const OWN = /\.(\d+)-(\d*)-([0-9a-f]{8})-[0-9a-f]{16}\.(?:tmp|old)$/;
/** As earlier versions named them: they tell the process, but not when it started and where. */
const EARLIER = /\.(\d+)\.(?:export\.)?(?:tmp|old)$/;
/** So much of the name is kept: with four bytes a character and what follows, it stays below 255 bytes. */
const KEPT_CHARACTERS = 40;
/** Those of processes that cannot be seen from here are taken for dead once nothing was written for this long. */
const UNSEEN_MS = 7 * 24 * 3600 * 1000;

/** The host, its boot and its namespace of process numbers, as 8 hexadecimal digits. */
function placeOf({ host, boot, space }: LockHolder): string {
  return createHash('sha256')
    .update(JSON.stringify([host, boot, space]))
    .digest('hex')
    .slice(0, 8);
}

/**
 * A name beside `path` for what will become it, or (`old`) for what was there. To be made exclusively (`wx`, `mkdir`).
 */
export function temporaryPath(path: string, ending: 'tmp' | 'old' = 'tmp'): string {
  const self = thisProcess();
  const random = randomBytes(8).toString('hex');
  const kept = [...basename(path)].slice(0, KEPT_CHARACTERS).join('');
  const start = self.start ?? '';
  return join(dirname(path), `${kept}.${self.pid}-${start}-${placeOf(self)}-${random}.${ending}`);
}

/** Whether a name is that of a file or folder that is, or was, being written. */
export function isTemporary(name: string): boolean {
  return OWN.test(name) || EARLIER.test(name);
}

/** The names in a folder but for those that are, or were, being written; none if there is no folder. */
export function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).filter((name) => !isTemporary(name));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw cause;
  }
}

/**
 * Removes what dead processes were writing in a folder; what living ones write stays, and so does whatever cannot be
 * removed. A process of another host, container or boot counts as dead once its file has not changed for a week. Names
 * of earlier versions are removed in folders whose lock this process holds.
 */
export function removeLeftovers(folder: string): void {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    return; // nothing is there, or nothing can be seen
  }
  const beside = new Set(names);
  for (const name of names) {
    const match = OWN.exec(name);
    const dead = match === null ? isEarlier(folder, name, beside) : isDead(join(folder, name), match);
    if (!dead) continue;
    try {
      rmSync(join(folder, name), { recursive: true, force: true });
    } catch {
      // Left over; the next writer tries again.
    }
  }
}

/**
 * Whether a name is what a dead process of an earlier version was writing. That is believed only in a folder whose lock
 * is held here, where no other process writes, and of what is there under its own name too: elsewhere a name like that
 * may be anybody's.
 */
function isEarlier(folder: string, name: string, beside: ReadonlySet<string>): boolean {
  const [ending, pid] = EARLIER.exec(name) ?? [];
  if (ending === undefined || !beside.has(name.slice(0, -ending.length)) || !isFenced(folder)) return false;
  const self = thisProcess();
  return stateOf({ ...self, pid: Number(pid), start: null }, self) === 'gone';
}

/**
 * Removes what one process was writing below a folder, for good: nothing of it appears any more, should it only have
 * been frozen. Folders below that have a lock of their own are left alone.
 */
export function removeTemporaryOf(folder: string, holder: LockHolder): void {
  const entries = entriesOf(folder);
  for (const entry of entries) {
    const path = join(folder, entry.name);
    const [, pid, start, place] = OWN.exec(entry.name) ?? [];
    const own = pid === String(holder.pid) && start === (holder.start ?? '') && place === placeOf(holder);
    if (own) rmSync(path, { recursive: true, force: true });
    else if (entry.isDirectory() && !isLock(entry) && !entriesOf(path).some(isLock)) removeTemporaryOf(path, holder);
  }
}

const isLock = ({ name }: Dirent): boolean => name.endsWith('.lock');

function entriesOf(folder: string): Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch {
    return []; // gone meanwhile
  }
}

function isDead(path: string, [, pid, start, place]: RegExpExecArray): boolean {
  const self = thisProcess();
  if (place !== placeOf(self)) {
    const stat = statSync(path, { throwIfNoEntry: false });
    return stat !== undefined && Date.now() - stat.mtimeMs > UNSEEN_MS;
  }
  return stateOf({ ...self, pid: Number(pid), start: start === '' ? null : (start ?? null) }, self) === 'gone';
}
