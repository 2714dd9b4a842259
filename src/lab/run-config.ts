/** Run files: everything that one run is made from, checked and completed. */
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { ConfigError, isPlain, parseConfig, sizeUpTo } from '../core/index.js';
import { absolutePaths, DataConfigSchema, dataVocabSize } from '../data/index.js';
import { ENGINE_NAMES } from '../engine/index.js';
import { evalSchema } from './measures/config.js';
import { modelSchema, resolveModelConfig, type ModelConfig } from '../model/index.js';
import { checkWindows, openInitialModel, planInitial, TrainConfigSchema, type RunConfig } from '../train/index.js';
import { withValueAt } from './overrides.js';
import { locate, readYamlFile, type YamlFile } from './yaml-file.js';

/** Schema of a run file. The model part is checked by `resolveModelConfig`, which also knows presets. */
export const runSchema = z.strictObject({
  name: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, 'letters, digits, ".", "_" and "-" only')
    .optional()
    .describe('names the run and its folder (default: the name of the file)'),
  seed: z.int().min(0).default(1).describe('seed of initial weights and of the order of the data'),
  model: z.record(z.string(), z.unknown()).describe('the model, or `preset: NAME` with fields to replace'),
  data: DataConfigSchema.describe('one source of sequences, or a list of sources mixed by weight'),
  train: TrainConfigSchema.describe('optimizer, schedule, and how often things are logged and saved'),
  eval: evalSchema.prefault({}).describe('what is measured, beside the loss'),
  engine: z.enum(ENGINE_NAMES).default('auto').describe('what computes'),
  threads: sizeUpTo('devices').optional().describe('threads of the engine (default: as many as the process may use)'),
  mesh: z
    .strictObject({
      data: sizeUpTo('devices').optional().describe('copies of the model, each with its part of the batch'),
      fsdp: sizeUpTo('devices').optional().describe('parts of parameters and optimizer state, and of the batch'),
      tensor: sizeUpTo('devices').optional().describe('parts of every matrix product'),
    })
    .optional()
    .describe('devices of the xla engine along each axis (default: one device)'),
  deterministic: z
    .boolean()
    .optional()
    .describe('the same bits on every run on GPUs too, at some cost (default: false; CPUs always give them)'),
});

/** The same with the model's keys written out: what help and documentation are made from. */
export const documentedRunSchema = z.strictObject({
  ...runSchema.shape,
  model: z
    .strictObject({
      preset: z.string().optional().describe('a named model underneath; the other keys replace its fields'),
      ...modelSchema.shape,
      vocabSize: sizeUpTo('vocabulary')
        .optional()
        .describe('number of tokens (default: what the data need; 256 for bytes)'),
    })
    .describe('the model'),
});

/** A complete run configuration. Itself a valid input that resolves to an equal value. */
export type FullRunConfig = RunConfig & Omit<z.output<typeof runSchema>, keyof RunConfig>;

/** How messages about a run's configuration name it, and where its relative paths start. */
export interface ResolveOptions {
  /** What the input is called in messages; the file, if there is one, else "run". */
  readonly where?: string;
  /** The folder in which relative paths start (default: the current folder). */
  readonly baseDir?: string;
  /** The file that the input came from unchanged, so that messages can name lines. */
  readonly file?: YamlFile;
}

/**
 * Checks and completes a run configuration; relative paths become absolute. Opens no file but, where `train.init` names
 * a model to start from, that model's, whose weights it fingerprints.
 *
 * @throws ConfigError in one sentence: where, what is wrong, what to do; StoreError, DataError for a model to start
 *   from that cannot be read
 */
export function resolveRunConfig(
  input: unknown,
  { where = 'run', baseDir = process.cwd(), file }: ResolveOptions = {},
): FullRunConfig {
  const at = <T>(keys: readonly string[], parse: () => T) => locate(file ?? where, keys, parse);
  const schema = startsFromModel(input) ? initializedRunSchema : runSchema;
  const run = at([], () => parseConfig(schema, absolutePaths(input, [], baseDir), ''));
  const { init } = run.train;
  // A stored run has the whole model and the fingerprint of the weights: the source may be gone by now.
  const source = init === undefined || init.fingerprint !== undefined ? null : at(INIT, () => openInitialModel(init));
  const model = at(['model'], () => resolveModel(run.model, source?.config ?? null, dataVocabSize(run.data)));
  at(['train', 'windows'], () => checkWindows({ ...run, model }));
  if (source === null) return { ...run, model };
  return at(INIT, () => {
    planInitial(source, { model, data: run.data });
    const resolved = { folder: source.folder, fingerprint: source.fingerprint() };
    return { ...run, model, train: { ...run.train, init: resolved } };
  });
}

const INIT = ['train', 'init'];
/** A run that starts from another model may leave the model out. */
const initializedRunSchema = z.strictObject({ ...runSchema.shape, model: runSchema.shape.model.default({}) });

/** Whether an input, not checked yet, names a model to start from. */
function startsFromModel(input: unknown): boolean {
  return isPlain(input) && isPlain(input['train']) && input['train']['init'] !== undefined;
}

/** The model of a run; what `given` leaves out is that of the `source` whose weights it starts from. */
function resolveModel(
  given: Readonly<Record<string, unknown>>,
  source: ModelConfig | null,
  vocabulary: number,
): ModelConfig {
  const whole = source === null || 'preset' in given ? given : { ...source, ...given };
  const known = 'preset' in whole || 'vocabSize' in whole;
  if (vocabulary === 0 && !known) {
    throw new ConfigError(
      'model.vocabSize is not known while the token shards are not there; prepare them first (longsight data prepare), or set it',
    );
  }
  const resolved = resolveModelConfig(known ? whole : { vocabSize: vocabulary, ...whole });
  if (resolved.vocabSize >= vocabulary) return resolved;
  const remedy =
    source === null
      ? `set model.vocabSize: ${vocabulary}`
      : 'start from a model that knows them, or train on data of its tokenizer';
  throw new ConfigError(
    `model.vocabSize ${resolved.vocabSize} is smaller than the ${vocabulary} tokens of the data; ${remedy}`,
  );
}

/** A value that replaces one of a configuration, named by its dotted path. */
export type Setting = readonly [path: string, value: unknown];

/**
 * Reads a run file, or the `config.json` of a run.
 *
 * @param set settings laid over the file's, in order
 * @throws ConfigError naming the file and line, or the setting, at fault
 */
export function loadRunFile(path: string, set: readonly Setting[] = []): FullRunConfig {
  const file = readYamlFile(path);
  const baseDir = dirname(resolve(path));
  const given = runPart(file);
  if (set.length === 0) return resolveRunConfig(given, { where: file.path, baseDir, file });
  const changed = set.reduce<unknown>((config, [key, value]) => withValueAt(config, key, value), given);
  const names = set.map(([key]) => key).join(', ');
  return resolveRunConfig(changed, { where: `${path}, changed in ${names} (--set)`, baseDir });
}

function runPart({ value, path }: YamlFile): unknown {
  if (!isPlain(value)) throw new ConfigError(`${path} must hold a run configuration (keys and values)`);
  if ('architectures' in value)
    throw new ConfigError(`${path} is a study, not a run; use "longsight study ${path}"`, { details: { path } });
  return value['format'] === 1 && 'run' in value ? value['run'] : value;
}
