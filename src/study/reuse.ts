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
  StoreError,
  temporaryPath,
  writeJsonAtomic,
  copyFileAtomic,
  LOCK_FILE,
} from '../core/index.js';
import { checkSameRun, latestCheckpoint, readStatus } from '../run/index.js';
import { openRunData } from '../train/index.js';
import type { PlannedRun, StudyPlan } from './plan.js';
import { completed, readPlan, runFolder } from './store.js';

/** A run of a plan, and the name and the run of the study that has trained it. */
interface FoundRun {
  readonly run: string;
  readonly study: string;
  readonly from: string;
}

/** A run that was taken over. */
export interface ReusedRun extends FoundRun {
  /** False where its data are files, and it has no checkpoint that says what they held. */
  readonly isDataCompared: boolean;
}

/** A run that was not taken over although its settings are those of the plan. */
interface LeftRun extends FoundRun {
  readonly why: string;
}

/** What became of the runs that other studies have trained. */
export interface Reuse {
  readonly reused: readonly ReusedRun[];
  readonly left: readonly LeftRun[];
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
 * locks, states kept for others, and what is still being written. A copy appears whole, by rename. A run that went on
 * otherwise than planned, or whose newest checkpoint was trained on other contents of the data, is left.
 *
 * @param dir the folder of the study, whose plan is written
 * @returns the runs that were taken over and those that were left, in the order of the plan
 * @throws StoreError if the disk does not take a copy, or a run cannot be read; runs copied so far stay
 * @throws DataError if the data of a run cannot be read
 */
export function reuseRuns(dir: string, plan: StudyPlan, studies: ReusableStudies): Reuse {
  const sources = new Map<string, Source>();
  for (const { dir: study, plan: other } of studies) {
    for (const run of other.runs) {
      const from = runFolder(study, run.name);
      const key = settingsOf(run);
      if (!sources.has(key) && isRunFolder(from) && readStatus(from)?.state === 'done')
        sources.set(key, { study: other.name, name: run.name, dir: from });
    }
  }
  const prints = new DataPrints();
  const [reused, left]: [ReusedRun[], LeftRun[]] = [[], []];
  for (const run of plan.runs) {
    const source = sources.get(settingsOf(run));
    if (source === undefined || isRunFolder(runFolder(dir, run.name))) continue;
    const about = { run: run.name, study: source.study, from: source.name };
    const { why, isCompared } = whyNot(source, run, prints);
    if (why !== null) left.push({ ...about, why });
    else if (copyRun(source, runFolder(dir, run.name), run.name)) reused.push({ ...about, isDataCompared: isCompared });
  }
  return { reused, left };
}

/** What contents the data of runs have now, as SHA-256 of each source; the data of runs alike are opened once. */
class DataPrints {
  readonly #known = new Map<string, string>();

  of({ config }: PlannedRun): string {
    const key = canonicalJson([config.data, config.train, config.seed]);
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    using data = openRunData(config);
    const prints = printsOf(data.train.state());
    this.#known.set(key, prints);
    return prints;
  }
}

/** The fingerprints that a state of training data has, wherever they stand in it; empty for data that are drawn. */
function printsOf(state: unknown): string {
  if (typeof state !== 'object' || state === null) return '';
  return Object.entries(state)
    .map(([key, value]) => (key === 'fingerprint' ? `${String(value)} ` : printsOf(value)))
    .join('');
}

/** Why a finished run is not the one that is planned, and whether the contents of its data could be compared. */
function whyNot(
  { dir }: Source,
  run: PlannedRun,
  prints: DataPrints,
): { readonly why: string | null; readonly isCompared: boolean } {
  try {
    checkSameRun(dir, run.config);
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    return { why: `it went on otherwise than planned: ${error.message}`, isCompared: true };
  }
  const now = prints.of(run);
  if (now === '') return { why: null, isCompared: true };
  const { checkpoint } = latestCheckpoint(dir);
  if (checkpoint === null) return { why: null, isCompared: false };
  const why = printsOf(checkpoint.state.data) === now ? null : 'its data have other contents now';
  return { why, isCompared: true };
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
