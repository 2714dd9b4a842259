/** How many runs go side by side, and with how many threads each. */
import { readFileSync } from 'node:fs';
import { availableParallelism, freemem } from 'node:os';
import { ConfigError } from '../core/index.js';

/** How many processes work at a time: `workers`, with `threads` each. */
export interface Parallelism {
  readonly workers: number;
  /** Threads of each worker's engine. */
  readonly threads: number;
  /** Why these numbers, for people. */
  readonly reason: string;
}

/** What a machine has to share: processor `cores`, and memory. */
export interface Machine {
  readonly cores: number;
  readonly freeBytes: number;
}

/** What one worker needs at most for models of laptop size, measured with room to spare. */
const WORKER_BYTES = 1.5e9;
/** More threads than this gain nothing for models of laptop size. */
const MAX_THREADS = 4;

/** The cores that this process may use: the scheduler's, or fewer if a control group limits its share. */
export function machine(): Machine {
  return { cores: Math.max(1, Math.min(availableParallelism(), cgroupCores() ?? Infinity)), freeBytes: freemem() };
}

/** The CPU quota of the control group, in whole cores rounded up; undefined if there is none. */
function cgroupCores(): number | undefined {
  try {
    const [quota, period] = readFileSync('/sys/fs/cgroup/cpu.max', 'utf8').trim().split(' ');
    return quota === undefined || quota === 'max' ? undefined : Math.ceil(Number(quota) / Number(period ?? 100_000));
  } catch {
    return undefined; // no such file: not Linux, or no quota
  }
}

/**
 * Runs side by side first, threads with what is left: small models gain more from another run than from another thread.
 *
 * @param runs the runs that are still to do
 * @param asked numbers that the user fixed
 * @throws ConfigError if an asked number is not a whole number of at least 1
 */
export function chooseParallelism(
  runs: number,
  asked: { readonly workers?: number | undefined; readonly threads?: number | undefined },
  { cores, freeBytes }: Machine,
): Parallelism {
  for (const name of ['workers', 'threads'] as const) {
    const value = asked[name];
    if (value !== undefined && (!Number.isInteger(value) || value < 1))
      throw new ConfigError(`--${name} must be a whole number of at least 1, got ${value}`);
  }
  const byMemory = Math.max(1, Math.floor(freeBytes / WORKER_BYTES));
  const byCores = Math.max(1, Math.floor(cores / (asked.threads ?? 1)));
  const workers = asked.workers ?? Math.max(1, Math.min(runs, byCores, byMemory));
  const threads = asked.threads ?? Math.max(1, Math.min(MAX_THREADS, Math.floor(cores / workers)));
  const limit = asked.workers !== undefined ? 'as asked' : workerLimit(runs, byCores, byMemory);
  const reason =
    `${plural(workers, 'worker')} × ${plural(threads, 'thread')} on ${plural(cores, 'core')} (${limit}; ` +
    'small models gain more from runs side by side than from threads)';
  return { workers, threads, reason };
}

function workerLimit(runs: number, byCores: number, byMemory: number): string {
  if (byMemory < byCores && byMemory < runs) return `free memory allows ${plural(byMemory, 'worker')}`;
  return runs < byCores ? `${plural(runs, 'run')} to do` : 'one worker a core';
}

function plural(n: number, word: string): string {
  return `${n} ${word}${n === 1 ? '' : 's'}`;
}
