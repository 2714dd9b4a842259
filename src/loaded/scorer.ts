/**
 * The one graph that scores tokens, and what runs it: the loss of each target, and whether it is the likeliest token.
 */
import {
  at,
  everyOne,
  present,
  invariant,
  pending,
  settled,
  tensorFrom,
  toNumbers,
  type Pending,
} from '../core/index.js';
import {
  BATCH_SHARDING,
  fittingSharding,
  type DeviceTensor,
  type Engine,
  type Executable,
  type TensorMap,
} from '../engine/index.js';
import {
  argmax,
  concat,
  convert,
  crossEntropy,
  eq,
  input,
  makeGraph,
  reshape,
  sliceAxis,
  take,
  type Graph,
  type Value,
} from '../graph/index.js';
import { forward, headLogits, parameterInputs, parameterSpecs, type ModelConfig, type Tap } from '../model/index.js';
import type { ModelOnEngine } from './loaded-model.js';

/** Scores of targets, row after row. */
export interface Scores {
  /** Negative log-likelihoods in nats. */
  readonly loss: Float64Array;
  /** 1 where the target is the likeliest token (the first of equals), else 0. */
  readonly hit: Float64Array;
}

/** The parameters of a model among the tensors that a trainer holds. */
function pickParameters(config: ModelConfig, tensors: TensorMap): TensorMap {
  return Object.fromEntries(
    parameterSpecs(config).map(({ name }) => {
      const tensor = tensors[name];
      invariant(tensor, `an evaluation got no parameter ${name}`);
      return [name, tensor];
    }),
  );
}

/**
 * Work that an accelerator has been given, and may be given more; on the host it is waited for, as what is under way
 * there takes the memory of each.
 */
export async function startedOn<T>({ hints }: Engine, work: Promise<Pending<T>>): Promise<Pending<T>> {
  const own = await work;
  if (hints.accelerator !== true) await own.numbers();
  return own;
}

/** An i32 tensor on an engine, to be scored any number of times; divided over a mesh where it divides. */
export function uploadForScores(engine: Engine, shape: readonly number[], values: ArrayLike<number>): DeviceTensor {
  const { mesh } = engine.info;
  return engine.upload(tensorFrom('i32', shape, values), mesh && fittingSharding(BATCH_SHARDING, shape, mesh));
}

/** Whether a whole answer is right under greedy decoding, and how probable it is. */
export interface AnswerScore {
  /**
   * Each token is the likeliest after the ones before, in one teacher-forced pass; exactly then greedy decoding gives
   * the whole answer.
   */
  readonly right: boolean;
  /** The geometric mean of the tokens' teacher-forced probabilities. */
  readonly probability: number;
}

/** How an answer does, from the scores of its tokens. */
export function answerScore({ loss, hit }: Scores): AnswerScore {
  const meanLoss = loss.reduce((a, b) => a + b, 0) / loss.length;
  return { right: hit.every((h) => h === 1), probability: Math.exp(-meanLoss) };
}

/** What a graph that scores has beside tokens and targets: inputs, a tap that uses them, and outputs. */
export interface ScorerControls {
  /** Graph inputs by name; their tensors are given at each call. */
  readonly inputs: Readonly<Record<string, Value>>;
  readonly tap: Tap;
  /** Further outputs of the graph, asked for once the forward pass is built. */
  readonly outputs: () => Readonly<Record<string, Value>>;
}

/** Which tokens are scored in one pass, and how. */
export interface ScorerOptions {
  readonly batchSize: number;
  readonly seqLen: number;
  /**
   * Scores only this many positions per batch, named at each call; all of them unless given, which computes `batchSize
   * * seqLen` rows of logits.
   */
  readonly numPositions?: number;
  /** Batches say which document each token belongs to. */
  readonly hasSegments?: boolean;
  /** Rows of logits that exist at once (default: all). */
  readonly rowsAtOnce?: number;
  readonly controls?: ScorerControls | null;
  /** Compiles the graph (default: the engine does, whole). */
  readonly compile?: (graph: Graph) => Promise<Executable>;
}

/**
 * The graph that scores: i32 `tokens` `[batchSize, seqLen]` and `targets` `[numTargets]`, flat `positions`
 * `[numTargets]` and `segments` `[batchSize, seqLen]` if there are any, to `loss` f32 and `hit` i32 `[numTargets]`.
 */
function scoreGraph(config: ModelConfig, options: ScorerOptions): Graph {
  const { batchSize, seqLen, numPositions, hasSegments = false, rowsAtOnce = Infinity, controls = null } = options;
  const params = parameterInputs(config);
  const tokens = input('tokens', 'i32', [batchSize, seqLen]);
  const numTargets = numPositions ?? batchSize * seqLen;
  const targets = input('targets', 'i32', [numTargets]);
  const segments = hasSegments ? input('segments', 'i32', [batchSize, seqLen]) : null;
  const { stream } = forward(config, params, tokens, { segments, ...(controls === null ? {} : { tap: controls.tap }) });
  const flat = reshape(stream, [batchSize * seqLen, config.hiddenSize]);
  const positions = numPositions === undefined ? null : input('positions', 'i32', [numPositions]);
  const scored = (rows: Value, wanted: Value) => {
    const logits = headLogits(config, params, rows);
    return { loss: crossEntropy(logits, wanted).loss, hit: convert(eq(argmax(logits, 1), wanted), 'i32') };
  };
  const blocks = Array.from({ length: Math.ceil(numTargets / Math.min(rowsAtOnce, numTargets)) }, (_, i) => {
    if (numTargets <= rowsAtOnce) return scored(positions ? take(flat, positions) : flat, targets);
    const [from, to] = [i * rowsAtOnce, Math.min(numTargets, (i + 1) * rowsAtOnce)];
    const part = (x: Value) => sliceAxis(x, 0, from, to);
    return scored(positions ? take(flat, part(positions)) : part(flat), part(targets));
  });
  const joined = (of: (block: (typeof blocks)[number]) => Value): Value => {
    const parts = blocks.map(of);
    return parts.length === 1 ? at(parts, 0) : concat(parts, 0);
  };
  const inputs = {
    ...Object.fromEntries(params),
    tokens,
    targets,
    ...(positions ? { positions } : {}),
    ...(segments ? { segments } : {}),
    ...controls?.inputs,
  };
  return makeGraph(inputs, { loss: joined((b) => b.loss), hit: joined((b) => b.hit), ...controls?.outputs() });
}

/** The inputs of a pass that scores, beside the parameters. */
export type ScorerBatch = Readonly<
  Record<'tokens' | 'targets', DeviceTensor> & Partial<Record<'positions' | 'segments', DeviceTensor>>
>;

/** Scores of every position of a batch, or of a few positions of each sequence. */
export class Scorer {
  readonly #config: ModelConfig;
  readonly #engine: Engine;
  readonly #executable: Executable;

  private constructor(config: ModelConfig, engine: Engine, executable: Executable) {
    this.#config = config;
    this.#engine = engine;
    this.#executable = executable;
  }

  /** Compiles a scorer for `batchSize` sequences of `seqLen` tokens. */
  static async create({ engine, config }: ModelOnEngine, options: ScorerOptions): Promise<Scorer> {
    const { compile = (graph) => engine.compile(graph) } = options;
    return new Scorer(config, engine, await compile(scoreGraph(config, options)));
  }

  /** An i32 tensor on the engine, to be scored any number of times; divided over a mesh where it divides. */
  upload(shape: readonly number[], values: ArrayLike<number>): DeviceTensor {
    return uploadForScores(this.#engine, shape, values);
  }

  /** Scores the targets of a batch and waits for the scores; see `start`. */
  async score(...of: Parameters<Scorer['start']>): Promise<Scores> {
    return settled(await this.start(...of));
  }

  /**
   * Starts to score the targets of a batch: once the promise settles, the engine needs nothing of the caller any more.
   *
   * @param tensors the model's parameters, perhaps among others
   * @param batch tokens `[batchSize, seqLen]`, targets `[numTargets]`; flat positions `[numPositions]` and segments
   *   `[batchSize, seqLen]` if it was compiled for them
   * @param given tensors of the controls
   */
  async start(tensors: TensorMap, batch: ScorerBatch, given: TensorMap = {}): Promise<Pending<Scores>> {
    const { loss, hit } = await this.run(tensors, batch, given);
    const numbers = async (t: DeviceTensor | undefined) => toNumbers(await this.#engine.download(present(t)));
    return pending(
      () => everyOne([numbers(loss), numbers(hit)]),
      ([loss, hit]) => ({ loss: present(loss), hit: present(hit) }),
    );
  }

  /** The outputs of one pass: `loss` and `hit` `[numTargets]`, and those of the controls, whose tensors are `given`. */
  run(tensors: TensorMap, batch: ScorerBatch, given: TensorMap = {}): Promise<TensorMap> {
    return this.#executable.run({ ...pickParameters(this.#config, tensors), ...batch, ...given });
  }

  async dispose(): Promise<void> {
    await this.#executable.dispose();
  }
}
