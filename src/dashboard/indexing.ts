/** Reading a whole metrics file and leaving its columns in the cache: on threads, where files are large. */
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { ColumnCache } from './column-cache.js';
import { MetricsFile } from './metrics-file.js';
import { stampOf } from './stamps.js';

/** The most threads; one processor is left to answer pages. */
const MOST_THREADS = 4;

/** A file to be read, and where its columns go. */
export interface IndexTask {
  readonly path: string;
  readonly cache: string;
}

/** Reads a file to its end and writes its columns; false where that cannot be done. */
export function indexFile({ path, cache }: IndexTask): boolean {
  const stamp = stampOf(path);
  const known = ColumnCache.open(cache);
  let file = new MetricsFile(path, known?.head.path === path ? known : null);
  for (;;) {
    const came = file.advance();
    if (came === 'gone') return false;
    if (came === 'done') break;
    if (came === 'replaced') file = new MetricsFile(path);
  }
  return file.problem === null && ColumnCache.write(cache, { ...file.head, stamp }, file.columns()) !== null;
}

/** Threads that read files; begins none before there is something to read. */
export class IndexThreads {
  readonly #script = fileURLToPath(new URL('./index-worker.js', import.meta.url));
  readonly #most = Math.min(MOST_THREADS, Math.max(1, availableParallelism() - 1));
  readonly #idle: Worker[] = [];
  readonly #busy = new Map<Worker, (isRead: boolean) => void>();
  #closed = false;

  /** Whether there are threads: sources that are not compiled have no script for one. */
  readonly isThere = existsSync(this.#script);

  /** Whether a thread has nothing to do. */
  get isFree(): boolean {
    return this.isThere && !this.#closed && this.#busy.size < this.#most;
  }

  /** Reads a file on a thread; false where that could not be done. To be called where one is free. */
  read(task: IndexTask): Promise<boolean> {
    const worker = this.#idle.pop() ?? this.#begin();
    return new Promise((done) => {
      this.#busy.set(worker, done);
      worker.postMessage(task);
    });
  }

  /** Ends the threads. */
  close(): void {
    this.#closed = true;
    for (const worker of [...this.#idle, ...this.#busy.keys()]) void worker.terminate();
    for (const done of this.#busy.values()) done(false);
    this.#busy.clear();
  }

  #begin(): Worker {
    const worker = new Worker(this.#script);
    worker.unref();
    worker.on('message', (isRead: boolean) => {
      const done = this.#busy.get(worker);
      this.#busy.delete(worker);
      this.#idle.push(worker);
      done?.(isRead);
    });
    worker.on('error', () => {
      const done = this.#busy.get(worker);
      this.#busy.delete(worker);
      done?.(false);
    });
    return worker;
  }
}
