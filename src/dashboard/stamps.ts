/** What tells whether files have changed: their sizes and times of change, which is all that a look at a run costs. */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { configPath, evalsFolder, findingsFolder, LOCK_FILE, metricsPath, statusPath } from '../core/index.js';

/** The size, time of change and number of files, as one text. */
export function stampOf(...paths: readonly string[]): string {
  const stamps = paths.map((path) => {
    const stat = statSync(path, { throwIfNoEntry: false });
    return stat === undefined ? '-' : `${stat.size} ${stat.mtimeMs} ${stat.ino}`;
  });
  return stamps.join('|');
}

/** What decides whether the facts of a run are to be read again. */
export const factsStamp = (dir: string): string => stampOf(configPath(dir));

/** What decides whether the progress of a run is to be read again. */
export const progressStamp = (dir: string): string => stampOf(statusPath(dir), metricsPath(dir), join(dir, LOCK_FILE));

/** What decides whether a run has new evaluations or findings. */
export const recordsStamp = (dir: string): string => stampOf(evalsFolder(dir), findingsFolder(dir));
