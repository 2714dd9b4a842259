/**
 * Models saved by Hugging Face Transformers: a folder with `config.json` and `model.safetensors` (or shards with
 * `model.safetensors.index.json`), read into a Longsight configuration and parameters.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { DTYPE_BYTES, got, refuseHubName, sizeOf, type HostTensor } from '../../core/index.js';
import type { HostParameters, ModelConfig } from '../../model/index.js';
import type { Family } from './family/family.js';
import { Fields } from './family/fields.js';
import { INDEX_FILE, MODEL_FILE, tensorFiles, type TensorFiles } from './places.js';
import { dequantized, describeQuantization } from './quantized.js';
import { TensorReader, type WeightDType } from './reader.js';
import { inspectHfConfig, readConfigJson, supported } from './registry.js';
import {
  checkTensors,
  compareTensors,
  embeddingSources,
  embeddingTensor,
  mapParameters,
  parameterType,
  readParameter,
  shapesIn,
  storedModel,
  tensorParts,
  type HfTensorParts,
  type TensorProblems,
} from './tensors.js';

/** The name of a Transformers model's configuration file. */
export const CONFIG_FILE = 'config.json';

/** An opened Transformers model: its configuration as Longsight's, and its parameters to be read. */
export interface HfModel {
  readonly folder: string;
  readonly modelType: string;
  readonly config: ModelConfig;
  /** Reads all parameters, f32, one after another; a few megabytes of the files are on the host beside them. */
  readonly parameters: () => HostParameters;
  /** What each parameter is held in where nothing else is asked for: bf16 or f16 where it is stored so, else f32. */
  readonly types: ReadonlyMap<string, WeightDType>;
  /** Reads the parameter of a name, f32, anew at each call but for the last one; undefined if there is none. */
  readonly parameter: (name: string) => HostTensor<'f32'> | undefined;
  /** Reads one parameter after another, each in `type` or, by default, in that of `types`. */
  readonly weights: (type?: 'f32') => Iterable<readonly [name: string, tensor: HostTensor<WeightDType>]>;
  /** Every tensor of the files, by the places in the parameters that hold its elements. */
  readonly parts: readonly HfTensorParts[];
  /**
   * The tensors of the files that one of Transformers' in memory is made of; null if it has no effect on the result.
   */
  readonly inMemory: (name: string) => readonly string[] | null;
  /** What Transformers gives as hidden states; see `Family`. */
  readonly hiddenStates: 'embedding' | 'layers';
  /** Whether the attention maps of Transformers leave out the mass that sinks take; see `Family`. */
  readonly sinksInMaps: boolean;
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
 * @throws StoreError naming a file or tensor that is missing, damaged, has another shape, or that the model does not
 * use
 */
export function openHfModel(folder: string): HfModel {
  refuseHubName(folder);
  const path = join(folder, CONFIG_FILE);
  const {
    modelType,
    family,
    quantization,
    config: written,
  } = supported(inspectHfConfig(readConfigJson(path), path), path);
  const files = dequantized(tensorFiles(folder), quantization);
  const { config } = storedModel(family, written, files);
  checkTensors(folder, family, config, files);
  const mapped = mapParameters(family, config, shapesIn(files));
  const types = new Map(mapped.map((parameter) => [parameter.name, parameterType(files, parameter)] as const));
  const parameters = () => {
    using reader = new TensorReader(files);
    return new Map(mapped.map((parameter) => [parameter.name, readParameter(reader, parameter, 'f32')] as const));
  };
  let last: { readonly name: string; readonly tensor: HostTensor<'f32'> } | null = null;
  const parameter = (name: string) => {
    if (last?.name === name) return last.tensor;
    const found = mapped.find((one) => one.name === name);
    if (found === undefined) return undefined;
    using reader = new TensorReader(files);
    last = { name, tensor: readParameter(reader, found, 'f32') };
    return last.tensor;
  };
  function* weights(type?: 'f32'): Generator<readonly [string, HostTensor<WeightDType>]> {
    using reader = new TensorReader(files);
    for (const parameter of mapped) {
      yield [parameter.name, readParameter(reader, parameter, type ?? got(types, parameter.name))];
    }
  }
  const inMemory = (name: string) => {
    if (family.ignored?.(name, config) === true) return null;
    // A tied model may be stored with its head only; in memory the matrix goes by the embedding's name.
    const stored = name === embeddingTensor(family, config) ? embeddingSources(mapped) : [];
    return [...new Set([...stored, ...(family.alias?.(name, config) ?? [])])];
  };
  return {
    folder,
    modelType,
    config,
    parameters,
    types,
    parameter,
    weights,
    parts: tensorParts(mapped),
    inMemory,
    hiddenStates: family.hiddenStates ?? 'embedding',
    sinksInMaps: family.sinksInMaps ?? false,
  };
}

/** Files and tensors that are not read, as Transformers does not read them either. */
function leftOut(folder: string, family: Family, config: ModelConfig, files: TensorFiles): string[] {
  const shapes = shapesIn(files);
  // Of copies of one tensor, one is read.
  const used = new Set([
    ...(family.constants?.(config, shapes) ?? []).flatMap((c) => (c.fixed ? [c.name] : [])),
    ...mapParameters(family, config, shapes).flatMap(({ layout }) => layout.sources.map(({ tensor }) => tensor)),
  ]);
  const names = [...files.keys()].filter((name) => family.ignored?.(name, config) === true && !used.has(name));
  const both = [MODEL_FILE, INDEX_FILE].every((file) => existsSync(join(folder, file)));
  return [
    ...(names.length === 0 ? [] : [`${names.length} tensors have no effect and are left out (${names[0]}, ...)`]),
    ...(both ? [`${MODEL_FILE} is read; ${INDEX_FILE} and its shards are left aside, as in Transformers`] : []),
  ];
}

/**
 * The longest sequence that a model saved by Transformers is made for, in tokens; null where its configuration does not
 * say. `max_position_embeddings` may or may not count the lengthening of scaled rotary positions: the longer one of it
 * and `original_max_position_embeddings` times their factor is taken.
 */
export function trainedLength(folder: string): number | null {
  const path = join(folder, CONFIG_FILE);
  const values = readConfigJson(path);
  if (typeof values !== 'object' || values === null) return null;
  const outer = new Fields(values as Readonly<Record<string, unknown>>, path);
  const fields = outer.object('text_config') ?? outer;
  const name = ['max_position_embeddings', 'n_positions', 'max_seq_len', 'max_sequence_length'].find((n) =>
    fields.has(n),
  );
  if (name === undefined) return null;
  const longest = fields.count(name);
  const rope = fields.object('rope_parameters') ?? fields.object('rope_scaling');
  if (rope === null || !rope.has('factor')) return longest;
  const original = [rope, fields].find((f) => f.has('original_max_position_embeddings'));
  if (original === undefined) return longest;
  return Math.max(longest, Math.round(original.count('original_max_position_embeddings') * rope.positive('factor')));
}

/** What a Transformers folder holds, and what of it cannot be imported. */
export interface HfInspection {
  readonly folder: string;
  readonly modelType: string;
  /** The model, without what is unsupported. */
  readonly config: ModelConfig;
  /** What cannot be imported, by the names of `config.json`. */
  readonly unsupported: readonly string[];
  /** What a user should know of how the configuration was read. */
  readonly notes: readonly string[];
  /** How the weights are stored quantized; null if they are not. */
  readonly quantization: string | null;
  /** Bytes that an opened model holds of its parameters in each type; parameters whose tensors are missing left out. */
  readonly held: Readonly<Partial<Record<WeightDType, number>>>;
  readonly tensors: TensorProblems & {
    readonly count: number;
    /** Bytes of all tensors in the files. */
    readonly bytes: number;
    /** Types of their elements, such as `BF16`. */
    readonly types: readonly string[];
  };
}

function heldBytes(family: Family, config: ModelConfig, files: TensorFiles): HfInspection['held'] {
  const bytes: Partial<Record<WeightDType, number>> = {};
  for (const parameter of mapParameters(family, config, shapesIn(files))) {
    if (!parameter.layout.sources.every(({ tensor }) => files.has(tensor))) continue;
    const type = parameterType(files, parameter);
    bytes[type] = (bytes[type] ?? 0) + DTYPE_BYTES[type] * sizeOf(parameter.shape);
  }
  return bytes;
}

/**
 * What a folder holds and what of it cannot be imported. Reads no weights but those that must be compared: a stored
 * head beside a tied embedding, and buffers that follow from the configuration.
 *
 * @throws DataError if the model type is unknown or a field of the configuration is missing or wrong
 * @throws StoreError if a file is missing or damaged
 */
export function inspectHfModel(folder: string): HfInspection {
  refuseHubName(folder);
  const path = join(folder, CONFIG_FILE);
  const { modelType, family, unsupported, quantization, ...written } = inspectHfConfig(readConfigJson(path), path);
  const stored = tensorFiles(folder);
  const files = dequantized(stored, quantization);
  const head = storedModel(family, written.config, files);
  const config = head.config;
  const notes = [...written.notes, ...head.notes, ...leftOut(folder, family, config, files)];
  const entries = [...stored.values()];
  return {
    ...{ folder, modelType, config, unsupported, notes },
    quantization: quantization && describeQuantization(quantization),
    held: heldBytes(family, config, files),
    tensors: {
      ...compareTensors(family, config, files),
      count: entries.length,
      bytes: entries.reduce((n, { bytes }) => n + bytes, 0),
      types: [...new Set(entries.map((e) => e.stored))].sort(),
    },
  };
}
