/**
 * The graphs of one training step: forward, gradient, clipping and AdamW.
 *
 * Without accumulation a step is one graph. With it, one graph adds a microbatch's gradient to a running sum and
 * another applies the sum. Loss weights are divided by their sum over the whole step on the host, so both give the
 * gradient of the same loss: the weighted mean over every token of the step.
 */
import { present, got, at, entry, sizeOf, type DType, type Shape } from '../core/index.js';
import type { Precision } from '../engine/index.js';
import {
  add,
  concat,
  grad,
  input,
  makeGraph,
  mixedPrecision,
  mul,
  reshape,
  split,
  sub,
  type Graph,
  type Value,
} from '../graph/index.js';
import {
  forward,
  parameterInputs,
  decays,
  parameterSpecs,
  routingLoss,
  routingNumbers,
  tokenLosses,
  type ForwardOptions,
  type ModelConfig,
  type ParamSpec,
} from '../model/index.js';
import { adamwMoments, applyStep, clipFactor, globalNorm, scalarInputs, type AdamWConfig } from './optimizer.js';
import type { TrainConfig } from './config.js';

/** The parts of a `train` configuration that decide what a step computes. */
export type StepConfig = AdamWConfig &
  Pick<TrainConfig, 'seqLen' | 'batchSize' | 'accumulate' | 'remat'> &
  Partial<Pick<TrainConfig, 'precision'>>;

/** How a training step is built. */
export interface StepOptions {
  readonly forward?: ForwardOptions;
  /**
   * How moments are kept: `flat`, all parameters in one vector (few large ops), `separate`, one tensor per parameter,
   * or consecutive parameters in one vector as long as they have at most this many elements together. The same numbers
   * but for the rounding of the global norm. Default what suits the engine.
   */
  readonly moments?: Grouping;
  /**
   * `bf16`: products and activations in bfloat16; master weights, norms, softmax statistics, loss and optimizer in
   * float32. Default what the configuration says, else `f32`: everything in float32.
   */
  readonly precision?: Precision;
  /** Whether batches say which document each token belongs to. Default no. */
  readonly hasSegments?: boolean;
}

/** How parameters share tensors of moments; see `StepOptions.moments`. */
export type Grouping = 'flat' | 'separate' | number;

/** The dtype of parameters, gradients and optimizer state, whatever the precision of a step. */
export const DTYPE: DType = 'f32';
/** Before the name of an input: the output that takes its place in the next step. */
export const RESULT = 'new.';
/** Inputs beside parameters, as `NAME.GROUP`: AdamW's moments, and the sum of gradients of an accumulated step. */
export const [M, V, SUM] = ['moment1', 'moment2', 'gradientSum'] as const;

/** Parameters whose moments share one tensor. */
export interface Group {
  readonly names: readonly string[];
  /** Elements of each parameter. */
  readonly sizes: readonly number[];
  /** The shape of the shared tensor: that of a lone parameter, else `[n]` for n elements in all. */
  readonly shape: Shape;
  /** Names of the parameters that weight decay applies to. */
  readonly decaying: ReadonlySet<string>;
}

/** The groups of a model's parameters, in their order, for a way of keeping moments. */
export function groupsOf(model: ModelConfig, how: Grouping): Group[] {
  const limit = how === 'flat' ? Infinity : how === 'separate' ? 0 : how;
  const groups: ParamSpec[][] = [];
  let elements = 0;
  for (const spec of parameterSpecs(model)) {
    const size = sizeOf(spec.shape);
    elements += size;
    if (groups.length > 0 && elements <= limit) {
      groups.at(-1)?.push(spec);
    } else {
      groups.push([spec]);
      elements = size;
    }
  }
  return groups.map((specs) => {
    const sizes = specs.map((s) => sizeOf(s.shape));
    const [only, ...others] = specs as [ParamSpec, ...ParamSpec[]];
    const shape = others.length === 0 ? only.shape : [sizes.reduce((a, b) => a + b, 0)];
    const decaying = new Set(specs.filter(decays).map((s) => s.name));
    return { names: specs.map((s) => s.name), sizes, shape, decaying };
  });
}

/** The gradients of a group as one value of the group's shape. */
function gather(group: Group, values: ReadonlyMap<string, Value>): Value {
  const parts = group.names.map((name) => got(values, name));
  return parts.length === 1
    ? at(parts, 0)
    : concat(
        parts.map((p) => reshape(p, [sizeOf(p.shape)])),
        0,
      );
}

/** The reverse of `gather`: the parts of a group's value, in the parameters' shapes. */
function scatter(group: Group, value: Value, params: ReadonlyMap<string, Value>): Map<string, Value> {
  const parts = group.names.length === 1 ? [value] : split(value, 0, group.sizes);
  return new Map(group.names.map((name, i) => [name, reshape(at(parts, i), got(params, name).shape)]));
}

interface BatchInputs {
  readonly tokens: Value;
  readonly targets: Value;
  readonly weights: Value;
  /** The document of each token; left out where rows are not divided. */
  readonly segments?: Value;
}

/** Inputs of `batchSize` sequences; `weights` sum to 1 over a step. */
function batchInputs(batchSize: number, seqLen: number, hasSegments: boolean): BatchInputs {
  const shape = [batchSize, seqLen];
  return {
    tokens: input('tokens', 'i32', shape),
    targets: input('targets', 'i32', shape),
    weights: input('weights', DTYPE, shape),
    ...(hasSegments ? { segments: input('segments', 'i32', shape) } : {}),
  };
}

/** The loss of a microbatch, its gradients by parameter, and how evenly experts got its tokens (null without them). */
interface Differentiated {
  readonly loss: Value;
  readonly gradients: Map<string, Value>;
  readonly routing: Value | null;
}

/** Differentiates the loss of a microbatch and what its routers add. */
function lossAndGradients(
  model: ModelConfig,
  params: ReadonlyMap<string, Value>,
  batch: BatchInputs,
  options: ForwardOptions,
  precision: Precision = 'f32',
): Differentiated {
  const { logits, routing } = forward(model, params, batch.tokens, { ...options, segments: batch.segments ?? null });
  const { weightedSum, weightSum } = tokenLosses(logits, batch.targets, batch.weights);
  const added = routingLoss(model, routing);
  // Weights sum to 1 over a step: a microbatch adds its share.
  const whole = added === null ? weightedSum : add(weightedSum, mul(added, weightSum));
  const numbers = routingNumbers(model, routing);
  const outputs = [weightedSum, whole, ...(numbers === null ? [] : [numbers])];
  const [loss, objective, evenness] = precision === 'bf16' ? mixedPrecision(outputs) : outputs;
  const names = [...params.keys()];
  const gradients = grad(present(objective), [...params.values()]);
  return {
    loss: present(loss),
    gradients: new Map(names.map((name, i) => [name, at(gradients, i)])),
    routing: evenness ?? null,
  };
}

const groupInputs = (kind: string, groups: readonly Group[]) =>
  groups.map((group, i) => input(`${kind}.${i}`, DTYPE, group.shape));

const named = (kind: string, values: readonly Value[]): Record<string, Value> =>
  Object.fromEntries(values.map((value, i) => [`${kind}.${i}`, value]));

/** A graph, and what of its inputs may be written over. */
export interface Program {
  readonly graph: Graph;
  /** By name of an input, the output that may take its memory. */
  readonly donate: Readonly<Record<string, string>>;
}

/** Inputs and outputs of the update, given the gradient of each group. */
function update(
  config: AdamWConfig,
  params: ReadonlyMap<string, Value>,
  groups: readonly Group[],
  gradients: readonly Value[],
): { inputs: Record<string, Value>; outputs: Record<string, Value>; donate: Record<string, string> } {
  const scalars = scalarInputs(DTYPE);
  const [ms, vs] = [groupInputs(M, groups), groupInputs(V, groups)];
  const { norm, squares } = globalNorm(gradients);
  const clip = clipFactor(norm, config.clipNorm);
  const state: Record<string, Value> = { ...Object.fromEntries(params), ...named(M, ms), ...named(V, vs) };
  const next: Record<string, Value> = {};
  groups.forEach((group, i) => {
    const [gradient, square, m, v] = [gradients[i], squares[i], ms[i], vs[i]] as [Value, Value, Value, Value];
    const moments = adamwMoments(config, { gradient, square, m, v, clip }, scalars);
    next[`${M}.${i}`] = moments.m;
    next[`${V}.${i}`] = moments.v;
    for (const [name, step] of scatter(group, moments.step, params)) {
      next[name] = applyStep(got(params, name), step, scalars, group.decaying.has(name));
    }
  });
  const names = Object.keys(state);
  return {
    inputs: { ...state, ...scalars },
    outputs: { ...Object.fromEntries(names.map((n) => [RESULT + n, entry(next, n)])), gradNorm: norm },
    donate: Object.fromEntries(names.map((n) => [n, RESULT + n])),
  };
}

/** A whole step in one graph: inputs parameters, moments, scalars and a batch; outputs their successors, loss, norm. */
export function stepProgram(model: ModelConfig, config: StepConfig, options: StepOptions = {}): Program {
  const params = parameterInputs(model, DTYPE);
  const groups = groupsOf(model, options.moments ?? 'flat');
  const batch = batchInputs(config.batchSize, config.seqLen, options.hasSegments ?? false);
  const { loss, gradients, routing } = lossAndGradients(
    model,
    params,
    batch,
    { remat: config.remat, ...options.forward },
    options.precision ?? config.precision,
  );
  const { inputs, outputs, donate } = update(
    config,
    params,
    groups,
    groups.map((g) => gather(g, gradients)),
  );
  return { graph: makeGraph({ ...inputs, ...batch }, { ...outputs, loss, ...routingOutput(routing) }), donate };
}

const routingOutput = (routing: Value | null): Record<string, Value> => (routing === null ? {} : { routing });

const donatedSums = (groups: readonly Group[]): Record<string, string> =>
  Object.fromEntries(groups.map((_, i) => [`${SUM}.${i}`, `${RESULT}${SUM}.${i}`]));

/** Adds the gradient of a microbatch to a running sum. */
export function sumProgram(model: ModelConfig, config: StepConfig, options: StepOptions): Program {
  const params = parameterInputs(model, DTYPE);
  const groups = groupsOf(model, options.moments ?? 'flat');
  const batch = batchInputs(config.batchSize / config.accumulate, config.seqLen, options.hasSegments ?? false);
  const { loss, gradients, routing } = lossAndGradients(
    model,
    params,
    batch,
    { remat: config.remat, ...options.forward },
    options.precision ?? config.precision,
  );
  const sums = groupInputs(SUM, groups);
  const inputs = { ...Object.fromEntries(params), ...named(SUM, sums), ...batch };
  const outputs = named(
    RESULT + SUM,
    groups.map((group, i) => add(at(sums, i), gather(group, gradients))),
  );
  return { graph: makeGraph(inputs, { ...outputs, loss, ...routingOutput(routing) }), donate: donatedSums(groups) };
}

/** Updates from a running sum of gradients, and leaves it at zero for the next step, where it lies. */
export function applyProgram(model: ModelConfig, config: StepConfig, options: StepOptions): Program {
  const params = parameterInputs(model, DTYPE);
  const groups = groupsOf(model, options.moments ?? 'flat');
  const sums = groupInputs(SUM, groups);
  const { inputs, outputs, donate } = update(config, params, groups, sums);
  const zeroed = named(
    RESULT + SUM,
    sums.map((sum) => sub(sum, sum)),
  );
  return {
    graph: makeGraph({ ...inputs, ...named(SUM, sums) }, { ...outputs, ...zeroed }),
    donate: { ...donate, ...donatedSums(groups) },
  };
}
