/**
 * The curves of many runs: files are read in the background, those that are asked for first, in slices short enough for
 * requests between them. Small files are kept in memory by metric; large ones leave their columns in a cache on disk.
 */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { ColumnCache } from './column-cache.js';
import type { ColumnData } from './columns.js';
import { isUnchanged, MetricsFile } from './metrics-file.js';
import { readRange, type PlaceRange } from './range-reader.js';

/** Milliseconds that reading takes before it lets others go on. */
const SLICE_MS = 12;
/** Files from this size on are read once and kept as columns on disk. */
const LEAST_CACHED_BYTES = 512 * 1024;
/** Columns of cached files that are kept in memory, at 10 KB each. */
const MOST_COLUMNS = 12_000;
/** Files whose columns are all in memory and that no one has asked for lately, beyond which the oldest is let go. */
const MOST_OPEN = 96;

interface Entry {
  readonly id: string;
  readonly path: string;
  /** All columns in memory; null for a file that is not read yet, or whose columns are on disk. */
  file: MetricsFile | null;
  cache: ColumnCache | null;
  /** Whether the file was read to its end as it was when last looked at. */
  ready: boolean;
  /** Size and time of change when last looked at. */
  stamp: string;
  used: number;
}

/** Keeps curves of runs by id. */
export class MetricsStore {
  readonly #folder: string | null;
  readonly #entries = new Map<string, Entry>();
  readonly #columns = new Map<string, ColumnData | null>();
  /** Ids to be read, those asked for last first. */
  #wanted: string[] = [];
  #background: string[] = [];
  #working = false;
  #closed = false;
  #clock = 0;
  readonly #onRead: (id: string) => void;

  /**
   * Begins without runs; `add` takes them up.
   *
   * @param folder where columns of large files are kept; null to keep none
   * @param onRead is told the id of each run whose file was read to its end for the first time, or has grown
   */
  constructor(folder: string | null, onRead: (id: string) => void) {
    this.#folder = folder;
    this.#onRead = onRead;
  }

  /** Takes up a run; its file is read in the background. */
  add(id: string, path: string): void {
    if (this.#entries.has(id)) return;
    this.#entries.set(id, { id, path, file: null, cache: null, ready: false, stamp: '', used: 0 });
    this.#background.push(id);
    this.#start();
  }

  /** Forgets a run. */
  remove(id: string): void {
    this.#entries.delete(id);
    this.#forgetColumns(id);
  }

  /** How many files are read to their end, of all. */
  get progress(): { readonly done: number; readonly all: number } {
    let done = 0;
    for (const { ready } of this.#entries.values()) if (ready) done++;
    return { done, all: this.#entries.size };
  }

  /** Reads these next. */
  want(ids: readonly string[]): void {
    const own = ids.filter((id) => this.#entries.get(id)?.ready === false);
    if (own.length === 0) return;
    const set = new Set(own);
    this.#wanted = [...own, ...this.#wanted.filter((id) => !set.has(id))];
    this.#start();
  }

  /** Waits until these are read, but no longer than `ms` milliseconds. */
  async settle(ids: readonly string[], ms: number): Promise<void> {
    this.want(ids);
    const until = Date.now() + ms;
    const isReady = (id: string) => this.#entries.get(id)?.ready !== false;
    while (!ids.every(isReady) && Date.now() < until) await new Promise((done) => setTimeout(done, 5));
  }

  /** Looks whether a file has changed, and reads what is new of one that was read before. */
  poll(id: string): void {
    const entry = this.#entries.get(id);
    if (entry === undefined || !entry.ready) return;
    const stamp = stampOf(entry.path);
    if (stamp === entry.stamp) return;
    entry.ready = false;
    this.want([id]);
  }

  /** The points of a metric of a run: null where it has none, undefined where it is not read yet. */
  column(id: string, metric: string): ColumnData | null | undefined {
    const entry = this.#entries.get(id);
    if (entry === undefined) return null;
    entry.used = ++this.#clock;
    if (entry.file !== null) return entry.ready || entry.file.offset > 0 ? entry.file.column(metric) : undefined;
    if (entry.cache === null) return entry.ready ? null : undefined;
    const key = `${id} ${metric}`;
    const known = this.#columns.get(key);
    if (known !== undefined) return known;
    const column = entry.cache.column(metric);
    if (column === undefined) {
      // The file of columns went, or another dashboard has written it anew.
      Object.assign(entry, { cache: null, ready: false });
      this.want([id]);
      return undefined;
    }
    this.#columns.set(key, column);
    if (this.#columns.size > MOST_COLUMNS) {
      const [oldest] = this.#columns.keys();
      if (oldest !== undefined) this.#columns.delete(oldest);
    }
    return column;
  }

  /** The points of metrics of a run between two places, from its file; null where that is too much to read. */
  async detail(
    id: string,
    metrics: readonly string[],
    range: PlaceRange,
  ): Promise<ReadonlyMap<string, ColumnData> | null> {
    const path = this.#entries.get(id)?.path;
    if (path === undefined) return null;
    const reading = readRange(path, metrics, range);
    for (;;) {
      const { done, value } = reading.next();
      if (done === true) return value;
      await new Promise((next) => setImmediate(next));
    }
  }

  /** The names of a run's metrics as far as it is read. */
  names(id: string): readonly string[] {
    const entry = this.#entries.get(id);
    if (entry?.file != null) return [...entry.file.columns().keys()];
    return entry?.cache?.names ?? [];
  }

  /** What is wrong with the file of a run, in a sentence; null where nothing is. */
  problem(id: string): string | null {
    const entry = this.#entries.get(id);
    const bad = entry?.file?.bad ?? entry?.cache?.head.bad ?? 0;
    if (entry?.file?.problem != null) return `metrics.jsonl is read no further: ${entry.file.problem}.`;
    return bad === 0 ? null : `metrics.jsonl has ${bad} lines that are no measurements; they are left out.`;
  }

  /** Ends the reading; columns of files that have grown are kept for the next time. */
  close(): void {
    this.#closed = true;
    for (const entry of this.#entries.values()) this.#keep(entry);
  }

  #start(): void {
    if (this.#working || this.#closed) return;
    this.#working = true;
    setImmediate(() => void this.#work());
  }

  async #work(): Promise<void> {
    let since = Date.now();
    while (!this.#closed) {
      const id = this.#wanted.shift() ?? this.#background.shift();
      if (id === undefined) break;
      const entry = this.#entries.get(id);
      if (entry === undefined || entry.ready) continue;
      for (const more of this.#reading(entry)) {
        if (!more || Date.now() - since < SLICE_MS) continue;
        await new Promise((done) => setImmediate(done));
        since = Date.now();
        if (this.#closed) return;
      }
      if (Date.now() - since >= SLICE_MS) {
        await new Promise((done) => setImmediate(done));
        since = Date.now();
      }
    }
    this.#working = false;
  }

  /** Reads a file to its end, and says after each chunk that there is more. */
  *#reading(entry: Entry): Generator<boolean> {
    const stamp = stampOf(entry.path);
    entry.cache ??= entry.file === null ? this.#cached(entry) : null;
    if (entry.file === null && entry.cache !== null && `${entry.cache.head.offset}` === sizeIn(stamp)) {
      if (isUnchanged(entry.path, entry.cache.head)) {
        this.#finish(entry, stamp);
        return;
      }
    }
    entry.file ??= new MetricsFile(entry.path, entry.cache);
    entry.cache = null;
    this.#forgetColumns(entry.id);
    for (;;) {
      const came = entry.file.advance();
      if (came === 'replaced') entry.file = new MetricsFile(entry.path);
      else if (came !== 'more') break;
      yield true;
    }
    this.#finish(entry, stamp);
  }

  #finish(entry: Entry, stamp: string): void {
    entry.ready = true;
    entry.stamp = stamp;
    entry.used = ++this.#clock;
    this.#onRead(entry.id);
    this.#letGo();
  }

  #cacheFile(entry: Entry): string | null {
    return this.#folder === null ? null : join(this.#folder, `${entry.id}.columns`);
  }

  #cached(entry: Entry): ColumnCache | null {
    const file = this.#cacheFile(entry);
    const cache = file === null ? null : ColumnCache.open(file);
    return cache?.head.path === entry.path ? cache : null;
  }

  /** Writes the columns of a large file that is in memory. */
  #keep(entry: Entry): ColumnCache | null {
    const file = this.#cacheFile(entry);
    if (file === null || entry.file === null || entry.file.offset < LEAST_CACHED_BYTES) return null;
    return ColumnCache.write(file, entry.file.head, entry.file.columns());
  }

  /** Lets the columns of large files go that were not used for longest. */
  #letGo(): void {
    const large = [...this.#entries.values()].filter(({ file, ready }) => ready && isLarge(file));
    if (large.length <= MOST_OPEN) return;
    large.sort((a, b) => a.used - b.used);
    for (const entry of large.slice(0, large.length - MOST_OPEN + 16)) {
      const cache = this.#keep(entry);
      if (cache === null) continue;
      entry.cache = cache;
      entry.file = null;
    }
  }

  #forgetColumns(id: string): void {
    const prefix = `${id} `;
    for (const key of this.#columns.keys()) if (key.startsWith(prefix)) this.#columns.delete(key);
  }
}

const isLarge = (file: MetricsFile | null): boolean => file !== null && file.offset >= LEAST_CACHED_BYTES;

/** Size, time of change and number of a file, as text; empty where there is none. */
function stampOf(path: string): string {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat === undefined ? '' : `${stat.size} ${stat.mtimeMs} ${stat.ino}`;
}

const sizeIn = (stamp: string): string => stamp.split(' ')[0] ?? '';
