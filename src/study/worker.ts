/**
 * The two ends of a worker process: messages over Node's IPC channel. A worker lives no longer than its parent: when
 * the channel closes it stops as it would on Ctrl-C.
 */
import { z } from 'zod';
import { InterruptedError, LongsightError } from '../core/index.js';

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
]);

/** A message of a worker process. */
export type WorkerMessage = z.output<typeof messageSchema>;
/** How far a worker's run is. */
export type WorkerProgress = Omit<z.output<typeof progressSchema>, 'type'>;

/** Milliseconds between two progress messages of one worker. */
const PROGRESS_INTERVAL_MS = 250;
/** Milliseconds that a worker takes to stop after its parent is gone before it is ended. */
export const ORPHAN_GRACE_MS = 20_000;

/** How a worker talks to the process that started it. */
export interface WorkerLink {
  readonly progress: (progress: WorkerProgress) => void;
  readonly note: (text: string) => void;
  /** Aborts when the parent asks to stop, goes away, or on SIGTERM. */
  readonly signal: AbortSignal;
}

/**
 * Runs `work` in a worker process and reports how it ends to the parent. To be called once, in a process that
 * `executeStudy` started.
 *
 * @returns the exit code: 0 done, 130 stopped, else that of the error
 */
export async function serveWorker(work: (link: WorkerLink) => Promise<void>): Promise<number> {
  const abort = new AbortController();
  const stop = () => abort.abort(new InterruptedError('stopped'));
  const orphaned = () => {
    stop();
    setTimeout(() => process.exit(130), ORPHAN_GRACE_MS).unref();
  };
  const ignore = () => undefined; // Ctrl-C reaches the whole process group; the parent decides
  process.on('message', stop).on('disconnect', orphaned).on('SIGTERM', stop).on('SIGINT', ignore);
  try {
    await work(linkTo(abort.signal));
    return 0;
  } catch (error) {
    if (error instanceof InterruptedError) return error.exitCode;
    const known = error instanceof LongsightError;
    const message = error instanceof Error ? error.message : String(error);
    send({ type: 'failed', code: known ? error.code : 'CRASH', message });
    console.error(error);
    return known ? error.exitCode : 1;
  } finally {
    process.off('message', stop).off('disconnect', orphaned).off('SIGTERM', stop).off('SIGINT', ignore);
  }
}

function linkTo(signal: AbortSignal): WorkerLink {
  let last = -Infinity;
  return {
    signal,
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
