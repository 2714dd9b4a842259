/** How long the rest of a study takes, from the speed seen so far. */
import { at, maxOf, minOf } from '../core/index.js';

/**
 * Seconds until all work is done when free workers take the next queued run.
 *
 * @param active tokens left of each run in progress
 * @param queued tokens of each run not yet started, in order
 * @param workers runs side by side
 * @param tokPerSec tokens a second of one worker; null while unknown
 * @param overhead seconds of each run not yet started that are no training
 * @returns null while the speed is unknown
 */
export function etaSeconds(
  active: readonly number[],
  queued: readonly number[],
  workers: number,
  tokPerSec: number | null,
  overhead = 0,
): number | null {
  if (tokPerSec === null || !(tokPerSec > 0)) return null;
  const ends = active.map((tokens) => tokens / tokPerSec);
  while (ends.length < workers) ends.push(0);
  for (const tokens of queued) {
    const first = ends.indexOf(minOf(ends));
    ends[first] = at(ends, first) + tokens / tokPerSec + overhead;
  }
  return Math.max(0, maxOf(ends));
}

/** `3 min 20 s`, `45 s`, `2 h 05 min`. */
export function formatDuration(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  const pad = (n: number) => String(n).padStart(2, '0');
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${pad(s % 60)} s`;
  return `${Math.floor(s / 3600)} h ${pad(Math.floor((s % 3600) / 60))} min`;
}
