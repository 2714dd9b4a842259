/** The tensor files of a Transformers model, and parameters read from them part by part. */
import {
  allocate,
  present,
  at,
  got,
  i32At,
  formatShape,
  hostTensor,
  sameShape,
  sizeOf,
  StoreError,
  type HostTensor,
  type Shape,
} from '../../core/index.js';
import { parameterSpecs, type ModelConfig } from '../../model/index.js';
import type { Family, TensorShapes } from './family/family.js';
import type { ParameterLayout, Source } from './family/layout.js';
import { sameStored, type TensorFiles } from './places.js';
import { heldAs, TensorReader, type WeightArray, type WeightDType } from './reader.js';
import { spareTensors, type DifferingTensor } from './spare.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const readI32 = i32At;

/** Bytes of theirs that are on the host at once beside the result. */
const CHUNK_BYTES = 8 * 2 ** 20;

/** Looks up the shapes of stored tensors by name. */
export const shapesIn =
  (files: TensorFiles): TensorShapes =>
  (name) =>
    files.get(name)?.shape;

/** A parameter of ours and what it is made of. */
export interface MappedParameter {
  readonly name: string;
  /** The shape of the Longsight parameter. */
  readonly shape: Shape;
  readonly layout: ParameterLayout;
}

/** Every parameter with its layout; throws `StoreError` naming one that the family has no tensor for. */
export function mapParameters(
  family: Family,
  config: ModelConfig,
  shapes: TensorShapes = () => undefined,
): MappedParameter[] {
  return parameterSpecs(config).map(({ name, shape, layer }) => {
    const layout = family.layout(config, layer, layer === null ? name : name.slice(`layers.${layer}.`.length), shapes);
    if (layout !== null)
      return { name, shape, layout: name === EMBEDDING ? embeddingLayout(layout, family, config, shapes) : layout };
    const [type] = family.modelTypes;
    throw new StoreError(`parameter ${name} has no counterpart in models of type ${type}`, { details: { name, type } });
  });
}

const EMBEDDING = 'embed.weight';
const HEAD = 'head.weight';

/**
 * The tensor of theirs that the embedding, or the output head, is stored as; undefined if the family has no such
 * tensor.
 */
function tensorOf(
  family: Family,
  config: ModelConfig,
  name: typeof EMBEDDING | typeof HEAD,
  shapes: TensorShapes = () => undefined,
): string | undefined {
  return family.layout({ ...config, tieEmbeddings: false }, null, name, shapes)?.sources[0]?.tensor;
}

/** What Transformers calls the embedding in memory. */
export const embeddingTensor = (family: Family, config: ModelConfig): string | undefined =>
  tensorOf(family, config, EMBEDDING);

/** The tensors of the files that the embedding is read from. */
export const embeddingSources = (mapped: readonly MappedParameter[]): string[] =>
  mapped.filter(({ name }) => name === EMBEDDING).flatMap(({ layout }) => layout.sources.map(({ tensor }) => tensor));

/** The layout of the embedding: a tied model may be stored with its head only, as Transformers takes it too. */
function embeddingLayout(
  layout: ParameterLayout,
  family: Family,
  config: ModelConfig,
  shapes: TensorShapes,
): ParameterLayout {
  const [source] = layout.sources;
  const head = tensorOf(family, config, HEAD, shapes);
  if (!config.tieEmbeddings || source === undefined || head === undefined) return layout;
  if (shapes(source.tensor) !== undefined || shapes(head) === undefined) return layout;
  return { ...layout, sources: [{ ...source, tensor: head }] };
}

/** A configuration with what the files hold. */
export interface StoredHead {
  readonly config: ModelConfig;
  /** What a user should know of it; empty if configuration and files agree. */
  readonly notes: readonly string[];
}

/**
 * The configuration with what the files say over it, as Transformers 5 does: a stored head that differs from the
 * embedding, and stored values that the family computes with.
 */
export function storedModel(family: Family, config: ModelConfig, files: TensorFiles): StoredHead {
  const head = storedHead(family, config, files);
  using reader = new TensorReader(files);
  const adopted = family.adopt?.(head.config, (name) => {
    const place = files.get(name);
    return place && { values: reader.all(name), stored: place.stored };
  });
  return adopted === undefined ? head : { config: adopted.config, notes: [...head.notes, ...adopted.notes] };
}

/**
 * Unties the head of a model whose files hold one with other values than the embedding, as Transformers 5 does,
 * whatever `tie_word_embeddings` says. An equal head stays tied. Reads both tensors where both are there, and nothing
 * else.
 */
function storedHead(family: Family, config: ModelConfig, files: TensorFiles): StoredHead {
  const shapes = shapesIn(files);
  const [embedding, head] = [tensorOf(family, config, EMBEDDING, shapes), tensorOf(family, config, HEAD, shapes)];
  if (!config.tieEmbeddings || embedding === undefined || head === undefined) return { config, notes: [] };
  const [ours, theirs] = [files.get(embedding), files.get(head)];
  if (ours === undefined || theirs === undefined) return { config, notes: [] };
  if (sameStored({ name: embedding, ...ours }, { name: head, ...theirs })) return { config, notes: [] };
  const note =
    `config.json ties the output head to the embedding, but ${head} is stored with other values than ${embedding}: ` +
    'the stored head is used and the model is not tied, as in Transformers 5';
  return { config: { ...config, tieEmbeddings: false }, notes: [note] };
}

/** The members of a parameter that is a stack, each as a parameter; of another, the parameter itself. */
export function membersOf(parameter: MappedParameter): readonly MappedParameter[] {
  const { name, shape, layout } = parameter;
  const { members, sources, ...rest } = layout;
  if (members === undefined) return [parameter];
  const each = sources.length / members;
  return Array.from({ length: members }, (_, i) => ({
    name,
    shape: shape.slice(1),
    layout: { ...rest, sources: sources.slice(i * each, (i + 1) * each) },
  }));
}

/** Every tensor of theirs and the columns or rows of ours that hold it. */
export function tensorParts(mapped: readonly MappedParameter[]): HfTensorParts[] {
  const found = new Map<string, HfTensorParts['parts'][number][]>();
  for (const parameter of mapped) {
    const { transposed, members } = parameter.layout;
    const kind = transposed ? 'columns' : 'rows';
    membersOf(parameter).forEach(({ name, shape, layout }, member) => {
      let first = member * (transposed ? at(shape, 1) : at(shape, 0));
      for (const source of layout.sources) {
        // A row of theirs may be several of ours.
        const each = transposed ? 1 : sizeOf(source.inner ?? shape.slice(1)) / sizeOf(shape.slice(1));
        const count = each * takenRows(source);
        const places = Array.from({ length: count }, (_, i) => first + i);
        first += count;
        for (const tensor of [source.tensor, ...(source.inMemory === undefined ? [] : [source.inMemory])]) {
          const own = found.get(tensor) ?? [];
          own.push({ parameter: name, places, axis: members === undefined ? kind : `member ${kind}` });
          found.set(tensor, own);
        }
      }
    });
  }
  return [...found].map(([name, parts]) => ({ name, parts }));
}

/** A tensor of theirs, by the columns (of matrices) or rows of our parameters that hold its elements. */
export interface HfTensorParts {
  readonly name: string;
  readonly parts: {
    readonly parameter: string;
    readonly places: readonly number[];
    /** What the places count: columns or rows; of stacks `[members, ...]`, those of all members one after another. */
    readonly axis: 'columns' | 'rows' | 'member columns' | 'member rows';
  }[];
}

/** The shape of a source's tensor. */
export function sourceShape({ shape, layout }: MappedParameter, source: Source): Shape {
  const { rows, within } = source;
  const own = layout.members === undefined ? shape : shape.slice(1);
  const inner = source.inner ?? (layout.transposed ? own.slice(0, 1) : own.slice(1));
  return [...(within === undefined ? [] : [within.count]), rows, ...inner];
}

/** The elements of a row of a source's tensor. */
export const rowWidth = (parameter: MappedParameter, source: Source): number =>
  sizeOf(sourceShape(parameter, source).slice(source.within === undefined ? 1 : 2));

/** How many of our columns or rows a source fills. */
export const takenRows = ({ take, rows }: Source): number => take?.length ?? rows;

/** What is wrong with the tensors of a folder; `null` for nothing. */
export interface TensorProblems {
  readonly missing: readonly { readonly name: string; readonly shape: Shape }[];
  readonly misshapen: readonly { readonly name: string; readonly shape: Shape; readonly found: Shape }[];
  /** Tensors that the model has no place for. */
  readonly extra: readonly string[];
  /** Buffers that hold other values than `config.json` gives. */
  readonly differing: readonly DifferingTensor[];
}

/** Compares the tensors of a folder with those of the model; `config` is that of `storedModel`. */
export function compareTensors(family: Family, config: ModelConfig, files: TensorFiles): TensorProblems {
  const wanted = new Map<string, Shape>();
  for (const parameter of mapParameters(family, config, shapesIn(files))) {
    for (const source of parameter.layout.sources) wanted.set(source.tensor, sourceShape(parameter, source));
  }
  const missing = [...wanted].filter(([name]) => !files.has(name)).map(([name, shape]) => ({ name, shape }));
  const misshapen = [...wanted].flatMap(([name, shape]) => {
    const found = files.get(name)?.shape;
    return found === undefined || sameShape(found, shape) ? [] : [{ name, shape, found }];
  });
  // The head of a tied model equals the embedding: `storedHead` has compared them.
  const tiedHead = config.tieEmbeddings ? tensorOf(family, config, HEAD, shapesIn(files)) : undefined;
  const used = (name: string) => wanted.has(name) || name === tiedHead;
  return { missing, misshapen, ...spareTensors(family, config, files, used) };
}

/**
 * Throws `StoreError` naming the first tensor that is missing, has another shape, disagrees with `config.json`, or has
 * no place.
 */
export function checkTensors(folder: string, family: Family, config: ModelConfig, files: TensorFiles): void {
  const { missing, misshapen, extra, differing } = compareTensors(family, config, files);
  const [lacking] = missing;
  if (lacking !== undefined) {
    const more = missing.length > 1 ? `, and ${missing.length - 1} more` : '';
    throw new StoreError(`${folder} lacks tensor ${lacking.name} ${formatShape(lacking.shape)}${more}`, {
      details: { folder, missing },
    });
  }
  const [wrong] = misshapen;
  if (wrong !== undefined) {
    throw new StoreError(
      `${files.get(wrong.name)?.path}: tensor ${wrong.name} is ${formatShape(wrong.found)}, but config.json makes it ` +
        formatShape(wrong.shape),
      { details: { folder, misshapen } },
    );
  }
  const [other] = differing;
  if (other !== undefined) {
    throw new StoreError(
      `${files.get(other.name)?.path}: tensor ${other.name} ${other.why}; correct config.json, or remove the tensor if ` +
        'config.json is right',
      { details: { folder, differing } },
    );
  }
  if (extra.length > 0) {
    const shown = extra.slice(0, 3).join(', ') + (extra.length > 3 ? `, and ${extra.length - 3} more` : '');
    throw new StoreError(`${folder}: the model that its config.json describes has no place for ${shown}`, {
      details: { folder, extra },
    });
  }
}

/** What a parameter is held in: the type of its tensors where they have one, f32 where they differ. */
export function parameterType(files: TensorFiles, { layout }: MappedParameter): WeightDType {
  const [first, ...rest] = new Set(layout.sources.map(({ tensor }) => heldAs(got(files, tensor))));
  return first === undefined || rest.length > 0 ? 'f32' : first;
}

/**
 * Reads one parameter in `dtype`, which is f32 or that of `parameterType`; a few megabytes of theirs at a time are on
 * the host beside it.
 */
export function readParameter<K extends WeightDType>(
  reader: TensorReader,
  parameter: MappedParameter,
  dtype: K,
): HostTensor<K> {
  const data = allocate<WeightDType>(dtype, sizeOf(parameter.shape));
  const members = membersOf(parameter);
  const size = data.length / members.length;
  members.forEach((member, i) => readInto(reader, member, dtype, data.subarray(i * size, (i + 1) * size)));
  return hostTensor<WeightDType>(dtype, parameter.shape, data) as HostTensor<K>;
}

function readInto(reader: TensorReader, parameter: MappedParameter, dtype: WeightDType, data: WeightArray): void {
  const { shape, layout } = parameter;
  const columns = layout.transposed ? at(shape, 1) : sizeOf(shape.slice(1));
  let first = 0;
  for (const source of layout.sources) {
    const places = placesOf(source, first);
    const width = rowWidth(parameter, source);
    const before = (source.within?.index ?? 0) * source.rows * width;
    const rows = { reader, source, before, width, dtype };
    const asStored = source.take === null && !layout.transposed && layout.columns === undefined;
    if (asStored && data instanceof Uint16Array) {
      reader.fill(source.tensor, before, data.subarray(first * width, (first + source.rows) * width));
    } else {
      for (const { from, chunk } of chunksOf(rows, places)) {
        const own = places.subarray(from, from + chunk.length / Math.max(1, width));
        if (layout.transposed) transposeInto(data, chunk, width, columns, own);
        else
          own.forEach((place, i) => place >= 0 && setRow(data, place * width, chunk, i * width, width, layout.columns));
      }
    }
    first += takenRows(source);
  }
}

/** Copies a row, its columns taken in another order where there is one. */
function setRow(
  into: WeightArray,
  to: number,
  from: WeightArray,
  start: number,
  width: number,
  columns: readonly number[] | undefined,
): void {
  if (columns === undefined) return into.set(from.subarray(start, start + width), to);
  columns.forEach((column, i) => (into[to + i] = present(from[start + column])));
}

interface SourceRows {
  readonly reader: TensorReader;
  readonly source: Source;
  /** Elements of the tensor before its first row. */
  readonly before: number;
  /** Elements of a row. */
  readonly width: number;
  readonly dtype: WeightDType;
}

/** The rows of a source that have a place, in pieces; the memory of a piece is that of the next one too. */
function* chunksOf(
  { reader, source, before, width, dtype }: SourceRows,
  places: Int32Array,
): Generator<{ readonly from: number; readonly chunk: WeightArray }> {
  const step = Math.max(1, Math.floor(CHUNK_BYTES / 4 / Math.max(1, width)));
  const scratch = dtype === 'f32' ? null : new Uint16Array(Math.min(step, source.rows) * width);
  for (let from = 0; from < source.rows; from += step) {
    const to = Math.min(source.rows, from + step);
    if (places.subarray(from, to).every((place) => place < 0)) continue;
    if (scratch === null) {
      yield { from, chunk: reader.floats(source.tensor, before + from * width, before + to * width) };
      continue;
    }
    const chunk = scratch.subarray(0, (to - from) * width);
    reader.fill(source.tensor, before + from * width, chunk);
    yield { from, chunk };
  }
}

/** For every row of theirs, the column or row of ours that it fills; -1 for none. */
function placesOf({ rows, take }: Source, first: number): Int32Array {
  if (take === null) return Int32Array.from({ length: rows }, (_, i) => first + i);
  const places = new Int32Array(rows).fill(-1);
  take.forEach((row, i) => (places[row] = first + i));
  return places;
}

const TILE = 32;

/**
 * `from [places.length, width]` transposed into columns `places` of `into [width, columns]`, in tiles that stay in
 * cache.
 */
function transposeInto(into: WeightArray, from: WeightArray, width: number, columns: number, places: Int32Array): void {
  for (let i0 = 0; i0 < width; i0 += TILE) {
    const iEnd = Math.min(width, i0 + TILE);
    for (let j0 = 0; j0 < places.length; j0 += TILE) {
      const jEnd = Math.min(places.length, j0 + TILE);
      for (let i = i0; i < iEnd; i++) {
        for (let j = j0; j < jEnd; j++) {
          const place = readI32(places, j);
          if (place >= 0) into[i * columns + place] = present(from[j * width + i]);
        }
      }
    }
  }
}
