/**
 * A first look at a run folder: what stands in its files, without the layers that know models, whose loading takes
 * longer than all else of a start. Curves can be drawn from then on; what configurations mean is read after it.
 */
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { configPath, isPlain, statusPath } from '../core/index.js';
import { parsed } from './line-scanner.js';
import { lastValues, progressOf, type RunProgress, type SaidStatus } from './run-progress.js';

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

/** What is known of a run before its configuration is read. */
export const NO_FACTS: Omit<RunFacts, 'name' | 'problem'> = {
  ...{ layers: '', seed: null, steps: 0, budget: 0, engine: '', device: '', startedAt: null },
  ...{ parameters: null, flopsPerToken: null, config: {} },
};

/** A run as it is seen before its configuration is read. */
export interface RunSketch {
  readonly facts: RunFacts;
  readonly progress: RunProgress;
  /** Metrics that it has; there may be more. */
  readonly metrics: readonly string[];
}

const STATES: readonly string[] = ['running', 'done', 'failed', 'interrupted'] satisfies SaidStatus['state'][];

/** Looks at a run folder; null for one whose files are not as runs write them: the reader says what is wrong. */
export function sketchRun(dir: string): RunSketch | null {
  const stored = objectIn(configPath(dir));
  const status = objectIn(statusPath(dir));
  const run = stored?.['run'];
  if (!isPlain(run) || status === null || (status !== undefined && !isStatus(status))) return null;
  const [name, seed, train] = [stored?.['name'] ?? basename(dir), run['seed'], run['train']];
  if (typeof name !== 'string' || typeof seed !== 'number' || !isPlain(train)) return null;
  const steps = train['steps'];
  if (typeof steps !== 'number') return null;
  const last = lastValues(dir);
  return {
    facts: { ...NO_FACTS, name, seed, steps, problem: null },
    progress: progressOf(dir, status ?? null, last),
    metrics: last.names,
  };
}

/** The object in a file of JSON; undefined where there is no such file, null where it holds no object. */
function objectIn(path: string): Readonly<Record<string, unknown>> | null | undefined {
  let text;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
  return parsed(text);
}

function isStatus(value: Readonly<Record<string, unknown>>): value is Readonly<Record<string, unknown>> & SaidStatus {
  const { state, step, tokens, message } = value;
  const isSaid = typeof state === 'string' && STATES.includes(state) && typeof step === 'number';
  return isSaid && typeof tokens === 'number' && (message == null || typeof message === 'string');
}
