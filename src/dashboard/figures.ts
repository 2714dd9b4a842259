/**
 * Figures of studies and runs, and words for metrics: made on a thread when they are asked for. Figures are kept until
 * something new is there.
 */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { LongsightError } from '../core/index.js';
import type { FiguresAnswer } from './api.js';
import type { Hub } from './hub.js';
import { factsStamp, recordsStamp, stampOf } from './stamps.js';
import type { FiguresTask } from './study-figures.js';
import { workedOut, type ThreadAnswer, type ThreadTask } from './thread-tasks.js';
import { join } from 'node:path';

/** Figures of a study that changes are drawn at most this often, in milliseconds. */
const LEAST_AGE_MS = 5000;
/** Sets of figures that are kept. */
const MOST_DRAWN = 40;

interface Drawn {
  readonly stamp: string;
  readonly at: number;
  readonly answer: Promise<FiguresAnswer>;
}

interface Reply {
  readonly number: number;
  readonly answer: ThreadAnswer | null;
  readonly problem: string | null;
}

/** Draws and keeps figures. */
export class Figures {
  readonly #hub: Hub;
  readonly #drawn = new Map<string, Drawn>();
  readonly #waiting = new Map<
    number,
    { readonly done: (answer: ThreadAnswer) => void; readonly failed: (error: Error) => void }
  >();
  #worker: Worker | null = null;
  #numbers = 0;

  constructor(hub: Hub) {
    this.#hub = hub;
  }

  /** The figures of a study or run, laws fitted without the runs that are named; null where it is gone. */
  async of(id: string, without: readonly string[]): Promise<FiguresAnswer | null> {
    const subject = this.#task(id);
    if (subject === null) return null;
    const task = { ...subject, without };
    const key = JSON.stringify([id, ...without]);
    const [known, stamp] = [this.#drawn.get(key), this.#stamp(task)];
    if (known !== undefined && (known.stamp === stamp || Date.now() - known.at < LEAST_AGE_MS)) return known.answer;
    const answer = this.#draw(task);
    this.#drawn.set(key, { stamp, at: Date.now(), answer });
    answer.catch(() => this.#drawn.delete(key));
    const [oldest] = this.#drawn.keys();
    if (this.#drawn.size > MOST_DRAWN && oldest !== undefined) this.#drawn.delete(oldest);
    return answer;
  }

  /** Metrics that are known in words with their units, by name. */
  async titles(): Promise<Readonly<Record<string, string>>> {
    return (await this.#ask({ kind: 'titles', metrics: [...this.#hub.names] })).titles ?? {};
  }

  /** Ends the thread. */
  close(): void {
    void this.#worker?.terminate();
    this.#worker = null;
  }

  #task(id: string): Omit<FiguresTask, 'without'> | null {
    const run = this.#hub.catalog.run(id);
    const { designs } = this.#hub.catalog.state();
    if (run !== undefined) return { kind: 'run', path: run.found.path, designs };
    const path = this.#hub.catalog.studyPath(id);
    return path === undefined ? null : { kind: 'study', path, designs };
  }

  /** What decides whether figures are to be drawn again: configurations, evaluations, findings and ends of runs. */
  #stamp({ kind, path }: Omit<FiguresTask, 'without'>): string {
    if (kind === 'run') return `${factsStamp(path)} ${recordsStamp(path)}`;
    const { catalog } = this.#hub;
    const own = catalog.ids.flatMap((id) => {
      const run = catalog.run(id);
      return run?.found.study === path ? [`${run.recordsStamp} ${run.progress.state}`] : [];
    });
    return `${stampOf(join(path, 'study.json'))} ${own.join(';')}`;
  }

  async #draw(task: FiguresTask): Promise<FiguresAnswer> {
    const { figures } = await this.#ask(task);
    if (figures === undefined) throw new LongsightError('figures could not be drawn');
    return figures;
  }

  async #ask(task: ThreadTask): Promise<ThreadAnswer> {
    const script = fileURLToPath(new URL('./figures-worker.js', import.meta.url));
    // Sources that are not compiled have no script for a thread.
    if (!existsSync(script)) return workedOut(task);
    this.#worker ??= this.#start(script);
    const number = ++this.#numbers;
    const answer = new Promise<ThreadAnswer>((done, failed) => this.#waiting.set(number, { done, failed }));
    this.#worker.postMessage({ number, task });
    return answer;
  }

  #start(script: string): Worker {
    const worker = new Worker(script);
    worker.unref();
    worker.on('message', ({ number, answer, problem }: Reply) => {
      const waiting = this.#waiting.get(number);
      this.#waiting.delete(number);
      if (answer !== null) waiting?.done(answer);
      else waiting?.failed(new LongsightError(`figures or names could not be made: ${problem ?? ''}`));
    });
    worker.on('error', (error) => {
      for (const { failed } of this.#waiting.values())
        failed(error instanceof Error ? error : new Error(String(error)));
      this.#waiting.clear();
      this.#worker = null;
    });
    return worker;
  }
}
