/** Where a worker process prints to: the log of the run at hand. */
import { closeSync } from 'node:fs';
import { StoreError } from '../core/index.js';
import { openLog } from './worker-process.js';

/**
 * What turns the standard output and the standard error of this process to the end of another file, the native
 * libraries' included: the file takes their place in one step of the system (`dup2`), so that no other file of the
 * process can come between. Null where the system or the native-call library has no such step.
 *
 * The function throws `StoreError` if the file cannot be written.
 */
export async function outputSwitch(): Promise<((path: string) => void) | null> {
  let dup2: (from: number, to: number) => number;
  try {
    const { default: koffi } = await import('koffi');
    dup2 = koffi.load(null).func('dup2', 'int', ['int', 'int']) as typeof dup2;
  } catch {
    return null;
  }
  return (path) => {
    const log = openLog(path);
    try {
      for (const stream of [1, 2]) {
        if (dup2(log, stream) === -1) throw new StoreError(`cannot write what the process prints to ${path}`);
      }
    } finally {
      closeSync(log);
    }
  };
}
