/** `status.json`: whether a run is going on, how far it is, and why it ended. */
import { existsSync } from 'node:fs';
import { z } from 'zod';
import { parseStored, readJson, writeJsonAtomic } from '../core/index.js';
import { statusPath } from './paths.js';

const statusSchema = z.object({
  state: z.enum(['running', 'done', 'failed', 'interrupted']),
  step: z.number().default(0),
  tokens: z.number().default(0),
  message: z.string().nullish(),
  timing: z.record(z.string(), z.number()).optional(),
});

/**
 * How far a run is; `message` says why it failed or stopped, `timing` where its wall time went, in seconds.
 * A process that was killed leaves `running` behind.
 */
export type RunStatus = z.output<typeof statusSchema>;

/** What a run is doing, or how it ended. */
export type RunState = RunStatus['state'];

/** The status of a run folder; null if the run has not begun. Throws `StoreError` if the file is damaged. */
export function readStatus(dir: string): RunStatus | null {
  const path = statusPath(dir);
  return existsSync(path) ? parseStored(statusSchema, readJson(path), path) : null;
}

/** Writes `status.json` atomically. */
export function writeStatus(dir: string, status: RunStatus): void {
  writeJsonAtomic(statusPath(dir), status);
}
