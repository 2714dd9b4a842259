/**
 * The curves of many runs. Large files are read on threads, which leave their columns in a cache on disk; small ones
 * and what files have grown by are read here, in slices short enough for requests between them, those that are asked
 * for first. A start that finds sizes and times of change as they were kept reads no metrics at all.
 */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { tryToRemove } from '../core/index.js';
import { ColumnCache } from './column-cache.js';
import { readList, writeList, type Listed } from './column-list.js';
import { copied, type ColumnData } from './columns.js';
import { IndexThreads } from './indexing.js';
import { MetricsFile } from './metrics-file.js';
import { readRange, type PlaceRange } from './range-reader.js';
import { earlyCurves, MOST_LINES, type EarlyCurve } from './sampler.js';
import { stampOf } from './stamps.js';

/** Milliseconds that reading takes before it lets others go on, and while files are looked at for curves. */
const [SLICE_MS, LOOKING_SLICE_MS] = [12, 2];
/** Files from this size on are read once and kept as columns on disk. */
const LEAST_CACHED_BYTES = 64 * 1024;
/** What a file has grown by since its columns were kept is read here up to this size. */
const MOST_GROWTH_BYTES = 4 << 20;
/** Files up to this size are looked through for one metric before they are read: 10 milliseconds each. */
const MOST_EARLY_BYTES = 16 << 20;
/** Milliseconds after a question in which files are looked through; of those after them a few lines are read. */
const WHOLE_MS = 100;
/** Milliseconds that an answer waits for what is looked for. */
const LOOK_MS = 200;
/** Files that are looked at at a time: while the lines of one are read, the disk finds those of others. */
const LOOKED_AT = 3;
/** Files whose columns are all in memory and that no one has asked for lately, beyond which the oldest is let go. */
const MOST_OPEN = 256;
/** Milliseconds from a file that was read until the list of kept files is written: writing it holds up pages. */
const LIST_MS = 5_000;

interface Entry {
  readonly id: string;
  readonly path: string;
  /** All columns in memory; null for a file that is not read yet, or whose columns are on disk. */
  file: MetricsFile | null;
  /** The columns on disk, once they are needed. */
  cache: ColumnCache | null;
  /** What the list of kept columns says of this file; null where it says nothing. */
  listed: Listed | null;
  /** Curves by metric that were looked for before the file is read. */
  early: Map<string, EarlyCurve | null>;
  /** Whether it is being looked at for such. */
  isLookedAt: boolean;
  /** Whether the file was read to its end as it was when last looked at. */
  ready: boolean;
  /** Size, time of change and number when last looked at. */
  stamp: string;
  used: number;
}

/** What is looked for in files before they are read. */
interface Wish {
  /** The runs that are still to be looked at. */
  readonly left: Iterator<string>;
  readonly metrics: readonly string[];
  readonly lines: number;
  /** Ends the wait for any curve: one was found. */
  readonly onFound: () => void;
  /** When it was asked for first, in milliseconds of `performance.now()`. */
  readonly since: number;
}

/** Keeps curves of runs by id. */
export class MetricsStore {
  readonly #folder: string | null;
  readonly #entries = new Map<string, Entry>();
  readonly #threads = new IndexThreads();
  readonly #listed: ReadonlyMap<string, Listed>;
  /** Ids to be read, those asked for last first. */
  #wanted: string[] = [];
  #background: string[] = [];
  /** Ids of files to be read on a thread, those asked for last first. */
  #large: string[] = [];
  #working = false;
  /** Whether nothing is read yet but what is asked for. */
  #held = true;
  #closed = false;
  #clock = 0;
  #done = 0;
  #wish: Wish | null = null;
  #looking: Promise<void> | null = null;
  #listTimer: ReturnType<typeof setTimeout> | null = null;
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
    this.#listed = folder === null ? new Map() : readList(join(folder, LIST_FILE));
  }

  /** Takes up a run; its file is read in the background, unless its columns are kept and it has not changed. */
  add(id: string, path: string): void {
    if (this.#entries.has(id)) return;
    const listed = this.#listed.get(id) ?? null;
    const entry: Entry = {
      ...{ id, path, listed, file: null, cache: null, early: new Map(), isLookedAt: false },
      ...{ ready: false, stamp: '', used: 0 },
    };
    this.#entries.set(id, entry);
    const stamp = listed === null ? '' : stampOf(path);
    if (listed?.stamp === stamp) {
      this.#setReady(entry, true);
      Object.assign(entry, { stamp, used: ++this.#clock });
      this.#onRead(id);
      return;
    }
    this.#background.push(id);
    this.#start();
  }

  /** Begins to read all files; until then only those that are asked for are read. */
  begin(): void {
    this.#held = false;
    this.#start();
  }

  /** Forgets a run. */
  remove(id: string): void {
    const entry = this.#entries.get(id);
    if (entry?.ready === true) this.#done--;
    this.#entries.delete(id);
  }

  /** How many files are read to their end, of all. */
  get progress(): { readonly done: number; readonly all: number } {
    return { done: this.#done, all: this.#entries.size };
  }

  /** Reads these next. */
  want(ids: readonly string[]): void {
    const own = ids.filter((id) => this.#entries.get(id)?.ready === false);
    if (own.length === 0) return;
    const set = new Set(own);
    const large = this.#large.filter((id) => set.has(id));
    this.#large = [...large, ...this.#large.filter((id) => !set.has(id))];
    for (const id of large) set.delete(id);
    this.#wanted = [...set, ...this.#wanted.filter((id) => !set.has(id))];
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
    this.#setReady(entry, false);
    this.want([id]);
  }

  /** The points of a metric of a run: null where it has none, undefined where it is not read yet. */
  column(id: string, metric: string): ColumnData | null | undefined {
    const data = this.peek(id, metric);
    return data == null ? data : copied(data);
  }

  /** As `column`, in memory that the next look at any column changes, and reading on. */
  peek(id: string, metric: string): ColumnData | null | undefined {
    const entry = this.#entries.get(id);
    if (entry === undefined) return null;
    entry.used = ++this.#clock;
    if (entry.file !== null) return entry.ready || entry.file.offset > 0 ? entry.file.column(metric) : undefined;
    if (!entry.ready) return undefined;
    entry.cache ??= this.#cached(entry);
    const column = entry.cache?.column(metric);
    if (column === undefined) {
      // The file of columns went, is damaged, or another dashboard has written it anew.
      const file = this.#cacheFile(entry);
      if (file !== null) tryToRemove(file);
      Object.assign(entry, { cache: null, listed: null });
      this.#setReady(entry, false);
      this.want([id]);
    }
    return column;
  }

  /**
   * Looks for metrics in files that are still to be read, in the order of their runs: all points of the first ones, a
   * few of the others. Resolves when all have been looked at, or some time is over; the looking goes on then, until
   * something else is looked for. What was found is said by `early`.
   *
   * @param how.most how many points of a curve are drawn: where those are few, fewer are looked for
   * @param how.soon whether it resolves as soon as there is a curve
   * @param how.ms the milliseconds after which it resolves at the latest
   */
  async look(
    ids: readonly string[],
    metrics: readonly string[],
    { most, soon = false, ms = LOOK_MS }: { readonly most: number; readonly soon?: boolean; readonly ms?: number },
  ): Promise<void> {
    const lines = Math.max(2, Math.min(MOST_LINES, Math.floor((3 * most) / 8)));
    // Who asks on for the same is answered by a few lines of each soon, and not by all lines of some.
    const asksOn = this.#looking !== null && this.#wish?.metrics.join('\n') === metrics.join('\n');
    const since = asksOn ? (this.#wish?.since ?? 0) : performance.now();
    let onFound = (): void => undefined;
    const isFound = new Promise<void>((done) => (onFound = soon ? done : onFound));
    if (soon && ids.some((id) => this.#entries.get(id)?.ready === true)) onFound();
    this.#wish = { left: ids[Symbol.iterator](), metrics, lines, onFound, since };
    this.#looking ??= Promise.all(Array.from({ length: LOOKED_AT }, async () => this.#lookOn())).then(() => {
      this.#looking = null;
      this.#readOnThreads();
    });
    let timer: NodeJS.Timeout | undefined;
    const isOver = new Promise((done) => (timer = setTimeout(done, ms)));
    await Promise.race([this.#looking, isFound, isOver]);
    clearTimeout(timer);
  }

  /** Looks at one file after another that the last wish is about. */
  async #lookOn(): Promise<void> {
    for (;;) {
      const wish = this.#wish;
      const next = this.#closed ? undefined : wish?.left.next();
      if (wish === null || next === undefined || next.done === true) return;
      const entry = this.#entries.get(next.value);
      if (entry === undefined || entry.ready || entry.isLookedAt) continue;
      const metrics = wish.metrics.filter((metric) => !entry.early.has(metric));
      if (metrics.length === 0) continue;
      entry.isLookedAt = true;
      const whole = performance.now() - wish.since < WHOLE_MS ? MOST_EARLY_BYTES : 0;
      const found = await earlyCurves(entry.path, metrics, { whole, lines: wish.lines });
      entry.isLookedAt = false;
      // It may have been read meanwhile.
      if (!entry.ready) for (const metric of metrics) entry.early.set(metric, found?.get(metric) ?? null);
      if (metrics.some((metric) => found?.get(metric)?.data != null)) wish.onFound();
    }
  }

  /**
   * What `look` has found of a metric of a run whose file is still to be read; null where that is nothing, undefined
   * where it was not looked for.
   */
  early(id: string, metric: string): EarlyCurve | null | undefined {
    const entry = this.#entries.get(id);
    return entry === undefined || entry.ready ? null : entry.early.get(metric);
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
    return entry?.cache?.names ?? entry?.listed?.names ?? [];
  }

  /** What is wrong with the file of a run, in a sentence; null where nothing is. */
  problem(id: string): string | null {
    const entry = this.#entries.get(id);
    const bad = entry?.file?.bad ?? entry?.cache?.head.bad ?? entry?.listed?.bad ?? 0;
    if (entry?.file?.problem != null) return `metrics.jsonl is read no further: ${entry.file.problem}.`;
    return bad === 0 ? null : `metrics.jsonl has ${bad} lines that are no measurements; they are left out.`;
  }

  /** Ends the reading; columns of files that have grown are kept for the next time. */
  close(): void {
    this.#closed = true;
    this.#threads.close();
    for (const entry of this.#entries.values()) this.#keep(entry);
    if (this.#listTimer !== null) clearTimeout(this.#listTimer);
    this.#writeList();
  }

  #setReady(entry: Entry, ready: boolean): void {
    if (entry.ready !== ready) this.#done += ready ? 1 : -1;
    entry.ready = ready;
  }

  #start(): void {
    if (this.#working || this.#closed) return;
    this.#working = true;
    setImmediate(() => void this.#work());
  }

  async #work(): Promise<void> {
    let since = Date.now();
    while (!this.#closed) {
      const id = this.#wanted.shift() ?? (this.#held ? undefined : this.#background.shift());
      if (id === undefined) break;
      const entry = this.#entries.get(id);
      if (entry === undefined || entry.ready) continue;
      for (const more of this.#reading(entry)) {
        if (!more || Date.now() - since < this.#slice) continue;
        await new Promise((done) => setImmediate(done));
        since = Date.now();
        if (this.#closed) return;
      }
      if (Date.now() - since >= this.#slice) {
        await new Promise((done) => setImmediate(done));
        since = Date.now();
      }
    }
    this.#working = false;
  }

  get #slice(): number {
    return this.#looking === null ? SLICE_MS : LOOKING_SLICE_MS;
  }

  /** Reads a file to its end, and says after each chunk that there is more. */
  *#reading(entry: Entry): Generator<boolean> {
    const stamp = stampOf(entry.path);
    entry.cache ??= entry.file === null ? this.#cached(entry) : null;
    if (entry.file === null && entry.cache !== null && entry.cache.head.stamp === stamp) {
      this.#finish(entry, stamp);
      return;
    }
    if (entry.file === null && this.#isForThread(entry)) {
      this.#large.push(entry.id);
      this.#readOnThreads();
      return;
    }
    entry.file ??= new MetricsFile(entry.path, entry.cache);
    Object.assign(entry, { cache: null, listed: null });
    for (;;) {
      const came = entry.file.advance();
      if (came === 'replaced') entry.file = new MetricsFile(entry.path);
      else if (came !== 'more') break;
      yield true;
    }
    this.#finish(entry, stamp);
  }

  /** Whether there is so much to read of a file that it would keep pages waiting. */
  #isForThread({ path, cache }: Entry): boolean {
    if (this.#folder === null || !this.#threads.isThere) return false;
    const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    const known = cache?.head.offset ?? 0;
    return size >= LEAST_CACHED_BYTES && (size < known || size - known > (known === 0 ? 0 : MOST_GROWTH_BYTES));
  }

  #readOnThreads(): void {
    // What someone waits for comes first: a thread takes the disk and a processor from it.
    while (this.#looking === null && this.#threads.isFree) {
      const id = this.#large.shift();
      if (id === undefined) return;
      const entry = this.#entries.get(id);
      const cache = entry === undefined ? null : this.#cacheFile(entry);
      if (entry === undefined || cache === null || entry.ready) continue;
      void this.#threads.read({ path: entry.path, cache }).then((isRead) => this.#wasRead(entry, isRead));
    }
  }

  #wasRead(entry: Entry, isRead: boolean): void {
    if (this.#closed || this.#entries.get(entry.id) !== entry) return;
    const cache = isRead ? this.#cached(entry) : null;
    if (cache === null) {
      // What no thread could do is done here.
      entry.file = new MetricsFile(entry.path);
      this.want([entry.id]);
    } else {
      Object.assign(entry, { cache, listed: null });
      this.#finish(entry, cache.head.stamp);
      // It may have grown meanwhile.
      this.poll(entry.id);
    }
    this.#readOnThreads();
  }

  #finish(entry: Entry, stamp: string): void {
    this.#setReady(entry, true);
    Object.assign(entry, { stamp, used: ++this.#clock });
    entry.early.clear();
    this.#onRead(entry.id);
    this.#letGo();
    this.#listTimer ??= setTimeout(() => {
      this.#listTimer = null;
      this.#writeList();
    }, LIST_MS).unref();
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
    // One that is not read to its end, or further than nothing, is read on at the next start.
    const stamp = entry.ready ? entry.stamp : '';
    return ColumnCache.write(file, { ...entry.file.head, stamp }, entry.file.columns());
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

  /** Writes which files' columns are kept, so that the next start need not open them. */
  #writeList(): void {
    if (this.#folder === null) return;
    const runs = [...this.#entries.values()].flatMap(({ id, file, cache, listed, ready }) => {
      if (file !== null && !this.#closed) return [];
      const own = cache ?? (file !== null && ready ? this.#cachedAs(id) : null);
      const known = own === null ? listed : { stamp: own.head.stamp, names: own.names, bad: own.head.bad };
      return known === null || known.stamp === '' ? [] : [[id, known] as const];
    });
    writeList(join(this.#folder, LIST_FILE), new Map(runs));
  }

  #cachedAs(id: string): ColumnCache | null {
    const entry = this.#entries.get(id);
    return entry === undefined || !isLarge(entry.file) ? null : this.#cached(entry);
  }
}

const LIST_FILE = 'list.json';
const isLarge = (file: MetricsFile | null): boolean => file !== null && file.offset >= LEAST_CACHED_BYTES;
