/** Stopping a run that goes on, and continuing one that was stopped, as the page has said it. */
import { execFile, spawn, type SpawnOptions } from 'node:child_process';
import { closeSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf } from '../core/index.js';
import type { RunAnswer } from './api.js';
import { openLog } from '../study/index.js';
import { CONTINUED_LOG } from './run-page.js';

/** Sends the signal of Ctrl-C to the process of a run; returns why that was not done, null where it was. */
export function stopRun({ stop, holder }: RunAnswer): string | null {
  if (stop === null || holder === null) return 'There is no process on this machine that could be stopped.';
  try {
    process.kill(holder.pid, 'SIGINT');
    return null;
  } catch (error) {
    return `Process ${holder.pid} could not be stopped: ${messageOf(error)}.`;
  }
}

/** Starts a process that goes on with a run; returns why that was not done, null where it was. */
export function continueRun({ resume, resumeArgs, path }: RunAnswer, mainPath: string): string | null {
  if (resume === null) return 'The run cannot be continued from here.';
  let log;
  try {
    log = openLog(join(path, CONTINUED_LOG));
  } catch (error) {
    return messageOf(error);
  }
  const options: SpawnOptions = { detached: true, stdio: ['ignore', log, log] };
  const child = spawn(process.execPath, [mainPath, ...resumeArgs], options);
  child.on('error', () => undefined); // what went wrong then is that the run does not go on
  child.unref();
  closeSync(log);
  return null;
}

/** Milliseconds that generating may take. */
const SAMPLE_MS = 120_000;
const MOST_SAMPLE_BYTES = 1 << 20;

/** What a run continues a prompt with, by `longsight generate` on its newest checkpoint, or why that cannot be had. */
export function sampleRun(
  path: string,
  mainPath: string,
  { prompt, isIds }: { readonly prompt: string; readonly isIds: boolean },
): Promise<{ readonly text: string | null; readonly problem: string | null }> {
  // Of the form `--name=value`, a prompt that begins with a dash is no option.
  const args = [mainPath, 'generate', path, `${isIds ? '--prompt-ids' : '--prompt'}=${prompt}`, '--ignore-end'];
  return new Promise((done) => {
    execFile(process.execPath, args, { timeout: SAMPLE_MS, maxBuffer: MOST_SAMPLE_BYTES }, (error, out, err) => {
      if (error === null) done({ text: out, problem: null });
      else done({ text: null, problem: err.trim() === '' ? messageOf(error) : err.trim() });
    });
  });
}
