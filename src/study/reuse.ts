/**
 * Runs that another study has trained: what two studies ask for alike is trained once. A finished run of another study
 * folder that is the same in every setting but its name is copied, with what analyses found in it.
 */
import { readdirSync, realpathSync } from 'node:fs';
import { join, resolve } from 'node:path';
import {
  canonicalJson,
  ConfigError,
  errorCode,
  configPath,
  fileError,
  isRunFolder,
  isStudyFolder,
  isTemporary,
  makeNewFolder,
  readJson,
  removePath,
  renamePath,
  showValue,
  temporaryPath,
  writeJsonAtomic,
  copyFileAtomic,
  LOCK_FILE,
} from '../core/index.js';
import { readStatus } from '../run/index.js';
import type { PlannedRun, StudyPlan } from './plan.js';
import { completed, readPlan, runFolder } from './store.js';

/** A run that was taken over: its name, and the name and the run of the study that trained it. */
export interface ReusedRun {
  readonly run: string;
  readonly study: string;
  readonly from: string;
}

/** Study folders that runs may be taken from, with their plans. */
export type ReusableStudies = readonly { readonly dir: string; readonly plan: StudyPlan }[];

/** A run of another study that may be copied: the name of the study, that of the run, and the folder of the run. */
interface Source {
  readonly study: string;
  readonly name: string;
  readonly dir: string;
}

/** What a run is asked for, but for its name. */
const settingsOf = ({ config }: Pick<PlannedRun, 'config'>): string => canonicalJson({ ...config, name: undefined });

/**
 * Reads the plans of study folders whose runs may be taken over.
 *
 * @param into the study folder that takes them
 * @throws ConfigError for a folder that holds no study, and for `into` itself
 * @throws StoreError for a damaged plan
 */
export function openReusable(dirs: readonly string[], into: string): ReusableStudies {
  const real = (dir: string) => (isStudyFolder(dir) ? realpathSync(dir) : resolve(dir));
  return dirs.map((dir) => {
    if (!isStudyFolder(dir))
      throw new ConfigError(`runs are to be reused from ${showValue(dir)}, which is no study folder (--reuse)`);
    if (real(dir) === real(into))
      throw new ConfigError(`runs are to be reused from ${showValue(dir)}, the folder of this study itself (--reuse)`);
    return { dir, plan: completed(readPlan(dir)) };
  });
}

/**
 * Copies finished runs of other studies for those runs of a plan that are the same and have not begun: every file but
 * locks, states kept for others, and what is still being written. A copy appears whole, by rename.
 *
 * @param dir the folder of the study, whose plan is written
 * @returns the runs that were taken over, in the order of the plan
 * @throws StoreError if the disk does not take a copy, or a run cannot be read; runs copied so far stay
 */
export function reuseRuns(dir: string, plan: StudyPlan, studies: ReusableStudies): ReusedRun[] {
  const sources = new Map<string, Source>();
  for (const { dir: study, plan: other } of studies) {
    for (const run of other.runs) {
      const from = runFolder(study, run.name);
      const key = settingsOf(run);
      if (!sources.has(key) && isRunFolder(from) && readStatus(from)?.state === 'done')
        sources.set(key, { study: other.name, name: run.name, dir: from });
    }
  }
  return plan.runs.flatMap((run) => {
    const source = sources.get(settingsOf(run));
    if (source === undefined || isRunFolder(runFolder(dir, run.name))) return [];
    const { study, name: from } = source;
    return copyRun(source, runFolder(dir, run.name), run.name) ? [{ run: run.name, study, from }] : [];
  });
}

/** Copies a run under a name of its own. False where another process has begun the run meanwhile. */
function copyRun({ study, name: from, dir }: Source, to: string, name: string): boolean {
  const temporary = temporaryPath(to);
  makeNewFolder(temporary);
  try {
    copyFolder(dir, temporary);
    const stored = readJson(configPath(temporary)) as object;
    writeJsonAtomic(configPath(temporary), { ...stored, name, reused: { study, run: from } });
    renamePath(temporary, to);
    return true;
  } catch (error) {
    const code = errorCode(error);
    if (code === 'ENOTEMPTY' || code === 'EEXIST') return false;
    throw code === undefined ? error : fileError('write', to, error);
  } finally {
    removePath(temporary);
  }
}

/** Names of a run folder that belong to the process and the study that made it. */
const LEFT_BEHIND: readonly string[] = [LOCK_FILE, 'branches'];

/** Copies the files of a folder and of those in it. */
function copyFolder(from: string, to: string): void {
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    if (isTemporary(entry.name) || LEFT_BEHIND.includes(entry.name)) continue;
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isDirectory()) {
      makeNewFolder(target);
      copyFolder(source, target);
    } else if (entry.isFile()) copyFileAtomic(source, target);
  }
}
