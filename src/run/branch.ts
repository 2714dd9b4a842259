/**
 * Runs that begin where another one was: two runs whose configurations say the same up to a step are the same up to it,
 * so that the second takes over the state of the first, with everything that was recorded on the way.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  LongsightError,
  got,
  makeFolder,
  tryToRemove,
  writeFileAtomic,
  evalsFolder,
  findingsFolder,
  metricsPath,
} from '../core/index.js';
import { latestCheckpoint, listCheckpoints, listIn, openCheckpoint, writeCheckpoint } from './checkpoint.js';
import type { Checkpoint, CheckpointTensors } from './checkpoint.js';
import { copyMetrics } from './metrics.js';
import { branchesFolder, branchPath, stepIn } from './paths.js';

/** Where a run may begin: in the folder of another, at or before a step. */
export interface BranchPoint {
  /** The folder of the other run. */
  readonly dir: string;
  /** What the other run is called. */
  readonly name: string;
  /** Both runs are the same up to this optimizer step. */
  readonly step: number;
  /** Kinds of findings that are made while training; those of analyses are the other run's own. */
  readonly findings: readonly string[];
}

/** Whether a run's state after a step is kept for others. */
export const isBranchThere = (dir: string, step: number): boolean => existsSync(branchPath(dir, step));

/** Removes a state that no other run needs any more; what cannot be removed stays. */
export function removeBranch(dir: string, step: number): void {
  tryToRemove(branchPath(dir, step));
  if (existsSync(branchesFolder(dir)) && readdirSync(branchesFolder(dir)).length === 0)
    tryToRemove(branchesFolder(dir));
}

/**
 * Lets a run go on from the newest state of another that both have in common, if that is ahead of its own: its metrics,
 * evaluations, findings and checkpoints up to there become those of the other. The state itself comes last, so that a
 * run that is killed meanwhile takes over again.
 *
 * @returns the step that it goes on from; null where the other run has nothing to give
 * @throws StoreError if the disk does not take it
 */
export async function takeOverBeginning(dir: string, from: BranchPoint): Promise<number | null> {
  const own = latestCheckpoint(dir).checkpoint?.state.step ?? 0;
  const source = newestShared(from, own);
  if (source === null) return null;
  const { step } = source.state;
  copyMetrics(metricsPath(from.dir), metricsPath(dir), step);
  const isOwn = (name: string) => from.findings.some((kind) => name.startsWith(`${kind}-step-`));
  copyRecords(evalsFolder(from.dir), evalsFolder(dir), step, () => true);
  copyRecords(findingsFolder(from.dir), findingsFolder(dir), step, isOwn);
  for (const entry of listCheckpoints(from.dir)) {
    if (entry.step >= step) continue;
    const earlier = openOrNull(entry.path);
    if (earlier?.state.scheduled === true) await copyCheckpoint(earlier, dir);
  }
  // The other run may have removed its own checkpoint of this step meanwhile (`keepCheckpoints`): then the next best.
  return (await copyCheckpoint(source, dir)) ? step : takeOverBeginning(dir, from);
}

/** The newest complete state of a run up to a step and after `own`; of two after one step that which was due. */
function newestShared({ dir, step }: BranchPoint, own: number): Checkpoint | null {
  const entries = [...listCheckpoints(dir), ...listIn(branchesFolder(dir))];
  const usable = entries.filter((entry) => entry.step <= step && entry.step > own).sort((a, b) => b.step - a.step);
  for (const { path } of usable) {
    const found = openOrNull(path);
    if (found !== null) return found;
  }
  return null;
}

/** A checkpoint; null where it is damaged, or goes at this moment. */
function openOrNull(path: string): Checkpoint | null {
  try {
    return openCheckpoint(path);
  } catch (error) {
    if (error instanceof LongsightError) return null;
    throw error;
  }
}

/** Copies a checkpoint into a run; false where it is gone since it was opened. */
async function copyCheckpoint(checkpoint: Checkpoint, dir: string): Promise<boolean> {
  let weights, moments;
  try {
    [weights, moments] = [checkpoint.parameters(), checkpoint.optimizer()];
  } catch (error) {
    if (error instanceof LongsightError && !existsSync(checkpoint.path)) return false;
    throw error;
  }
  const tensors: CheckpointTensors = {
    parameter: (name) => Promise.resolve(got(weights, name)),
    moment: (kind, name) => Promise.resolve(got(moments[kind], name)),
  };
  await writeCheckpoint(dir, checkpoint.state, tensors);
  return true;
}

function copyRecords(from: string, to: string, step: number, wanted: (name: string) => boolean): void {
  if (!existsSync(from)) return;
  for (const name of readdirSync(from)) {
    const at = name.endsWith('.json') ? stepIn(name) : null;
    if (at === null || at > step || !wanted(name)) continue;
    makeFolder(to);
    writeFileAtomic(join(to, name), readFileSync(join(from, name)));
  }
}
