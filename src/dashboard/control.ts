/** Stopping a run that goes on, and continuing one that was stopped, as the page has said it. */
import { spawn, type SpawnOptions } from 'node:child_process';
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
export function continueRun({ resume, path }: RunAnswer, mainPath: string): string | null {
  if (resume === null) return 'The run cannot be continued from here.';
  let log;
  try {
    log = openLog(join(path, CONTINUED_LOG));
  } catch (error) {
    return messageOf(error);
  }
  const options: SpawnOptions = { detached: true, stdio: ['ignore', log, log] };
  const child = spawn(process.execPath, [mainPath, 'train', path, '--resume'], options);
  child.on('error', () => undefined); // what went wrong then is that the run does not go on
  child.unref();
  closeSync(log);
  return null;
}
