/**
 * One training step on an engine: forward, gradient, clipping and AdamW. Parameters and optimizer state stay with the
 * engine.
 *
 * Without accumulation a step is one graph. With it, one graph adds a microbatch's gradient to a running sum and
 * another applies the sum. Loss weights are divided by their sum over the whole step on the host, so both give the
 * gradient of the same loss: the weighted mean over every token of the step.
 */
import {
  present,
  got,
  at,
  entry,
  hostTensor,
  LongsightError,
  sizeOf,
  toNumbers,
  zeros,
  type DType,
  type HostTensor,
  type Shape,
  turn,
} from '../core/index.js';
import type { Batch } from '../data/index.js';
import {
  BATCH_SHARDING,
  type DeviceTensor,
  type Engine,
  type Executable,
  type MeshShape,
  type Precision,
  type Sharding,
  type TensorMap,
} from '../engine/index.js';
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
  type HostParameters,
  type ModelConfig,
  type ParamSpec,
  type RoutingNumbers,
} from '../model/index.js';
import type { CheckpointTensors, OptimizerState } from '../run/index.js';
import type { TrainConfig } from './config.js';
import { checkBatch, parameterSharding } from './sharding.js';
import {
  adamwMoments,
  adamwScalars,
  applyStep,
  clipFactor,
  globalNorm,
  scalarInputs,
  scalarTensors,
  type AdamWConfig,
} from './optimizer.js';

/** The parts of a `train` configuration that decide what a step computes. */
export type StepConfig = AdamWConfig &
  Pick<TrainConfig, 'seqLen' | 'batchSize' | 'accumulate' | 'remat'> &
  Partial<Pick<TrainConfig, 'precision'>>;

/** The loss and gradient norm of one optimizer step. */
export interface StepResult {
  /** Weighted mean loss in nats, before the update; what routers add to it is not in it. */
  readonly loss: number;
  /** Global norm of the gradient, before clipping. */
  readonly gradNorm: number;
  /** How evenly experts got the step's tokens; null for models without experts. */
  readonly routing: RoutingNumbers | null;
}

/** A step that is under way. */
export interface PendingStep {
  /** Waits for the step's numbers; throws what the engine failed with. */
  result(): Promise<StepResult>;
}

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

type Grouping = 'flat' | 'separate' | number;

/** The precision of a training step: everything in float32, or products and activations in bfloat16. */
const DTYPE: DType = 'f32';
const RESULT = 'new.';
const [M, V, SUM] = ['moment1', 'moment2', 'gradientSum'] as const;

/** Parameters whose moments share one tensor. */
interface Group {
  readonly names: readonly string[];
  readonly sizes: readonly number[];
  readonly shape: Shape;
  /** Names of the parameters that weight decay applies to. */
  readonly decaying: ReadonlySet<string>;
}

function groupsOf(model: ModelConfig, how: Grouping): Group[] {
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

/** How tensors lie on a mesh, by name. */
type Shardings = Readonly<Record<string, Sharding>>;

interface Program {
  readonly graph: Graph;
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
function sumProgram(model: ModelConfig, config: StepConfig, options: StepOptions): Program {
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
function applyProgram(model: ModelConfig, config: StepConfig, options: StepOptions): Program {
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

/** What a trainer trains, from which parameters, on which engine. */
export interface TrainerOptions extends StepOptions {
  readonly engine: Engine;
  readonly model: ModelConfig;
  readonly config: StepConfig;
  /** The parameters to start from, f32; or what makes them, which is called while the step is compiled. */
  readonly parameters: HostParameters | (() => HostParameters);
  /** The optimizer state to start from (default: zeros). */
  readonly optimizer?: OptimizerState | undefined;
}

/** The programs of a step, as one accumulates or not. */
interface StepPrograms {
  readonly main: Executable;
  /** Only with accumulation: `main` then updates from the sum that this builds. */
  readonly sum: Executable | null;
}

/** Holds parameters and optimizer state on an engine and takes steps. */
export class Trainer {
  readonly #options: Pick<TrainerOptions, 'engine' | 'model' | 'config'>;
  readonly #groups: readonly Group[];
  readonly #compiling: Promise<StepPrograms>;
  /** The compiled programs of a step; null until `compiled` has waited for them. */
  #programs: StepPrograms | null = null;
  readonly #shardings: Shardings;
  #state: TensorMap;
  /** With accumulation the gradient's running sum, zero between steps. */
  #sums: TensorMap;
  #disposed = false;

  private constructor(
    options: TrainerOptions & { readonly parameters: HostParameters },
    groups: readonly Group[],
    compiling: Promise<StepPrograms>,
    shardings: Shardings,
  ) {
    const { engine, model, config } = options;
    this.#options = { engine, model, config };
    this.#groups = groups;
    this.#compiling = compiling;
    this.#shardings = shardings;
    this.#state = initialState(options, groups, shardings);
    const sums = config.accumulate === 1 ? [] : groups.map(({ shape }, i) => [`${SUM}.${i}`, zeros(DTYPE, shape)]);
    this.#sums = uploadAll(engine, Object.fromEntries(sums) as Record<string, HostTensor>, shardings);
  }

  /** Compiles the programs of a step and waits for them. Throws what the engine's `compile` throws. */
  static async create(options: TrainerOptions): Promise<Trainer> {
    const trainer = await Trainer.begin(options);
    await trainer.compiled();
    return trainer;
  }

  /**
   * Begins to make a trainer: its parameters are placed on the engine while the programs of a step are compiled, for
   * which `compiled` waits.
   */
  static async begin(options: TrainerOptions): Promise<Trainer> {
    const { engine, model, config } = options;
    const { mesh } = engine.info;
    if (mesh) checkBatch(config.batchSize, config.accumulate, mesh);
    const moments = momentsOf(options);
    const groups = groupsOf(model, moments);
    const shardings = mesh ? stepShardings(model, groups, mesh) : {};
    const compile = ({ graph, donate }: Program) => engine.compile(graph, { donate, shardings });
    const accumulates = config.accumulate > 1;
    const program = accumulates ? applyProgram : stepProgram;
    const step: StepOptions = { ...options, moments };
    const compiling = Promise.all([
      compile(program(model, config, step)),
      accumulates ? compile(sumProgram(model, config, step)) : null,
    ]).then(([main, sum]) => ({ main, sum }));
    compiling.catch(() => undefined); // thrown by `compiled`
    // Others that need a program give it to the engine first.
    await turn();
    const { parameters: given } = options;
    try {
      const parameters = typeof given === 'function' ? given() : given;
      return new Trainer({ ...options, parameters }, groups, compiling, shardings);
    } catch (error) {
      await compiling.catch(() => undefined); // the engine may be disposed of then
      throw error;
    }
  }

  /** Waits until a step can be taken. Throws what the engine's `compile` throws. */
  async compiled(): Promise<void> {
    this.#programs = await this.#compiling;
  }

  /** What a step ends with: all of it, or with accumulation the update. */
  get program(): Executable {
    return present(this.#programs).main;
  }

  /** The parameters, on the engine; good until the next step. */
  get parameters(): TensorMap {
    const names = this.#groups.flatMap((g) => g.names);
    return Object.fromEntries(names.map((name) => [name, entry(this.#state, name)]));
  }

  /**
   * Optimizer step `t` (from 1) at learning rate `lr` on a batch of `batchSize` sequences.
   *
   * The result is for the caller to check: if loss or norm is not finite, the parameters are no longer good.
   */
  async step(batch: Batch, lr: number, t: number): Promise<StepResult> {
    return (await this.start(batch, lr, t)).result();
  }

  /**
   * Starts a step without waiting for its numbers: an engine that works beside the host takes the next step while this
   * one computes. `result` waits for it.
   */
  async start(batch: Batch, lr: number, t: number): Promise<PendingStep> {
    const { engine, config } = this.#options;
    if (batch.batchSize !== config.batchSize || batch.seqLen !== config.seqLen) {
      throw new LongsightError(
        `the batch is ${batch.batchSize} x ${batch.seqLen}, the step needs ${config.batchSize} x ${config.seqLen}`,
      );
    }
    const { main, sum } = (this.#programs ??= await this.#compiling);
    const upload = (tensors: Readonly<Record<string, HostTensor>>) => uploadAll(engine, tensors, this.#shardings);
    const scalars = upload(scalarTensors(DTYPE, adamwScalars(config, lr, t)));
    const micro = microbatches(batch, config.accumulate).map(upload);
    const parts = sum === null ? [] : await this.#addUp(sum, micro);
    const batched = sum === null ? at(micro, 0) : this.#sums;
    const out = await main.run({ ...this.#state, ...scalars, ...batched });
    this.#state = successors(this.#state, out);
    this.#sums = successors(this.#sums, out);
    // What a step took is freed at once: the next finds the same memory, and a GPU runs the launches that it has
    // recorded for it.
    for (const tensors of [scalars, ...micro]) releaseAll(engine, Object.values(tensors));
    const results = sum === null ? [out] : parts;
    const numbers: StepNumbers = {
      losses: results.map((own) => entry(own, 'loss')),
      gradNorm: entry(out, 'gradNorm'),
      routing: results.flatMap((own) => own['routing'] ?? []),
    };
    let result: Promise<StepResult> | null = null;
    return { result: () => (result ??= readNumbers(engine, numbers)) };
  }

  /** The trainer's tensors for `writeCheckpoint`; each comes to the host as it is asked for. */
  tensors(): CheckpointTensors {
    const { engine } = this.#options;
    const cache = new Map<string, Promise<HostTensor>>();
    const download = (name: string): Promise<HostTensor> => {
      let tensor = cache.get(name);
      if (tensor === undefined) {
        tensor = engine.download(entry(this.#state, name));
        cache.clear(); // moments are asked for one kind after the other
        cache.set(name, tensor);
      }
      return tensor;
    };
    const places = placesOf(this.#groups);
    const shapes = new Map(parameterSpecs(this.#options.model).map((s) => [s.name, s.shape]));
    return {
      parameter: (name) => engine.download(entry(this.#state, name)),
      moment: async (kind, name) => {
        const { group, from, to } = got(places, name);
        const whole = await download(`${kind === 'm' ? M : V}.${group}`);
        return hostTensor('f32', got(shapes, name), (whole.data as Float32Array).subarray(from, to));
      },
    };
  }

  /** Frees the programs; a second call does nothing. */
  async dispose(): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    const programs = await this.#compiling.catch(() => null);
    await programs?.main.dispose();
    await programs?.sum?.dispose();
  }

  /** Adds the gradients of microbatches to the running sum; gives what each came to beside that. */
  async #addUp(program: Executable, micro: readonly TensorMap[]): Promise<TensorMap[]> {
    const results: TensorMap[] = [];
    for (const batch of micro) {
      const out = await program.run({ ...this.parameters, ...this.#sums, ...batch });
      this.#sums = successors(this.#sums, out);
      results.push(out);
    }
    return results;
  }
}

/** What a program made of the tensors that it was given. */
const successors = (before: TensorMap, out: TensorMap): TensorMap =>
  Object.fromEntries(Object.keys(before).map((name) => [name, entry(out, RESULT + name)]));

function momentsOf({ engine, moments }: TrainerOptions): Grouping {
  return moments ?? engine.hints.momentElements ?? 'flat';
}

/** How the inputs and outputs of a step's programs lie on a mesh, by name. */
function stepShardings(model: ModelConfig, groups: readonly Group[], mesh: MeshShape): Shardings {
  const specs = new Map(parameterSpecs(model).map((s) => [s.name, s]));
  const own: Record<string, Sharding> = {};
  groups.forEach((group, i) => {
    for (const name of group.names) own[name] = parameterSharding(got(specs, name), mesh);
    if (group.names.length > 1) return;
    for (const kind of [M, V, SUM]) own[`${kind}.${i}`] = entry(own, at(group.names, 0));
  });
  const results = Object.fromEntries(Object.entries(own).map(([name, sharding]) => [RESULT + name, sharding]));
  return {
    ...own,
    ...results,
    tokens: BATCH_SHARDING,
    targets: BATCH_SHARDING,
    weights: BATCH_SHARDING,
    segments: BATCH_SHARDING,
  };
}

interface Place {
  readonly group: number;
  readonly from: number;
  readonly to: number;
}

function placesOf(groups: readonly Group[]): Map<string, Place> {
  const places = new Map<string, Place>();
  groups.forEach((group, index) => {
    let from = 0;
    group.names.forEach((name, i) => {
      const to = from + at(group.sizes, i);
      places.set(name, { group: index, from, to });
      from = to;
    });
  });
  return places;
}

function initialState(
  { engine, parameters, optimizer }: TrainerOptions & { readonly parameters: HostParameters },
  groups: readonly Group[],
  shardings: Shardings,
): TensorMap {
  const state: Record<string, DeviceTensor> = {};
  const copy = (t: HostTensor<'f32'>) => hostTensor('f32', t.shape, t.data.slice());
  groups.forEach((group, i) => {
    for (const name of group.names) {
      state[name] = engine.upload(copy(present(parameters.get(name))), shardings[name]);
    }
    for (const [kind, moments] of [[M, optimizer?.m] as const, [V, optimizer?.v] as const]) {
      const whole = new Float32Array(sizeOf(group.shape));
      let at = 0;
      group.names.forEach((name, k) => {
        if (moments !== undefined) whole.set(present(moments.get(name)).data, at);
        at += present(group.sizes[k]);
      });
      const name = `${kind}.${i}`;
      state[name] = engine.upload(hostTensor('f32', group.shape, whole), shardings[name]);
    }
  });
  return state;
}

function uploadAll(engine: Engine, tensors: Readonly<Record<string, HostTensor>>, shardings: Shardings): TensorMap {
  return Object.fromEntries(Object.entries(tensors).map(([name, t]) => [name, engine.upload(t, shardings[name])]));
}

/** A batch cut into `count` microbatches, its weights divided by their sum over the whole batch. */
function microbatches(batch: Batch, count: number): Record<string, HostTensor>[] {
  const { batchSize, seqLen, segments } = batch;
  let total = 0;
  for (const w of batch.weights) total += w;
  const weights = batch.weights.slice();
  if (total !== 0) for (let i = 0; i < weights.length; i++) weights[i] = present(weights[i]) / total;
  const shape = [batchSize / count, seqLen];
  const size = sizeOf(shape);
  return Array.from({ length: count }, (_, i) => ({
    tokens: hostTensor('i32', shape, batch.tokens.slice(i * size, (i + 1) * size)),
    targets: hostTensor('i32', shape, batch.targets.slice(i * size, (i + 1) * size)),
    weights: hostTensor('f32', shape, weights.slice(i * size, (i + 1) * size)),
    ...(segments === null ? {} : { segments: hostTensor('i32', shape, segments.slice(i * size, (i + 1) * size)) }),
  }));
}

/** The numbers of a step on the engine: losses and evenness of each microbatch. */
interface StepNumbers {
  readonly losses: readonly DeviceTensor[];
  readonly gradNorm: DeviceTensor;
  readonly routing: readonly DeviceTensor[];
}

/** The losses of microbatches added up, the norm of the gradient, and how evenly experts got tokens, on the mean. */
async function readNumbers(engine: Engine, { losses, gradNorm, routing }: StepNumbers): Promise<StepResult> {
  const read = async (t: DeviceTensor) => toNumbers(await engine.download(t));
  const scalar = async (t: DeviceTensor) => at(await read(t), 0);
  const [parts, norm, shares] = await Promise.all([
    Promise.all(losses.map(scalar)),
    scalar(gradNorm),
    Promise.all(routing.map(read)),
  ]);
  releaseAll(engine, [...losses, gradNorm, ...routing]);
  const mean = (i: number) => shares.reduce((sum, own) => sum + at(own, i), 0) / shares.length;
  return {
    loss: parts.reduce((a, b) => a + b, 0),
    gradNorm: norm,
    routing: shares.length === 0 ? null : { balance: mean(0), entropy: mean(1), peak: mean(2) },
  };
}

function releaseAll(engine: Engine, tensors: readonly DeviceTensor[]): void {
  for (const tensor of tensors) engine.release?.(tensor);
}
