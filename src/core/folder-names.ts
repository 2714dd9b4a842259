/**
 * The names by which run and study folders are known. They stand below all layers, so that what lists thousands of
 * folders needs nothing of what trains or reads models.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';

/** `RUN/config.json`: the resolved run configuration, versions, engine, hardware, start and resumes. */
export const configPath = (dir: string): string => join(dir, 'config.json');

/** `RUN/status.json`: the state of the run and how far it got. */
export const statusPath = (dir: string): string => join(dir, 'status.json');

/** `RUN/metrics.jsonl`: measurements while training, one JSON object a line. */
export const metricsPath = (dir: string): string => join(dir, 'metrics.jsonl');

/** The name of the lock file in a run folder. */
export const LOCK_FILE = 'run.lock';

/** `RUN/evals`: the folder of evaluation records. */
export const evalsFolder = (dir: string): string => join(dir, 'evals');

/** `RUN/analysis`: the folder of findings, those of analyses and traced heads. */
export const findingsFolder = (dir: string): string => join(dir, 'analysis');

/** Whether a folder holds a run: it has a `config.json`. */
export function isRunFolder(dir: string): boolean {
  return existsSync(configPath(dir));
}

/** `STUDY/study.json`: the plan of a study. */
export const planPath = (dir: string): string => join(dir, 'study.json');

/** Whether a folder holds a study: it has a `study.json`. */
export function isStudyFolder(dir: string): boolean {
  return existsSync(planPath(dir));
}
