/** Graphs that score tokens: the loss of each target, and whether it is the likeliest token. */
import { everyOne, present, invariant, pending, settled, tensorFrom, toNumbers, type Pending } from '../core/index.js';
import {
  BATCH_SHARDING,
  fittingSharding,
  type DeviceTensor,
  type Engine,
  type Executable,
  type TensorMap,
} from '../engine/index.js';
import { argmax, convert, crossEntropy, eq, input, makeGraph, reshape, take } from '../graph/index.js';
import type { ModelOnEngine } from '../loaded/index.js';
import { forward, headLogits, parameterInputs, parameterSpecs, type ModelConfig } from '../model/index.js';

/** Scores of targets, row after row. */
export interface Scores {
  /** Negative log-likelihoods in nats. */
  readonly loss: Float64Array;
  /** 1 where the target is the likeliest token (the first of equals), else 0. */
  readonly hit: Float64Array;
}

/** The parameters of a model among the tensors that a trainer holds. */
export function pickParameters(config: ModelConfig, tensors: TensorMap): TensorMap {
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

  /**
   * Compiles a scorer for `batchSize` sequences of `seqLen` tokens.
   *
   * @param numPositions scores only this many positions per batch, named at each call; all of them unless given, which
   *   computes `batchSize * seqLen` rows of logits
   * @param hasSegments batches say which document each token belongs to
   */
  static async create(
    { engine, config }: ModelOnEngine,
    {
      batchSize,
      seqLen,
      numPositions,
      hasSegments = false,
    }: { batchSize: number; seqLen: number; numPositions?: number; hasSegments?: boolean },
  ): Promise<Scorer> {
    const params = parameterInputs(config);
    const tokens = input('tokens', 'i32', [batchSize, seqLen]);
    const numTargets = numPositions ?? batchSize * seqLen;
    const targets = input('targets', 'i32', [numTargets]);
    const segments = hasSegments ? input('segments', 'i32', [batchSize, seqLen]) : null;
    const { stream } = forward(config, params, tokens, { segments });
    const flat = reshape(stream, [batchSize * seqLen, config.hiddenSize]);
    const positions = numPositions === undefined ? null : input('positions', 'i32', [numPositions]);
    const logits = headLogits(config, params, positions ? take(flat, positions) : flat);
    const outputs = { loss: crossEntropy(logits, targets).loss, hit: convert(eq(argmax(logits, 1), targets), 'i32') };
    const inputs = {
      ...Object.fromEntries(params),
      tokens,
      targets,
      ...(positions ? { positions } : {}),
      ...(segments ? { segments } : {}),
    };
    return new Scorer(config, engine, await engine.compile(makeGraph(inputs, outputs)));
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
   */
  async start(
    tensors: TensorMap,
    batch: Readonly<
      Record<'tokens' | 'targets', DeviceTensor> & Partial<Record<'positions' | 'segments', DeviceTensor>>
    >,
  ): Promise<Pending<Scores>> {
    const { loss, hit } = await this.#executable.run({ ...pickParameters(this.#config, tensors), ...batch });
    const numbers = async (t: DeviceTensor | undefined) => toNumbers(await this.#engine.download(present(t)));
    return pending(
      () => everyOne([numbers(loss), numbers(hit)]),
      ([loss, hit]) => ({ loss: present(loss), hit: present(hit) }),
    );
  }

  async dispose(): Promise<void> {
    await this.#executable.dispose();
  }
}
