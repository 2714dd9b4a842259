/**
 * All runs and studies below the roots, kept up to date by looking at sizes and times of change: at runs that go on
 * twice a second, at the others a part each time. What was read is kept between starts; what reads configurations, and
 * with it the layers that know models, is loaded when there is something to read. Until then runs are listed by a first
 * look at their files, which is enough to ask for their curves.
 */
import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { append, configPath, fingerprint, metricsPath, planPath } from '../core/index.js';
import type { ConfigColumn, DashboardData, RunRow } from './api.js';
import { readKept, writeKept, type Kept, type KeptRun, type KeptStudy } from './catalog-cache.js';
import { BY_NAME, FolderFinder, insidePath, type Found, type Root } from './folders.js';
import type * as RunReader from './run-reader.js';
import type { RunProgress } from './run-progress.js';
import { sketchRun, type RunFacts, type RunSketch, type Scalar } from './run-sketch.js';
import { factsStamp, progressStamp, recordsStamp, stampOf } from './stamps.js';

/** Runs that do not go on and are looked at in one round. */
const OTHERS_EACH_ROUND = 100;
/** A run is looked at in every round for so many milliseconds after a change of its files. */
const LIVELY_MS = 120_000;
/** Milliseconds between two looks for new folders. */
const FIND_MS = 1000;
/** Milliseconds that reading folders takes before it lets others go on. */
const SLICE_MS = 12;
/** The design of runs whose configurations are still to be read. */
const UNREAD_DESIGN = 'not read yet';

/** A run folder as it was last seen. */
export interface KnownRun {
  readonly found: Found;
  facts: RunFacts;
  factsStamp: string;
  progress: RunProgress;
  progressStamp: string;
  recordsStamp: string;
  /** When its files were last seen to change, in milliseconds since 1970. */
  changed: number;
}

interface KnownStudy extends Omit<KeptStudy, 'designs'> {
  readonly found: Found;
  readonly designs: ReadonlyMap<string, string>;
}

/** What a round has found. */
export interface Round {
  /** Ids of runs whose rows changed. */
  readonly rows: readonly string[];
  /** Ids of runs whose metrics changed. */
  readonly metrics: readonly string[];
  /** Ids of runs with new evaluations or findings. */
  readonly records: readonly string[];
  readonly added: readonly string[];
  readonly removed: readonly string[];
  /** Whether a study came, went or changed. */
  readonly studies: boolean;
}

type Change = 'rows' | 'metrics' | 'records';

/** Runs and studies by id. */
export class Catalog {
  readonly roots: readonly Root[];
  readonly #finder: FolderFinder;
  readonly #cacheFile: string | null;
  #kept: Kept = { runs: new Map(), studies: new Map() };
  readonly #runs = new Map<string, KnownRun>();
  readonly #studies = new Map<string, KnownStudy>();
  /** Folders that were found and are not read yet, by id. */
  readonly #unread = new Map<string, Found>();
  /** Unread runs that were looked at, as they are listed until they are read. */
  readonly #sketches = new Map<string, KnownRun & Pick<RunSketch, 'metrics'>>();
  #reader: typeof RunReader | null = null;
  #turn = 0;
  #lastFind = 0;
  #columns: Readonly<Record<string, ConfigColumn>> | null = null;
  #hasChanged = false;

  /**
   * Takes up roots; nothing is read before `begin`.
   *
   * @param cache the folder that keeps what was read between starts; null to keep nothing
   */
  constructor(roots: readonly Root[], cache: string | null) {
    this.roots = roots;
    this.#finder = new FolderFinder(roots);
    const key = fingerprint(roots.map(({ path }) => path)).slice(0, 16);
    this.#cacheFile = cache === null ? null : join(cache, `${key}.json`);
  }

  /** Finds folders, and takes those up that are kept and have not changed. The others are to be read by `read`. */
  begin(): void {
    if (this.#cacheFile !== null) this.#kept = readKept(this.#cacheFile);
    this.#find();
    this.#kept = { runs: new Map(), studies: new Map() };
  }

  /**
   * Reads folders that were found, and says after every slice of time which runs were read. Before the first run is
   * read all are looked at, and said as well.
   *
   * @param calm resolves when what reads configurations may be loaded, which holds up everything else
   */
  async *read(calm = async (): Promise<void> => Promise.resolve()): AsyncGenerator<readonly string[]> {
    if (this.#unread.size === 0) return;
    if (this.#reader === null) {
      yield* this.#sketch();
      await calm();
    }
    const reader = await this.#read();
    let [since, ids]: [number, string[]] = [Date.now(), []];
    // Studies first: they say what the designs of runs are called.
    const order = [...this.#unread.values()].sort((a, b) => Number(b.kind === 'study') - Number(a.kind === 'study'));
    for (const found of order) {
      if (this.#unread.get(found.id) !== found) continue;
      if (found.kind === 'study') await this.#addStudy(found);
      else this.#addRun(found, reader);
      this.#unread.delete(found.id);
      const wasListed = this.#sketches.delete(found.id);
      if (found.kind === 'run' && (wasListed || this.#runs.has(found.id))) ids.push(found.id);
      if (Date.now() - since < SLICE_MS) continue;
      yield ids;
      ids = [];
      await new Promise((done) => setImmediate(done));
      since = Date.now();
    }
    yield ids;
    this.#writeCache();
  }

  /** Looks at the runs that are to be read, and says which were looked at after every slice of time. */
  async *#sketch(): AsyncGenerator<readonly string[]> {
    let [since, ids]: [number, string[]] = [Date.now(), []];
    for (const found of [...this.#unread.values()]) {
      const sketch = found.kind === 'run' && this.#isInside(found.path) ? sketchRun(found.path) : null;
      if (sketch !== null) {
        const unseen = { factsStamp: '', progressStamp: '', recordsStamp: '', changed: 0 };
        this.#sketches.set(found.id, { found, ...sketch, ...unseen });
        ids.push(found.id);
      }
      if (Date.now() - since < SLICE_MS) continue;
      this.#columns = null;
      yield ids;
      ids = [];
      await new Promise((done) => setImmediate(done));
      since = Date.now();
    }
    this.#columns = null;
    yield ids;
  }

  /** How many folders have been read, of those that were found. */
  get progress(): { readonly done: number; readonly all: number } {
    const done = this.#runs.size + this.#studies.size;
    return { done, all: done + this.#unread.size };
  }

  /** How many runs and studies were found, read or not. */
  get found(): { readonly runs: number; readonly studies: number } {
    const unread = [...this.#unread.values()].filter(({ kind }) => kind === 'study').length;
    return {
      runs: this.#runs.size + this.#unread.size - unread,
      studies: this.#studies.size + unread,
    };
  }

  /** A run by id, read or looked at; undefined where there is none any more. */
  run(id: string): KnownRun | undefined {
    return this.#runs.get(id) ?? this.#sketches.get(id);
  }

  /** Whether a run is still to be read, and its row says no more than its files at a first look. */
  isUnread(id: string): boolean {
    return this.#sketches.has(id);
  }

  /** Metrics that a run has that is still to be read, by the end of its file; none of others. */
  metricsOf(id: string): readonly string[] {
    return this.#sketches.get(id)?.metrics ?? [];
  }

  /** The folder of a study by id; undefined where there is none any more. */
  studyPath(id: string): string | undefined {
    return this.#studies.get(id)?.found.path;
  }

  /** The ids of all runs that are read. */
  get ids(): readonly string[] {
    return [...this.#runs.keys()];
  }

  /** Looks at what may have changed. */
  async round(now = Date.now()): Promise<Round> {
    const find = now - this.#lastFind >= FIND_MS;
    const [before, studiesBefore] = [new Set(this.#runs.keys()), this.#studyStamps()];
    const added: string[] = [];
    if (find) {
      this.#lastFind = now;
      this.#find();
      for await (const ids of this.read()) append(added, ids);
    }
    const removed = [...before].filter((id) => !this.#runs.has(id));
    const changes: Record<Change, string[]> = { rows: [], metrics: [], records: [] };
    for (const run of this.#due(now))
      for (const change of await this.#lookAt(run, now)) changes[change].push(run.found.id);
    const studies = find && this.#studyStamps() !== studiesBefore;
    return { ...changes, added, removed, studies };
  }

  /** Ends with what was read kept for the next start. */
  close(): void {
    if (this.#hasChanged) this.#writeCache();
  }

  /** The row of a run. */
  row({ found, facts, progress }: KnownRun): RunRow {
    const study = found.study === null ? null : this.#studyAt(found.study);
    const left = facts.budget - progress.tokens;
    const speed = progress.tokPerSec;
    const eta = progress.state === 'running' && speed !== null && speed > 0 && left > 0 ? left / speed : null;
    const { config: _config, problem, ...rest } = facts;
    const state = problem !== null && facts.steps === 0 ? 'unreadable' : progress.state;
    return {
      ...{ id: found.id, folder: found.shown, study: study?.found.id ?? null },
      ...rest,
      design: this.#sketches.has(found.id)
        ? UNREAD_DESIGN
        : (study?.designs.get(basename(found.path)) ?? (facts.layers === '' ? facts.name : facts.layers)),
      ...progress,
      ...{ eta, state, message: problem ?? progress.message },
    };
  }

  /** The rows of runs, in the order of their folders. */
  rows(): RunRow[] {
    return this.#ordered().map((run) => this.row(run));
  }

  /** Everything that a page knows at first, but for the metrics. */
  state(): Omit<DashboardData, 'revision' | 'metrics' | 'indexed' | 'canControl'> {
    const runs = this.rows();
    const studies = [...this.#studies.values()].map(({ row }) => row);
    const read = runs.filter(({ id }) => !this.#sketches.has(id));
    const designs = [...new Set([...studies.flatMap((study) => study.designs), ...read.map(({ design }) => design)])];
    const problems = [...this.#studies.values()].flatMap(({ problem }) => problem ?? []);
    const roots = this.roots.map(({ given }) => given);
    this.#columns ??= this.#config();
    return { roots, runs, studies, designs, problems, config: this.#columns, read: this.progress };
  }

  /** The values of every key, each different one once. */
  #config(): Record<string, ConfigColumn> {
    const runs = this.#ordered();
    const columns = new Map<string, { values: Map<Scalar, number>; of: number[] }>();
    runs.forEach(({ facts }, i) => {
      for (const [key, value] of Object.entries(facts.config)) {
        let column = columns.get(key);
        if (column === undefined) {
          column = { values: new Map(), of: new Array<number>(runs.length).fill(-1) };
          columns.set(key, column);
        }
        let place = column.values.get(value);
        if (place === undefined) {
          place = column.values.size;
          column.values.set(value, place);
        }
        column.of[i] = place;
      }
    });
    return Object.fromEntries([...columns].map(([key, { values, of }]) => [key, { values: [...values.keys()], of }]));
  }

  #ordered(): KnownRun[] {
    const all = [...this.#runs.values(), ...this.#sketches.values()];
    return all.sort((a, b) => BY_NAME.compare(a.found.shown, b.found.shown));
  }

  /** Looks at one run; says what of it is new. */
  async #lookAt(run: KnownRun, now: number): Promise<Change[]> {
    const seen: Change[] = [];
    const { id, path } = run.found;
    const facts = factsStamp(path);
    const progress = progressStamp(path);
    // Whether a process still lives is seen in no file.
    if (facts !== run.factsStamp || progress !== run.progressStamp || run.progress.state === 'running') {
      const reader = await this.#read();
      if (this.#runs.get(id) !== run) return seen;
      const before = JSON.stringify(this.row(run));
      if (facts !== run.factsStamp) {
        Object.assign(run, { facts: reader.readFacts(path), factsStamp: facts });
        this.#columns = null;
      }
      if (progress !== run.progressStamp) {
        seen.push('metrics');
        run.changed = now;
      }
      Object.assign(run, { progress: reader.readProgress(path), progressStamp: progress });
      this.#hasChanged = true;
      if (JSON.stringify(this.row(run)) !== before) seen.push('rows');
    }
    const stored = recordsStamp(path);
    if (stored !== run.recordsStamp) seen.push('records');
    run.recordsStamp = stored;
    return seen;
  }

  /** Runs that go on or changed lately, and some of the others in turn. */
  #due(now: number): KnownRun[] {
    const all = [...this.#runs.values()];
    const isLively = (run: KnownRun) => run.progress.state === 'running' || now - run.changed < LIVELY_MS;
    const lively = all.filter(isLively);
    const others = all.filter((run) => !isLively(run));
    if (others.length <= OTHERS_EACH_ROUND) return all;
    const from = this.#turn % others.length;
    this.#turn = from + OTHERS_EACH_ROUND;
    return [...lively, ...others.slice(from, from + OTHERS_EACH_ROUND)];
  }

  /** Lets go what is not there any more, and notes what is new or, of studies, has changed. */
  #find(): void {
    const found = this.#finder.find();
    const there = new Set(found.map(({ id }) => id));
    for (const ids of [this.#runs, this.#studies, this.#unread, this.#sketches])
      for (const id of ids.keys())
        if (!there.has(id)) {
          ids.delete(id);
          this.#columns = null;
          this.#hasChanged = true;
        }
    for (const one of found) {
      const isKnown =
        one.kind === 'study'
          ? this.#studies.get(one.id)?.stamp === stampOf(planPath(one.path)) || this.#takeStudy(one)
          : this.#runs.has(one.id) || this.#takeRun(one);
      if (!isKnown) this.#unread.set(one.id, one);
    }
  }

  /** Takes a run up as it was kept, if its files have not changed. */
  #takeRun(found: Found): boolean {
    const known = this.#kept.runs.get(found.path);
    if (known === undefined || known.factsStamp !== factsStamp(found.path)) return false;
    if (known.progressStamp !== progressStamp(found.path)) return false;
    this.#setRun(found, known);
    return true;
  }

  #takeStudy(found: Found): boolean {
    const known = this.#kept.studies.get(found.path);
    if (known === undefined || known.stamp !== stampOf(planPath(found.path))) return false;
    this.#studies.set(found.id, { found, ...known, designs: new Map(known.designs) });
    return true;
  }

  #setRun(found: Found, read: KeptRun): void {
    this.#runs.set(found.id, { found, ...read, changed: 0, recordsStamp: recordsStamp(found.path) });
    this.#columns = null;
  }

  #addRun(found: Found, reader: typeof RunReader): void {
    const { path } = found;
    if (!this.#isInside(path)) return;
    const stamps = { factsStamp: factsStamp(path), progressStamp: progressStamp(path) };
    this.#setRun(found, { ...stamps, facts: reader.readFacts(path), progress: reader.readProgress(path) });
    this.#hasChanged = true;
  }

  /** Whether the files of a run lie in the roots: those that lead out of them are not read. */
  #isInside(path: string): boolean {
    const files = [configPath(path), metricsPath(path)].filter((file) => existsSync(file));
    return files.every((file) => insidePath(this.roots, file) !== null);
  }

  async #addStudy(found: Found): Promise<void> {
    // Layers that know studies are loaded where there is one: they take as long as all else of a start.
    const { readStudy } = await import('./study-reader.js');
    const read = readStudy(found);
    this.#studies.set(found.id, { found, ...read, designs: new Map(read.designs) });
    this.#hasChanged = true;
  }

  async #read(): Promise<typeof RunReader> {
    this.#reader ??= await import('./run-reader.js');
    return this.#reader;
  }

  #studyAt(path: string): KnownStudy | undefined {
    for (const study of this.#studies.values()) if (study.found.path === path) return study;
    return undefined;
  }

  #studyStamps(): string {
    return JSON.stringify([...this.#studies].map(([id, { stamp }]) => [id, stamp]));
  }

  #writeCache(): void {
    if (this.#cacheFile === null || this.#unread.size > 0) return;
    const runs = [...this.#runs.values()].map(
      ({ found, facts, factsStamp, progress, progressStamp }) =>
        [found.path, { facts, factsStamp, progress, progressStamp }] as const,
    );
    const studies = [...this.#studies.values()].map(
      ({ found, stamp, row, designs, problem }) =>
        [found.path, { stamp, row, designs: [...designs], problem }] as const,
    );
    writeKept(this.#cacheFile, { runs: new Map(runs), studies: new Map(studies) });
    this.#hasChanged = false;
  }
}
