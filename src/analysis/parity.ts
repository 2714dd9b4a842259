/**
 * How far a model is from what another program computed with it: logits, hidden states, attention maps, loss and
 * gradient norms against a file of expected values, as Transformers gives them.
 *
 * Shape letters: B sequences, T tokens, V vocabulary, d hiddenSize, H query heads, D headDim, L layers.
 */
import { entry, f64At, at, DataError, tensorFrom, toNumbers, type HostTensor, append } from '../core/index.js';
import type { DeviceTensor, Engine } from '../engine/index.js';
import { div, grad, input, makeGraph, mul, nodesOf, reduceSum, type Graph, type Value } from '../graph/index.js';
import {
  attends,
  finalNorm,
  forward,
  parameterInputs,
  hasSinks,
  sinksName,
  tokenLosses,
  type ModelConfig,
  TapReader,
} from '../model/index.js';
import { loadModel, type LoadedModel } from '../loaded/index.js';
import { attentionMaps } from './parity-attention.js';
import { judgeByFloat64, type Float64Distances, type Versions } from './parity-float64.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const readF64 = f64At;

/** Names of tensors of the other program and where their elements are among ours. */
export interface TensorParts {
  readonly name: string;
  readonly parts: readonly {
    readonly parameter: string;
    /** Columns of a matrix, or rows of anything else, that belong to the tensor; of stacks, those of all members. */
    readonly places: readonly number[];
    readonly axis: 'columns' | 'rows' | 'member columns' | 'member rows';
  }[];
}

/**
 * What another program computed, by name: `input_ids` `[B,T]`, and any of `logits`, `hidden.N`, `attn.N`, `loss`,
 * `gradnorm.NAME`.
 */
export type ExpectedTensors = Readonly<Record<string, HostTensor>>;

/** Where the elements of the other program's tensors are among ours, and how far apart values may be. */
export interface ParityOptions {
  readonly tensors: readonly TensorParts[];
  /** Other names under which a tensor's gradient may stand; null if it is known to be of no use. */
  readonly aliases?: (name: string) => readonly string[] | null;
  /**
   * What `hidden.0` is: the embedding (the default) or the first layer's output. The last one is behind the final norm.
   */
  readonly hiddenStates?: 'embedding' | 'layers';
  /** Whether attention maps leave out the mass that sinks take; where not (the default), their rows add up to 1. */
  readonly sinksInMaps?: boolean;
  /** The tolerance of values: `|difference| <= tolerance * max(1, largest expected value)`. */
  readonly tolerance?: number;
  /** The relative tolerance of gradient norms. */
  readonly gradientTolerance?: number;
  /**
   * Makes an engine that computes float64, which judges errors past the tolerance; they fail where there is none (the
   * default). It is made where there are such errors, and disposed of.
   */
  readonly float64?: () => Engine;
}

/** One expected tensor against ours. */
export interface ParityRow {
  readonly name: string;
  /** The largest absolute difference of an element. */
  readonly worstAbsolute: number;
  /** To the largest expected value; of gradient norms, to the norm itself. */
  readonly worstRelative: number;
  /** The largest difference that passes. */
  readonly tolerance: number;
  readonly passed: boolean;
  /** How far both are from float64; of errors past the tolerance, which pass if float32 explains them. */
  readonly float64?: Float64Distances;
}

/** The largest difference of every compared tensor. */
export interface ParityResult {
  readonly format: 1;
  /** The number of sequences. */
  readonly sequences: number;
  readonly seqLen: number;
  readonly rows: readonly ParityRow[];
  /** Expected values that were left out, and why. */
  readonly skipped: readonly { readonly name: string; readonly why: string }[];
  readonly passed: boolean;
}

/** The largest difference of activations that passes, relative to the largest expected value where that is above 1. */
export const PARITY_TOLERANCE = 1e-4;
/** The largest relative difference of gradient norms that passes. */
export const PARITY_GRADIENT_TOLERANCE = 1e-3;

const DEFAULT_TOLERANCES = { values: PARITY_TOLERANCE, gradients: PARITY_GRADIENT_TOLERANCE } as const;

/** Gradient norms below this part of the largest are noise: their error is taken relative to it. */
const NOISE = 1e-4;

/**
 * What is left where all terms of a gradient cancel, as that of queries where each token sees only itself: this many
 * roundings of float32, each a part of the largest norm, by which the size of the terms is known.
 */
const ROUNDINGS = 32 * 2 ** -24;

type Numbers = Readonly<Record<string, Float64Array>>;

/**
 * Runs the model on the `input_ids` and compares everything else that is expected.
 *
 * @param expected what the other program computed, `input_ids` among it
 * @throws DataError if `input_ids` are missing or out of range, or an expected tensor has another shape than ours
 */
export async function compareWithExpected(
  model: LoadedModel,
  expected: ExpectedTensors,
  options: ParityOptions,
): Promise<ParityResult> {
  const ids = readIds(expected, model.config);
  const wanted = Object.keys(expected).filter((name) => name !== 'input_ids');
  const { hiddenStates: hidden, sinksInMaps = false, tensors } = options;
  const what = { hidden, sinksInMaps, tensors };
  const got = await compute(model, expected, ids, { ...what, wanted, dtype: 'f32' });
  const skipped: { name: string; why: string }[] = [];
  const values: Compared[] = [];
  for (const name of wanted.filter((n) => !n.startsWith('gradnorm.')).sort(byNumber)) {
    const ours = got.values[name];
    if (ours === undefined) skipped.push({ name, why: got.absent[name] ?? 'it is not something that is compared' });
    else values.push(compareValues(name, ours, entry(expected, name), options.tolerance ?? PARITY_TOLERANCE));
  }
  const norms = gradientNorms(options, wanted, got.squares);
  append(skipped, norms.skipped);
  const gradients = compareGradients(options, expected, norms.norms);
  const failed = [values, gradients].filter((kind) => kind.some(({ row }) => !row.passed)).flat();
  let exact: Numbers = {};
  if (options.float64 && failed.length > 0) {
    const names = failed.map(({ row }) => row.name);
    exact = await inFloat64(options.float64, model, async (precise) => {
      const found = await compute(precise, expected, ids, { ...what, wanted: names, dtype: 'f64' });
      const own = [...gradientNorms(options, names, found.squares).norms];
      return { ...found.values, ...Object.fromEntries(own.map(([name, norm]) => [name, Float64Array.of(norm)])) };
    });
  }
  const rows = [...judged('values', values, exact), ...judged('gradients', gradients, exact)];
  const passed = rows.length > 0 && rows.every((r) => r.passed) && norms.unknown === 0;
  return { format: 1, sequences: ids.B, seqLen: ids.T, rows, skipped, passed };
}

/** Takes the same weights to an engine that computes float64, for as long as `use` needs them. */
async function inFloat64<T>(
  make: () => Engine,
  { engine, config, tensors }: LoadedModel,
  use: (model: LoadedModel) => Promise<T>,
): Promise<T> {
  const precise = make();
  try {
    const weights = new Map<string, HostTensor>();
    for (const [name, tensor] of Object.entries(tensors)) {
      const own = await engine.download(tensor);
      weights.set(name, tensorFrom('f64', own.shape, toNumbers(own)));
    }
    return await use(loadModel(precise, config, weights));
  } finally {
    await precise.dispose();
  }
}

/** A row and what it compares; differences are relative to `size`. */
interface Compared {
  readonly row: ParityRow;
  readonly expected: Float64Array;
  readonly ours: Float64Array;
  readonly size: number;
  /** What float32 may leave where terms cancel, relative to `size`. */
  readonly rounding?: number;
}

/**
 * The rows of one kind; those past the tolerance are judged by the values of float64, where there are such. A tolerance
 * other than the default is the last word.
 */
function judged(kind: 'values' | 'gradients', compared: readonly Compared[], exact: Numbers): ParityRow[] {
  const versions = compared.flatMap(({ row: { name }, ...values }): Versions[] => {
    const own = exact[name];
    return own === undefined ? [] : [{ name, exact: own, ...values }];
  });
  const verdicts = judgeByFloat64(kind, versions);
  return compared.map(({ row }) => {
    const verdict = row.passed ? undefined : verdicts.get(row.name);
    if (verdict === undefined) return row;
    const { explained, ...float64 } = verdict;
    return { ...row, passed: explained && row.tolerance === DEFAULT_TOLERANCES[kind], float64 };
  });
}

const byNumber = (a: string, b: string) => a.localeCompare(b, 'en', { numeric: true });

interface Ids {
  readonly B: number;
  readonly T: number;
  readonly values: Float64Array;
}

function readIds(expected: ExpectedTensors, { vocabSize }: ModelConfig): Ids {
  const tensor = expected['input_ids'];
  const [B, T] = tensor?.shape ?? [];
  if (tensor === undefined || tensor.shape.length !== 2 || !B || !T || T < 2) {
    throw new DataError('the expected values need input_ids of shape [sequences, tokens], at least 2 tokens');
  }
  const values = toNumbers(tensor);
  const outside = values.find((v) => v < 0 || v >= vocabSize);
  if (outside !== undefined)
    throw new DataError(`input_ids hold ${outside}, but the vocabulary has ${vocabSize} tokens`);
  return { B, T, values };
}

interface Computed {
  readonly values: Numbers;
  /** Why an expected value is not among them. */
  readonly absent: Readonly<Record<string, string>>;
  /** Squared gradients of every parameter, summed over all but columns (matrices) or rows. */
  readonly squares: Numbers;
}

/** What of a model is computed: the expected values that are `wanted`, and squared gradients of `tensors`. */
interface Wanted {
  readonly wanted: readonly string[];
  readonly hidden: ParityOptions['hiddenStates'];
  readonly sinksInMaps: boolean;
  readonly tensors: readonly TensorParts[];
  /** What it is computed in. */
  readonly dtype: 'f32' | 'f64';
}

async function compute(
  { engine, config: model, tensors: weights }: LoadedModel,
  expected: ExpectedTensors,
  ids: Ids,
  what: Wanted,
): Promise<Computed> {
  const { wanted } = what;
  const { B, T, values } = ids;
  const isLast = (i: number) => i % T === T - 1;
  const inputs: Record<string, DeviceTensor> = {
    ...weights,
    tokens: engine.upload(tensorFrom('i32', [B, T], values)),
    targets: engine.upload(
      tensorFrom(
        'i32',
        [B, T],
        values.map((_, i) => (isLast(i) ? 0 : readF64(values, i + 1))),
      ),
    ),
    weights: engine.upload(
      tensorFrom(
        what.dtype,
        [B, T],
        values.map((_, i) => (isLast(i) ? 0 : 1)),
      ),
    ),
  };
  const run = async (graph: Graph): Promise<Numbers> => {
    const executable = await engine.compile(graph);
    const own = Object.fromEntries(graph.inputs.map(({ name }) => [name, entry(inputs, name)]));
    const out = await executable.run(own);
    const entries: [string, Float64Array][] = [];
    for (const [name, tensor] of Object.entries(out)) entries.push([name, toNumbers(await engine.download(tensor))]);
    return Object.fromEntries(entries);
  };
  // Two graphs, since activations come from a forward pass alone while the loss's gradients recompute what they need.
  const attention = attentionLayersOf(model, wanted);
  const states = await run(statesGraph(model, ids, what, Object.values(attention.layers)));
  const maps: [string, Float64Array][] = [];
  for (const [name, layer] of Object.entries(attention.layers)) {
    const samples = expected[name]?.shape[0] ?? B;
    const plan = at(model.layers, layer);
    const sinks = what.sinksInMaps && hasSinks(model, plan) ? entry(weights, sinksName(plan, layer)) : null;
    const values = sinks && toNumbers(await engine.download(sinks));
    maps.push([
      name,
      attentionMaps(model, layer, { ...states, ...(values && { sinks: values }) }, [Math.min(samples, B), T]),
    ]);
  }
  const learns = wanted.some((n) => n === 'loss' || n.startsWith('gradnorm.'));
  const learned = learns ? await run(lossGraph(model, ids, what)) : {};
  const { loss, ...squares } = learned;
  return {
    values: { ...states, ...Object.fromEntries(maps), ...(loss === undefined ? {} : { loss }) },
    absent: attention.absent,
    squares,
  };
}

/**
 * Which layer each expected attention map is of: by its number, or (fewer maps than layers) in the order of attention
 * layers.
 */
function attentionLayersOf(model: ModelConfig, wanted: readonly string[]) {
  const names = wanted.filter((n) => n.startsWith('attn.')).sort(byNumber);
  const attending = model.layers.flatMap((plan, layer) => (attends(plan) ? [layer] : []));
  const layers: Record<string, number> = {};
  const absent: Record<string, string> = {};
  names.forEach((name, i) => {
    const layer = names.length === model.numLayers ? i : names.length === attending.length ? attending[i] : undefined;
    if (layer === undefined) absent[name] = `${names.length} maps fit neither the layers nor those with attention`;
    else if (attending.includes(layer)) layers[name] = layer;
    else absent[name] = `layer ${layer} has no attention`;
  });
  return { layers, absent };
}

function statesGraph(
  model: ModelConfig,
  { B, T }: Ids,
  { wanted, hidden, dtype }: Wanted,
  attending: readonly number[],
): Graph {
  const params = parameterInputs(model, dtype);
  const tokens = input('tokens', 'i32', [B, T]);
  const reader = new TapReader();
  const { logits } = forward(model, params, tokens, { tap: reader.tap });
  const outputs: [string, Value][] = [];
  if (wanted.includes('logits')) outputs.push(['logits', logits]);
  const first = hidden === 'layers' ? 1 : 0;
  for (let n = 0; n <= model.numLayers; n++) {
    const stream = at(reader.stream, Math.min(n + first, model.numLayers));
    if (!wanted.includes(`hidden.${n}`)) continue;
    outputs.push([`hidden.${n}`, n === model.numLayers ? finalNorm(model, params, stream) : stream]);
  }
  for (const layer of attending) {
    const qk = reader.queriesAndKeys(layer);
    if (qk) outputs.push([`q.${layer}`, qk.q], [`k.${layer}`, qk.k]);
  }
  if (outputs.length === 0) outputs.push(['logits', logits]);
  const needed = new Set(nodesOf(outputs.map(([, v]) => v)));
  const used = [...params].filter(([, v]) => needed.has(v.node));
  return makeGraph({ ...Object.fromEntries(used), tokens }, Object.fromEntries(outputs));
}

function lossGraph(model: ModelConfig, { B, T }: Ids, { tensors, dtype }: Wanted): Graph {
  const axes = new Map(tensors.flatMap((t) => t.parts.map((p) => [p.parameter, p.axis] as const)));
  const params = parameterInputs(model, dtype);
  const [tokens, targets] = [input('tokens', 'i32', [B, T]), input('targets', 'i32', [B, T])];
  const weights = input('weights', dtype, [B, T]);
  const { logits } = forward(model, params, tokens);
  const { weightedSum, weightSum } = tokenLosses(logits, targets, weights);
  const loss = div(weightedSum, weightSum);
  const gradients = grad(loss, [...params.values()]);
  const squares = [...params.keys()].map((name, i): [string, Value] => {
    const gradient = at(gradients, i);
    const kept = keptAxes(axes.get(name) ?? 'rows', gradient.shape.length);
    const others = gradient.shape.map((_, axis) => axis).filter((axis) => !kept.includes(axis));
    return [name, reduceSum(mul(gradient, gradient), others)];
  });
  return makeGraph(
    { ...Object.fromEntries(params), tokens, targets, weights },
    { loss, ...Object.fromEntries(squares) },
  );
}

/** The axes along which squared gradients are kept apart. */
function keptAxes(axis: TensorParts['parts'][number]['axis'], rank: number): number[] {
  switch (axis) {
    case 'columns':
      return [rank - 1];
    case 'rows':
      return [0];
    case 'member columns':
      return [0, rank - 1];
    case 'member rows':
      return [0, 1];
  }
}

function compareValues(name: string, ours: Float64Array, expected: HostTensor, tolerance: number): Compared {
  const theirs = toNumbers(expected);
  if (ours.length !== theirs.length) {
    throw new DataError(
      `${name} is expected as [${expected.shape.join(',')}], but the model gives ${ours.length} numbers`,
      {
        details: { name },
      },
    );
  }
  let [worst, largest] = [0, 0];
  theirs.forEach((v, i) => {
    const difference = Math.abs(readF64(ours, i) - v);
    worst = Number.isNaN(difference) ? Infinity : Math.max(worst, difference);
    largest = Math.max(largest, Math.abs(v));
  });
  const worstRelative = worst === 0 ? 0 : worst / largest;
  const passed = worst <= tolerance * Math.max(1, largest);
  return {
    row: { name, worstAbsolute: worst, worstRelative, tolerance, passed },
    ...{ expected: theirs, ours, size: largest },
  };
}

const expectedNorm = (expected: ExpectedTensors, name: string): number => readF64(toNumbers(entry(expected, name)), 0);

/** The norms of gradients among `wanted`, by their names there, and those that the model does not have. */
function gradientNorms({ tensors, aliases }: ParityOptions, wanted: readonly string[], squares: Numbers) {
  const byName = new Map(tensors.map((t) => [t.name, t]));
  const norms = new Map<string, number>();
  const skipped: { name: string; why: string }[] = [];
  let unknown = 0;
  for (const name of wanted.filter((n) => n.startsWith('gradnorm.')).sort(byNumber)) {
    const tensor = name.slice('gradnorm.'.length);
    const others = byName.has(tensor) ? [tensor] : (aliases?.(tensor) ?? null);
    const found = others?.flatMap((other) => byName.get(other) ?? []) ?? [];
    if (found.length > 0) {
      norms.set(name, Math.sqrt(found.reduce((sum, t) => sum + squaredNorm(t, squares), 0)));
      continue;
    }
    const useless = others === null && aliases !== undefined && aliases(tensor) === null;
    if (!useless) unknown += 1;
    skipped.push({ name, why: useless ? 'it has no effect on the result' : 'the model has no such tensor' });
  }
  return { norms, skipped, unknown };
}

function compareGradients(
  { gradientTolerance: tolerance = PARITY_GRADIENT_TOLERANCE }: ParityOptions,
  expected: ExpectedTensors,
  norms: ReadonlyMap<string, number>,
): Compared[] {
  const largest = Object.keys(expected)
    .filter((name) => name.startsWith('gradnorm.'))
    .reduce((most, name) => Math.max(most, expectedNorm(expected, name)), 0);
  return [...norms].map(([name, norm]) => {
    const theirs = expectedNorm(expected, name);
    const size = Math.max(theirs, NOISE * largest);
    const worst = Math.abs(norm - theirs);
    const worstRelative = worst === 0 ? 0 : worst / size;
    return {
      row: { name, worstAbsolute: worst, worstRelative, tolerance, passed: worstRelative <= tolerance },
      ...{ expected: Float64Array.of(theirs), ours: Float64Array.of(norm), size },
      rounding: size === 0 ? 0 : (ROUNDINGS * largest) / size,
    };
  });
}

function squaredNorm({ parts }: TensorParts, squares: Numbers): number {
  return parts.reduce((sum, { parameter, places }) => {
    const own = entry(squares, parameter);
    return places.reduce((s, place) => s + readF64(own, place), sum);
  }, 0);
}
