/** Keeps a second process out of a folder, on this host and on others that share the file system. */
import { randomBytes } from 'node:crypto';
import { readFileSync, statSync, unlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import { ConfigError, errorCode, InterruptedError, LockHeldError, LockLostError, StoreError } from './errors.js';
import { raiseFence } from './fence.js';
import { fileError } from './files.js';
import { keepAlive } from './heartbeat.js';
import { parseHolder, stateOf, thisProcess, type LockHolder } from './holder.js';
import {
  beatPlace,
  claimNumber,
  createLock,
  isOwn,
  leasePath,
  markFree,
  readLease,
  readLeases,
  removeLease,
  removePassing,
  type Lease,
  type SeenLease,
} from './lease-file.js';
import { maxOf } from './lists.js';
import { removeTemporaryOf } from './temporary.js';

/** How `takeLock` treats locks of processes that it cannot see, and who takes the lock. */
export interface LockOptions {
  /**
   * Whether to wait for a process that cannot be seen from this one, such as one of another host, for a quarter of the
   * time only (default: false).
   */
  readonly takeOver?: boolean | undefined;
  /** The callback is told once, in a sentence, if it takes time to find out whether a holder lives. */
  readonly waiting?: ((text: string) => void) | undefined;
  /** Ends the waiting. */
  readonly signal?: AbortSignal | undefined;
  /** The process that takes the lock (default: this one). */
  readonly self?: LockHolder;
}

/** What a thread needs to write under a lock that its process holds; plain JSON. */
export interface LockTicket {
  /** The lock's folder. */
  readonly path: string;
  /** What is locked, for messages. */
  readonly what: string;
  /** The fencing number. */
  readonly number: number;
  readonly token: string;
}

/** A lock that this process holds. */
export interface HeldLock {
  /** The fencing number: every holder of this lock has a greater one than those before it. */
  readonly number: number;
  /** Aborts, with a `LockLostError` for a reason, when another process is found to have taken the lock. */
  readonly lost: AbortSignal;
  /** For threads of this process that write under the lock; see `joinLock`. */
  readonly ticket: LockTicket;
  /**
   * Asks the file system whether the lock is still this process's.
   * @throws LockLostError if it is not
   */
  readonly check: () => void;
  /** Gives the lock back; one that another process has taken stays. */
  readonly release: () => void;
}

/** Tokens of locks that this process has given back, perhaps on a disk that was too full to say so. */
const givenBack = new Set<string>();

const TRIES = 200;
/** Milliseconds between two looks at the heartbeat of another. */
const LOOK_MS = 250;
/** A holder that cannot be seen counts as dead after so many heartbeats are missing, or, with `takeOver`, so many. */
const MISSED = { usual: 12, takeOver: 3 } as const;
const SECONDS = 60;
const SECONDS_VARIABLE = 'LONGSIGHT_LOCK_SECONDS';

/** Seconds without a heartbeat after which a process that cannot be seen counts as dead. */
function lockSeconds(): number {
  const text = process.env[SECONDS_VARIABLE];
  if (text === undefined || text === '') return SECONDS;
  const value = Number(text);
  if (value >= 1 && value <= 86_400) return value;
  throw new ConfigError(`${SECONDS_VARIABLE} must be a number of seconds from 1 to 86400, got "${text}"`);
}

/**
 * Takes the lock `path`, which guards the folder that it lies in: from now on writes of state below that folder are
 * refused if the lock is lost. The lock of a process of this host that is gone is taken over at once. Whether a process
 * of another host, or of another container, still lives is told by its heartbeat: it is watched until the next one, or
 * until it has been missing for a minute of this process's own clock. A living process keeps its lock in any case.
 *
 * @param what names what is locked, for messages
 * @throws LockHeldError naming the process and host that hold it
 */
export async function takeLock(path: string, what: string, options: LockOptions = {}): Promise<HeldLock> {
  const self = options.self ?? thisProcess();
  const seconds = lockSeconds();
  const token = randomBytes(8).toString('hex');
  for (let attempt = 0; attempt < TRIES; attempt++) {
    removeOldFile(path, what, options, self);
    const present = readLeases(path);
    const top = present.at(-1)?.number ?? 0;
    const lease: Lease = { ...self, number: top + 1, token, seconds };
    if (top === 0) {
      if (createLock(path, lease)) return hold(path, what, lease, []);
      await pause(attempt);
      continue;
    }
    if (!(await allEnded(present, what, options, self))) continue;
    if (!claimNumber(path, lease)) {
      await pause(attempt);
      continue;
    }
    if (succeed(path, lease, present)) return hold(path, what, lease, present);
  }
  throw new LockHeldError(`cannot lock ${path}: other processes take it at the same time; try again`, {
    details: { path },
  });
}

const sleep = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

/** Lets others that take the lock at the same time finish. */
const pause = (attempt: number): Promise<void> => sleep(Math.min(50, attempt) * Math.random());

/**
 * Makes the taker of a number the holder, if nothing has changed since it looked: whoever came to life keeps the lock,
 * and a taker who has slept through another's time has seen files that are gone.
 */
function succeed(path: string, lease: Lease, present: readonly SeenLease[]): boolean {
  const own = leasePath(path, lease.number);
  const others = readLeases(path).filter(({ number }) => number !== lease.number);
  const same = others.length === present.length && others.every(({ text }, i) => text === present[i]?.text);
  if (!same) {
    if (isOwn(own, lease.token)) removeLease(own);
    return false;
  }
  // Oldest first: a file that is there says that all above it have been there from the start.
  for (const { path: file } of present) removeLease(file);
  return isOwn(own, lease.token);
}

/** The lock is this process's: keeps it alive and raises the fence. */
function hold(path: string, what: string, lease: Lease, before: readonly SeenLease[]): HeldLock {
  removePassing(path);
  // What a holder that froze has under way must not appear once it wakes.
  for (const { lease: old, free } of before) if (old !== null && !free) removeTemporaryOf(dirname(path), old);
  const ticket: LockTicket = { path, what, number: lease.number, token: lease.token };
  const flag = new SharedArrayBuffer(4);
  const lost = new AbortController();
  const check = (): void => {
    if (Atomics.load(new Int32Array(flag), 0) === 0 && isOwn(leasePath(path, lease.number), lease.token)) return;
    const error = lostError(ticket);
    Atomics.store(new Int32Array(flag), 0, 1);
    lost.abort(error);
    throw error;
  };
  const noticed = (): void => lost.abort(lostError(ticket));
  const everyMs = (lease.seconds * 1000) / MISSED.usual;
  const file = leasePath(path, lease.number);
  const rest = keepAlive({ path: file, token: lease.token, ...beatPlace(lease), everyMs, lost: flag }, noticed);
  const lower = raiseFence({ folder: dirname(path), check });
  const release = (): void => {
    process.off('exit', release);
    lower();
    rest();
    givenBack.add(lease.token);
    markFree(path, lease);
  };
  process.on('exit', release);
  return { number: lease.number, lost: lost.signal, ticket, check, release };
}

/**
 * Has a thread's writes below a locked folder check the lock of its process.
 * @param ticket that of the lock, handed to the thread
 */
export function joinLock(ticket: LockTicket): void {
  const check = (): void => {
    if (!isOwn(leasePath(ticket.path, ticket.number), ticket.token)) throw lostError(ticket);
  };
  raiseFence({ folder: dirname(ticket.path), check });
}

/**
 * Works under a lock: takes it, and gives it back however the work ends. The signal that the work gets aborts when the
 * caller's does, and when the lock is lost.
 *
 * @throws LockLostError if another process has taken the lock, whatever the work then failed with
 */
export async function underLock<T>(
  path: string,
  what: string,
  options: LockOptions,
  work: (lock: HeldLock, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  return whileHeld(await takeLock(path, what, options), options.signal, work);
}

/** Works under a lock that has been taken, as `underLock` does. */
export async function whileHeld<T>(
  lock: HeldLock,
  signal: AbortSignal | undefined,
  work: (lock: HeldLock, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  try {
    return await work(lock, AbortSignal.any(signal === undefined ? [lock.lost] : [signal, lock.lost]));
  } catch (error) {
    lock.check();
    throw error;
  } finally {
    lock.release();
  }
}

function lostError({ path, what, number }: LockTicket): LockLostError {
  const top = topHolder(path);
  const who = top === null || top.number === number ? '' : ` to process ${top.pid} on host ${top.host}`;
  return new LockLostError(
    `this process has lost ${what}${who}, having given no sign of life for too long; it writes nothing more there`,
    { details: { path, number } },
  );
}

function topHolder(path: string): Lease | null {
  try {
    return readLeases(path).at(-1)?.lease ?? null;
  } catch {
    return null;
  }
}

/**
 * Whether every holder that a lock has had is known to have ended; false if one ended or appeared meanwhile.
 * @throws StoreError if one lives
 */
async function allEnded(
  present: readonly SeenLease[],
  what: string,
  options: LockOptions,
  self: LockHolder,
): Promise<boolean> {
  const unseen: SeenLease[] = [];
  for (const seen of present) {
    if (seen.free || (seen.lease !== null && givenBack.has(seen.lease.token))) continue;
    const state = seen.lease === null ? 'unseen' : stateOf(seen.lease, self);
    if (state === 'alive' && seen.lease !== null) throw inUse(seen.path, what, seen.lease, 'this one');
    if (state === 'unseen') unseen.push(seen);
  }
  if (unseen.length === 0) return true;
  const seconds = maxOf([lockSeconds(), ...unseen.map(({ lease }) => lease?.seconds ?? 0)]);
  const limitMs = (seconds * 1000 * (options.takeOver === true ? MISSED.takeOver : MISSED.usual)) / MISSED.usual;
  const [first] = unseen;
  const who = first?.lease ? `process ${first.lease.pid} on host ${first.lease.host}` : 'another process';
  options.waiting?.(
    `${what} is locked by ${who}, which cannot be seen from here; waiting up to ${Math.ceil(limitMs / 1000)} s for a sign of life`,
  );
  return watch(unseen, limitMs, what, options.signal);
}

/** Watches files of a lock for changes. Only this process's own clock counts, from before the last unchanged look. */
async function watch(
  unseen: readonly SeenLease[],
  limitMs: number,
  what: string,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const since = performance.now();
  for (;;) {
    await sleep(Math.min(LOOK_MS, limitMs / MISSED.usual / 2));
    if (signal?.aborted === true) throw new InterruptedError(`stopped while waiting for ${what}`);
    const now = performance.now();
    for (const { path, number, text } of unseen) {
      const again = readLease(path, number);
      if (again === null || again.free) return false;
      if (again.text !== text && again.lease !== null) throw inUse(path, what, again.lease, 'alive');
      if (again.text !== text) return false;
    }
    if (now - since >= limitMs) return true;
  }
}

function inUse(
  path: string,
  what: string,
  { pid, host }: LockHolder,
  how: 'this one' | 'alive' | 'old',
): LockHeldError {
  const who = `${what} is in use by process ${pid} on host ${host}`;
  const messages = {
    'this one': `${who} (this one); wait for it, stop it, or choose another folder`,
    alive: `${who}, which is alive; wait for it, stop it there, or choose another folder`,
    old: `${who}, of an earlier version that shows no sign of life; if it is gone, take the folder over (--take-over)`,
  };
  return new LockHeldError(messages[how], { details: { path, pid, host } });
}

/** Earlier versions locked with a file of the lock's name. */
function removeOldFile(path: string, what: string, { takeOver }: LockOptions, self: LockHolder): void {
  try {
    if (statSync(path, { throwIfNoEntry: false })?.isFile() !== true) return;
    const holder = parseHolder(readFileSync(path, 'utf8'));
    const state = holder === null ? 'gone' : stateOf(holder, self);
    if (holder !== null && state === 'alive') throw inUse(path, what, holder, 'this one');
    if (holder !== null && state === 'unseen' && takeOver !== true) throw inUse(path, what, holder, 'old');
    // Not rmSync: it empties a folder that has taken the file's place since it looked, which another's lock would be.
    unlinkSync(path);
  } catch (cause) {
    if (cause instanceof StoreError) throw cause;
    // Another process was faster.
    if (!['ENOENT', 'EISDIR', 'EPERM', 'ERR_FS_EISDIR'].includes(errorCode(cause) ?? ''))
      throw fileError('lock', path, cause);
  }
}

/**
 * The process that a lock names as its holder; null where nobody has taken it, or its holder has given it back.
 *
 * @throws StoreError if the lock cannot be read
 */
export function lockHolder(path: string): LockHolder | null {
  const last = readLeases(path).at(-1);
  return last === undefined || last.free ? null : last.lease;
}
