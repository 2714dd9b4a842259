/** The runs as a server sees them: the catalog, the curves, and who is told of changes. */
import { join } from 'node:path';
import { metricsPath } from '../run/index.js';
import type { ChangeEvent, DashboardData, RunAnswer, RunHeadsAnswer } from './api.js';
import { Catalog } from './catalog.js';
import { BY_NAME, insidePath, type Root } from './folders.js';
import { MetricsStore } from './metrics-store.js';
import { headsAnswer, runAnswer } from './run-page.js';

/** Milliseconds between two looks at files. */
const ROUND_MS = 500;

/** Keeps runs and curves up to date, and tells listeners what changed. */
export class Hub {
  readonly catalog: Catalog;
  readonly store: MetricsStore;
  /** Whether runs can be stopped and continued from the page. */
  readonly canControl: boolean;
  readonly #listeners = new Set<(event: ChangeEvent) => void>();
  #points = new Set<string>();
  #timer: NodeJS.Timeout | null = null;
  /** The metrics of all runs that are or were there. */
  readonly #names = new Set<string>();

  /**
   * Reads what is below the roots and begins to read curves.
   *
   * @param cache the folder for what can be made again; null for none
   */
  constructor(roots: readonly Root[], cache: string | null, canControl: boolean) {
    this.canControl = canControl;
    this.catalog = new Catalog(roots, cache);
    this.store = new MetricsStore(cache === null ? null : join(cache, 'columns'), (id) => this.#points.add(id));
    this.catalog.open();
    for (const id of this.catalog.ids) this.#take(id);
  }

  /** Begins to look at files again and again. */
  watch(): void {
    this.#timer ??= setInterval(() => this.look(), ROUND_MS);
  }

  /** Looks at files once, and tells listeners. */
  look(): void {
    const { rows, metrics, records, added, removed, studies } = this.catalog.round();
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
    const event = { rows: changed, points, records, reload, indexed: this.store.progress };
    for (const listener of this.#listeners) listener(event);
  }

  /** Tells `listener` of changes until the function that comes back is called. */
  listen(listener: (event: ChangeEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Everything that a page needs at first. */
  state(): DashboardData {
    const metrics = [...this.#names].sort((a, b) => BY_NAME.compare(a, b));
    return { ...this.catalog.state(), metrics, indexed: this.store.progress, canControl: this.canControl };
  }

  /** What the page of a run shows; null for a run that is gone. */
  run(id: string): RunAnswer | null {
    const run = this.catalog.run(id);
    if (run === undefined) return null;
    const row = this.catalog.row(run);
    const answer = runAnswer(this.catalog.roots, { ...run.found, row }, this.canControl);
    return { ...answer, problem: answer.problem ?? this.store.problem(id) };
  }

  /** Traced heads of a run; null for a run that is gone. */
  heads(id: string): RunHeadsAnswer | null {
    const run = this.catalog.run(id);
    return run === undefined ? null : headsAnswer(id, run.found.path);
  }

  /** Ends everything. */
  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.store.close();
    this.catalog.close();
  }

  #take(id: string): void {
    const path = this.catalog.run(id)?.found.path;
    if (path === undefined) return;
    const file = metricsPath(path);
    this.store.add(id, insidePath(this.catalog.roots, file) ?? file);
  }

  /** Whether runs have metrics that no page knows of yet. */
  #hasNewNames(ids: readonly string[]): boolean {
    const before = this.#names.size;
    for (const id of ids) for (const name of this.store.names(id)) this.#names.add(name);
    return this.#names.size > before;
  }
}
