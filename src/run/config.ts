/** `config.json`: what a run was asked for, with what its numbers and its speed depend on beside that. */
import { statSync } from 'node:fs';
import { arch, cpus, platform, release, totalmem } from 'node:os';
import { z } from 'zod';
import {
  ConfigError,
  describeDifferences,
  differences,
  fileError,
  namesIn,
  packageVersion,
  parseStored,
  readJson,
  StoreError,
  writeJsonAtomic,
  type Difference,
  configPath,
  isRunFolder,
  LOCK_FILE,
} from '../core/index.js';
import type { EngineInfo } from '../engine/index.js';
import { resolveModelConfig, type WeightTransfer } from '../model/index.js';

/** The parts of a resolved run configuration that decide what a run folder holds. A whole one may hold more. */
export interface StoredRun {
  readonly seed: number;
  readonly model?: unknown;
  readonly data?: unknown;
  readonly train: object;
  /** What is measured; left out where nothing is. */
  readonly eval?: unknown;
}

/** Settings of `train` that change no number of a run, so that a resumed run may have others. */
const FREE_SETTINGS: readonly string[] = ['logEvery', 'evalEvery', 'checkpointEvery', 'keepCheckpoints'];
const MAX_LISTED = 3;

const stageSchema = z.looseObject({ from: z.int(), seqLen: z.int().optional(), batchSize: z.int().optional() });
const configSchema = z.looseObject({
  format: z.literal(1).optional(),
  name: z.string().nullish(),
  run: z.looseObject({
    seed: z.int(),
    model: z.unknown(),
    data: z.unknown().optional(),
    train: z.looseObject({
      ...{ seqLen: z.int(), batchSize: z.int(), steps: z.int() },
      stages: z.array(stageSchema).optional(),
    }),
    eval: z.unknown().optional(),
  }),
  versions: z.record(z.string(), z.unknown()).default({}),
  engine: z.looseObject({ name: z.string() }).nullish(),
  hardware: z.record(z.string(), z.unknown()).default({}),
  place: z.string().optional(),
  reused: z.looseObject({ study: z.string(), run: z.string() }).optional(),
  startedAt: z.string().nullish(),
  initial: z.looseObject({ kept: z.int(), fresh: z.array(z.string()), left: z.array(z.string()) }).optional(),
  resumes: z.array(z.looseObject({ at: z.string(), place: z.string().optional() })).default([]),
});

/** What `config.json` holds: the run as asked for, versions, engine, hardware, start and resumes. */
export type StoredConfig = z.output<typeof configSchema>;

/**
 * Reads the `config.json` of a run folder.
 *
 * @throws StoreError if there is no such folder, it holds no run, or the file is damaged
 */
export function readRunConfig(dir: string): StoredConfig {
  const path = configPath(dir);
  const stat = statSync(dir, { throwIfNoEntry: false });
  if (stat?.isDirectory() !== true) throw new StoreError(`there is no run folder ${dir}`, { details: { dir } });
  if (!isRunFolder(dir)) {
    throw new StoreError(`${dir} is not a run folder: it has no config.json`, { details: { dir } });
  }
  return parseStored(configSchema, readJson(path), path);
}

/**
 * Checks that a run may be made in a folder: the folder is missing or empty.
 * @throws StoreError if the folder holds a run, or other things
 */
export function checkFree(dir: string): void {
  if (isRunFolder(dir)) {
    throw new StoreError(`${dir} already holds a run; resume it (--resume) or choose another folder`, {
      details: { dir },
    });
  }
  let stat;
  try {
    stat = statSync(dir, { throwIfNoEntry: false });
  } catch (cause) {
    throw fileError('make run folder', dir, cause);
  }
  if (stat !== undefined && !stat.isDirectory()) {
    throw new StoreError(`${dir} is a file; choose another folder for the run`, { details: { dir } });
  }
  if (stat !== undefined && !isBegun(dir)) {
    throw new StoreError(`${dir} exists, is not empty and holds no run; choose another folder`, { details: { dir } });
  }
}

/**
 * Whether a folder holds nothing yet but what a process that died at once has left: a lock, files that were being
 * written.
 */
export function isBegun(dir: string): boolean {
  return namesIn(dir).every((name) => name.startsWith(LOCK_FILE));
}

/** What `config.json` of a new run says. */
export interface NewRun {
  readonly name: string | null;
  readonly run: StoredRun;
  readonly engine: EngineInfo;
  /** Where the run was put, such as `cuda:0`. */
  readonly place?: string | undefined;
  /** Where it starts from another model's weights, what became of them. */
  readonly transfer?: WeightTransfer | undefined;
}

/** Writes `config.json` of a new run. */
export function writeRunConfig(dir: string, { name, run, engine, place, transfer }: NewRun): void {
  const startedAt = new Date().toISOString();
  const { kept, ...others } = transfer ?? {};
  const initial = kept === undefined ? {} : { initial: { kept: kept.length, ...others } };
  const about = { format: 1, name, run, ...initial, ...environment(engine, place) };
  writeJsonAtomic(configPath(dir), { ...about, startedAt, resumes: [] });
}

/**
 * Checks that a folder holds the run that a configuration describes.
 * @throws StoreError naming the first fields that differ
 */
export function checkSameRun(dir: string, run: StoredRun): void {
  const { run: stored } = readRunConfig(dir);
  checkSame(`${dir} holds another run`, decisive({ ...stored, model: completeModel(stored.model) }), decisive(run));
}

/**
 * A stored model configuration as this version writes it: what an earlier version did not have yet is at its default,
 * which is what that version did. One that this version cannot read stays as it is.
 */
export function completeModel(stored: unknown): unknown {
  try {
    return JSON.parse(JSON.stringify(resolveModelConfig(stored))) as unknown;
  } catch (error) {
    if (error instanceof ConfigError) return stored;
    throw error;
  }
}

/** Stored settings of training as this version writes them: the first versions knew one optimizer, unnamed. */
export function completeTrain<T extends object>(stored: T): { readonly optimizer: string } & T {
  return { optimizer: 'adamw', ...stored };
}

/** What is noted of a resume. */
export interface Resume {
  readonly engine: EngineInfo;
  /** The step that the run goes on from. */
  readonly step: number;
  readonly place?: string | undefined;
  /** The run whose beginning it took over, by name. */
  readonly from?: string | undefined;
  /** The settings of `train` that it goes on with, where they have changed, and how. */
  readonly train?: object;
  readonly changed?: readonly Difference[];
}

/** Adds to `config.json` when, from which step, on what and with which changed settings a run is resumed. */
export function noteResume(dir: string, { engine, step, place, from, train, changed }: Resume): void {
  const { resumes, run } = readRunConfig(dir);
  // What the file holds beside is kept as it is.
  const stored = readJson(configPath(dir)) as object;
  const what = changed?.map(({ path, a, b }) => ({ path, was: a, now: b }));
  const about = { step, ...(from === undefined ? {} : { from }), at: new Date().toISOString() };
  const resumed = { ...about, ...(what === undefined ? {} : { changed: what }), ...environment(engine, place) };
  const now = train === undefined ? {} : { run: { ...run, train } };
  writeJsonAtomic(configPath(dir), { ...stored, ...now, resumes: [...resumes, resumed] });
}

function decisive({ seed, model, data, train, eval: measured }: StoredRun): Record<string, unknown> {
  const settings = Object.entries(completeTrain(train))
    .filter(([key]) => !FREE_SETTINGS.includes(key))
    .map(([key, value]): [string, unknown] => (key === 'init' ? [key, originOf(value)] : [key, value]));
  return { model, data, train: Object.fromEntries(settings), seed, eval: measured };
}

/** Weights that a run started from are the same wherever they lie. */
function originOf(init: unknown): unknown {
  const { fingerprint } = z.looseObject({ fingerprint: z.string().optional() }).safeParse(init).data ?? {};
  return fingerprint === undefined ? init : { fingerprint };
}

/**
 * Checks that two JSON values are equal.
 * @throws StoreError that begins with `what` and names the first fields in which they differ
 */
export function checkSame(what: string, stored: unknown, wanted: unknown): void {
  const found = differences(stored, JSON.parse(JSON.stringify(wanted)));
  if (found.length === 0) return;
  const listed = describeDifferences(found, MAX_LISTED);
  throw new StoreError(`${what}: ${listed}; use the same configuration or another folder`, {
    details: { differences: found },
  });
}

/** Versions, engine and hardware: what numbers and speed depend on beside the configuration. */
function environment(engine: EngineInfo, place: string | undefined): Record<string, unknown> {
  const processors = cpus();
  return {
    versions: { longsight: packageVersion(), node: process.versions.node, [engine.name]: engine.library },
    engine,
    ...(place === undefined ? {} : { place }),
    hardware: {
      platform: `${platform()} ${release()} ${arch()}`,
      cpu: processors[0]?.model ?? 'unknown',
      cores: processors.length,
      memoryBytes: totalmem(),
    },
  };
}
