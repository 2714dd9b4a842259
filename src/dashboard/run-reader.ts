/** One run folder as a row of the table: what of it changes, and what does not, is read apart. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { basename, join } from 'node:path';
import { isPlain, lockHolder, LongsightError, messageOf, stateOf, type LockHolder } from '../core/index.js';
import { modelCost, printPeriod, resolveModelConfig } from '../model/index.js';
import { configPath, LOCK_FILE, metricsPath, readRunConfig, readStatus } from '../run/index.js';
import { trainingTokens, windowShares } from '../train/index.js';
import type { DashboardState, RunRow } from './api.js';
import { parsed } from './line-scanner.js';

/** Bytes at the end of a metrics file in which its last values are looked for. */
const TAIL_BYTES = 32 * 1024;
/** The metrics whose last values stand in the table. */
const TABLE_METRICS: readonly string[] = [
  ...['train/loss', 'eval/loss', 'eval/recall/all', 'eval/ar/far/accuracy', 'eval/needle/accuracy'],
];
/** What is looked for at the end of a metrics file. */
const TAIL_METRICS: readonly string[] = [...TABLE_METRICS, 'train/tok_per_sec'];
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
    const { keys, ...known } = modelFacts(run.model, train, configPath(dir));
    for (const [key, value] of keys) if (config.size < MOST_KEYS) config.set(key, value);
    return { ...facts, ...known, config: Object.fromEntries(config), problem: null };
  } catch (error) {
    // Curves of a model that this version cannot read are still worth seeing.
    if (isPlain(run.model)) flatten('model', { ...run.model, layers: undefined }, config);
    const problem = `its model cannot be read: ${messageOf(error)}`;
    const unknown = { layers: '', parameters: null, flopsPerToken: null };
    return { ...facts, ...unknown, config: Object.fromEntries(config), problem };
  }
}

interface ModelFacts extends Pick<RunFacts, 'layers' | 'parameters' | 'flopsPerToken'> {
  readonly keys: ReadonlyMap<string, Scalar>;
}

/** Models that were read lately: the seeds of a design have the same one. */
const models = new Map<string, ModelFacts>();
const MOST_MODELS = 500;

function modelFacts(stored: unknown, train: Parameters<typeof windowShares>[0], where: string): ModelFacts {
  const { steps, seqLen, windows } = train;
  const key = `${seqLen} ${windows === undefined ? '' : JSON.stringify([steps, windows])} ${JSON.stringify(stored)}`;
  const known = models.get(key);
  if (known !== undefined) return known;
  const model = resolveModelConfig(stored, where);
  const cost = modelCost(model, seqLen, { windowShares: windowShares(train) });
  const layers = printPeriod(model.layers);
  const keys = new Map<string, Scalar>();
  // As this version completes it: runs of earlier ones lack what is at its default.
  flatten('model', { ...model, layers }, keys);
  const facts = { layers, parameters: cost.parameters.total, flopsPerToken: cost.trainFlops, keys };
  if (models.size >= MOST_MODELS) models.clear();
  models.set(key, facts);
  return facts;
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

/** The last values that the table shows, near the end of a file: only lines that hold one not yet found are parsed. */
function lastValues(path: string): {
  readonly step: number;
  readonly tokens: number;
  readonly time: number;
  readonly values: ReadonlyMap<string, number>;
} {
  const values = new Map<string, number>();
  const place = { step: 0, tokens: 0, time: 0 };
  const text = endOf(path, TAIL_BYTES);
  const missing = new Set(TAIL_METRICS);
  let isLast = true;
  // What is behind the last line end is not written to its end.
  for (let end = text.lastIndexOf('\n'); end > 0 && missing.size > 0;) {
    const start = text.lastIndexOf('\n', end - 1) + 1;
    const raw = text.slice(start, end);
    end = start - 1;
    if (!isLast && ![...missing].some((name) => raw.includes(`"${name}"`))) continue;
    const line = parsed(raw);
    if (line === null) continue;
    if (isLast) {
      for (const name of ['step', 'tokens', 'time'] as const)
        if (typeof line[name] === 'number') place[name] = line[name];
      isLast = false;
    }
    for (const name of missing) {
      const value = Object.hasOwn(line, name) ? line[name] : undefined;
      if (typeof value !== 'number') continue;
      values.set(name, value);
      missing.delete(name);
    }
  }
  return { ...place, values };
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
