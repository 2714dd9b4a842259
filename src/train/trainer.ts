/** Training steps on an engine: parameters and optimizer state stay with the engine, step after step. */
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
  type HostTensor,
  turn,
} from '../core/index.js';
import {
  BATCH_SHARDING,
  type DeviceTensor,
  type Engine,
  type Executable,
  type MeshShape,
  type Sharding,
  type TensorMap,
} from '../engine/index.js';
import { parameterSpecs, type HostParameters, type ModelConfig, type RoutingNumbers } from '../model/index.js';
import { stepTensors } from './optimizers/index.js';
import { checkBatch, parameterSharding } from './sharding.js';
import type { Batch } from '../data/index.js';
import type { CheckpointTensors, OptimizerState } from '../run/index.js';
import { CompiledSteps, type StepPrograms } from './compiled-steps.js';
import {
  groupsOf,
  DTYPE,
  MOMENT,
  RESULT,
  SUM,
  type Group,
  type Grouping,
  type StepConfig,
  type StepOptions,
} from './step-programs.js';

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

/** How tensors lie on a mesh, by name. */
type Shardings = Readonly<Record<string, Sharding>>;

/** What a trainer trains, from which parameters, on which engine. */
export interface TrainerOptions extends StepOptions {
  readonly engine: Engine;
  readonly model: ModelConfig;
  /** The models of steps where windows move, which differ in these alone (default: `model` for all). */
  readonly models?: readonly ModelConfig[];
  /** The indices of those whose programs are made at the start (default: all). */
  readonly first?: readonly number[];
  readonly config: StepConfig;
  /** The parameters to start from, f32; or what makes them, which is called while the step is compiled. */
  readonly parameters: HostParameters | (() => HostParameters);
  /** The optimizer state to start from (default: zeros). */
  readonly optimizer?: OptimizerState | undefined;
}

/** Holds parameters and optimizer state on an engine and takes steps. */
export class Trainer {
  readonly #options: Pick<TrainerOptions, 'engine' | 'model' | 'config'>;
  readonly #groups: readonly Group[];
  readonly #compiled: CompiledSteps;
  /** The programs of the last step, or of the first that will be taken; null until `compiled` has waited for them. */
  #programs: StepPrograms | null = null;
  readonly #shardings: Shardings;
  #state: TensorMap;
  /** With accumulation the gradient's running sum, zero between steps. */
  #sums: TensorMap;
  #disposed = false;

  private constructor(
    options: TrainerOptions & { readonly parameters: HostParameters },
    groups: readonly Group[],
    compiled: CompiledSteps,
    shardings: Shardings,
  ) {
    const { engine, model, config } = options;
    this.#options = { engine, model, config };
    this.#groups = groups;
    this.#compiled = compiled;
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
    const groups = groupsOf(model, moments, config.optimizer);
    const shardings = mesh ? stepShardings(model, groups, mesh) : {};
    const step: StepOptions = { optimizerProducts: engine.hints.accelerator ? 'bf16' : 'f32', ...options, moments };
    const { models = [model] } = options;
    const source = { engine, models, config, options: step, shardings };
    const compiled = new CompiledSteps(source, options.first ?? models.map((_, i) => i));
    // Others that need a program give it to the engine first.
    await turn();
    const { parameters: given } = options;
    try {
      const parameters = typeof given === 'function' ? given() : given;
      return new Trainer({ ...options, parameters }, groups, compiled, shardings);
    } catch (error) {
      await compiled.ready().catch(() => undefined); // the engine may be disposed of then
      throw error;
    }
  }

  /** Waits until a step can be taken. Throws what the engine's `compile` throws. */
  async compiled(): Promise<void> {
    this.#programs = await this.#compiled.ready();
  }

  /** Whether the programs of the steps of a model are made or being made. */
  has(model: number): boolean {
    return this.#compiled.has(model);
  }

  /** Makes the programs of the steps of one model in place of those before, which no further step needs. */
  async goTo(model: number): Promise<void> {
    await this.#compiled.replace(model);
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
   * Optimizer step `t` (from 1) at learning rate `lr` on a batch of `batchSize` sequences, by the model of index
   * `model` where windows move.
   *
   * The result is for the caller to check: if loss or norm is not finite, the parameters are no longer good.
   */
  async step(batch: Batch, lr: number, t: number, model = 0): Promise<StepResult> {
    return (await this.start(batch, lr, t, model)).result();
  }

  /**
   * Starts a step without waiting for its numbers: an engine that works beside the host takes the next step while this
   * one computes. `result` waits for it.
   */
  async start(batch: Batch, lr: number, t: number, model = 0): Promise<PendingStep> {
    const { engine, config } = this.#options;
    if (batch.batchSize !== config.batchSize || batch.seqLen !== config.seqLen) {
      throw new LongsightError(
        `the batch is ${batch.batchSize} x ${batch.seqLen}, the step needs ${config.batchSize} x ${config.seqLen}`,
      );
    }
    const { main, sum } = (this.#programs = await this.#compiled.of(model));
    const upload = (tensors: Readonly<Record<string, HostTensor>>) => uploadAll(engine, tensors, this.#shardings);
    const scalars = upload(stepTensors(config, lr, t, DTYPE));
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
        const whole = await download(`${MOMENT[kind]}.${group}`);
        return hostTensor('f32', got(shapes, name), (whole.data as Float32Array).subarray(from, to));
      },
    };
  }

  /** Frees the programs; a second call does nothing. */
  async dispose(): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    await this.#compiled.dispose();
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
    for (const kind of [...group.moments.map((k) => MOMENT[k]), SUM])
      own[`${kind}.${i}`] = entry(own, at(group.names, 0));
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
    for (const kind of group.moments) {
      const moments = optimizer?.[kind];
      const whole = new Float32Array(sizeOf(group.shape));
      let at = 0;
      group.names.forEach((name, k) => {
        if (moments !== undefined) whole.set(present(moments.get(name)).data, at);
        at += present(group.sizes[k]);
      });
      const name = `${MOMENT[kind]}.${i}`;
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
