/**
 * Checkpoints: `checkpoints/step-000600/{model.safetensors, optimizer.safetensors, state.json}`, written beside under a
 * temporary name and renamed when whole.
 */
import { existsSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { readSafetensors, SafetensorsFile, streamSafetensors } from '../checkpoint/index.js';
import {
  AtomicFolder,
  everyOne,
  field,
  fingerprint,
  fingerprintFile,
  got,
  fileError,
  isTemporary,
  present,
  renamePath,
  temporaryPath,
  tryToRemove,
  formatShape,
  invariant,
  LongsightError,
  readJson,
  refuseHubName,
  sameShape,
  StoreError,
  toNumbers,
  writeJsonAtomic,
  DivergedError,
  type HostTensor,
  clip,
  parseStored,
} from '../core/index.js';
import { checkpointPath, checkpointsFolder } from './paths.js';
import { parameterSpecs, resolveModelConfig, type HostParameters, type ModelConfig } from '../model/index.js';

const MODEL_FILE = 'model.safetensors';
const OPTIMIZER_FILE = 'optimizer.safetensors';
const STATE_FILE = 'state.json';
const NAME = /^step-(\d{6,})$/;

/** The schema of `state.json`. */
export const stateSchema = z.strictObject({
  format: field(z.literal(1), 'version of the format'),
  step: field(z.int().min(0), 'optimizer steps done', 'steps'),
  tokens: field(z.int().min(0), 'training tokens seen', 'tokens'),
  time: field(z.number().min(0), 'run time so far', 'seconds'),
  scheduled: field(
    z.boolean(),
    'false for one written on an interruption, between two that were due; it goes when the next is written',
  ),
  seed: field(z.int(), 'seed of the run'),
  model: field(z.unknown(), 'the model with every default filled in; [its keys](config.md#run-files)'),
  data: field(z.unknown(), 'position and random state of the training data; each kind of source has its own'),
  loss: field(
    z.strictObject({
      sum: field(z.number(), 'sum of the losses of these steps', 'nats per token'),
      count: field(z.int().min(0), 'steps', 'steps'),
    }),
    'losses since the last line of `train/loss`',
  ),
  optimizer: field(
    z
      .strictObject({
        name: field(z.string(), 'name of the optimizer'),
        m: field(z.array(z.string()), 'parameters whose mean of gradients is kept'),
        v: field(z.array(z.string()), 'parameters whose mean of squared gradients is kept'),
      })
      .optional(),
    'what the optimizer keeps; left out for AdamW, which keeps both for every parameter',
  ),
});

/** What an optimizer keeps: by kind of moment, the parameters that it is kept for. */
export interface OptimizerLayout {
  /** The optimizer's name in run files. */
  readonly name: string;
  readonly m: readonly string[];
  readonly v: readonly string[];
}

/** What a checkpoint holds beside tensors; plain JSON. */
export interface CheckpointState {
  /** Optimizer steps done. */
  readonly step: number;
  /** Training tokens seen. */
  readonly tokens: number;
  /** Seconds of run time so far. */
  readonly time: number;
  /** False for one written on an interruption, between two that were due; it goes when the next is written. */
  readonly scheduled: boolean;
  readonly seed: number;
  readonly model: ModelConfig;
  /** Position and random state of the training data. */
  readonly data: unknown;
  /** Losses since the last line of training metrics. */
  readonly loss: { readonly sum: number; readonly count: number };
  /** What its optimizer keeps; left out for AdamW, which keeps both moments for every parameter. */
  readonly optimizer?: OptimizerLayout | undefined;
}

const KINDS = ['m', 'v'] as const;

/** The parameters that each kind of moment is stored for. */
function layoutOf(
  { optimizer }: Pick<CheckpointState, 'optimizer'>,
  names: readonly string[],
): Record<'m' | 'v', readonly string[]> {
  return optimizer ?? { m: names, v: names };
}

/** Optimizer state by parameter name, of those parameters that it is kept for; f32, of the parameters' shapes. */
export interface OptimizerState {
  readonly m: HostParameters;
  readonly v: HostParameters;
}

/** A complete checkpoint on disk, its headers checked; tensors are read when asked for. */
export interface Checkpoint {
  readonly path: string;
  readonly state: CheckpointState;
  parameters(): HostParameters;
  optimizer(): OptimizerState;
}

/** A checkpoint in a run folder. */
export interface CheckpointEntry {
  /** Optimizer steps that were done. */
  readonly step: number;
  /** The checkpoint's folder. */
  readonly path: string;
}

/** The checkpoint folders of a run by step, oldest first, complete or not. */
export function listCheckpoints(runDir: string): CheckpointEntry[] {
  return listIn(checkpointsFolder(runDir));
}

/** The folders of checkpoints in `folder` by step, oldest first, complete or not. */
export function listIn(folder: string): CheckpointEntry[] {
  if (!existsSync(folder)) return [];
  const entries = readdirSync(folder).flatMap((name) => {
    const match = NAME.exec(name);
    return match === null ? [] : [{ step: Number(match[1]), path: join(folder, name) }];
  });
  return entries.sort((a, b) => a.step - b.step);
}

/**
 * The newest complete checkpoint of a run, and what is wrong with any newer ones.
 *
 * @throws StoreError if there are checkpoints but all of them are damaged
 */
export function latestCheckpoint(runDir: string): { checkpoint: Checkpoint | null; damaged: string[] } {
  const entries = listCheckpoints(runDir).reverse();
  const damaged: string[] = [];
  for (const { path } of entries) {
    try {
      return { checkpoint: openCheckpoint(path), damaged };
    } catch (error) {
      if (!(error instanceof LongsightError)) throw error;
      damaged.push(`checkpoint ${basename(path)} is damaged and not used (${error.message}); remove it`);
    }
  }
  if (damaged.length === 0) return { checkpoint: null, damaged };
  throw new StoreError(
    `no checkpoint of ${runDir} is complete: ${damaged.join('; ')}; remove ${checkpointsFolder(runDir)} to train from the start`,
    { details: { runDir } },
  );
}

/**
 * The checkpoint that a user names: the folder of one, or a run's folder (its newest complete one, or that of `step`).
 *
 * @throws StoreError if there is none, or it is damaged
 */
export function findCheckpoint(path: string, step?: number): Checkpoint {
  if (step === undefined && (NAME.test(basename(path)) || existsSync(join(path, STATE_FILE))))
    return openCheckpoint(path);
  const entries = listCheckpoints(path);
  const wanted = entries.find((e) => e.step === step);
  if (wanted !== undefined) return openCheckpoint(wanted.path);
  if (step !== undefined) {
    const there = entries.length === 0 ? 'none' : entries.map((e) => e.step).join(', ');
    throw new StoreError(`${path} has no checkpoint of step ${step}; there are: ${there}`, { details: { path, step } });
  }
  const { checkpoint } = latestCheckpoint(path);
  if (checkpoint === null) {
    refuseHubName(path);
    throw new StoreError(`${path} has no checkpoint; name a run folder or a checkpoint folder`, { details: { path } });
  }
  return checkpoint;
}

/**
 * Opens a checkpoint's folder and checks its files against the model that it states.
 * @throws StoreError naming the file and the tensor that is missing, cut off, or does not fit the stored model
 */
export function openCheckpoint(path: string): Checkpoint {
  if (!existsSync(path)) throw new StoreError(`there is no checkpoint ${path}`, { details: { path } });
  const statePath = join(path, STATE_FILE);
  const { format: _format, ...state } = parseStored(stateSchema, readJson(statePath), statePath);
  const model = resolveModelConfig(state.model, statePath);
  const specs = parameterSpecs(model);
  const shapes = new Map(specs.map((s) => [s.name, s.shape]));
  const layout = layoutOf(state, [...shapes.keys()]);
  const moments = new Map(
    KINDS.flatMap((kind) =>
      layout[kind].map((name) => {
        const shape = shapes.get(name);
        if (shape !== undefined) return [`${kind}.${name}`, shape] as const;
        throw new StoreError(`${statePath}: optimizer names ${clip(name)}, which the model does not have`, {
          details: { path: statePath, name },
        });
      }),
    ),
  );
  const modelPath = join(path, MODEL_FILE);
  const optimizerPath = join(path, OPTIMIZER_FILE);
  checkTensors(modelPath, shapes);
  checkTensors(optimizerPath, moments);
  return {
    path,
    state: { ...state, model },
    parameters: () =>
      namedF32(
        readSafetensors(modelPath),
        specs.map((s) => s.name),
        '',
      ),
    optimizer: () => {
      const tensors = readSafetensors(optimizerPath);
      return { m: namedF32(tensors, layout.m, 'm.'), v: namedF32(tensors, layout.v, 'v.') };
    },
  };
}

/**
 * SHA-256, as 64 hexadecimal digits, of all that decides the steps after a checkpoint: parameters, moments, step, seed,
 * model and position of the data. Times play no part. Reads its files once.
 *
 * @throws StoreError if they cannot be read
 */
export function checkpointDigest({ path, state }: Pick<Checkpoint, 'path' | 'state'>): string {
  const { step, tokens, seed, model, data, optimizer = null } = state;
  const files = [MODEL_FILE, OPTIMIZER_FILE].map((name) => fingerprintFile(join(path, name)));
  return fingerprint({ step, tokens, seed, model, data, optimizer, files });
}

function checkTensors(path: string, shapes: ReadonlyMap<string, readonly number[]>): void {
  using file = new SafetensorsFile(path);
  for (const [name, shape] of shapes) {
    const entry = file.entries.get(name);
    if (entry === undefined) throw new StoreError(`${path} lacks tensor ${clip(name)}`, { details: { path, name } });
    if (!sameShape(entry.shape, shape) || entry.dtype !== 'f32') {
      const got = `${entry.dtype}${formatShape(entry.shape)}`;
      throw new StoreError(`${path}: tensor ${clip(name)} is ${got}, the model needs f32${formatShape(shape)}`, {
        details: { path, name },
      });
    }
  }
  for (const name of file.entries.keys()) {
    if (!shapes.has(name))
      throw new StoreError(`${path}: the model has no tensor ${clip(name)}`, { details: { path, name } });
  }
}

function namedF32(tensors: Record<string, HostTensor>, names: readonly string[], prefix: string): HostParameters {
  return new Map(names.map((name) => [name, tensors[prefix + name] as HostTensor<'f32'>]));
}

/** The tensors that a checkpoint stores, read from the engine one at a time. */
export interface CheckpointTensors {
  /** Copies a parameter to the host, f32. */
  parameter(name: string): Promise<HostTensor>;
  /** Copies the first (`m`) or second (`v`) moment of a parameter that has it to the host, f32. */
  moment(kind: 'm' | 'v', name: string): Promise<HostTensor>;
}

/**
 * Writes a checkpoint. Until it is whole it has a temporary name; a complete one of the same step is replaced last.
 *
 * @param how `behind`: write on another thread while this one goes on; `before`: what must be done before
 *   the checkpoint is there; if it rejects there will be none; `path`: its folder (default: among those of the run)
 * @throws DivergedError if a parameter is not finite: nothing is written then
 * @throws StoreError if the disk does not take it: nothing is left behind, and older checkpoints stay
 */
export async function writeCheckpoint(
  runDir: string,
  state: CheckpointState,
  tensors: CheckpointTensors,
  how: { readonly behind?: boolean; readonly before?: () => Promise<void>; readonly path?: string } = {},
): Promise<void> {
  const specs = parameterSpecs(state.model).map(({ name, shape }) => ({ name, shape, dtype: 'f32' as const }));
  const moments = momentNames(state).map(({ kind, name, shape }) => ({
    name: `${kind}.${name}`,
    shape,
    dtype: 'f32' as const,
  }));
  const metadata = { format: 'longsight', step: String(state.step) };
  using folder = new AtomicFolder(how.path ?? checkpointPath(runDir, state.step));
  await streamSafetensors(
    join(folder.inside, MODEL_FILE),
    specs,
    async (name) => checkFinite(await tensors.parameter(name), name, state.step),
    metadata,
    how,
  );
  const moment = (name: string) => tensors.moment(name.startsWith('m.') ? 'm' : 'v', name.slice(2));
  await streamSafetensors(join(folder.inside, OPTIMIZER_FILE), moments, moment, metadata, how);
  writeJsonAtomic(join(folder.inside, STATE_FILE), { format: 1, ...state });
  await how.before?.();
  folder.commit('replace');
}

/** The moments of a checkpoint, those of one kind after the other. */
function momentNames(state: Pick<CheckpointState, 'model' | 'optimizer'>) {
  const shapes = new Map(parameterSpecs(state.model).map((s) => [s.name, s.shape]));
  const layout = layoutOf(state, [...shapes.keys()]);
  return KINDS.flatMap((kind) => layout[kind].map((name) => ({ kind, name, shape: got(shapes, name) })));
}

/** Throws `DivergedError` naming a parameter that is not finite after a step. */
function checkFinite(tensor: HostTensor, name: string, step: number): HostTensor {
  if (!(tensor.dtype === 'f32' ? allFinite(tensor.data as Float32Array) : toNumbers(tensor).every(Number.isFinite))) {
    throw new DivergedError(
      `parameter ${name} is not finite after step ${step}; lower train.lr or raise train.warmupSteps`,
      { details: { step, name } },
    );
  }
  return tensor;
}

/** Several times as fast as asking `Number.isFinite` of every element. */
function allFinite(values: Float32Array): boolean {
  for (let i = 0; i < values.length; i++) if (present(values[i]) - present(values[i]) !== 0) return false;
  return true;
}

/**
 * What `writeCheckpoint` needs, copied to the host at once, so that the tensors may change while it is written.
 *
 * @throws DivergedError if a parameter is not finite
 */
export async function snapshotTensors(
  { model, step, optimizer }: Pick<CheckpointState, 'model' | 'step' | 'optimizer'>,
  tensors: CheckpointTensors,
): Promise<CheckpointTensors> {
  const held = new Map<string, HostTensor>();
  const get = (key: string): Promise<HostTensor> => {
    const tensor = held.get(key);
    invariant(tensor, `a snapshot holds no ${key}`);
    held.delete(key); // asked for once: its memory goes as soon as it is written
    return Promise.resolve(tensor);
  };
  const specs = parameterSpecs(model);
  // All are asked for at once: an engine beside the host copies one while the host looks at another.
  await everyOne<unknown>([
    ...specs.map(async ({ name }) => held.set(name, checkFinite(await tensors.parameter(name), name, step))),
    ...momentNames({ model, optimizer }).map(async ({ kind, name }) =>
      held.set(`${kind}.${name}`, await tensors.moment(kind, name)),
    ),
  ]);
  return { parameter: get, moment: (kind, name) => get(`${kind}.${name}`) };
}

/** Removes folders that a process which died left half-written, or half-removed. */
export function removeTemporaryCheckpoints(runDir: string): void {
  const folder = checkpointsFolder(runDir);
  if (!existsSync(folder)) return;
  for (const name of readdirSync(folder)) if (isTemporary(name)) tryToRemove(join(folder, name));
}

/**
 * Removes what is no longer to be kept once that of `step` is written: earlier checkpoints but the newest `keep - 1`,
 * and earlier ones written on interruptions. Later ones, left damaged, are not touched.
 */
export function pruneCheckpoints(runDir: string, step: number, keep: number | 'all'): void {
  const older = listCheckpoints(runDir).filter((entry) => entry.step < step);
  const isScheduled = ({ path }: CheckpointEntry): boolean => {
    try {
      return stateSchema.parse(readJson(join(path, STATE_FILE))).scheduled;
    } catch {
      return true; // damaged: for the user to look at, unless too old to keep
    }
  };
  const scheduled = older.filter(isScheduled);
  const kept = new Set(keep === 'all' ? scheduled : scheduled.slice(Math.max(0, scheduled.length - keep + 1)));
  for (const entry of older) {
    if (kept.has(entry)) continue;
    // Renamed first, so that a checkpoint is never seen half-removed.
    const doomed = temporaryPath(entry.path, 'old');
    try {
      renamePath(entry.path, doomed);
    } catch (cause) {
      throw fileError('remove', entry.path, cause);
    }
    tryToRemove(doomed);
  }
}
