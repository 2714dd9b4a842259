/** Where everything in a run folder lies. No other module knows these names but those by which folders are known. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { evalsFolder, findingsFolder, removePath } from '../core/index.js';

/** `step-000600`: how files and folders of a step are called, so that they sort by name. */
function stepName(step: number): string {
  return `step-${String(step).padStart(6, '0')}`;
}

/** `RUN/checkpoints`: the folder of all checkpoints. */
export const checkpointsFolder = (dir: string): string => join(dir, 'checkpoints');

/** The folder of a step's checkpoint in a run folder. */
export const checkpointPath = (dir: string, step: number): string => join(checkpointsFolder(dir), stepName(step));

/** `RUN/branches`: states, as checkpoints, that other runs of a study go on from; there until those are done. */
export const branchesFolder = (dir: string): string => join(dir, 'branches');

/** The folder of the state after a step that other runs go on from. */
export const branchPath = (dir: string, step: number): string => join(branchesFolder(dir), stepName(step));

/** `RUN/evals/step-000600.json`: the evaluation record of one checkpoint. */
export const evalPath = (dir: string, step: number): string => join(evalsFolder(dir), `${stepName(step)}.json`);

/** `RUN/analysis/KIND-step-000600.json`: one finding about one checkpoint. */
export const findingPath = (dir: string, kind: string, step: number): string =>
  join(findingsFolder(dir), `${kind}-${stepName(step)}.json`);

/** The files of a report in a folder of a run or a study. */
export function reportPaths(dir: string): { readonly html: string; readonly json: string; readonly csv: string } {
  return { html: join(dir, 'report.html'), json: join(dir, 'report.json'), csv: join(dir, 'report.csv') };
}

/** The step that a file or folder is named for; null if for none. */
export function stepIn(name: string): number | null {
  const match = /step-(\d+)(?:\.|$)/.exec(name);
  return match === null ? null : Number(match[1]);
}

/**
 * Removes evaluations and findings of steps after `step`, left by a process that died before its next checkpoint.
 *
 * @throws StoreError if one cannot be removed
 */
export function removeResultsAfter(dir: string, step: number): void {
  for (const folder of [evalsFolder(dir), findingsFolder(dir)]) {
    if (!existsSync(folder)) continue;
    for (const name of readdirSync(folder)) {
      const own = stepIn(name);
      if (own === null || own <= step) continue;
      removePath(join(folder, name));
    }
  }
}
