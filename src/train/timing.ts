/** Where the wall time of a run went. */

/** What a run does, in the order in which it first does it. */
export const PHASES = [
  'start',
  'data',
  'compile',
  'firstStep',
  'steps',
  'evaluations',
  'traces',
  'checkpoints',
  'waiting',
] as const;

/** A part of a run: see `docs/run-folders.md` for what each holds. */
export type Phase = (typeof PHASES)[number];

/** Seconds by phase; `other` is what no phase holds, `total` all of it. */
export type RunTiming = Readonly<Record<Phase | 'other' | 'total', number>>;

/** Measures the phases of a run on its own thread: what goes on beside it counts where the run waits for it. */
export class RunClock {
  readonly #spent = new Map<Phase, number>();
  readonly #sinceMs: number;
  #before: Readonly<Partial<Record<string, number>>> = {};

  /**
   * Starts the clock.
   *
   * @param sinceMs when the run's process began, by `performance.now()` (default: now)
   */
  constructor(sinceMs = performance.now()) {
    this.#sinceMs = sinceMs;
    this.add('start', performance.now() - sinceMs);
  }

  /** Adds the times of earlier processes of the same run. */
  continue(before: Readonly<Partial<Record<string, number>>> = {}): void {
    this.#before = before;
  }

  /** Adds milliseconds to a phase. */
  add(phase: Phase, ms: number): void {
    this.#spent.set(phase, (this.#spent.get(phase) ?? 0) + ms);
  }

  /** Counts what `work` takes, waiting included, as time of a phase. Phases must not be nested. */
  async time<T>(phase: Phase, work: () => T | Promise<T>): Promise<T> {
    const begin = performance.now();
    try {
      return await work();
    } finally {
      this.add(phase, performance.now() - begin);
    }
  }

  /** The times up to now. */
  timing(): RunTiming {
    const earlier = (phase: string) => this.#before[phase] ?? 0;
    const round = (seconds: number) => Number(seconds.toFixed(3));
    const own = PHASES.map((phase) => [phase, (this.#spent.get(phase) ?? 0) / 1000] as const);
    const total = (performance.now() - this.#sinceMs) / 1000;
    const other = Math.max(0, total - own.reduce((sum, [, seconds]) => sum + seconds, 0));
    const all = [...own, ['other', other] as const, ['total', total] as const];
    return Object.fromEntries(all.map(([phase, s]) => [phase, round(s + earlier(phase))])) as RunTiming;
  }
}

/** The share of a run's wall time that was no training step, from 0 to 1. */
export function shareBeside(timing: Readonly<Partial<Record<string, number>>>): number | null {
  const { total, steps, firstStep = 0 } = timing;
  return total === undefined || steps === undefined || total <= 0 ? null : Math.max(0, 1 - (steps + firstStep) / total);
}

const WORDS: Readonly<Record<Exclude<Phase, 'steps' | 'firstStep'> | 'other', string>> = {
  start: 'start',
  data: 'data',
  compile: 'compiling',
  evaluations: 'evaluations',
  traces: 'traces',
  checkpoints: 'checkpoints',
  waiting: 'waiting',
  other: 'other',
};

/**
 * One line: `81.2 s, training steps 93.1 %; start 1.9 s, compiling 3.0 s`; phases under a tenth of a second are left
 * out.
 */
export function formatTiming(timing: Readonly<Partial<Record<string, number>>>): string {
  const beside = shareBeside(timing);
  const training = beside === null ? '' : `, training steps ${(100 * (1 - beside)).toFixed(1)} %`;
  const parts = Object.entries(WORDS).flatMap(([phase, word]) => {
    const seconds = timing[phase] ?? 0;
    return seconds < 0.1 ? [] : [`${word} ${seconds.toFixed(1)} s`];
  });
  return `${(timing['total'] ?? 0).toFixed(1)} s${training}${parts.length === 0 ? '' : `; ${parts.join(', ')}`}`;
}
