/**
 * Runs a study's runs in worker processes, a few at a time. Killed at any moment, a study continues where it stopped:
 * finished runs are recognised, unfinished ones resumed from their last checkpoint, failed ones tried again.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileError, makeFolder, InterruptedError } from '../core/index.js';
import { etaSeconds } from './eta.js';
import type { Parallelism } from './parallelism.js';
import { tokenBudget, type PlannedRun, type StudyPlan } from './plan.js';
import { isRunFolder, readStatus } from '../run/index.js';
import { runFolder } from './store.js';
import { messageSchema, type WorkerMessage, type WorkerProgress } from './worker.js';

export type RunState = 'done before' | 'done' | 'failed' | 'stopped';

export interface RunOutcome {
  readonly name: string;
  readonly state: RunState;
  /** Why a failed run failed. */
  readonly message?: string;
}

export interface StudySnapshot {
  readonly total: number;
  readonly finished: number;
  readonly failed: number;
  /** Progress of the runs in hand, by name. */
  readonly active: ReadonlyMap<string, WorkerProgress>;
  readonly tokensDone: number;
  readonly tokensTotal: number;
  /** Seconds left; null while unknown. */
  readonly eta: number | null;
}

/** Told what happens, in order; all methods are called on the parent's event loop. */
export interface StudyObserver {
  started(run: PlannedRun, how: 'new' | 'resumed' | 'retried'): void;
  note(run: PlannedRun, text: string): void;
  progress(run: PlannedRun, snapshot: StudySnapshot): void;
  finished(run: PlannedRun, outcome: RunOutcome, snapshot: StudySnapshot): void;
}

export interface ExecuteOptions {
  readonly parallelism: Parallelism;
  /** The command line of a worker for one run; the process must call `serveWorker`. */
  readonly workerCommand: (studyDir: string, run: PlannedRun, threads: number) => readonly [string, ...string[]];
  readonly observer: StudyObserver;
  readonly signal: AbortSignal;
  /** Milliseconds that workers get to save their state once stopped; 15,000 unless told. */
  readonly graceMs?: number;
}

/** A worker that dies without a word (out of memory, killed) is started again this many times. */
const CRASH_RETRIES = 1;
const DEFAULT_GRACE_MS = 15_000;
/** Bytes of a worker's log that are read for its last words. */
const LOG_TAIL_BYTES = 4096;

/** The runs of a plan that are not done yet. */
export function pendingRuns(studyDir: string, plan: StudyPlan): PlannedRun[] {
  return plan.runs.filter((run) => readStatus(runFolder(studyDir, run.name))?.state !== 'done');
}

/**
 * Runs everything that is not done yet.
 *
 * @returns one outcome per run of the plan, in the plan's order
 * @throws InterruptedError once `signal` has aborted and all workers are gone
 */
export async function executeStudy(studyDir: string, plan: StudyPlan, options: ExecuteOptions): Promise<RunOutcome[]> {
  const execution = new Execution(studyDir, plan, options);
  const worker = async () => {
    for (let run = execution.next(); run !== undefined; run = execution.next()) await execution.perform(run);
  };
  const killAll = () => execution.kill();
  process.on('exit', killAll);
  try {
    await Promise.all(Array.from({ length: options.parallelism.workers }, worker));
  } finally {
    process.off('exit', killAll);
    killAll(); // nobody is left unless a worker loop threw
  }
  if (options.signal.aborted) throw new InterruptedError('the study was stopped; the same command continues it');
  return plan.runs.map((run) => execution.outcomeOf(run));
}

class Execution {
  readonly #dir: string;
  readonly #plan: StudyPlan;
  readonly #options: ExecuteOptions;
  readonly #queue: PlannedRun[];
  readonly #outcomes = new Map<string, RunOutcome>();
  readonly #active = new Map<string, WorkerProgress>();
  readonly #children = new Set<ChildProcess>();
  /** The smoothed speed of one worker. */
  #tokPerSec: number | null = null;

  constructor(dir: string, plan: StudyPlan, options: ExecuteOptions) {
    this.#dir = dir;
    this.#plan = plan;
    this.#options = options;
    this.#queue = pendingRuns(dir, plan);
    const pending = new Set(this.#queue);
    for (const { name } of plan.runs.filter((run) => !pending.has(run)))
      this.#outcomes.set(name, { name, state: 'done before' });
  }

  next(): PlannedRun | undefined {
    return this.#options.signal.aborted ? undefined : this.#queue.shift();
  }

  outcomeOf({ name }: PlannedRun): RunOutcome {
    return this.#outcomes.get(name) ?? { name, state: 'stopped' };
  }

  kill(): void {
    for (const child of this.#children) child.kill('SIGKILL');
  }

  async perform(run: PlannedRun): Promise<void> {
    const { observer } = this.#options;
    const folder = runFolder(this.#dir, run.name);
    const before = readStatus(folder)?.state;
    observer.started(run, before === 'failed' ? 'retried' : isRunFolder(folder) ? 'resumed' : 'new');
    let outcome = await this.#attempt(run);
    for (let retry = 0; retry < CRASH_RETRIES && outcome.crashed && !this.#options.signal.aborted; retry++) {
      observer.note(run, `${outcome.message ?? 'the worker died'}; starting it again`);
      outcome = await this.#attempt(run);
    }
    this.#active.delete(run.name);
    const { crashed: _, ...result } = outcome;
    this.#outcomes.set(run.name, result);
    observer.finished(run, result, this.#snapshot());
  }

  async #attempt(run: PlannedRun): Promise<RunOutcome & { crashed: boolean }> {
    const { signal, workerCommand, parallelism, graceMs = DEFAULT_GRACE_MS } = this.#options;
    const logPath = join(this.#dir, 'logs', `${run.name}.log`);
    const log = openLog(logPath);
    const [command, ...args] = workerCommand(this.#dir, run, parallelism.threads);
    const child = spawn(command, args, { stdio: ['ignore', log, log, 'ipc'] });
    this.#children.add(child);
    const failure: { message?: string } = {};
    child.on('message', (message) => this.#receive(run, message, failure));
    let killer: NodeJS.Timeout | undefined;
    const stop = () => {
      if (child.connected) child.send({ type: 'stop' }, () => undefined);
      killer = setTimeout(() => child.kill('SIGKILL'), graceMs);
    };
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
    try {
      const end = await ended(child);
      return { name: run.name, ...this.#judge(run, end, failure.message ?? lastLine(log)) };
    } finally {
      clearTimeout(killer);
      signal.removeEventListener('abort', stop);
      this.#children.delete(child);
      closeSync(log);
    }
  }

  #judge(run: PlannedRun, end: Ending, words: string | undefined): Omit<RunOutcome, 'name'> & { crashed: boolean } {
    if (readStatus(runFolder(this.#dir, run.name))?.state === 'done') return { state: 'done', crashed: false };
    if (this.#options.signal.aborted || end.code === 130) return { state: 'stopped', crashed: false };
    if (end.error !== undefined)
      return { state: 'failed', crashed: false, message: `the worker did not start: ${end.error.message}` };
    const crashed = end.signal !== null;
    const how = crashed ? `the worker was ended by ${end.signal}` : `the worker ended with code ${end.code}`;
    return { state: 'failed', crashed, message: crashed ? how : (words ?? how) };
  }

  #receive(run: PlannedRun, raw: unknown, failure: { message?: string }): void {
    const parsed = messageSchema.safeParse(raw);
    if (!parsed.success) return; // not ours
    const message: WorkerMessage = parsed.data;
    switch (message.type) {
      case 'failed':
        failure.message = message.message;
        return;
      case 'note':
        this.#options.observer.note(run, message.text);
        return;
      case 'progress': {
        const { type: _, ...progress } = message;
        this.#active.set(run.name, progress);
        const speed = progress.tokPerSec;
        if (speed !== null) this.#tokPerSec = this.#tokPerSec === null ? speed : 0.8 * this.#tokPerSec + 0.2 * speed;
        this.#options.observer.progress(run, this.#snapshot());
      }
    }
  }

  #snapshot(): StudySnapshot {
    const outcomes = [...this.#outcomes.values()];
    const budgets = new Map(this.#plan.runs.map((run) => [run.name, tokenBudget(run.config)]));
    const budget = (name: string) => budgets.get(name) ?? 0;
    const active = [...this.#active].map(([name, p]) => ({ name, done: p.tokens }));
    const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
    return {
      total: this.#plan.runs.length,
      finished: outcomes.filter((o) => o.state === 'done' || o.state === 'done before').length,
      failed: outcomes.filter((o) => o.state === 'failed').length,
      active: this.#active,
      tokensDone: sum(outcomes.map((o) => budget(o.name))) + sum(active.map((a) => a.done)),
      tokensTotal: sum([...budgets.values()]),
      eta: etaSeconds(
        active.map(({ name, done }) => budget(name) - done),
        this.#queue.map((run) => budget(run.name)),
        this.#options.parallelism.workers,
        this.#tokPerSec,
      ),
    };
  }
}

interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly error?: Error;
}

function ended(child: ChildProcess): Promise<Ending> {
  return new Promise((resolve) => {
    child.on('error', (error) => {
      if (child.pid === undefined) resolve({ code: null, signal: null, error });
    });
    child.on('exit', (code, signal) => resolve({ code, signal }));
  });
}

function openLog(path: string): number {
  try {
    makeFolder(dirname(path));
    return openSync(path, 'a+');
  } catch (cause) {
    throw fileError('write', path, cause);
  }
}

/** The last line that is not part of a stack trace; undefined if there is none. */
function lastLine(fd: number): string | undefined {
  const size = fstatSync(fd).size;
  const buffer = Buffer.alloc(Math.min(size, LOG_TAIL_BYTES));
  readSync(fd, buffer, 0, buffer.length, size - buffer.length);
  const lines = buffer.toString('utf8').split('\n');
  return lines.filter((line) => line.trim() !== '' && !/^\s|^\}/.test(line)).at(-1);
}
