/** The worker processes of a study: those at work, and those that stay for the next run at their place. */
import { closeSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Place } from './places.js';
import { RunProcess } from './run-process.js';
import { lastLine, openLog, type Ending } from './worker-process.js';
import { noteWorker } from './workers-left.js';

/** A run that is to be performed by a process at a place. */
export interface WorkOrder {
  readonly run: string;
  readonly place: Place;
  /** Runs of equal keys may have one process. */
  readonly key: string;
  /** The command line of a process that performs this run first. */
  readonly command: () => readonly [string, ...string[]];
  /** Gets the messages of the process. */
  readonly hear: (message: unknown) => void;
  /** Asks the process to stop; it is killed `graceMs` later. */
  readonly signal: AbortSignal;
  readonly graceMs: number;
  /** Whether a process that is done with this run should stay for another of its kind. */
  readonly stays: () => boolean;
}

/** How the work on a run ended, as its process says. */
export interface WorkEnd extends Ending {
  /** The last line of what it printed; undefined if there is none. */
  readonly said: string | undefined;
}

/** A process, and the place whose devices it holds. */
interface Worker {
  readonly process: RunProcess;
  readonly place: Place;
  /** Takes away the note of the run that it has, or had last. */
  forget: () => void;
}

/** Whether processes at two places hold memory of the same device, or cores of the host. */
function overlap(a: Place, b: Place): boolean {
  return a.name === b.name || a.devices.some((device) => b.devices.includes(device));
}

/** Whether a process that waits can take a run. */
function fits({ place, process }: Worker, at: Place, key: string): boolean {
  return place.name === at.name && process.key === key && !process.isGone;
}

/** Starts worker processes and keeps those that are done with a run for the next of the same kind at their place. */
export class Workers {
  readonly #studyDir: string;
  readonly #all = new Set<Worker>();
  readonly #idle = new Set<Worker>();
  /** Processes that were told to end, and may still hold their devices. */
  readonly #leaving = new Map<Worker, Promise<void>>();

  constructor(studyDir: string) {
    this.#studyDir = studyDir;
  }

  /** Has a run performed: by a process that waits at its place, or else by a new one. */
  async perform(order: WorkOrder): Promise<WorkEnd> {
    const { run, place, key, hear, signal, graceMs } = order;
    await this.#makeRoom(place, key);
    const path = resolve(join(this.#studyDir, 'logs', `${run}.log`));
    const log = openLog(path);
    try {
      const waiting = this.#takeIdle(place, key);
      const worker = waiting ?? this.#start(order, log);
      const { process } = worker;
      let killer: NodeJS.Timeout | undefined;
      const stop = () => {
        process.stop();
        killer = setTimeout(() => process.kill('SIGKILL'), graceMs);
      };
      this.#note(worker, run);
      const performed = process.performed(hear);
      if (waiting !== undefined) process.give(run, path);
      signal.addEventListener('abort', stop, { once: true });
      if (signal.aborted) stop();
      const end = await performed;
      clearTimeout(killer);
      signal.removeEventListener('abort', stop);
      if (end === null && !signal.aborted && order.stays()) this.#idle.add(worker);
      else if (end === null) this.#dismiss(worker);
      else this.#forget(worker);
      return { ...(end ?? { code: 0, signal: null }), said: lastLine(log) };
    } finally {
      closeSync(log);
    }
  }

  /** Ends the processes that wait for a run, and waits until every process that was told to end is gone. */
  async close(): Promise<void> {
    for (const worker of this.#idle) this.#dismiss(worker);
    await Promise.all(this.#leaving.values());
  }

  kill(): void {
    for (const { process } of this.#all) process.kill('SIGKILL');
  }

  #start({ place, key, command }: WorkOrder, log: number): Worker {
    const process = new RunProcess({ command: command(), stdio: ['ignore', log, log], env: place.env, key });
    const worker: Worker = { process, place, forget: () => undefined };
    this.#all.add(worker);
    return worker;
  }

  /** Notes that a worker has a run, in place of the one that it had before. */
  #note(worker: Worker, run: string): void {
    const { pid } = worker.process;
    if (pid === undefined) return;
    const before = worker.forget;
    worker.forget = noteWorker(this.#studyDir, run, pid);
    before();
  }

  #forget(worker: Worker): void {
    this.#all.delete(worker);
    worker.forget();
  }

  /**
   * Ends processes that wait at a place, or hold devices of it, and cannot take its next run, and waits for their end.
   */
  async #makeRoom(place: Place, key: string): Promise<void> {
    for (const worker of this.#idle) {
      if (overlap(worker.place, place) && !fits(worker, place, key)) this.#dismiss(worker);
    }
    await Promise.all([...this.#leaving].flatMap(([worker, gone]) => (overlap(worker.place, place) ? [gone] : [])));
  }

  #takeIdle(place: Place, key: string): Worker | undefined {
    const found = [...this.#idle].find((worker) => fits(worker, place, key));
    if (found !== undefined) this.#idle.delete(found);
    return found;
  }

  #dismiss(worker: Worker): void {
    this.#idle.delete(worker);
    const gone = worker.process.end().then(() => {
      this.#leaving.delete(worker);
      this.#forget(worker);
    });
    this.#leaving.set(worker, gone);
  }
}
