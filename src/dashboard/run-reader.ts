/** One run folder as a row of the table: what of it changes, and what does not, is read apart. */
import { basename } from 'node:path';
import { isPlain, LongsightError, messageOf } from '../core/index.js';
import { modelCost, printPeriod, resolveModelConfig } from '../model/index.js';
import { configPath, readRunConfig, readStatus } from '../run/index.js';
import { trainingTokens, windowShares } from '../train/index.js';
import { progressOf, unreadableProgress, type RunProgress } from './run-progress.js';
import { NO_FACTS, type RunFacts, type Scalar } from './run-sketch.js';

/** The most keys of one configuration that can be filtered by. */
const MOST_KEYS = 400;

/** Reads what the configuration of a run says. A damaged one has a `problem`. */
export function readFacts(dir: string): RunFacts {
  try {
    return factsOf(dir);
  } catch (error) {
    if (!(error instanceof LongsightError)) throw error;
    return { ...NO_FACTS, name: basename(dir), problem: error.message };
  }
}

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
  try {
    return progressOf(dir, readStatus(dir));
  } catch (error) {
    if (!(error instanceof LongsightError)) throw error;
    return unreadableProgress(dir, error.message);
  }
}
