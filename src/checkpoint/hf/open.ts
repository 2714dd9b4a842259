/**
 * Models saved by Hugging Face Transformers: a folder with `config.json` and `model.safetensors` (or shards with
 * `model.safetensors.index.json`), read into a Longsight configuration and parameters.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { refuseHubName } from '../../core/index.js';
import type { HostParameters, ModelConfig } from '../../model/index.js';
import { inspectHfConfig, readConfigJson, supported } from './registry.js';
import {
  checkTensors,
  compareTensors,
  mapParameters,
  readParameter,
  shapesIn,
  tensorFiles,
  tensorParts,
  type HfTensorParts,
  type TensorProblems,
} from './tensors.js';

export const CONFIG_FILE = 'config.json';

export interface HfModel {
  readonly folder: string;
  readonly modelType: string;
  readonly config: ModelConfig;
  /** Reads all parameters, f32, one after another; a few megabytes of the files are on the host beside them. */
  readonly parameters: () => HostParameters;
  /** Every tensor of the files, by the places in the parameters that hold its elements. */
  readonly parts: readonly HfTensorParts[];
  /** The tensors of the files that one of Transformers' in memory is made of; null if it has no effect on the result. */
  readonly inMemory: (name: string) => readonly string[] | null;
  /** What Transformers gives as hidden states; see `Family`. */
  readonly hiddenStates: 'embedding' | 'layers';
}

/** Whether a folder looks like a Transformers model: a `config.json` with a `model_type`. */
export function isHfFolder(folder: string): boolean {
  const path = join(folder, CONFIG_FILE);
  if (!existsSync(path)) return false;
  const value = readConfigJson(path);
  return typeof value === 'object' && value !== null && 'model_type' in value;
}

/**
 * Opens a model saved by Transformers and checks that every tensor is there with the right shape.
 *
 * @throws DataError if the configuration cannot be imported
 * @throws StoreError naming a file or tensor that is missing, damaged, has another shape, or that the model does not use
 */
export function openHfModel(folder: string): HfModel {
  refuseHubName(folder);
  const path = join(folder, CONFIG_FILE);
  const { modelType, family, config } = supported(inspectHfConfig(readConfigJson(path), path), path);
  const files = tensorFiles(folder);
  checkTensors(folder, family, config, files);
  const mapped = mapParameters(family, config, shapesIn(files));
  const parameters = () =>
    new Map(mapped.map((parameter) => [parameter.name, readParameter(files, parameter)] as const));
  const inMemory = (name: string) =>
    family.ignored?.(name, config) === true ? null : (family.alias?.(name, config) ?? []);
  return {
    folder,
    modelType,
    config,
    parameters,
    parts: tensorParts(mapped),
    inMemory,
    hiddenStates: family.hiddenStates ?? 'embedding',
  };
}

export interface HfInspection {
  readonly folder: string;
  readonly modelType: string;
  /** The model, without what is unsupported. */
  readonly config: ModelConfig;
  /** What cannot be imported, by the names of `config.json`. */
  readonly unsupported: readonly string[];
  /** What a user should know of how the configuration was read. */
  readonly notes: readonly string[];
  readonly tensors: TensorProblems & {
    readonly count: number;
    /** Bytes of all tensors in the files. */
    readonly bytes: number;
    /** Types of their elements, such as `BF16`. */
    readonly types: readonly string[];
  };
}

/**
 * What a folder holds and what of it cannot be imported; reads no weights.
 *
 * @throws DataError if the model type is unknown or a field of the configuration is missing or wrong
 * @throws StoreError if a file is missing or damaged
 */
export function inspectHfModel(folder: string): HfInspection {
  refuseHubName(folder);
  const path = join(folder, CONFIG_FILE);
  const { modelType, family, config, unsupported, notes } = inspectHfConfig(readConfigJson(path), path);
  const files = tensorFiles(folder);
  const entries = [...files.values()];
  return {
    ...{ folder, modelType, config, unsupported, notes },
    tensors: {
      ...compareTensors(family, config, files),
      count: entries.length,
      bytes: entries.reduce((n, { bytes }) => n + bytes, 0),
      types: [...new Set(entries.map((e) => e.stored))].sort(),
    },
  };
}
