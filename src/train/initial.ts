/** Training that starts from the weights of another model: `train.init`. */
import { existsSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { isHfFolder, openHfModel, sameTokenizer, weightFiles, type TokenizerOrigin } from '../checkpoint/index.js';
import {
  canonicalJson,
  ConfigError,
  fingerprint,
  fingerprintFile,
  formatCount,
  LongsightError,
  refuseHubName,
  StoreError,
} from '../core/index.js';
import { DataConfigSchema, dataTokenizer, type DataConfig } from '../data/index.js';
import {
  initialTensors,
  layerChanges,
  parameterSpecs,
  planTransfer,
  type HostParameters,
  type ModelConfig,
  type WeightTransfer,
} from '../model/index.js';
import { findCheckpoint, isRunFolder, readRunConfig } from '../run/index.js';
import type { RunConfig, TrainConfig } from './config.js';

/** `train.init` of a configuration: where the first weights come from. */
export type InitConfig = NonNullable<TrainConfig['init']>;

/** A model whose weights a run may start from. Its files are read when asked for. */
export interface InitialModel {
  /** The folder of the checkpoint, or of the model saved by Transformers. */
  readonly folder: string;
  readonly config: ModelConfig;
  /** What its tokens stand for; null where that is not known. */
  readonly vocabulary: Vocabulary | null;
  /** What tells its weights from others: SHA-256 over the files that hold them, each read from front to back. */
  fingerprint(): string;
  /** Reads all parameters, f32. */
  parameters(): HostParameters;
}

/** What token ids stand for: text by a tokenizer or in bytes, or the tokens of synthetic data, described. */
export type Vocabulary =
  | { readonly kind: 'text'; readonly tokenizer: NonNullable<TokenizerOrigin> }
  | { readonly kind: 'synthetic'; readonly tokens: string };

/**
 * The model that `train.init` names: the newest checkpoint of a run (or that of `step`), a checkpoint folder, or the
 * folder of a model saved by Transformers.
 *
 * @throws ConfigError, StoreError, DataError saying what is not there or cannot be read
 */
export function openInitialModel({ folder, step }: Pick<InitConfig, 'folder' | 'step'>): InitialModel {
  refuseHubName(folder);
  if (!existsSync(folder))
    throw new ConfigError(`there is no folder ${folder}; name a run, a checkpoint, or a model saved by Transformers`);
  if (isHfFolder(folder)) {
    if (step !== undefined)
      throw new ConfigError(`${folder} is a model saved by Transformers, which has no steps; leave step ${step} out`);
    const model = openHfModel(folder);
    const hasText = existsSync(join(folder, 'tokenizer.json'));
    return {
      ...{ folder, config: model.config, parameters: () => model.parameters() },
      vocabulary: hasText ? { kind: 'text', tokenizer: { folder } } : null,
      fingerprint: () => weightsFingerprint(folder),
    };
  }
  const checkpoint = findCheckpoint(folder, step);
  const dir = [folder, dirname(dirname(resolve(checkpoint.path)))].find(isRunFolder);
  return {
    ...{ folder: checkpoint.path, config: checkpoint.state.model, parameters: () => checkpoint.parameters() },
    vocabulary: dir === undefined ? null : vocabularyOfRun(dir),
    fingerprint: () => weightsFingerprint(checkpoint.path),
  };
}

const prints = new Map<string, string>();

/** Files that have not changed since they were last read are not read again: runs of a study share their source. */
function weightsFingerprint(folder: string): string {
  const files = weightFiles(folder);
  const key = canonicalJson(files.map((path) => [path, statSync(path).size, statSync(path).mtimeMs]));
  const known = prints.get(key) ?? fingerprint(files.map(fingerprintFile));
  prints.set(key, known);
  return known;
}

/** The vocabulary of the data that a run was trained on; null where its folder does not say so any more. */
function vocabularyOfRun(dir: string): Vocabulary | null {
  const data = DataConfigSchema.safeParse(readRunConfig(dir).run.data);
  try {
    return data.success ? vocabularyOf(data.data) : null;
  } catch (error) {
    if (error instanceof LongsightError) return null; // its shards are gone
    throw error;
  }
}

/** What the token ids of data stand for; null for data that say nothing of it. */
function vocabularyOf(data: DataConfig): Vocabulary | null {
  const tokenizer = dataTokenizer(data);
  if (tokenizer !== null) return { kind: 'text', tokenizer };
  const [recall] = data.flatMap((source) => (source.kind === 'recall' ? [source] : []));
  if (recall === undefined) return null;
  const { numKeys, numValues, numFillers } = recall;
  return { kind: 'synthetic', tokens: `${numKeys} keys, ${numValues} values and ${numFillers} fillers` };
}

/**
 * What of a model's weights a run takes over.
 *
 * @throws ConfigError naming the tensor, the field or the tokenizer that does not fit
 */
export function planInitial(
  { folder, config, vocabulary }: InitialModel,
  { model, data }: Pick<RunConfig, 'model' | 'data'>,
): WeightTransfer {
  const transfer = planTransfer(config, model, folder);
  const wanted = vocabulary === null ? null : vocabularyOf(data);
  if (vocabulary === null || wanted === null || sameVocabulary(vocabulary, wanted)) return transfer;
  throw new ConfigError(
    `the tokens of ${folder} are ${nameOf(vocabulary)}, and those of the data are ${nameOf(wanted)}; ` +
      'train on data of the same tokenizer (longsight data prepare --tokenizer), or start from another model',
    { details: { source: vocabulary, data: wanted } },
  );
}

function sameVocabulary(a: Vocabulary, b: Vocabulary): boolean {
  if (a.kind === 'text' && b.kind === 'text') return sameTokenizer(a.tokenizer, b.tokenizer);
  return a.kind === 'synthetic' && b.kind === 'synthetic' && a.tokens === b.tokens;
}

function nameOf(vocabulary: Vocabulary): string {
  if (vocabulary.kind === 'synthetic') return `synthetic (${vocabulary.tokens})`;
  const { tokenizer } = vocabulary;
  return tokenizer === 'bytes' ? 'bytes' : `those of ${join(tokenizer.folder, 'tokenizer.json')}`;
}

/** The start of a run from the weights of another model. */
export interface InitialWeights {
  readonly transfer: WeightTransfer;
  /** Sentences about what is taken over, what starts anew, and what is left out. */
  readonly notes: readonly string[];
  /** Reads the weights, and draws those that start anew from the run's seed. */
  parameters(): HostParameters;
}

/**
 * What a run starts from where its `train.init` says so; null where it starts anew.
 *
 * @throws ConfigError if that model's weights are not those that the run was planned with, or do not fit
 */
export function openInitialWeights({
  model,
  data,
  train,
  seed,
}: Pick<RunConfig, 'model' | 'data' | 'train' | 'seed'>): InitialWeights | null {
  const { init } = train;
  if (init === undefined) return null;
  const source = openInitialModel(init);
  if (init.fingerprint !== undefined && init.fingerprint !== source.fingerprint()) {
    throw new StoreError(
      `the weights in ${source.folder} have changed since the run was planned (SHA-256 ${source.fingerprint().slice(0, 12)}, ` +
        `then ${init.fingerprint.slice(0, 12)}); put them back, or set train.init anew`,
      { details: { folder: source.folder } },
    );
  }
  const transfer = planInitial(source, { model, data });
  const specs = parameterSpecs(model);
  const fresh = new Set(transfer.fresh);
  return {
    transfer,
    notes: notesOf(source, model, transfer),
    parameters: () => {
      const theirs = source.parameters();
      const drawn = initialTensors(
        specs.filter(({ name }) => fresh.has(name)),
        seed,
      );
      return new Map(specs.flatMap(({ name }) => named(name, drawn.get(name) ?? theirs.get(name))));
    },
  };
}

function named<T>(name: string, tensor: T | undefined): [string, T][] {
  return tensor === undefined ? [] : [[name, tensor]];
}

function notesOf(source: InitialModel, model: ModelConfig, { kept, fresh, left }: WeightTransfer): string[] {
  const changes = layerChanges(source.config, model);
  const unknown = source.vocabulary === null;
  return [
    `weights of ${source.folder}: ${formatCount(kept.length)} tensors taken over; the optimizer starts anew`,
    ...(changes.length === 0 ? [] : [`changed in place: ${changes.join('; ')}`]),
    ...(fresh.length === 0 ? [] : [`start anew, as the source has none that fit: ${fresh.join(', ')}`]),
    ...(left.length === 0 ? [] : [`left out, as the model has no place for them: ${left.join(', ')}`]),
    ...(unknown ? [`${source.folder} does not say which tokenizer its tokens are of: not compared with the data`] : []),
  ];
}
