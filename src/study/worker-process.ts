/** A worker's process as its parent sees it: how it ended, and what it wrote last. */
import type { ChildProcess } from 'node:child_process';
import { fstatSync, openSync, readSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileError, makeFolder } from '../core/index.js';

/** How a process ended. */
export interface Ending {
  /** The exit status; null if a signal ended the process. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly error?: Error;
}

/** Waits for a process to end, or to fail to start. */
export function ended(child: ChildProcess): Promise<Ending> {
  return new Promise((resolve) => {
    child.on('error', (error) => {
      if (child.pid === undefined) resolve({ code: null, signal: null, error });
    });
    child.on('exit', (code, signal) => resolve({ code, signal }));
  });
}

/** Opens a worker's log to write on at its end. */
export function openLog(path: string): number {
  try {
    makeFolder(dirname(path));
    return openSync(path, 'a+');
  } catch (cause) {
    throw fileError('write', path, cause);
  }
}

/** Bytes of a log that are read for its last words. */
const LOG_TAIL_BYTES = 4096;

/** The last line that is not part of a stack trace; undefined if there is none. */
export function lastLine(fd: number): string | undefined {
  const size = fstatSync(fd).size;
  const buffer = Buffer.alloc(Math.min(size, LOG_TAIL_BYTES));
  readSync(fd, buffer, 0, buffer.length, size - buffer.length);
  const lines = buffer.toString('utf8').split('\n');
  return lines.filter((line) => line.trim() !== '' && !/^\s|^\}/.test(line)).at(-1);
}

/** Waits, but no longer than until `signal` aborts. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((done) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      done();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener('abort', end, { once: true });
    if (signal.aborted) end();
  });
}
