/**
 * Models as folders that Transformers loads without code of their own. A class is a home for a model if reading its
 * `config.json` back gives the model again: what is lost on that way is what has no place in it.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import {
  present,
  at,
  got,
  last,
  ConfigError,
  DTYPE_BYTES,
  AtomicFolder,
  writeFileAtomic,
  writeJsonAtomic,
  hostTensor,
  LongsightError,
  sizeOf,
  tensorFrom,
  type DType,
  type HostTensor,
  type Shape,
} from '../../core/index.js';
import {
  atWindows,
  attends,
  blockOf,
  expertsOf,
  headGroups,
  headSizes,
  plainScale,
  printLayer,
  printPattern,
  resolveModelConfig,
  type HostParameters,
  type ModelConfig,
} from '../../model/index.js';
import type { TokenizerOrigin } from '../same-tokenizer.js';
import { streamSafetensors, type TensorSpec } from '../safetensors.js';
import type { Family, HfConfigJson, StoredValues } from './family/family.js';
import type { Source } from './family/layout.js';
import { CONFIG_FILE } from './open.js';
import { configText } from './numbers.js';
import { withOlderNames } from './older-names.js';
import { FAMILIES, inspectHfConfig } from './registry.js';
import { INDEX_FILE, MODEL_FILE } from './places.js';
import { otherTokens, writeGeneration, writeTokenizer } from './tokenizer-files.js';
import { mapParameters, membersOf, rowWidth, sourceShape, takenRows, type MappedParameter } from './tensors.js';

/** The class of a model among those of Transformers. */
export interface ExportPlan {
  readonly modelType: string;
  readonly architecture: string;
  readonly json: HfConfigJson;
  readonly family: Family;
}

/** A field of a model that a class cannot express. */
interface Loss {
  readonly field: string;
  readonly ours: string;
  readonly theirs: string;
}

/** A class without a layer's mixer is further away than one that has it and asks for other settings. */
const OTHER_LAYERS = 10;

interface Fit {
  readonly losses: readonly Loss[];
  /** Fields that are lost; other layers weigh as much as many fields. */
  readonly distance: number;
}

/**
 * The class that expresses a model exactly.
 *
 * @param wanted a `model_type`; the first that fits if left out
 * @throws ConfigError naming the features that have no home in the class that comes nearest
 */
export function planExport(given: ModelConfig, wanted?: string): ExportPlan {
  // Windows that moved in training are no part of what the model computes.
  const config = atWindows(given, last);
  const families = FAMILIES.filter(
    (f) => f.write !== undefined && f.architecture !== null && (wanted === undefined || f.modelTypes[0] === wanted),
  );
  if (families.length === 0) {
    const types = FAMILIES.filter((f) => f.write !== undefined && f.architecture !== null).map((f) => f.modelTypes[0]);
    throw new ConfigError(`models cannot be exported as ${wanted}; choose one of ${types.join(', ')}`);
  }
  const nearest = nearestOf(families, [config, ...rescaled(config)]);
  if (nearest === null) {
    throw new ConfigError(
      `the model cannot be exported: ${wanted ?? 'no class of Transformers'} has no home for layers ${printPattern(config.layers)}`,
      { details: { layers: config.layers } },
    );
  }
  const { family, json, losses } = nearest;
  const modelType = at(family.modelTypes, 0);
  if (losses.length === 0) return { modelType, architecture: present(family.architecture), json, family };
  const what = losses.map(({ field, ours, theirs }) => `${field} ${ours} (only ${theirs})`).join(', ');
  const which = wanted === undefined ? `no class of Transformers fits; ${modelType}, the nearest,` : `${modelType}`;
  throw new ConfigError(`the model cannot be exported: ${which} has no home for ${what}`, {
    details: { modelType, losses },
  });
}

/** The class that loses least of a model in one of its forms, the first of equal ones; null where none comes near. */
function nearestOf(families: readonly Family[], forms: readonly ModelConfig[]) {
  let nearest: (Fit & { readonly family: Family; readonly json: HfConfigJson }) | null = null;
  for (const same of forms) {
    const ours = essence(same);
    for (const family of families) {
      const json = configJson(family, same);
      const fit = fitOf(family, same, ours, json, nearest?.distance ?? Infinity);
      if (fit !== null) nearest = { family, json, ...fit };
      if (nearest?.distance === 0) return nearest;
    }
  }
  return nearest;
}

/**
 * The same model with the epsilon of Mamba-2's output norm in all norms, as classes of Transformers have one for all:
 * the residual stream is s times as large, and so is the root of the epsilon beside it.
 */
function rescaled(config: ModelConfig): ModelConfig[] {
  const { mamba2, rmsNormEps, embeddingScale, qkNorm, numLayers } = config;
  const blocks = Array.from({ length: numLayers }, (_, layer) => blockOf(config, layer));
  const plain = blocks.every((b) => b.norm === 'pre' && b.mixerSkip === 1 && b.mlpSkip === 1);
  if (mamba2 === undefined || mamba2.normEps === rmsNormEps || !plain || qkNorm !== false) return [];
  const s = Math.sqrt(mamba2.normEps / rmsNormEps);
  const block = blocks.map((b, layer) => {
    const plan = at(config.layers, layer);
    const beside = plan.mixer === 'attention' && plan.beside !== undefined ? { besideScale: s * b.besideScale } : {};
    return { ...b, mixerScale: s * b.mixerScale, mlpScale: s * b.mlpScale, ...beside };
  });
  return [resolveModelConfig({ ...config, rmsNormEps: mamba2.normEps, embeddingScale: s * embeddingScale, block })];
}

function configJson(family: Family, config: ModelConfig): HfConfigJson {
  const json = {
    architectures: [family.architecture],
    model_type: family.modelTypes[0],
    // Vocabularies are our own: no token of theirs is meant; the token that ends texts is put in where it is known.
    ...{ bos_token_id: null, eos_token_id: null, pad_token_id: null },
    ...family.write?.(config),
  };
  return withOlderNames(JSON.parse(JSON.stringify(json)) as HfConfigJson, family.takesRopeScaling);
}

/** What reading `json` back does not give of `ours`, the model's essence; null unless that is less than `most`. */
function fitOf(family: Family, config: ModelConfig, ours: Essence, json: HfConfigJson, most: number): Fit | null {
  const reading = unlessRefused(() => inspectHfConfig(json, CONFIG_FILE));
  if (reading === null) return null;
  if (reading.unsupported.length > 0) {
    const losses = reading.unsupported.map((u) => ({ field: 'model', ours: u, theirs: 'without' }));
    const distance = OTHER_LAYERS + losses.length;
    return distance < most ? { losses, distance } : null;
  }
  const back = unlessRefused(() => withConstants(family, config, reading.config));
  if (back === null) return null;
  const fit = lossesOf(config, ours, back);
  // The layout of tensors takes longest, so it is asked for last.
  return fit.distance < most && unlessRefused(() => mapParameters(family, back)) !== null ? fit : null;
}

/** What `read` gives; null where it refuses a class that does not even come near. */
function unlessRefused<T extends object>(read: () => T): T | null {
  try {
    return read();
  } catch (error) {
    if (error instanceof LongsightError) return null;
    throw error;
  }
}

function lossesOf(config: ModelConfig, ours: Essence, back: ModelConfig): Fit {
  const theirs = essence(back);
  const groups = new Set(Object.keys(theirs).map((field) => field.split('.')[0]));
  // Fields of a mixer that the class does not have at all are said by the layers.
  const losses = Object.entries(ours).flatMap(([field, value]) =>
    value === theirs[field] || !groups.has(field.split('.')[0])
      ? []
      : [{ field, ours: value, theirs: theirs[field] ?? 'without' }],
  );
  const differing = config.layers.filter((plan, i) => printLayer(plan) !== printLayer(at(back.layers, i)));
  return { losses, distance: losses.length + (OTHER_LAYERS * differing.length) / config.numLayers };
}

/** The model that is read `back`, with what the tensors beside the parameters say over its `config.json`. */
function withConstants(family: Family, config: ModelConfig, back: ModelConfig): ModelConfig {
  const constants = new Map((family.constants?.(config, () => undefined) ?? []).map((c) => [c.name, c]));
  const read: StoredValues = (name) => {
    const constant = constants.get(name);
    return constant && { values: constant.values(), stored: 'F32' };
  };
  return family.adopt?.(back, read).config ?? back;
}

/** Settings that change no result: how many tokens are computed at once, and what training adds to the loss. */
const WITHOUT_RESULT = /\.(chunk|balanceLoss|routerZLoss)$/;

type Essence = Readonly<Record<string, string>>;

/**
 * What a model computes, field by field as text: no initial weights, no block lengths, nothing that its layers do not
 * use.
 */
function essence(config: ModelConfig): Essence {
  const { layers, numLayers, init: _init, block: _block, attentionScale, headDim, ...rest } = config;
  const groups = layers.flatMap((plan) => [...headGroups(plan)]);
  const own = layers.flatMap((plan) => (plan.mixer === 'mla' ? [] : [...headGroups(plan)]));
  // A factor that a class makes of other numbers has lost its last digits, which float32 does not have.
  const scores = new Set(
    layers
      .filter(attends)
      .map((plan) => Number(plainScale(attentionScale, headSizes(config, plan).keyDim).toPrecision(12))),
  );
  const blocks = Array.from({ length: numLayers }, (_, layer) => blockOf(config, layer));
  const unused = new Set<string>([
    ...(groups.length > 0
      ? []
      : [
          'numHeads',
          'numKvHeads',
          'qkNorm',
          'attentionBias',
          'sinks',
          'outputGate',
          'outputGateBias',
          'outputGateActivation',
          'cca',
        ]),
    ...(groups.some((g) => g.rope === true) ? [] : ['ropeTheta', 'ropeScaling']),
    // Latent attention has widths of its own.
    ...(own.length > 0 || groups.length === 0 ? [] : ['numKvHeads', 'qkNorm']),
    ...(own.length > 0 ? [] : ['valueDim', 'valueScale', 'valueNorm']),
    ...(own.some((g) => g.rope !== false) ? [] : ['ropeDim']),
    ...(groups.some((g) => g.rope === 'local') ? [] : ['localRope']),
    ...(blocks.some((b) => b.mlp) ? [] : ['activation', 'mlpBias']),
    ...(blocks.some((b, i) => b.mlp && expertsOf(config, i) === null) ? [] : ['intermediateSize']),
  ]);
  const fields: [string, unknown][] = [
    ['layers', printPattern(layers)],
    ...Object.entries(rest).filter(([name]) => !unused.has(name)),
    ...(own.length > 0 ? [['headDim', headDim] as [string, unknown]] : []),
    ...(groups.length > 0
      ? [['attentionScale', scores.size > 1 ? [...scores].join(' ') : [...scores][0]] as [string, unknown]]
      : []),
    ...[...new Set(blocks.flatMap((b) => Object.keys(b)))].map((key): [string, unknown] => {
      const values = blocks.map((b) => b[key as keyof typeof b]);
      return [`block.${key}`, values.every((v) => v === values[0]) ? values[0] : values.join(' ')];
    }),
  ];
  return Object.fromEntries(
    fields.flatMap(([name, value]) => flat(name, value)).filter(([name]) => !WITHOUT_RESULT.test(name)),
  );
}

/** Nested fields by dotted names. */
function flat(name: string, value: unknown): [string, string][] {
  if (typeof value !== 'object' || value === null)
    return value === undefined ? [] : [[name, typeof value === 'string' ? value : JSON.stringify(value)]];
  return Object.entries(value).flatMap(([key, inner]) => flat(`${name}.${key}`, inner));
}

/** Types of exported tensors, by the names of Transformers. */
export const EXPORT_DTYPES = ['float32', 'bfloat16', 'float16'] as const;
/** The element types that exported tensors may have. */
export type ExportDType = (typeof EXPORT_DTYPES)[number];

const STORED = { float32: 'f32', bfloat16: 'bf16', float16: 'f16' } as const satisfies Record<ExportDType, DType>;

/** The element type that holds weights of these types exactly: that of all of them, or float32 where they differ. */
export function exportDType(types: Iterable<DType>): ExportDType {
  const [first, ...rest] = new Set(types);
  return EXPORT_DTYPES.find((name) => STORED[name] === first && rest.length === 0) ?? 'float32';
}

/** How a model is exported. */
export interface ExportOptions {
  readonly modelType?: string;
  readonly tokenizer?: TokenizerOrigin;
  /** Token ids that end texts, for `config.json` and `generation_config.json` (default: none). */
  readonly endTokens?: readonly number[];
  /** The folder that the model was imported from, whose settings of generation and other special tokens it keeps. */
  readonly imported?: string | null;
  /** The element type of stored tensors, rounded to the nearest (default: float32). */
  readonly dtype?: ExportDType | undefined;
  /** The most bytes of tensors in one file (default: 5 GB). A tensor is never split over files. */
  readonly shardBytes?: number;
}

/** Where exported parameters come from: a map of them, or what reads one when it is asked for. */
export type ExportedParameters = Pick<HostParameters, 'get'>;

/** What an export wrote. */
export interface ExportResult extends Pick<ExportPlan, 'modelType' | 'architecture'> {
  readonly folder: string;
  readonly files: readonly string[];
  /** Bytes of all tensors that were written. */
  readonly bytes: number;
}

const DEFAULT_SHARD_BYTES = 5e9;

/**
 * Writes a model as a folder that Transformers loads. The folder appears whole or not at all.
 *
 * @throws ConfigError if no class expresses the model, or the folder exists
 * @throws StoreError if it cannot be written
 */
export async function exportHfModel(
  folder: string,
  config: ModelConfig,
  parameters: ExportedParameters,
  options: ExportOptions = {},
): Promise<ExportResult> {
  const { modelType, architecture, json, family } = planExport(config, options.modelType);
  if (existsSync(folder)) throw new ConfigError(`${folder} exists already; name a new folder`, { details: { folder } });
  using made = new AtomicFolder(folder);
  const { dtype = 'float32', shardBytes = DEFAULT_SHARD_BYTES } = options;
  const weights = await writeWeights(made.inside, family, config, parameters, { dtype, shardBytes });
  const ends = endTokenFields(options.endTokens ?? []);
  const { imported = null, tokenizer: origin = null } = options;
  const written = { ...json, ...otherTokens(imported), ...ends, dtype };
  writeFileAtomic(join(made.inside, CONFIG_FILE), configText(written));
  const generation = writeGeneration(made.inside, imported, ends);
  const tokenizer = writeTokenizer(made.inside, origin, options.endTokens ?? []);
  made.commit('keep');
  const files = [CONFIG_FILE, ...generation, ...weights.files, ...tokenizer];
  return { modelType, architecture, folder, files, bytes: weights.bytes };
}

/** Transformers stops generating at these tokens; it reads one id or a list. */
function endTokenFields(ids: readonly number[]): { readonly eos_token_id: number | readonly number[] } | null {
  const [first] = ids;
  return first === undefined ? null : { eos_token_id: ids.length === 1 ? first : ids };
}

/** A tensor of theirs: the parameters that it takes rows from, or one value. */
interface Outgoing {
  readonly shape: Shape;
  readonly from: OutgoingPart[];
}

/** Rows or columns of a parameter, or of a member of a stack, that make up rows of a tensor. */
interface OutgoingPart {
  readonly parameter: MappedParameter;
  /** Where the member's elements begin within the parameter. */
  readonly offset: number;
  readonly source: Source;
  /** The first of its rows or columns. */
  readonly first: number;
}

function outgoing(family: Family, config: ModelConfig): Map<string, Outgoing> {
  const tensors = new Map<string, Outgoing>();
  for (const parameter of mapParameters(family, config)) {
    membersOf(parameter).forEach((member, i) => {
      let first = 0;
      for (const source of member.layout.sources) {
        const own = tensors.get(source.tensor) ?? { shape: sourceShape(member, source), from: [] };
        own.from.push({ parameter: member, offset: i * sizeOf(member.shape), source, first });
        tensors.set(source.tensor, own);
        first += takenRows(source);
      }
    });
  }
  return tensors;
}

function gather({ shape, from }: Outgoing, parameters: ExportedParameters): HostTensor<'f32'> {
  const data = new Float32Array(sizeOf(shape)).fill(from[0]?.source.rest ?? 0);
  for (const { parameter, offset, source, first } of from) {
    const width = rowWidth(parameter, source);
    const ours = present(parameters.get(parameter.name)).data.subarray(offset, offset + sizeOf(parameter.shape));
    const { transposed, columns: order } = parameter.layout;
    const columns = transposed ? at(parameter.shape, 1) : width;
    const before = (source.within?.index ?? 0) * source.rows;
    for (let i = 0; i < takenRows(source); i++) {
      const row = before + (source.take === null ? i : at(source.take, i));
      const own = transposed ? null : ours.subarray((first + i) * width, (first + i + 1) * width);
      if (own === null) for (let k = 0; k < width; k++) data[row * width + k] = present(ours[k * columns + first + i]);
      else if (order === undefined) data.set(own, row * width);
      else order.forEach((column, k) => (data[row * width + column] = present(own[k])));
    }
  }
  return hostTensor('f32', shape, data);
}

async function writeWeights(
  folder: string,
  family: Family,
  config: ModelConfig,
  parameters: ExportedParameters,
  { dtype, shardBytes }: { readonly dtype: ExportDType; readonly shardBytes: number },
): Promise<{ files: string[]; bytes: number }> {
  const stored = STORED[dtype];
  const tensors = outgoing(family, config);
  const constants = new Map((family.constants?.(config, () => undefined) ?? []).map((c) => [c.name, c]));
  // Some constants would make another model if they were rounded as the weights are.
  const typeOf = (name: string) => constants.get(name)?.dtype ?? stored;
  const names = [...tensors, ...constants];
  const specs: TensorSpec[] = names.map(([name, { shape }]) => ({ name, dtype: typeOf(name), shape }));
  const load = (name: string): Promise<HostTensor> => {
    const constant = constants.get(name);
    const tensor =
      constant === undefined
        ? gather(got(tensors, name), parameters)
        : hostTensor('f32', constant.shape, constant.values());
    const type = typeOf(name);
    return Promise.resolve(type === 'f32' ? tensor : tensorFrom(type, tensor.shape, tensor.data));
  };
  const bytesOf = ({ dtype: type, shape }: TensorSpec) => DTYPE_BYTES[type] * sizeOf(shape);
  const bytes = specs.reduce((n, spec) => n + bytesOf(spec), 0);
  const shards: TensorSpec[][] = [[]];
  let filled = 0;
  for (const spec of specs) {
    if (filled > 0 && filled + bytesOf(spec) > shardBytes) [filled] = [0, shards.push([])];
    last(shards).push(spec);
    filled += bytesOf(spec);
  }
  const number = (n: number) => String(n).padStart(5, '0');
  const nameOf = (i: number) =>
    shards.length === 1 ? MODEL_FILE : `model-${number(i + 1)}-of-${number(shards.length)}.safetensors`;
  for (const [i, own] of shards.entries())
    await streamSafetensors(join(folder, nameOf(i)), own, load, { format: 'pt' });
  const files = shards.map((_, i) => nameOf(i));
  if (shards.length === 1) return { files, bytes };
  const weightMap = Object.fromEntries(shards.flatMap((own, i) => own.map(({ name }) => [name, nameOf(i)])));
  const index = { metadata: { total_size: bytes }, weight_map: weightMap };
  writeJsonAtomic(join(folder, INDEX_FILE), index);
  return { files: [...files, INDEX_FILE], bytes };
}
