/**
 * Who works in a study folder: a file for each worker process. A worker outlives a parent that was killed for as long
 * as it takes to save its state, and holds its device until then; whoever continues the study waits for it.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  parseHolder,
  processOf,
  type LockHolder,
  stateOf,
  StoreError,
  tryToRemove,
  writeJsonAtomic,
} from '../core/index.js';

const FOLDER = 'workers';
/** Milliseconds between two looks. */
const LOOK_MS = 200;

/** Notes that a process works on a run; gives what takes the note away. */
export function noteWorker(studyDir: string, run: string, pid: number): () => void {
  const path = join(studyDir, FOLDER, `${run}.json`);
  writeJsonAtomic(path, processOf(pid));
  // Another call may have noted a process of its own since.
  return () => {
    if (noted(path)?.pid === pid) tryToRemove(path);
  };
}

/** The process that a note names; null if there is none. */
function noted(path: string): LockHolder | null {
  return existsSync(path) ? parseHolder(readFileSync(path, 'utf8')) : null;
}

/**
 * Runs that processes of an earlier call still work on, with the process; notes of processes that are gone are removed.
 */
export function workersLeft(studyDir: string): { readonly run: string; readonly pid: number }[] {
  const folder = join(studyDir, FOLDER);
  if (!existsSync(folder)) return [];
  return readdirSync(folder).flatMap((name) => {
    if (!name.endsWith('.json')) return [];
    const path = join(folder, name);
    const holder = noted(path);
    if (holder !== null && stateOf(holder) === 'alive')
      return [{ run: name.slice(0, -'.json'.length), pid: holder.pid }];
    tryToRemove(path);
    return [];
  });
}

/**
 * Waits until no process of an earlier call works in a study folder.
 *
 * @param waiting told once which runs are waited for
 * @throws StoreError if one still does after `limitMs`
 */
export async function awaitWorkersLeft(
  studyDir: string,
  { limitMs, signal, waiting }: { limitMs: number; signal: AbortSignal; waiting: (runs: readonly string[]) => void },
): Promise<void> {
  const begin = performance.now();
  let left = workersLeft(studyDir);
  if (left.length > 0) waiting(left.map(({ run }) => run));
  while (left.length > 0 && !signal.aborted) {
    if (performance.now() - begin > limitMs) {
      const [first] = left;
      throw new StoreError(
        `process ${first?.pid} of an earlier call still works on run ${first?.run} of ${studyDir}; wait for it or stop it, then start again`,
        { details: { left } },
      );
    }
    await new Promise((done) => setTimeout(done, LOOK_MS));
    left = workersLeft(studyDir);
  }
}
