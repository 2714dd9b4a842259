/** One run folder as a row of the table: what of it changes, and what does not, is read apart. */
import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { lockHolder, LongsightError, messageOf, stateOf, type LockHolder } from '../core/index.js';
import { isPlain } from '../lab/index.js';
import { modelCost, printPeriod, resolveModelConfig } from '../model/index.js';
import {
  configPath,
  evalsFolder,
  findingsFolder,
  LOCK_FILE,
  metricsPath,
  readRunConfig,
  readStatus,
  statusPath,
} from '../run/index.js';
import { trainingTokens } from '../train/index.js';
import type { DashboardState, RunRow } from './api.js';
import { parsed } from './line-scanner.js';

/** Bytes at the end of a metrics file in which its last values are looked for. */
const TAIL_BYTES = 32 * 1024;
/** The metrics whose last values stand in the table. */
const TABLE_METRICS: readonly string[] = [
  ...['train/loss', 'eval/loss', 'eval/recall/all', 'eval/ar/far/accuracy', 'eval/needle/accuracy'],
];
/** The most keys of one configuration that can be filtered by. */
const MOST_KEYS = 400;

/** A value that runs can be filtered by. */
export type Scalar = string | number | boolean | null;

/** What a run's configuration says of it; changes only when a run is resumed. */
export interface RunFacts {
  readonly name: string;
  readonly layers: string;
  readonly seed: number | null;
  readonly steps: number;
  /** Training tokens planned. */
  readonly budget: number;
  readonly engine: string;
  readonly device: string;
  /** Milliseconds since 1970; null where it is not kept. */
  readonly startedAt: number | null;
  /** How many numbers the model has; null where it cannot be read. */
  readonly parameters: number | null;
  /** Training FLOPs a token; null where the model cannot be read. */
  readonly flopsPerToken: number | null;
  /** Keys and values of the configuration, those of lists by their place. */
  readonly config: Readonly<Record<string, Scalar>>;
  /** Why the folder cannot be read; null where it can. */
  readonly problem: string | null;
}

/** What changes while a run goes on. */
export type RunProgress = Pick<RunRow, 'state' | 'message' | 'step' | 'tokens' | 'seconds' | 'tokPerSec' | 'last'>;

/** The size and time of change of files, as one text. */
export function stampOf(...paths: readonly string[]): string {
  const stamps = paths.map((path) => {
    const stat = statSync(path, { throwIfNoEntry: false });
    return stat === undefined ? '-' : `${stat.size} ${stat.mtimeMs} ${stat.ino}`;
  });
  return stamps.join('|');
}

/** What decides whether the facts of a run are to be read again. */
export const factsStamp = (dir: string): string => stampOf(configPath(dir));

/** What decides whether the progress of a run is to be read again. */
export const progressStamp = (dir: string): string => stampOf(statusPath(dir), metricsPath(dir), join(dir, LOCK_FILE));

/** What decides whether a run has new evaluations or findings. */
export const recordsStamp = (dir: string): string => stampOf(evalsFolder(dir), findingsFolder(dir));

/** Reads what the configuration of a run says. A damaged one has a `problem`. */
export function readFacts(dir: string): RunFacts {
  try {
    return factsOf(dir);
  } catch (error) {
    if (!(error instanceof LongsightError)) throw error;
    return { ...NO_FACTS, name: basename(dir), problem: error.message };
  }
}

const NO_FACTS: Omit<RunFacts, 'name' | 'problem'> = {
  ...{ layers: '', seed: null, steps: 0, budget: 0, engine: '', device: '', startedAt: null },
  ...{ parameters: null, flopsPerToken: null, config: {} },
};

function factsOf(dir: string): RunFacts {
  const { name, run, engine, place, hardware, startedAt, resumes, versions } = readRunConfig(dir);
  const train = run.train;
  const started = Date.parse(startedAt ?? '');
  const budget = trainingTokens({ ...train, stages: train.stages ?? [] });
  const facts = {
    name: name ?? basename(dir),
    seed: run.seed,
    ...{ steps: train.steps, budget },
    engine: engine?.name ?? '',
    device: resumes.at(-1)?.place ?? place ?? (typeof hardware['cpu'] === 'string' ? hardware['cpu'] : ''),
    startedAt: Number.isFinite(started) ? started : null,
  };
  const config = new Map<string, Scalar>();
  const { model: _model, ...others } = run;
  flatten('', others, config);
  for (const [key, version] of Object.entries(versions)) flatten(`versions.${key}`, version, config);
  try {
    const model = resolveModelConfig(run.model, configPath(dir));
    const cost = modelCost(model, train.seqLen);
    const layers = printPeriod(model.layers);
    // As this version completes it: runs of earlier ones lack what is at its default.
    flatten('model', { ...model, layers }, config);
    const known = { layers, parameters: cost.parameters.total, flopsPerToken: cost.trainFlops };
    return { ...facts, ...known, config: Object.fromEntries(config), problem: null };
  } catch (error) {
    // Curves of a model that this version cannot read are still worth seeing.
    if (isPlain(run.model)) flatten('model', { ...run.model, layers: undefined }, config);
    const problem = `its model cannot be read: ${messageOf(error)}`;
    const unknown = { layers: '', parameters: null, flopsPerToken: null };
    return { ...facts, ...unknown, config: Object.fromEntries(config), problem };
  }
}

/** Every value below `value` by its dotted path. */
function flatten(path: string, value: unknown, into: Map<string, Scalar>): void {
  if (into.size >= MOST_KEYS || value === undefined) return;
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' || value === null) {
    into.set(path, value);
    return;
  }
  const entries = Array.isArray(value) ? value.map((v: unknown, i) => [`[${i}]`, v] as const) : Object.entries(value);
  for (const [key, inner] of entries) {
    const joint = path === '' || key.startsWith('[') ? '' : '.';
    flatten(`${path}${joint}${key}`, inner, into);
  }
}

/** Reads how far a run is. */
export function readProgress(dir: string): RunProgress {
  const tail = lastValues(metricsPath(dir));
  const own = { seconds: tail.time, tokPerSec: tail.values.get('train/tok_per_sec') ?? null };
  const last = Object.fromEntries(
    TABLE_METRICS.flatMap((name) => {
      const value = tail.values.get(name);
      return value === undefined ? [] : [[name, value] as const];
    }),
  );
  try {
    const status = readStatus(dir);
    const { state = 'running', message = null } = status ?? {};
    const [step, tokens] = [Math.max(status?.step ?? 0, tail.step), Math.max(status?.tokens ?? 0, tail.tokens)];
    return { state: seenState(dir, state), message: message ?? null, step, tokens, ...own, last };
  } catch (error) {
    if (!(error instanceof LongsightError)) throw error;
    return { state: 'unreadable', message: error.message, step: tail.step, tokens: tail.tokens, ...own, last };
  }
}

/** A run whose process is known to be gone does not run. */
function seenState(dir: string, state: DashboardState): DashboardState {
  if (state !== 'running') return state;
  const holder = holderOf(dir);
  return holder === null || stateOf(holder) === 'gone' ? 'killed' : 'running';
}

/** The process that works in a run folder, as far as its lock says; null for none. */
export function holderOf(dir: string): LockHolder | null {
  try {
    return lockHolder(join(dir, LOCK_FILE));
  } catch {
    return null;
  }
}

/** The last value of each metric near the end of a file. */
function lastValues(path: string): {
  readonly step: number;
  readonly tokens: number;
  readonly time: number;
  readonly values: ReadonlyMap<string, number>;
} {
  const values = new Map<string, number>();
  let [step, tokens, time] = [0, 0, 0];
  for (const line of endOf(path, TAIL_BYTES).split('\n').slice(0, -1)) {
    for (const [name, value] of Object.entries(parsed(line) ?? {})) {
      if (typeof value !== 'number') continue;
      if (name === 'step') step = value;
      else if (name === 'tokens') tokens = value;
      else if (name === 'time') time = value;
      else values.set(name, value);
    }
  }
  return { step, tokens, time, values };
}

/** The last bytes of a file as text, from the beginning of a line; empty where there is no such file. */
export function endOf(path: string, bytes: number): string {
  try {
    const fd = openSync(path, 'r');
    try {
      const stat = fstatSync(fd);
      if (!stat.isFile()) return '';
      const from = Math.max(0, stat.size - bytes);
      const buffer = Buffer.alloc(Math.min(bytes, stat.size));
      const text = buffer.toString('utf8', 0, readSync(fd, buffer, 0, buffer.length, from));
      return from === 0 ? text : text.slice(text.indexOf('\n') + 1);
    } finally {
      closeSync(fd);
    }
  } catch {
    return '';
  }
}
