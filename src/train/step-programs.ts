/**
 * The graphs of one training step: forward, gradient, clipping and the optimizer.
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
  sub,
  type Graph,
  type Value,
} from '../graph/index.js';
import {
  forward,
  parameterInputs,
  parameterSpecs,
  routingLoss,
  routingNumbers,
  tokenLosses,
  type ForwardOptions,
  type ModelConfig,
  type ParamSpec,
} from '../model/index.js';
import {
  clipFactor,
  globalNorm,
  MOMENTS,
  OPTIMIZERS,
  optimizerOf,
  optimizersIn,
  stepInputs,
  type Moment,
  type OptimizerConfig,
  type OptimizerName,
  type UpdateGroup,
  type UpdateScope,
} from './optimizers/index.js';
import type { TrainConfig } from './config.js';

/** The parts of a `train` configuration that decide what a step computes. */
export type StepConfig = OptimizerConfig &
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
  /** The dtype of products that the optimizer makes of its own, as Muon does. Default f32. */
  readonly optimizerProducts?: 'f32' | 'bf16';
  /** Whether batches say which document each token belongs to. Default no. */
  readonly hasSegments?: boolean;
}

/** How parameters share tensors of moments; see `StepOptions.moments`. */
export type Grouping = 'flat' | 'separate' | number;

/** The dtype of parameters, gradients and optimizer state, whatever the precision of a step. */
export const DTYPE: DType = 'f32';
/** Before the name of an input: the output that takes its place in the next step. */
export const RESULT = 'new.';
/** Inputs beside parameters, as `NAME.GROUP`: moments by kind, and the sum of gradients of an accumulated step. */
export const MOMENT: { readonly [K in Moment]: string } = { m: 'moment1', v: 'moment2' };
/** As `MOMENT`, of the running sum. */
export const SUM = 'gradientSum';

/** Parameters whose moments share one tensor. */
export interface Group {
  readonly names: readonly string[];
  /** In the order of `names`. */
  readonly specs: readonly ParamSpec[];
  /** What updates them. */
  readonly optimizer: OptimizerName;
  /** The kinds of moments that are kept for them. */
  readonly moments: readonly Moment[];
  /** Elements of each parameter. */
  readonly sizes: readonly number[];
  /** The shape of the shared tensor: that of a lone parameter, else `[n]` for n elements in all. */
  readonly shape: Shape;
}

/**
 * The groups of a model's parameters, for a way of keeping moments: those of AdamW in their order, then the others,
 * each by itself where its optimizer works on more than single elements.
 */
export function groupsOf(model: ModelConfig, how: Grouping, chosen?: OptimizerName): Group[] {
  const specs = parameterSpecs(model);
  return optimizersIn(chosen).flatMap((name) => {
    const own = specs.filter((spec) => optimizerOf(spec, chosen) === name);
    return grouped(own, OPTIMIZERS[name].elementwise ? how : 'separate').map((group) => groupOf(group, name));
  });
}

function grouped(specs: readonly ParamSpec[], how: Grouping): ParamSpec[][] {
  const limit = how === 'flat' ? Infinity : how === 'separate' ? 0 : how;
  const groups: ParamSpec[][] = [];
  let elements = 0;
  for (const spec of specs) {
    const size = sizeOf(spec.shape);
    elements += size;
    if (groups.length > 0 && elements <= limit) {
      groups.at(-1)?.push(spec);
    } else {
      groups.push([spec]);
      elements = size;
    }
  }
  return groups;
}

function groupOf(specs: readonly ParamSpec[], optimizer: OptimizerName): Group {
  const sizes = specs.map((s) => sizeOf(s.shape));
  const shape = specs.length === 1 ? at(specs, 0).shape : [sizes.reduce((a, b) => a + b, 0)];
  const { moments } = OPTIMIZERS[optimizer];
  return { names: specs.map((s) => s.name), specs, optimizer, moments, sizes, shape };
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

type Moments = UpdateGroup['moments'];

const momentInputs = (group: Group, index: number): Moments =>
  Object.fromEntries(group.moments.map((kind) => [kind, input(`${MOMENT[kind]}.${index}`, DTYPE, group.shape)]));

/** A moment of a group by the name of its input; nothing where it is not kept. */
const namedMoment = (kind: Moment, index: number, value: Value | undefined): (readonly [string, Value])[] =>
  value === undefined ? [] : [[`${MOMENT[kind]}.${index}`, value]];

/** A step of the groups of one optimizer: by input of theirs, what takes its place. */
function updateOf(name: OptimizerName, groups: readonly (UpdateGroup & { index: number })[], scope: UpdateScope) {
  const updated = OPTIMIZERS[name].update(groups, scope);
  return updated.flatMap(({ parameters, moments }, i): (readonly [string, Value])[] => {
    const { specs, index } = at(groups, i);
    return [
      ...specs.map((spec, k) => [spec.name, at(parameters, k)] as const),
      ...MOMENTS.flatMap((kind) => namedMoment(kind, index, moments[kind])),
    ];
  });
}

/** Inputs and outputs of the update, given the gradient of each group. */
function update(
  { config, options }: { readonly config: StepConfig; readonly options: StepOptions },
  params: ReadonlyMap<string, Value>,
  groups: readonly Group[],
  gradients: readonly Value[],
): { inputs: Record<string, Value>; outputs: Record<string, Value>; donate: Record<string, string> } {
  const scalars = stepInputs(config.optimizer, DTYPE);
  const { norm, squares } = globalNorm(gradients);
  const scope: UpdateScope = {
    config,
    clip: clipFactor(norm, config.clipNorm),
    scalar: (name) => got(scalars, name),
    products: options.optimizerProducts ?? DTYPE,
  };
  const moments = groups.map((group, i) => momentInputs(group, i));
  // Parameters, then the moments of one kind after the other: the order of the step's inputs.
  const kept = MOMENTS.flatMap((kind) => moments.flatMap((own, i) => namedMoment(kind, i, own[kind])));
  const state: Record<string, Value> = Object.fromEntries([...params, ...kept]);
  const given = groups.map(({ names, specs, optimizer }, index) => ({
    ...{ index, specs, optimizer, parameters: names.map((name) => got(params, name)), moments: at(moments, index) },
    ...{ gradient: at(gradients, index), square: at(squares, index) },
  }));
  const next = Object.fromEntries(
    optimizersIn(config.optimizer).flatMap((name) =>
      updateOf(
        name,
        given.filter((group) => group.optimizer === name),
        scope,
      ),
    ),
  );
  const names = Object.keys(state);
  return {
    inputs: { ...state, ...Object.fromEntries(scalars) },
    outputs: { ...Object.fromEntries(names.map((n) => [RESULT + n, entry(next, n)])), gradNorm: norm },
    donate: Object.fromEntries(names.map((n) => [n, RESULT + n])),
  };
}

/** Loss of `rows` sequences and its gradients, one tensor for each group. */
function backward(model: ModelConfig, config: StepConfig, options: StepOptions, rows: number) {
  const params = parameterInputs(model, DTYPE);
  const groups = groupsOf(model, options.moments ?? 'flat', config.optimizer);
  const batch = batchInputs(rows, config.seqLen, options.hasSegments ?? false);
  const { loss, gradients, routing } = lossAndGradients(
    model,
    params,
    batch,
    { remat: config.remat, ...options.forward },
    options.precision ?? config.precision,
  );
  return { params, groups, batch, loss, routing, gradients: groups.map((group) => gather(group, gradients)) };
}

/** A whole step in one graph: inputs parameters, moments, scalars and a batch; outputs their successors, loss, norm. */
export function stepProgram(model: ModelConfig, config: StepConfig, options: StepOptions = {}): Program {
  const { params, groups, batch, loss, routing, gradients } = backward(model, config, options, config.batchSize);
  const { inputs, outputs, donate } = update({ config, options }, params, groups, gradients);
  return { graph: makeGraph({ ...inputs, ...batch }, { ...outputs, loss, ...routingOutput(routing) }), donate };
}

const routingOutput = (routing: Value | null): Record<string, Value> => (routing === null ? {} : { routing });

const donatedSums = (groups: readonly Group[]): Record<string, string> =>
  Object.fromEntries(groups.map((_, i) => [`${SUM}.${i}`, `${RESULT}${SUM}.${i}`]));

/** Adds the gradient of a microbatch to a running sum. */
export function sumProgram(model: ModelConfig, config: StepConfig, options: StepOptions): Program {
  const { params, groups, batch, loss, routing, gradients } = backward(
    model,
    config,
    options,
    config.batchSize / config.accumulate,
  );
  const sums = groupInputs(SUM, groups);
  const inputs = { ...Object.fromEntries(params), ...named(SUM, sums), ...batch };
  const outputs = named(
    RESULT + SUM,
    gradients.map((gradient, i) => add(at(sums, i), gradient)),
  );
  return { graph: makeGraph(inputs, { ...outputs, loss, ...routingOutput(routing) }), donate: donatedSums(groups) };
}

/** Updates from a running sum of gradients, and leaves it at zero for the next step, where it lies. */
export function applyProgram(model: ModelConfig, config: StepConfig, options: StepOptions): Program {
  const params = parameterInputs(model, DTYPE);
  const groups = groupsOf(model, options.moments ?? 'flat', config.optimizer);
  const sums = groupInputs(SUM, groups);
  const { inputs, outputs, donate } = update({ config, options }, params, groups, sums);
  const zeroed = named(
    RESULT + SUM,
    sums.map((sum) => sub(sum, sum)),
  );
  return {
    graph: makeGraph({ ...inputs, ...named(SUM, sums) }, { ...outputs, ...zeroed }),
    donate: { ...donate, ...donatedSums(groups) },
  };
}
