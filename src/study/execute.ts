/**
 * Runs a study's runs in worker processes: on accelerators, each its own, and on the host's cores. A process stays for
 * the next run at its place. Killed at any
 * moment, a study continues where it stopped: finished runs are recognized, unfinished ones resumed from their last
 * checkpoint, failed ones tried again.
 */
import { DeviceBusyError, InterruptedError, LockHeldError, LongsightError, maxOf } from '../core/index.js';
import { etaSeconds } from './eta.js';
import { ON_HOST, Places, type Capacity, type Place, type RunNeeds } from './places.js';
import { tokenBudget, type PlannedRun, type StudyPlan } from './plan.js';
import { isBranchThere, isRunFolder, readStatus, writeLastStatus } from '../run/index.js';
import { sharedBeginnings, sharedTokens, type SharedBeginnings } from './shared.js';
import { runFolder } from './store.js';
import { removeSpentBranches } from './units.js';
import { messageSchema, ORPHAN_GRACE_MS, type WorkerMessage, type WorkerProgress } from './worker.js';
import { pause, type Ending } from './worker-process.js';
import { awaitWorkersLeft } from './workers-left.js';
import { Workers } from './workers.js';

/** How a run of a study ended. */
type RunState = 'done before' | 'done' | 'failed' | 'stopped';

/** A run of a study, and how it ended. */
export interface RunOutcome {
  readonly name: string;
  readonly state: RunState;
  /** Why a failed run failed. */
  readonly message?: string;
  /** Where it ran, if it did. */
  readonly place?: string;
}

/**
 * How far a study is: `total` runs, of which `finished` and `failed`, with `tokensDone` of `tokensTotal` training
 * tokens.
 */
export interface StudySnapshot {
  readonly total: number;
  readonly finished: number;
  readonly failed: number;
  /** Progress of the runs in hand, by name. */
  readonly active: ReadonlyMap<string, WorkerProgress>;
  /** Where the runs in hand are, by name. */
  readonly places: ReadonlyMap<string, string>;
  readonly tokensDone: number;
  readonly tokensTotal: number;
  /** Seconds left; null while unknown. */
  readonly eta: number | null;
}

/** Hears what happens in a study, in order; all methods are called on the parent's event loop. */
export interface StudyObserver {
  started(run: PlannedRun, how: 'new' | 'resumed' | 'retried', place: string): void;
  note(run: PlannedRun, text: string): void;
  /** Runs of an earlier call whose processes still work are waited for. */
  waiting(runs: readonly string[]): void;
  progress(run: PlannedRun, snapshot: StudySnapshot): void;
  finished(run: PlannedRun, outcome: RunOutcome, snapshot: StudySnapshot): void;
}

/** How many runs work at a time, and what is told on the way. */
export interface ExecuteOptions {
  readonly capacity: Capacity;
  /** What a run needs (default: a place on the host's cores). */
  readonly needs?: (run: PlannedRun) => RunNeeds;
  /**
   * Which runs take over the beginning of others, those that are not trained now included (default: as the plan's runs
   * have it).
   */
  readonly shared?: SharedBeginnings;
  /**
   * The command line of a worker, with its first run; the process must call `serveWorker`. It stays for further runs at
   * its place.
   */
  readonly workerCommand: (studyDir: string, run: PlannedRun, place: Place) => readonly [string, ...string[]];
  /** What runs must have in common to be performed by one process after another (default: nothing). */
  readonly processKey?: (run: PlannedRun) => string;
  readonly observer: StudyObserver;
  readonly signal: AbortSignal;
  /** Milliseconds that workers get to save their state once stopped (default: 15,000). */
  readonly graceMs?: number;
  /** Milliseconds before a run is tried again on a device that others hold (default: 10,000). */
  readonly busyMs?: number;
}

/** A worker that dies without a word (out of memory, killed) is started again this many times. */
const CRASH_RETRIES = 1;
/**
 * A run that finds its device busy is tried there again this many times: the memory of a process that just ended comes
 * late.
 */
const BUSY_RETRIES = 1;
const BUSY_MS = 10_000;
const DEFAULT_GRACE_MS = 15_000;
/** Exit codes of a worker that a signal stopped: Ctrl-C's, and a scheduler's (`EX_TEMPFAIL`). */
const STOPPED_CODES = new Set([130, 75]);

/** The runs of a plan that are not done yet. */
export function pendingRuns(studyDir: string, plan: StudyPlan): PlannedRun[] {
  return plan.runs.filter((run) => readStatus(runFolder(studyDir, run.name))?.state !== 'done');
}

/**
 * Runs everything that is not done yet; first waits for processes that an earlier, killed call left behind.
 *
 * @returns one outcome per run of the plan, in the plan's order
 * @throws InterruptedError once `signal` has aborted and all workers are gone
 * @throws StoreError if a process of an earlier call does not end
 */
export async function executeStudy(studyDir: string, plan: StudyPlan, options: ExecuteOptions): Promise<RunOutcome[]> {
  const { signal, observer } = options;
  const waiting = (runs: readonly string[]) => observer.waiting(runs);
  await awaitWorkersLeft(studyDir, { limitMs: 2 * ORPHAN_GRACE_MS, signal, waiting });
  const execution = new Execution(studyDir, plan, options);
  const killAll = () => execution.kill();
  process.on('exit', killAll);
  try {
    await execution.run();
  } finally {
    process.off('exit', killAll);
    killAll(); // nobody is left unless something threw
  }
  if (signal.aborted) throw new InterruptedError('the study was stopped; the same command continues it');
  return plan.runs.map((run) => execution.outcomeOf(run));
}

/** How a worker's process ended. */
interface Attempt {
  readonly state: RunState;
  readonly message?: string;
  /** Ended by a signal, without a word. */
  readonly crashed?: true;
  /** Others hold the device. */
  readonly busy?: true;
  /** Another process holds the run's folder. */
  readonly held?: true;
}

/** A run in hand. */
interface ActiveRun {
  readonly place: Place;
  readonly sinceMs: number;
  /** Tokens that it had when it was started. */
  tokensBefore: number | null;
  progress: WorkerProgress | null;
}

/** What is known of the speed on one kind of place. */
interface Speed {
  /** Smoothed, of one worker. */
  tokPerSec: number | null;
  /** Seconds of the last finished run that were no training. */
  overhead: number;
}

class Execution {
  readonly #dir: string;
  readonly #plan: StudyPlan;
  readonly #options: ExecuteOptions;
  readonly #places: Places;
  readonly #queue: PlannedRun[];
  readonly #shared: SharedBeginnings;
  /** Wakes the loop that starts runs, when a state that others go on from may be there. */
  #wake: () => void = () => undefined;
  readonly #outcomes = new Map<string, RunOutcome>();
  readonly #active = new Map<string, ActiveRun>();
  readonly #workers: Workers;
  readonly #budgets: ReadonlyMap<string, number>;
  /** By platform. */
  readonly #speeds = new Map<string, Speed>();

  constructor(dir: string, plan: StudyPlan, options: ExecuteOptions) {
    this.#dir = dir;
    this.#plan = plan;
    this.#options = options;
    this.#places = new Places(options.capacity);
    this.#workers = new Workers(dir);
    this.#queue = pendingRuns(dir, plan);
    this.#shared = options.shared ?? sharedBeginnings(plan.runs);
    // What another run trains is none of its own work.
    const own = (run: PlannedRun) => tokenBudget(run.config) - sharedTokens(run, this.#shared);
    this.#budgets = new Map(plan.runs.map((run) => [run.name, own(run)]));
    const pending = new Set(this.#queue);
    for (const { name } of plan.runs.filter((run) => !pending.has(run)))
      this.#outcomes.set(name, { name, state: 'done before' });
  }

  outcomeOf({ name }: PlannedRun): RunOutcome {
    return this.#outcomes.get(name) ?? { name, state: 'stopped' };
  }

  kill(): void {
    this.#workers.kill();
  }

  /** Starts what has a place, waits for one run to end, and so on until nothing is left. */
  async run(): Promise<void> {
    const underWay = new Set<Promise<void>>();
    for (;;) {
      const queued = this.#queue.length;
      for (const { run, place } of this.#placed()) {
        const work: Promise<void> = this.#perform(run, place).finally(() => underWay.delete(work));
        work.catch(() => undefined); // the race below throws it
        underWay.add(work);
      }
      // A run that could not be placed at all may have been what others were waiting for.
      if (underWay.size === 0 && this.#queue.length < queued) continue;
      if (underWay.size === 0) return this.#workers.close();
      const woken = new Promise<void>((wake) => (this.#wake = wake));
      await Promise.race([...underWay, woken]);
    }
  }

  /** Whether a run has to wait for the beginning that it takes over: its trainer is queued or at work, short of it. */
  #waits({ name }: PlannedRun): boolean {
    const shared = this.#shared.get(name);
    if (shared === undefined || isBranchThere(runFolder(this.#dir, shared.run), shared.step)) return false;
    if ((readStatus(runFolder(this.#dir, name))?.step ?? 0) >= shared.step) return false;
    return this.#active.has(shared.run) || this.#queue.some((run) => run.name === shared.run);
  }

  /** Says so where a run trains its beginning itself because the run that should have trained it failed. */
  #noteAlone(run: PlannedRun): void {
    const shared = this.#shared.get(run.name);
    if (shared === undefined || this.#outcomes.get(shared.run)?.state !== 'failed') return;
    if (isBranchThere(runFolder(this.#dir, shared.run), shared.step)) return;
    const text = `${shared.run} failed before step ${shared.step}, up to which both are the same: trained here from what is there`;
    this.#options.observer.note(run, text);
  }

  /** Takes runs from the queue for which there is a place, in their order among those of the same platform. */
  #placed(): { run: PlannedRun; place: Place }[] {
    if (this.#options.signal.aborted) return [];
    const full = new Set<string>();
    const started: { run: PlannedRun; place: Place }[] = [];
    for (const run of [...this.#queue]) {
      if (this.#waits(run)) continue;
      const needs = this.#needsOf(run);
      const kind = String(needs.platform);
      const refusal = this.#places.refusal(needs);
      const place = refusal !== null || full.has(kind) ? null : this.#places.take(needs);
      if (refusal === null && place === null) {
        full.add(kind);
        continue;
      }
      this.#queue.splice(this.#queue.indexOf(run), 1);
      if (place !== null) started.push({ run, place });
      else if (refusal !== null) this.#end(run, { name: run.name, state: 'failed', message: refusal });
    }
    return started;
  }

  #needsOf(run: PlannedRun): RunNeeds {
    return this.#options.needs?.(run) ?? ON_HOST;
  }

  async #perform(run: PlannedRun, place: Place): Promise<void> {
    const { observer, signal, busyMs = BUSY_MS } = this.#options;
    const folder = runFolder(this.#dir, run.name);
    const before = readStatus(folder)?.state;
    observer.started(run, before === 'failed' ? 'retried' : isRunFolder(folder) ? 'resumed' : 'new', place.name);
    this.#noteAlone(run);
    this.#active.set(run.name, { place, sinceMs: performance.now(), tokensBefore: null, progress: null });
    const retries = { crashed: CRASH_RETRIES, busy: BUSY_RETRIES };
    let attempt = await this.#attempt(run, place);
    for (;;) {
      const why = attempt.crashed ? 'crashed' : attempt.busy ? 'busy' : null;
      if (why === null || retries[why] === 0 || signal.aborted) break;
      retries[why] -= 1;
      const where = place.devices.length === 0 ? '' : `${place.name}: `;
      observer.note(run, `${where}${attempt.message ?? 'the worker died'}; starting it again`);
      if (why === 'busy') await pause(busyMs, signal);
      if (signal.aborted) break;
      attempt = await this.#attempt(run, place);
    }
    this.#places.giveBack(place);
    if (attempt.busy && place.devices.length > 0 && !signal.aborted) this.#leave(run, place, attempt);
    else this.#finish(run, place, attempt);
  }

  /** A device that others hold gets no further run; the run goes elsewhere, if there is another device. */
  #leave(run: PlannedRun, place: Place, { message = 'it is busy' }: Attempt): void {
    this.#places.setAside(place, message);
    this.#active.delete(run.name);
    this.#options.observer.note(run, `${place.name} is left out until the study is started again: ${message}`);
    this.#queue.unshift(run);
  }

  #finish(run: PlannedRun, place: Place, { state, message, held }: Attempt): void {
    if (state === 'done') this.#learnOverhead(run);
    if (state === 'done') removeSpentBranches(this.#dir, this.#shared);
    // What another process works on is told by that process.
    else if (held === undefined) this.#settle(run, state === 'stopped' ? 'interrupted' : 'failed', message);
    this.#active.delete(run.name);
    const where = place.devices.length === 0 ? {} : { place: place.name };
    this.#end(run, { name: run.name, state, ...(message === undefined ? {} : { message }), ...where });
  }

  /** A worker that died without a word, or found no room for one, has left its run "running". */
  #settle({ name }: PlannedRun, state: 'interrupted' | 'failed', message: string | undefined): void {
    const folder = runFolder(this.#dir, name);
    try {
      const status = readStatus(folder);
      if (status?.state === 'running') writeLastStatus(folder, { ...status, state, message });
    } catch (error) {
      if (!(error instanceof LongsightError)) throw error; // the outcome says what counts
    }
  }

  #end(run: PlannedRun, outcome: RunOutcome): void {
    this.#outcomes.set(run.name, outcome);
    this.#options.observer.finished(run, outcome, this.#snapshot());
  }

  async #attempt(run: PlannedRun, place: Place): Promise<Attempt> {
    const { signal, workerCommand, graceMs = DEFAULT_GRACE_MS } = this.#options;
    const failure: Failure = {};
    const key = this.#keyOf(run);
    const { said, ...end } = await this.#workers.perform({
      ...{ run: run.name, place, key, signal, graceMs },
      command: () => workerCommand(this.#dir, run, place),
      hear: (message) => this.#receive(run, message, failure),
      stays: () => this.#queue.some((queued) => this.#keyOf(queued) === key),
    });
    return this.#judge(run, end, { ...failure, message: failure.message ?? said });
  }

  #keyOf(run: PlannedRun): string {
    return this.#options.processKey?.(run) ?? '';
  }

  #judge(run: PlannedRun, end: Ending, { code, message }: Failure): Attempt {
    if (readStatus(runFolder(this.#dir, run.name))?.state === 'done') return { state: 'done' };
    if (this.#options.signal.aborted || STOPPED_CODES.has(end.code ?? 0)) return { state: 'stopped' };
    if (end.error !== undefined) return { state: 'failed', message: `the worker did not start: ${end.error.message}` };
    if (end.signal !== null)
      return { state: 'failed', crashed: true, message: `the worker was ended by ${end.signal}` };
    const busy = code === BUSY_CODE ? ({ busy: true } as const) : {};
    const held = code === HELD_CODE ? ({ held: true } as const) : {};
    return { state: 'failed', message: message ?? `the worker ended with code ${end.code}`, ...busy, ...held };
  }

  #receive(run: PlannedRun, raw: unknown, failure: Failure): void {
    const parsed = messageSchema.safeParse(raw);
    if (!parsed.success) return; // not ours
    const message: WorkerMessage = parsed.data;
    switch (message.type) {
      case 'done':
        return; // its process waits for another run
      case 'failed':
        failure.message = message.message;
        failure.code = message.code;
        return;
      case 'note':
        this.#options.observer.note(run, message.text);
        return;
      case 'progress': {
        const { type: _, ...progress } = message;
        const active = this.#active.get(run.name);
        if (active === undefined) return;
        active.progress = progress;
        active.tokensBefore ??= progress.tokens;
        if (this.#queue.some(({ name }) => this.#isPast(name, run, progress.step))) this.#wake();
        const known = this.#speedOf(run);
        const speed = progress.tokPerSec;
        if (speed !== null) known.tokPerSec = known.tokPerSec === null ? speed : 0.8 * known.tokPerSec + 0.2 * speed;
        this.#options.observer.progress(run, this.#snapshot());
      }
    }
  }

  /** Whether `run` is past the step from which the run called `name` takes over. */
  #isPast(name: string, run: PlannedRun, step: number): boolean {
    const shared = this.#shared.get(name);
    return (
      shared?.run === run.name && step >= shared.step && isBranchThere(runFolder(this.#dir, run.name), shared.step)
    );
  }

  /** Tokens of a run in hand that are its own work. */
  #ownTokens(name: string, { tokens }: WorkerProgress): number {
    const run = this.#plan.runs.find((planned) => planned.name === name);
    return Math.max(0, tokens - (run === undefined ? 0 : sharedTokens(run, this.#shared)));
  }

  #speedOf(run: PlannedRun): Speed {
    const kind = String(this.#needsOf(run).platform);
    const known = this.#speeds.get(kind) ?? { tokPerSec: null, overhead: 0 };
    this.#speeds.set(kind, known);
    return known;
  }

  /** The seconds of a finished run that were no training: those of its wall time that its speed does not explain. */
  #learnOverhead(run: PlannedRun): void {
    const active = this.#active.get(run.name);
    const speed = active?.progress?.tokPerSec ?? null;
    if (active === undefined || active.tokensBefore === null || speed === null || !(speed > 0)) return;
    const seconds = (performance.now() - active.sinceMs) / 1000;
    const training = (tokenBudget(run.config) - active.tokensBefore) / speed;
    this.#speedOf(run).overhead = Math.max(0, seconds - training);
  }

  #budgetOf(name: string): number {
    return this.#budgets.get(name) ?? 0;
  }

  #snapshot(): StudySnapshot {
    const outcomes = [...this.#outcomes.values()];
    const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
    const active = [...this.#active];
    const progress = active.flatMap(([name, a]) => (a.progress === null ? [] : [[name, a.progress] as const]));
    return {
      total: this.#plan.runs.length,
      finished: outcomes.filter((o) => o.state === 'done' || o.state === 'done before').length,
      failed: outcomes.filter((o) => o.state === 'failed').length,
      active: new Map(progress),
      places: new Map(active.flatMap(([name, { place }]) => (place.devices.length === 0 ? [] : [[name, place.name]]))),
      tokensDone:
        sum(outcomes.map((o) => this.#budgetOf(o.name))) + sum(progress.map(([name, p]) => this.#ownTokens(name, p))),
      tokensTotal: sum([...this.#budgets.values()]),
      eta: this.#eta(),
    };
  }

  /** The longest of the platforms' times; null while the speed of one that has work is unknown. */
  #eta(): number | null {
    const runs = new Map(this.#plan.runs.map((run) => [run.name, run]));
    const byKind = new Map<string, { active: number[]; queued: number[]; run: PlannedRun }>();
    const kindOf = (run: PlannedRun) => {
      const kind = String(this.#needsOf(run).platform);
      const known = byKind.get(kind) ?? { active: [], queued: [], run };
      byKind.set(kind, known);
      return known;
    };
    for (const [name, { progress }] of this.#active) {
      const run = runs.get(name);
      if (run) kindOf(run).active.push(this.#budgetOf(name) - (progress ? this.#ownTokens(name, progress) : 0));
    }
    for (const run of this.#queue) kindOf(run).queued.push(this.#budgetOf(run.name));
    const times = [...byKind].map(([kind, { active, queued, run }]) => {
      const { tokPerSec, overhead } = this.#speedOf(run);
      return etaSeconds(active, queued, Math.max(1, this.#roomFor(kind)), tokPerSec, overhead);
    });
    return times.includes(null) ? null : Math.max(0, maxOf(times.map((t) => t ?? 0)));
  }

  /** Runs of a platform at once. */
  #roomFor(kind: string): number {
    const { devices, perDevice, workers, most } = this.#options.capacity;
    const own = devices.filter((device) => device.platform === kind).length * perDevice;
    return Math.min(most, kind === 'null' ? workers : own);
  }
}

interface Failure {
  message?: string | undefined;
  code?: string;
}

const BUSY_CODE = new DeviceBusyError('').code;
const HELD_CODE = new LockHeldError('').code;
