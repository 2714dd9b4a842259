/**
 * All runs and studies below the roots, kept up to date by looking at sizes and times of change: at runs that go on
 * twice a second, at the others a part each time. What a configuration says is kept in a cache between starts.
 */
import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { fingerprint, LongsightError, makeFolder, readJson, writeFileAtomic } from '../core/index.js';
import { configPath, metricsPath } from '../run/index.js';
import { readPlan } from '../study/index.js';
import type { ConfigColumn, DashboardData, RunRow, StudyRow } from './api.js';
import { BY_NAME, FolderFinder, insidePath, type Found, type Root } from './folders.js';
import {
  factsStamp,
  progressStamp,
  readFacts,
  readProgress,
  recordsStamp,
  stampOf,
  type RunFacts,
  type RunProgress,
  type Scalar,
} from './run-reader.js';

/** Milliseconds after a change of its files in which every round looks at a run. */
const OTHERS_EACH_ROUND = 100;
/** A run is looked at in every round for so many milliseconds after a change of its files. */
const LIVELY_MS = 120_000;
/** Milliseconds between two looks for new folders. */
const FIND_MS = 1000;

const scalar = z.union([z.string(), z.number(), z.boolean(), z.null()]);
const factsSchema = z.object({
  name: z.string(),
  layers: z.string(),
  seed: z.number().nullable(),
  steps: z.number(),
  budget: z.number(),
  engine: z.string(),
  device: z.string(),
  startedAt: z.number().nullable(),
  parameters: z.number().nullable(),
  flopsPerToken: z.number().nullable(),
  config: z.record(z.string(), scalar),
  problem: z.string().nullable(),
});
const cacheSchema = z.object({
  format: z.literal(1),
  runs: z.record(z.string(), z.object({ stamp: z.string(), facts: factsSchema })),
});

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

interface KnownStudy {
  readonly found: Found;
  stamp: string;
  row: StudyRow;
  /** The design of each run, by the run's name. */
  designs: ReadonlyMap<string, string>;
  problem: string | null;
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

/** Runs and studies by id. */
export class Catalog {
  readonly roots: readonly Root[];
  readonly #finder: FolderFinder;
  readonly #cacheFile: string | null;
  readonly #runs = new Map<string, KnownRun>();
  readonly #studies = new Map<string, KnownStudy>();
  #turn = 0;
  #lastFind = 0;

  /**
   * Takes up roots; nothing is read before `open`.
   *
   * @param cache the folder that keeps what was read between starts; null to keep nothing
   */
  constructor(roots: readonly Root[], cache: string | null) {
    this.roots = roots;
    this.#finder = new FolderFinder(roots);
    const key = fingerprint(roots.map(({ path }) => path)).slice(0, 16);
    this.#cacheFile = cache === null ? null : join(cache, `${key}.json`);
  }

  /** Reads everything for the first time. */
  open(): void {
    const kept = this.#readCache();
    this.#look(kept);
    this.#writeCache();
  }

  /** A run by id; undefined where there is none any more. */
  run(id: string): KnownRun | undefined {
    return this.#runs.get(id);
  }

  /** The folder of a study by id; undefined where there is none any more. */
  studyPath(id: string): string | undefined {
    return this.#studies.get(id)?.found.path;
  }

  /** The ids of all runs. */
  get ids(): readonly string[] {
    return [...this.#runs.keys()];
  }

  /** Looks at what may have changed. */
  round(now = Date.now()): Round {
    const find = now - this.#lastFind >= FIND_MS;
    const [before, studiesBefore] = [new Set(this.#runs.keys()), this.#studyStamps()];
    if (find) {
      this.#lastFind = now;
      this.#look(new Map());
    }
    const added = [...this.#runs.keys()].filter((id) => !before.has(id));
    const removed = [...before].filter((id) => !this.#runs.has(id));
    const [rows, metrics, records]: string[][] = [[], [], []];
    for (const run of this.#due(now)) {
      const { id } = run.found;
      const facts = factsStamp(run.found.path);
      if (facts !== run.factsStamp) Object.assign(run, { facts: readFacts(run.found.path), factsStamp: facts });
      const progress = progressStamp(run.found.path);
      // Whether a process still lives is seen in no file.
      if (progress !== run.progressStamp || run.progress.state === 'running') {
        const next = readProgress(run.found.path);
        if (JSON.stringify(next) !== JSON.stringify(run.progress)) rows?.push(id);
        if (progress !== run.progressStamp) metrics?.push(id);
        if (progress !== run.progressStamp) run.changed = now;
        Object.assign(run, { progress: next, progressStamp: progress });
      }
      const stored = recordsStamp(run.found.path);
      if (stored !== run.recordsStamp) records?.push(id);
      run.recordsStamp = stored;
    }
    const studies = find && this.#studyStamps() !== studiesBefore;
    return { rows: rows ?? [], metrics: metrics ?? [], records: records ?? [], added, removed, studies };
  }

  /** Ends with what was read kept for the next start. */
  close(): void {
    this.#writeCache();
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
      design: study?.designs.get(basename(found.path)) ?? (facts.layers === '' ? facts.name : facts.layers),
      ...progress,
      ...{ eta, state, message: problem ?? progress.message },
    };
  }

  /** The rows of runs, in the order of their folders. */
  rows(): RunRow[] {
    return this.#ordered().map((run) => this.row(run));
  }

  /** Everything that a page knows at first, but for the metrics. */
  state(): Omit<DashboardData, 'metrics' | 'indexed' | 'canControl'> {
    const runs = this.rows();
    const studies = [...this.#studies.values()].map(({ row }) => row);
    const designs = [...new Set([...studies.flatMap((study) => study.designs), ...runs.map(({ design }) => design)])];
    const problems = [...this.#studies.values()].flatMap(({ problem }) => problem ?? []);
    return { roots: this.roots.map(({ given }) => given), runs, studies, designs, problems, config: this.#config() };
  }

  /** The values of every key, each different one once. */
  #config(): Record<string, ConfigColumn> {
    const runs = this.#ordered();
    const columns = new Map<string, { values: Map<Scalar, number>; of: number[] }>();
    runs.forEach(({ facts }, i) => {
      for (const [key, value] of Object.entries(facts.config)) {
        let column = columns.get(key);
        if (column === undefined) {
          column = { values: new Map(), of: Array.from(runs, () => -1) };
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
    return [...this.#runs.values()].sort((a, b) => BY_NAME.compare(a.found.shown, b.found.shown));
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

  #look(kept: ReadonlyMap<string, { readonly stamp: string; readonly facts: RunFacts }>): void {
    const found = this.#finder.find();
    const there = new Set(found.map(({ id }) => id));
    for (const id of this.#runs.keys()) if (!there.has(id)) this.#runs.delete(id);
    for (const id of this.#studies.keys()) if (!there.has(id)) this.#studies.delete(id);
    for (const one of found) {
      if (one.kind === 'study') this.#lookAtStudy(one);
      else if (!this.#runs.has(one.id)) this.#addRun(one, kept);
    }
  }

  #addRun(found: Found, kept: ReadonlyMap<string, { readonly stamp: string; readonly facts: RunFacts }>): void {
    const { path, id } = found;
    // Files that lead out of the roots are not read.
    const files = [configPath(path), metricsPath(path)].filter((file) => existsSync(file));
    if (files.some((file) => insidePath(this.roots, file) === null)) return;
    const [stamp, known] = [factsStamp(path), kept.get(path)];
    const facts = known?.stamp === stamp ? known.facts : readFacts(path);
    const state = { progress: readProgress(path), progressStamp: progressStamp(path), changed: 0 };
    this.#runs.set(id, { found, facts, factsStamp: stamp, ...state, recordsStamp: recordsStamp(path) });
  }

  #lookAtStudy(found: Found): void {
    const { path, id, shown } = found;
    const stamp = stampOf(join(path, 'study.json'));
    if (this.#studies.get(id)?.stamp === stamp) return;
    const empty = { title: basename(path), question: null, designs: [], planned: 0 };
    try {
      const { name, title, question, architectures, runs } = readPlan(path);
      const designs = architectures.map(({ label }) => label);
      const row = { id, name, title, question, folder: shown, designs, planned: runs.length };
      const byRun = new Map(runs.map((run) => [run.name, run.architecture]));
      this.#studies.set(id, { found, stamp, row, designs: byRun, problem: null });
    } catch (error) {
      if (!(error instanceof LongsightError)) throw error;
      const row = { id, name: basename(path), folder: shown, ...empty };
      this.#studies.set(id, { found, stamp, row, designs: new Map(), problem: error.message });
    }
  }

  #studyAt(path: string): KnownStudy | undefined {
    return [...this.#studies.values()].find(({ found }) => found.path === path);
  }

  #studyStamps(): string {
    return JSON.stringify([...this.#studies].map(([id, { stamp }]) => [id, stamp]));
  }

  #readCache(): ReadonlyMap<string, { readonly stamp: string; readonly facts: RunFacts }> {
    if (this.#cacheFile === null || !existsSync(this.#cacheFile)) return new Map();
    try {
      return new Map(Object.entries(cacheSchema.parse(readJson(this.#cacheFile)).runs));
    } catch {
      return new Map(); // of another version, or cut off: everything is read again
    }
  }

  #writeCache(): void {
    if (this.#cacheFile === null) return;
    const runs = new Map([...this.#runs.values()].map(({ found, ...run }) => [found.path, run]));
    const kept = [...runs].map(([path, { factsStamp: stamp, facts }]) => [path, { stamp, facts }] as const);
    try {
      makeFolder(join(this.#cacheFile, '..'));
      writeFileAtomic(this.#cacheFile, JSON.stringify({ format: 1, runs: Object.fromEntries(kept) }));
    } catch {
      // Without a cache the next start reads everything again.
    }
  }
}
