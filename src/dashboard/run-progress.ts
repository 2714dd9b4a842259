/** How far a run is, from the files that change while it goes on; loads no layer that knows models. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { LOCK_FILE, lockHolder, metricsPath, stateOf, type LockHolder } from '../core/index.js';
import type { DashboardState, RunRow } from './api.js';
import { parsed } from './line-scanner.js';

/** Bytes at the end of a metrics file in which its last values are looked for. */
const TAIL_BYTES = 32 * 1024;
/** The metrics whose last values stand in the table. */
const TABLE_METRICS: readonly string[] = [
  ...['train/loss', 'eval/loss', 'eval/recall/all', 'eval/ar/far/accuracy', 'eval/needle/accuracy'],
];
/** What is looked for at the end of a metrics file. */
const TAIL_METRICS: readonly string[] = [...TABLE_METRICS, 'train/tok_per_sec'];

/** What changes while a run goes on. */
export type RunProgress = Pick<RunRow, 'state' | 'message' | 'step' | 'tokens' | 'seconds' | 'tokPerSec' | 'last'>;

/** What `status.json` says. */
export interface SaidStatus {
  readonly state: 'running' | 'done' | 'failed' | 'interrupted';
  readonly step: number;
  readonly tokens: number;
  readonly message?: string | null | undefined;
}

/**
 * How far a run is by its metrics and its status.
 *
 * @param status null where it has none yet
 */
export function progressOf(dir: string, status: SaidStatus | null, last = lastValues(dir)): RunProgress {
  const { step, tokens, ...tail } = tailOf(last);
  const places = { step: Math.max(status?.step ?? 0, step), tokens: Math.max(status?.tokens ?? 0, tokens) };
  return { state: seenState(dir, status?.state ?? 'running'), message: status?.message ?? null, ...places, ...tail };
}

/** How far a run is whose status cannot be read, and why not. */
export function unreadableProgress(dir: string, message: string): RunProgress {
  return { state: 'unreadable', message, ...tailOf(lastValues(dir)) };
}

/** What the end of the metrics says. */
function tailOf({ step, tokens, time, values }: LastValues): Omit<RunProgress, 'state' | 'message'> {
  const last = Object.fromEntries(
    TABLE_METRICS.flatMap((name) => {
      const value = values.get(name);
      return value === undefined ? [] : [[name, value] as const];
    }),
  );
  return { step, tokens, seconds: time, tokPerSec: values.get('train/tok_per_sec') ?? null, last };
}

/** A run whose process is known to be gone does not run. */
function seenState(dir: string, state: DashboardState): DashboardState {
  if (state !== 'running') return state;
  const holder = holderOf(dir);
  return holder === null || stateOf(holder) === 'gone' ? 'killed' : 'running';
}

/** The process that works in a run folder, as far as its lock says; null for none. */
export function holderOf(dir: string): LockHolder | null {
  try {
    return lockHolder(join(dir, LOCK_FILE));
  } catch {
    return null;
  }
}

/** What is found near the end of a metrics file. */
interface LastValues {
  readonly step: number;
  readonly tokens: number;
  readonly time: number;
  readonly values: ReadonlyMap<string, number>;
  /** The metrics of the last line. */
  readonly names: readonly string[];
}

/** The last values that the table shows, near the end of metrics: only lines that hold one not yet found are parsed. */
export function lastValues(dir: string): LastValues {
  const values = new Map<string, number>();
  const place = { step: 0, tokens: 0, time: 0 };
  const text = endOf(metricsPath(dir), TAIL_BYTES);
  let names: readonly string[] = [];
  const missing = new Set(TAIL_METRICS);
  let isLast = true;
  // What is behind the last line end is not written to its end.
  for (let end = text.lastIndexOf('\n'); end > 0 && missing.size > 0;) {
    const start = text.lastIndexOf('\n', end - 1) + 1;
    const raw = text.slice(start, end);
    end = start - 1;
    if (!isLast && ![...missing].some((name) => raw.includes(`"${name}"`))) continue;
    const line = parsed(raw);
    if (line === null) continue;
    if (isLast) {
      for (const name of ['step', 'tokens', 'time'] as const)
        if (typeof line[name] === 'number') place[name] = line[name];
      names = Object.keys(line).filter((name) => typeof line[name] === 'number' && !Object.hasOwn(place, name));
      isLast = false;
    }
    for (const name of missing) {
      const value = Object.hasOwn(line, name) ? line[name] : undefined;
      if (typeof value !== 'number') continue;
      values.set(name, value);
      missing.delete(name);
    }
  }
  return { ...place, values, names };
}

/** The last bytes of a file as text, from the beginning of a line; empty where there is no such file. */
export function endOf(path: string, bytes: number): string {
  try {
    const fd = openSync(path, 'r');
    try {
      const stat = fstatSync(fd);
      if (!stat.isFile()) return '';
      const from = Math.max(0, stat.size - bytes);
      const buffer = Buffer.alloc(Math.min(bytes, stat.size));
      const text = buffer.toString('utf8', 0, readSync(fd, buffer, 0, buffer.length, from));
      return from === 0 ? text : text.slice(text.indexOf('\n') + 1);
    } finally {
      closeSync(fd);
    }
  } catch {
    return '';
  }
}
