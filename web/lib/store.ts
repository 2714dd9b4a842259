/** Everything the page knows, and who is told when it changes. */
import { useLayoutEffect, useReducer } from 'preact/hooks';
import type { CurveAxis, DashboardData, RunRow, StudyRow } from '../../src/dashboard/api.js';
import { parseFilter, type Filter } from './filter.js';
import { parseRoute, printRoute, toView, type Route, type View } from './route.js';
import type { Curve } from './curve.js';
import { Follower, type Told } from './follower.js';
import { FINEST, openSource, type Source } from './source.js';

/** The most runs that are drawn at once. */
export const MOST_DRAWN = 1500;
/** Runs of which a part is read point by point. */
const MOST_DETAILED = 40;
/** Colors that the style sheet defines. */
const NUM_COLORS = 8;
const DASHES: readonly (readonly number[])[] = [[], [8, 4], [3, 3], [10, 3, 2, 3], [14, 5], [2, 4], [6, 2, 2, 2, 2, 2]];

/** How a design is drawn, everywhere the same. */
export interface DesignStyle {
  /** A color of the style sheet, such as `var(--c0)`. */
  readonly color: string;
  readonly dash: readonly number[];
}

/** A run with its place in the list, by which configurations are read. */
export interface PlacedRun {
  readonly row: RunRow;
  readonly at: number;
}

/** The page's state; `useStore` makes a component follow it. */
export class Store {
  readonly source: Source = openSource();
  route: Route = parseRoute(location.hash);
  /** Counts the changes of metrics, evaluations and findings, for views that ask for them again. */
  pointsVersion = 0;
  recordsVersion = 0;
  #titles: Readonly<Record<string, string>> = {};
  /** Names of metrics whose words were asked for. */
  readonly #titled = new Set<string>();
  readonly #listeners = new Set<() => void>();
  readonly #curves = new Map<string, Curve | null>();
  /** Curves of the part of the axis that is shown. */
  readonly #detail = new Map<string, Curve>();
  /** Curves that are drawn until newer ones are there. */
  readonly #stale = new Set<string>();
  /** The question that a curve came with: answers may come in another order. */
  readonly #askedIn = new Map<string, number>();
  #numAsked = 0;
  readonly #follower = new Follower(this.source, (told) => this.#follow(told));
  #filter: { readonly key: string; readonly data: DashboardData; readonly filter: Filter } | null = null;
  #matching: { readonly key: string; readonly data: DashboardData; readonly runs: readonly PlacedRun[] } | null = null;

  /** Loads everything and begins to listen. */
  start(): void {
    window.addEventListener('hashchange', () => {
      this.route = parseRoute(location.hash);
      this.changed();
    });
    this.#follower.start();
  }

  /** What is known of all runs; null before it is there. */
  get data(): DashboardData | null {
    return this.#follower.data;
  }

  /** Whether the server answers. */
  get connected(): boolean {
    return this.#follower.connected;
  }

  /** Why what is known could not be loaded; null where it could. */
  get problem(): string | null {
    return this.#follower.problem;
  }

  /** Tells `listener` of changes until the function that comes back is called. */
  listen(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Tells all listeners. */
  changed(): void {
    for (const listener of this.#listeners) listener();
  }

  /** Goes to a view. */
  go(view: View, more: Readonly<Record<string, string>> = {}): void {
    location.hash = printRoute(toView(this.route, view, more));
  }

  /** Changes settings of this view; an empty text removes one. */
  set(params: Readonly<Record<string, string>>): void {
    const route = { view: this.route.view, params: { ...this.route.params, ...params } };
    history.replaceState(null, '', printRoute(route));
    this.route = route;
    this.changed();
  }

  /** A setting of this view. */
  param(name: string, otherwise = ''): string {
    return this.route.params[name] ?? otherwise;
  }

  /** The filter of the URL. */
  get filter(): Filter {
    const [key, data] = [this.param('q'), this.data];
    if (data === null) return { matches: () => true, problem: null };
    if (this.#filter?.key !== key || this.#filter.data !== data)
      this.#filter = { key, data, filter: parseFilter(key, data.config) };
    return this.#filter.filter;
  }

  /** The runs that the filter lets through. */
  get matching(): readonly PlacedRun[] {
    const { data } = this;
    if (data === null) return [];
    const key = `${this.param('q')}\n${this.param('study')}`;
    if (this.#matching?.key !== key || this.#matching.data !== data) {
      const { filter } = this;
      const study = this.param('study');
      const all = data.runs.map((row, at) => ({ row, at }));
      const runs = all.filter(({ row, at }) => (study === '' || row.study === study) && filter.matches(row, at));
      this.#matching = { key, data, runs };
    }
    return this.#matching.runs;
  }

  /** Whether a run that matches is drawn. */
  isShown(id: string): boolean {
    const only = this.param('only');
    return only === '' ? !this.param('hide').split('.').includes(id) : only.split('.').includes(id);
  }

  /** The runs that views draw. */
  get shown(): readonly PlacedRun[] {
    const only = this.param('only');
    const hidden = new Set(this.param('hide').split('.'));
    const chosen = new Set(only.split('.'));
    return this.matching.filter(({ row }) => (only === '' ? !hidden.has(row.id) : chosen.has(row.id)));
  }

  /** Shows or hides runs. */
  show(ids: readonly string[], isShown: boolean): void {
    const name = this.param('only') === '' ? 'hide' : 'only';
    const set = new Set(
      this.param(name)
        .split('.')
        .filter((id) => id !== ''),
    );
    for (const id of ids)
      if (isShown === (name === 'only')) set.add(id);
      else set.delete(id);
    this.set({ [name]: [...set].join('.') });
  }

  /** The study that views of studies are about: that of the URL, or else of the first run that is shown. */
  get study(): StudyRow | null {
    const studies = this.data?.studies ?? [];
    const asked = studies.find(({ id }) => id === this.param('study'));
    if (asked !== undefined) return asked;
    const own = this.matching.find(({ row }) => row.study !== null)?.row.study;
    return studies.find(({ id }) => id === own) ?? studies[0] ?? null;
  }

  /** How a design is drawn. */
  style(design: string): DesignStyle {
    const place = Math.max(0, this.data?.designs.indexOf(design) ?? 0);
    return {
      color: `var(--c${place % NUM_COLORS})`,
      dash: DASHES[Math.floor(place / NUM_COLORS) % DASHES.length] ?? [],
    };
  }

  /** Curves that were loaded before. */
  curve(axis: CurveAxis, metric: string, run: string): Curve | null | undefined {
    return this.#curves.get(keyOf(axis, metric, run));
  }

  /** The curve of a part of the axis, if it is there; else that of all of it. */
  curveIn(
    axis: CurveAxis,
    metric: string,
    run: string,
    zoom: readonly [number, number] | null,
  ): Curve | null | undefined {
    const detail = zoom === null ? undefined : this.#detail.get(`${zoom.join(' ')} ${keyOf(axis, metric, run)}`);
    return detail ?? this.curve(axis, metric, run);
  }

  /** Asks for the points of a part of the axis of curves that hold many points in a stretch. */
  async loadDetail(
    axis: CurveAxis,
    metrics: readonly string[],
    runs: readonly string[],
    zoom: readonly [number, number],
  ): Promise<void> {
    const isCoarse = (run: string) => metrics.some((metric) => (this.curve(axis, metric, run)?.perBucket ?? 1) > 1);
    const coarse = runs.filter(isCoarse).slice(0, MOST_DETAILED);
    this.#detail.clear();
    if (coarse.length === 0) return;
    for (const curve of await this.source.detail(metrics, axis, coarse, zoom))
      this.#detail.set(`${zoom.join(' ')} ${keyOf(axis, curve.metric, curve.run)}`, curve);
  }

  /**
   * Asks for curves that are not there yet, at first for those of which nothing is; says whether all of them are there
   * now, whether any came, and whether there is more to be had at once.
   */
  async load(
    axis: CurveAxis,
    metrics: readonly string[],
    runs: readonly string[],
  ): Promise<{ readonly isWhole: boolean; readonly hasNew: boolean; readonly hasMore: boolean }> {
    const most = finenessOf(runs.length);
    const isMissing = (key: string) => {
      const curve = this.#curves.get(key);
      return (
        curve === undefined || this.#stale.has(key) || (curve !== null && curve.most < most && curve.perBucket > 1)
      );
    };
    const missing = runs.filter((run) => metrics.some((metric) => isMissing(keyOf(axis, metric, run))));
    if (missing.length === 0) return { isWhole: true, hasNew: true, hasMore: false };
    const unknown = missing.filter((run) => metrics.some((metric) => !this.#curves.has(keyOf(axis, metric, run))));
    const [asked, sampled] = unknown.length > 0 ? [unknown, true] : [missing, false];
    const turn = ++this.#numAsked;
    // One more metric is asked for alone, and not with all that is drawn.
    const names = metrics.filter((metric) =>
      asked.some((run) => {
        const key = keyOf(axis, metric, run);
        return sampled ? !this.#curves.has(key) : isMissing(key);
      }),
    );
    // The first curve of the page does not wait for others.
    const soon = sampled && this.#curves.size === 0;
    const { curves, pending, unseen } = await this.source.curves(names, axis, asked, { most, sampled, soon });
    const [waits, unlooked] = [new Set(pending), new Set(unseen)];
    const came = new Map(curves.map((c) => [keyOf(axis, c.metric, c.run), c]));
    for (const run of asked)
      for (const metric of names) {
        const key = keyOf(axis, metric, run);
        const curve = came.get(key);
        if (curve === undefined && waits.has(run) && (!sampled || unlooked.has(run))) continue;
        if ((this.#askedIn.get(key) ?? 0) > turn) continue;
        this.#askedIn.set(key, turn);
        this.#curves.set(key, curve ?? null);
        if (waits.has(run)) this.#stale.add(key);
        else this.#stale.delete(key);
      }
    const inQuestion = new Set(asked);
    const left = runs.flatMap((run) => {
      const own = metrics.filter((metric) => isMissing(keyOf(axis, metric, run)));
      return own.map((metric) => inQuestion.has(run) && names.includes(metric));
    });
    const isWhole = pending.length === 0 && left.length === 0;
    // What was not answered for want of time is asked for at once, and so is what was not asked for.
    const hasMore = unseen.length > 0 || left.includes(false);
    return { isWhole, hasNew: curves.length > 0 || pending.length === 0, hasMore };
  }

  /** A metric in words; its name where it has none. */
  titleOf(metric: string): string {
    return (Object.hasOwn(this.#titles, metric) ? this.#titles[metric] : undefined) ?? metric;
  }

  /** Asks for the words of metrics when there are names that were not asked for; charts are drawn meanwhile. */
  async #loadTitles(metrics: readonly string[]): Promise<void> {
    if (metrics.every((name) => this.#titled.has(name))) return;
    for (const name of metrics) this.#titled.add(name);
    try {
      this.#titles = await this.source.titles();
      this.changed();
    } catch {
      this.#titled.clear(); // names stand in their place until the next load
    }
  }

  /** Marks what is drawn of runs that changed, and draws again. */
  #follow({ points, records }: Told): void {
    void this.#loadTitles(this.data?.metrics ?? []);
    if (points === null || points.length > 0) {
      const grown = points === null ? null : new Set(points);
      for (const key of this.#curves.keys())
        if (grown === null || grown.has(key.slice(key.lastIndexOf(' ') + 1))) this.#stale.add(key);
      this.pointsVersion++;
    }
    if (records) this.recordsVersion++;
    this.changed();
  }
}

/** In how many stretches curves are drawn: of many lines none is seen as finely as of a few. */
const finenessOf = (runs: number): number => (runs <= 150 ? FINEST : runs <= 400 ? FINEST / 2 : FINEST / 4);

const keyOf = (axis: CurveAxis, metric: string, run: string): string => `${axis} ${metric} ${run}`;

/** The one store of the page. */
export const store = new Store();

/** Draws the component again whenever the store changes. */
export function useStore(): Store {
  const [, again] = useReducer<number, undefined>((n) => n + 1, 0);
  // As the component is made, not after its first picture: what comes in between would not be seen.
  useLayoutEffect(() => store.listen(() => again(undefined)), []);
  return store;
}
