/** The process in which `longsight study run` performs several runs, one after another. */
import { RunProcess, type PlannedRun } from '../../study/index.js';
import { EXIT } from '../terminal/errors.js';
import type { EngineFlags, OutputFlags, TakeOverFlag } from '../terminal/options.js';
import { engineKey } from './planned-run.js';

/** The options of `study run` that its process gets too. */
type ChildFlags = OutputFlags & EngineFlags & TakeOverFlag;

/** Starts the process with the first run, and anew where the one before cannot take the next. */
export class StayingChild {
  readonly #args: readonly string[];
  readonly #flags: ChildFlags;
  readonly #mainPath: string;
  readonly #signal: AbortSignal;
  #process: RunProcess | null = null;

  /**
   * Starts nothing yet.
   *
   * @param signal asks the process to save its state and end, as a scheduler's SIGTERM does
   */
  constructor(dir: string, flags: ChildFlags, mainPath: string, signal: AbortSignal) {
    const { engine, threads, takeOver, json, quiet } = flags;
    this.#args = [
      ...['study', 'run', dir, '--stays'],
      ...(engine === undefined ? [] : ['--engine', engine]),
      ...(threads === undefined ? [] : ['--threads', String(threads)]),
      ...(takeOver === true ? ['--take-over'] : []),
      ...(json === true ? ['--json'] : []),
      ...(quiet === true ? ['--quiet'] : []),
    ];
    this.#flags = flags;
    this.#mainPath = mainPath;
    this.#signal = signal;
  }

  /** Has a run performed; gives the exit code. */
  async perform(run: PlannedRun): Promise<number> {
    const key = engineKey(this.#flags, run);
    if (this.#process !== null && (this.#process.isGone || this.#process.key !== key)) await this.end();
    if (this.#signal.aborted) return EXIT.again; // while the process before was ending
    const waiting = this.#process;
    const child = waiting ?? this.#start(run.name, key);
    this.#process = child;
    // Not by a signal: after Ctrl-C, which the whole process group gets, it would be the second, which ends it at once.
    const stop = () => child.stop();
    this.#signal.addEventListener('abort', stop, { once: true });
    const performed = child.performed();
    if (waiting !== null) waiting.give(run.name, null);
    const ended = await performed;
    this.#signal.removeEventListener('abort', stop);
    if (ended === null) return EXIT.ok;
    if (ended.error !== undefined) throw ended.error;
    // A process that was killed has left its run where its last checkpoint is.
    return ended.code ?? EXIT.again;
  }

  async end(): Promise<void> {
    await this.#process?.end();
    this.#process = null;
  }

  #start(run: string, key: string): RunProcess {
    const command = [process.execPath, this.#mainPath, ...this.#args, run] as const;
    return new RunProcess({ command, stdio: ['inherit', 'inherit', 'inherit'], key });
  }
}
