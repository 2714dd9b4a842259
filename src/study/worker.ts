/**
 * A worker process: performs one run after another for the process that started it, with messages over Node's IPC
 * channel. It lives no longer than its parent: when the channel closes it stops as it would on Ctrl-C. A run that does
 * not succeed ends it, so that what comes next begins in a process without a past.
 */
import { z } from 'zod';
import { InterruptedError, LongsightError, messageOf } from '../core/index.js';
import { outputSwitch } from './worker-log.js';

const progressSchema = z.object({
  type: z.literal('progress'),
  step: z.number(),
  steps: z.number(),
  tokens: z.number(),
  tokPerSec: z.number().nullable(),
  loss: z.number().nullable(),
});

/** The schema of the messages that a worker process sends. */
export const messageSchema = z.discriminatedUnion('type', [
  progressSchema,
  /** A fact worth a line: the engine chosen, a resumed step. */
  z.object({ type: z.literal('note'), text: z.string() }),
  z.object({ type: z.literal('failed'), code: z.string(), message: z.string() }),
  /** The run at hand is done, and the process waits for the next. */
  z.object({ type: z.literal('done') }),
]);

/** The schema of the messages that a worker process is sent. */
const commandSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('stop') }),
  /** Another run, with the file that gets what the process prints from now on; null for where it goes already. */
  z.object({ type: z.literal('run'), run: z.string(), log: z.string().nullable() }),
]);

/** A message to a worker process. */
export type WorkerCommand = z.output<typeof commandSchema>;
/** A message of a worker process. */
export type WorkerMessage = z.output<typeof messageSchema>;
/** How far a worker's run is. */
export type WorkerProgress = Omit<z.output<typeof progressSchema>, 'type'>;

/** Milliseconds between two progress messages of one worker. */
const PROGRESS_INTERVAL_MS = 250;
/** Milliseconds that a worker takes to stop after its parent is gone before it is ended. */
export const ORPHAN_GRACE_MS = 20_000;

/** How the work on a run talks to the process that started the worker. */
export interface WorkerLink {
  readonly progress: (progress: WorkerProgress) => void;
  readonly note: (text: string) => void;
  /** When the run was given to this process, by `performance.now()`; 0, the start of the process, for its first. */
  readonly sinceMs: number;
  /** Aborts when the parent asks to stop, goes away, or on SIGTERM and SIGUSR1. */
  readonly signal: AbortSignal;
}

/**
 * Performs runs in a worker process and reports how each ends to the parent: the first, and then those that the parent
 * gives it, until it asks to stop, closes the channel, or a run does not succeed. To be called once, in a process that
 * `executeStudy` started.
 *
 * @returns the exit code: 0 done, 130 stopped, else that of the error
 */
export async function serveWorker(
  first: string,
  work: (run: string, link: WorkerLink) => Promise<void>,
): Promise<number> {
  const abort = new AbortController();
  const stop = () => abort.abort(new InterruptedError('stopped'));
  const forget = heedParent(stop);
  const ignore = () => undefined; // Ctrl-C reaches the whole process group; the parent decides
  process.on('SIGTERM', stop).on('SIGUSR1', stop).on('SIGINT', ignore);
  try {
    const { signal } = abort;
    let next: NextRun | null = { run: first, sinceMs: 0 };
    while (next !== null) {
      await work(next.run, linkTo(signal, next.sinceMs));
      next = await nextRun(signal);
    }
    return 0;
  } catch (error) {
    if (error instanceof InterruptedError) return error.exitCode;
    const known = error instanceof LongsightError;
    const message = messageOf(error);
    send({ type: 'failed', code: known ? error.code : 'CRASH', message });
    console.error(error);
    return known ? error.exitCode : 1;
  } finally {
    forget();
    process.off('SIGTERM', stop).off('SIGUSR1', stop).off('SIGINT', ignore);
  }
}

/**
 * Calls `stop` when the process that started this one asks it to stop or is gone; in the latter case this process ends
 * at last by itself.
 *
 * @returns what ends that
 */
export function heedParent(stop: () => void): () => void {
  const hear = (message: unknown) => void (isRun(message) || stop());
  const orphaned = () => {
    stop();
    setTimeout(() => process.exit(130), ORPHAN_GRACE_MS).unref();
  };
  process.on('message', hear).on('disconnect', orphaned);
  return () => void process.off('message', hear).off('disconnect', orphaned);
}

/** A run that a process is given when it has done another. */
export interface NextRun {
  readonly run: string;
  /** When it came, by `performance.now()`. */
  readonly sinceMs: number;
}

const isRun = (message: unknown): boolean => commandSchema.safeParse(message).data?.type === 'run';

/**
 * Tells the parent that the run at hand is done and waits for the next. What the process prints goes to the next run's
 * log from then on.
 *
 * @returns null if there is none: the parent wants no more, is gone or never was, or `signal` has aborted; also where
 *   the process cannot turn its output to another file
 */
export async function nextRun(signal: AbortSignal): Promise<NextRun | null> {
  const turnOutput = await outputSwitch();
  if (turnOutput === null || !process.connected || signal.aborted) return null;
  const command = await new Promise<WorkerCommand | null>((resolve) => {
    const end = (given: WorkerCommand | null) => {
      process.off('message', hear).off('disconnect', none);
      signal.removeEventListener('abort', none);
      resolve(given);
    };
    const none = () => end(null);
    const hear = (message: unknown) => end(commandSchema.safeParse(message).data ?? null);
    process.on('message', hear).on('disconnect', none);
    signal.addEventListener('abort', none);
    send({ type: 'done' });
  });
  if (command?.type !== 'run') return null;
  const sinceMs = performance.now();
  if (command.log !== null) turnOutput(command.log);
  return { run: command.run, sinceMs };
}

function linkTo(signal: AbortSignal, sinceMs: number): WorkerLink {
  let last = -Infinity;
  return {
    ...{ signal, sinceMs },
    note: (text) => send({ type: 'note', text }),
    progress: (progress) => {
      const now = performance.now();
      if (now - last < PROGRESS_INTERVAL_MS && progress.step < progress.steps) return;
      last = now;
      send({ type: 'progress', ...progress });
    },
  };
}

function send(message: WorkerMessage): void {
  if (process.connected) process.send?.(message, undefined, undefined, () => undefined);
}
