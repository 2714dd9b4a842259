/** `status.json`: whether a run is going on, how far it is, and why it ended. */
import { existsSync, statSync } from 'node:fs';
import { z } from 'zod';
import { field, isDiskFull, parseStored, readJson, writeInPlace, writeJsonAtomic, statusPath } from '../core/index.js';

/** The schema of `status.json`. */
export const statusSchema = z.object({
  state: field(z.enum(['running', 'done', 'failed', 'interrupted']), 'what the run is doing, or how it ended'),
  step: field(z.number().default(0), 'optimizer steps done', 'steps'),
  tokens: field(z.number().default(0), 'training tokens seen', 'tokens'),
  message: field(z.string().nullish(), 'why it failed or stopped'),
  timing: field(
    z.record(z.string(), z.number()).optional(),
    'where its wall time went, by [phase](run-folders.md#where-the-time-went)',
    'seconds',
  ),
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

/** Characters of a message that are kept where there is little room. */
const SHORT_MESSAGE = 120;

/**
 * Writes how a run ended. On a full disk the file that is there is written over in its place, which needs no more room,
 * so that a run that has ended is not said to be running.
 *
 * @throws StoreError if not even that can be done
 */
export function writeLastStatus(dir: string, status: RunStatus): void {
  try {
    writeStatus(dir, status);
  } catch (error) {
    const path = statusPath(dir);
    const room = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    const { state, step, tokens, message } = status;
    const short = { state, step, tokens, message: message?.slice(0, SHORT_MESSAGE) };
    // Spaces behind JSON mean nothing; the file keeps its size.
    const texts = [short, { state, step, tokens }].map((value) => Buffer.from(JSON.stringify(value)));
    const text = isDiskFull(error) ? texts.find(({ length }) => length < room) : undefined;
    if (text === undefined) throw error;
    writeInPlace(path, Buffer.concat([text, Buffer.alloc(room - text.length - 1, ' '), Buffer.from('\n')]));
  }
}
