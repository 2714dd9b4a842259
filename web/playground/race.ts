/** Two designs that train side by side, each in a worker of its own, and what is known of them. No DOM but workers. */
import { MEASURE_EVERY, TOTAL_STEPS, type PlaygroundRun } from '../../src/playground/design.js';
import type { Answer, Request } from '../../src/playground/protocol.js';
import type { Lane } from './lane.js';

/** Milliseconds between two changes that the page is told of while steps come in. */
const TELL_EVERY_MS = 150;

const fresh = (run: PlaygroundRun): Omit<Lane, 'library' | 'relaxedSimd' | 'threads'> => ({
  ...{ run, state: 'beginning', step: 0, steps: [], measured: [], milliseconds: null },
  ...{ parameters: 0, labels: [], problem: null },
});

/** Threads for each of two workers. More do not help models of this size. */
function threadsEach(): number {
  if (!globalThis.crossOriginIsolated) return 1;
  return Math.max(1, Math.min(4, Math.floor(navigator.hardwareConcurrency / 2)));
}

/** Holds both designs, in step: neither is more than `MEASURE_EVERY` steps ahead. */
export class Race {
  lanes: readonly [Lane, Lane];
  /** Whether both train on. */
  isRunning = false;
  readonly #workers: readonly [Worker, Worker];
  readonly #listeners = new Set<() => void>();
  /** The step that both are to train up to. */
  #goal = 0;
  #told = 0;
  #timer: ReturnType<typeof setTimeout> | null = null;

  constructor(runs: readonly [PlaygroundRun, PlaygroundRun]) {
    const lane = (run: PlaygroundRun): Lane => ({
      ...{ ...fresh(run), state: 'loading' },
      ...{ library: '', relaxedSimd: false, threads: 1 },
    });
    this.lanes = [lane(runs[0]), lane(runs[1])];
    const worker = (index: 0 | 1): Worker => {
      const made = new Worker(new URL('worker.js', location.href), { type: 'module' });
      made.onmessage = ({ data }: MessageEvent<Answer>) => this.#take(index, data);
      made.onerror = (event) => this.#set(index, { state: 'failed', problem: `the worker failed: ${event.message}` });
      return made;
    };
    this.#workers = [worker(0), worker(1)];
    const files = new URL('.', location.href).href;
    this.#ask({ kind: 'load', files, threads: threadsEach() });
  }

  /** Calls `listener` after changes; gives what ends that. */
  listen(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Whether both designs are there and neither has failed. */
  get isReady(): boolean {
    return this.lanes.every(({ state }) => state === 'resting' || state === 'training');
  }

  /** Whether both rest, so that a step can be taken. */
  get isResting(): boolean {
    return this.lanes.every(({ state }) => state === 'resting');
  }

  /** Whether both have taken all steps. */
  get isOver(): boolean {
    return this.lanes.every(({ step }) => step >= TOTAL_STEPS);
  }

  /** Trains both on, or lets them rest. */
  toggle(): void {
    this.isRunning = !this.isRunning && !this.isOver;
    if (this.isRunning) this.#advance();
    else this.#ask({ kind: 'pause' });
    this.#tell(true);
  }

  /** One step of both, measured; for those who want to look closely. */
  single(): void {
    if (this.isRunning || this.isOver || !this.isResting) return;
    this.#goal = Math.max(this.lanes[0].step, this.lanes[1].step) + 1;
    this.#train(true);
  }

  /** Both from the beginning, perhaps as other designs. */
  restart(runs: readonly [PlaygroundRun, PlaygroundRun]): void {
    this.isRunning = false;
    this.#goal = 0;
    runs.forEach((run, index) => {
      const lane = this.lanes[index as 0 | 1];
      // What is still loading begins when it is there.
      if (lane.state === 'loading') this.#set(index as 0 | 1, { run });
      else this.#begin(index as 0 | 1, run);
    });
    this.#tell(true);
  }

  #begin(index: 0 | 1, run: PlaygroundRun): void {
    this.#set(index, fresh(run));
    this.#workers[index].postMessage({ kind: 'begin', run } satisfies Request);
  }

  #ask(request: Request): void {
    for (const worker of this.#workers) worker.postMessage(request);
  }

  /** Sends both to the next measurement, once both rest. */
  #advance(): void {
    if (!this.isRunning || !this.isResting) return;
    const least = Math.min(this.lanes[0].step, this.lanes[1].step);
    if (least >= TOTAL_STEPS) {
      this.isRunning = false;
      return;
    }
    this.#goal = Math.min(TOTAL_STEPS, (Math.floor(least / MEASURE_EVERY) + 1) * MEASURE_EVERY);
    this.#train(false);
  }

  #train(measure: boolean): void {
    this.lanes.forEach(({ step }, index) => {
      if (step >= this.#goal) return;
      this.#set(index as 0 | 1, { state: 'training' });
      this.#workers[index as 0 | 1].postMessage({ kind: 'train', until: this.#goal, measure } satisfies Request);
    });
  }

  #take(index: 0 | 1, answer: Answer): void {
    const lane = this.lanes[index];
    switch (answer.kind) {
      case 'loaded':
        this.#set(index, { library: answer.library, relaxedSimd: answer.relaxedSimd, threads: answer.threads });
        return this.#begin(index, lane.run);
      case 'begun':
        this.#set(index, {
          ...{ state: 'resting', parameters: answer.parameters, labels: answer.labels },
          measured: [answer.measured],
        });
        return this.#advance();
      case 'stepped': {
        // Steps of a run that was left meanwhile.
        if (lane.state !== 'training') return undefined;
        const mean = lane.milliseconds;
        return this.#set(index, {
          step: answer.point.step,
          steps: [...lane.steps, answer.point],
          milliseconds: mean === null ? answer.milliseconds : 0.9 * mean + 0.1 * answer.milliseconds,
        });
      }
      case 'measured':
        if (lane.state !== 'training') return undefined;
        return this.#set(index, { measured: [...lane.measured, answer.point] });
      case 'rests':
        if (lane.state !== 'training') return undefined;
        this.#set(index, { state: 'resting' });
        return this.#advance();
      case 'failed':
        this.isRunning = false;
        return this.#set(index, { state: 'failed', problem: answer.message });
    }
  }

  #set(index: 0 | 1, change: Partial<Lane>): void {
    const [a, b] = this.lanes;
    this.lanes = index === 0 ? [{ ...a, ...change }, b] : [a, { ...b, ...change }];
    this.#tell(change.steps === undefined);
  }

  /** Tells the page; steps alone are told together, a few times a second. */
  #tell(now: boolean): void {
    const wait = now ? 0 : Math.max(0, this.#told + TELL_EVERY_MS - performance.now());
    if (this.#timer !== null) {
      if (!now) return;
      clearTimeout(this.#timer);
    }
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#told = performance.now();
      for (const listener of this.#listeners) listener();
    }, wait);
  }
}
