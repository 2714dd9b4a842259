/** The runs as a server sees them: the catalog, the curves, and who is told of changes. */
import { join } from 'node:path';
import { metricsPath } from '../core/index.js';
import type { ChangeEvent, DashboardData, RunAnswer, RunHeadsAnswer } from './api.js';
import { Catalog } from './catalog.js';
import { BY_NAME, insidePath, type Root } from './folders.js';
import { MetricsStore } from './metrics-store.js';
import { PageWait } from './page-wait.js';

/** Milliseconds between two looks at files. */
const ROUND_MS = 500;
/** Milliseconds between two pictures of a collection that is being read. */
const TELL_MS = 700;

/** Keeps runs and curves up to date, and tells listeners what changed. */
export class Hub {
  readonly catalog: Catalog;
  readonly store: MetricsStore;
  /** The page that is being opened, for which reading waits. */
  readonly page = new PageWait();
  /** Whether runs can be stopped and continued from the page. */
  readonly canControl: boolean;
  readonly #listeners = new Set<(event: ChangeEvent) => void>();
  #points = new Set<string>();
  #timer: NodeJS.Timeout | null = null;
  #isClosed = false;
  #reading: Promise<void> | null = null;
  /** The number of the last change that was told. Starts at the time, so that those of two servers differ. */
  #revision = Date.now();
  /** The metrics of all runs that are or were there. */
  readonly #names = new Set<string>();
  /** Lists of names that were looked at; most runs have the same one. */
  readonly #seenNames = new WeakSet<readonly string[]>();

  /**
   * Finds what is below the roots and takes up what is known of it. The rest is read by `open`.
   *
   * @param cache the folder for what can be made again; null for none
   */
  constructor(roots: readonly Root[], cache: string | null, canControl: boolean) {
    this.canControl = canControl;
    this.catalog = new Catalog(roots, cache);
    this.store = new MetricsStore(cache === null ? null : join(cache, 'columns'), (id) => this.#points.add(id));
    this.catalog.begin();
    for (const id of this.catalog.ids) this.#take(id);
    this.#hasNewNames([...this.#points]);
  }

  /** Reads the folders that are not known, telling listeners as it goes; resolves when all are read. */
  open(): Promise<void> {
    this.#reading ??= this.#open();
    return this.#reading;
  }

  async #open(): Promise<void> {
    let told = 0;
    for await (const ids of this.catalog.read(() => this.page.over)) {
      if (this.#isClosed) return;
      for (const id of ids) this.#take(id);
      // Each time the page asks for everything again: not too often.
      if (ids.length === 0 || Date.now() - told < TELL_MS) continue;
      this.#tell({ rows: [], points: [], records: [], reload: true });
      told = Date.now();
    }
    this.#tell({ rows: [], points: [], records: [], reload: true });
    this.store.begin();
  }

  /** Begins to look at files again and again. */
  watch(): void {
    const again = async (): Promise<void> => {
      await this.look();
      if (!this.#isClosed) this.#timer = setTimeout(() => void again(), ROUND_MS);
    };
    this.#timer ??= setTimeout(() => void again(), ROUND_MS);
  }

  /** Looks at files once, and tells listeners. */
  async look(): Promise<void> {
    await this.open();
    const { rows, metrics, records, added, removed, studies } = await this.catalog.round();
    if (this.#isClosed) return;
    for (const id of added) this.#take(id);
    for (const id of removed) this.store.remove(id);
    for (const id of metrics) this.store.poll(id);
    const points = [...this.#points];
    this.#points = new Set();
    const reload = added.length > 0 || removed.length > 0 || studies || this.#hasNewNames(points);
    if (!reload && rows.length + points.length + records.length === 0) return;
    const changed = rows.flatMap((id) => {
      const run = this.catalog.run(id);
      return run === undefined ? [] : [this.catalog.row(run)];
    });
    this.#tell({ rows: changed, points, records, reload });
  }

  #tell(event: Omit<ChangeEvent, 'indexed' | 'revision'>): void {
    this.#revision++;
    const told = { ...event, revision: this.#revision, indexed: this.store.progress };
    for (const listener of this.#listeners) listener(told);
  }

  /** The number of the last change that listeners were told of. */
  get revision(): number {
    return this.#revision;
  }

  /** Tells `listener` of changes until the function that comes back is called. */
  listen(listener: (event: ChangeEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Everything that a page needs at first. */
  state(): DashboardData {
    const metrics = [...this.#names].sort((a, b) => BY_NAME.compare(a, b));
    const { revision, canControl } = this;
    return { revision, ...this.catalog.state(), metrics, indexed: this.store.progress, canControl };
  }

  /** The names of all metrics of runs that are or were there. */
  get names(): ReadonlySet<string> {
    return this.#names;
  }

  /** What the page of a run shows; null for a run that is gone. */
  async run(id: string): Promise<RunAnswer | null> {
    const { runAnswer } = await import('./run-page.js');
    if (this.catalog.isUnread(id)) await this.open();
    const run = this.catalog.run(id);
    if (run === undefined) return null;
    const row = this.catalog.row(run);
    const answer = runAnswer(this.catalog.roots, { ...run.found, row }, this.canControl);
    return { ...answer, problem: answer.problem ?? this.store.problem(id) };
  }

  /** Traced heads of a run; null for a run that is gone. */
  async heads(id: string): Promise<RunHeadsAnswer | null> {
    const { headsAnswer } = await import('./run-page.js');
    const run = this.catalog.run(id);
    return run === undefined ? null : headsAnswer(id, run.found.path);
  }

  /** Ends everything. */
  close(): void {
    this.#isClosed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.page.done();
    this.store.close();
    this.catalog.close();
  }

  #take(id: string): void {
    const path = this.catalog.run(id)?.found.path;
    if (path === undefined) {
      this.store.remove(id); // listed at a first look, and refused by the reader
      return;
    }
    for (const name of this.catalog.metricsOf(id)) this.#names.add(name);
    const file = metricsPath(path);
    this.store.add(id, insidePath(this.catalog.roots, file) ?? file);
  }

  /** Whether runs have metrics that no page knows of yet. */
  #hasNewNames(ids: readonly string[]): boolean {
    const before = this.#names.size;
    for (const id of ids) {
      const names = this.store.names(id);
      if (this.#seenNames.has(names)) continue;
      this.#seenNames.add(names);
      for (const name of names) this.#names.add(name);
    }
    return this.#names.size > before;
  }
}
