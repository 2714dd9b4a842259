/** How users name stored checkpoints, and the run configuration that belongs to them. */
import { existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { refuseHubName, StoreError } from '../core/index.js';
import { loadRunFile, type FullRunConfig, type Setting } from './run-config.js';
import { CHECKPOINT_USES, checkSettingsInEffect, type CheckpointUse } from './settings-in-effect.js';
import {
  configPath,
  findCheckpoint,
  isRunFolder,
  listCheckpoints,
  openCheckpoint,
  type Checkpoint,
} from '../run/index.js';

/** A run folder with its configuration. */
export interface NamedRun {
  /** The run folder. */
  readonly dir: string;
  readonly run: FullRunConfig;
}

/** The run folder that a path is or that it lies in as a checkpoint. */
function runFolderOf(path: string): string | undefined {
  return [path, dirname(dirname(resolve(path)))].find(isRunFolder);
}

/**
 * The run folder that a path lies in: the path itself, or two above a checkpoint.
 *
 * @param use what its checkpoints are opened for
 * @throws StoreError if there is none
 * @throws ConfigError for a setting that is wrong, or has no effect on that use
 */
export function runOf(
  path: string,
  set: readonly Setting[] = [],
  use: CheckpointUse = CHECKPOINT_USES.measuring,
): NamedRun {
  const dir = runFolderOf(path);
  if (dir === undefined) refuseHubName(path);
  if (dir === undefined)
    throw new StoreError(`${path} is neither a run folder (with a config.json) nor a checkpoint inside of one`, {
      details: { path },
    });
  return { dir, run: changedRun(configPath(dir), set, use) };
}

function changedRun(file: string, set: readonly Setting[], use: CheckpointUse): FullRunConfig {
  const run = loadRunFile(file, set);
  checkSettingsInEffect(set, use);
  return run;
}

/**
 * What says how a checkpoint is measured: the run file `file` where one is named, else the run that it lies in.
 *
 * @returns the run folder, null where `file` speaks: what is found then belongs into no run folder
 * @throws StoreError for a checkpoint by itself without `file`
 * @throws ConfigError for a setting that is wrong, or has no effect on a checkpoint
 */
export function measuringRun(
  path: string,
  set: readonly Setting[],
  file: string | undefined,
  use: CheckpointUse = CHECKPOINT_USES.measuring,
): { readonly dir: string | null; readonly run: FullRunConfig } {
  if (file !== undefined) return { dir: null, run: changedRun(file, set, use) };
  if (runFolderOf(path) === undefined && existsSync(path)) {
    throw new StoreError(
      `${path} lies in no run folder; name the run that says how to measure it (--run FILE: a run file, or the config.json of a run)`,
      { details: { path } },
    );
  }
  return runOf(path, set, use);
}

/** Every checkpoint of a run, or the one that is asked for. */
export function checkpointsOf(path: string, step: number | undefined): Checkpoint[] {
  const all = step === undefined && isRunFolder(path) ? listCheckpoints(path) : [];
  return all.length > 0 ? all.map((entry) => openCheckpoint(entry.path)) : [findCheckpoint(path, step)];
}
