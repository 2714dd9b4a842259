/**
 * Scores of held-out batches, shared by every measure that reads them: each batch goes through the model once an
 * evaluation.
 */
import { allPending, at, invariant, type Pending } from '../core/index.js';
import {
  nextBatch,
  recallEvalBatch,
  type Batch,
  type DataSource,
  type OpenedData,
  type RecallOptions,
} from '../data/index.js';
import type { DeviceTensor, Engine, TensorMap } from '../engine/index.js';
import type { ModelConfig } from '../model/index.js';
import { EVAL_SEED } from './needle-task.js';
import { Scorer, startedOn, uploadForScores, type Scores } from '../loaded/index.js';

/** What is scored: the held-out data of a run, in batches of `batchSize` sequences. */
export interface HeldOutOptions {
  readonly engine: Engine;
  readonly model: ModelConfig;
  readonly data: OpenedData;
  readonly batchSize: number;
}

/** A batch on the engine, with what it was made from on the host. */
export interface HeldOutBatch<Host> {
  readonly host: Host;
  readonly inputs: Readonly<Record<'tokens' | 'targets', DeviceTensor> & Partial<Record<'segments', DeviceTensor>>>;
}

/** A batch of the held-out stream. */
export type StreamBatch = HeldOutBatch<Batch>;

/** A batch of recall sequences. */
export type RecallBatch = HeldOutBatch<ReturnType<typeof recallEvalBatch>>;

/** Draws batches of held-out data when they are first asked for, and scores each once until `next` is called. */
export class HeldOutScores {
  readonly #options: HeldOutOptions;
  readonly #stream: DataSource | null;
  readonly #drawn: StreamBatch[] = [];
  readonly #recall: RecallBatch[] = [];
  #compiling: Promise<Scorer> | null = null;
  #scores = new Map<HeldOutBatch<unknown>, Promise<Pending<Scores>>>();

  constructor(options: HeldOutOptions) {
    this.#options = options;
    this.#stream = options.data.heldOut();
  }

  /** Compiles the graph that scores batches, unless it is compiled. Batches may be drawn meanwhile. */
  async compile(): Promise<void> {
    const { engine, model, batchSize, data } = this.#options;
    const hasSegments = this.#stream?.hasSegments ?? false;
    this.#compiling ??= Scorer.create({ engine, config: model }, { batchSize, seqLen: data.train.seqLen, hasSegments });
    await this.#compiling;
  }

  /** Batch `index` of the held-out stream: the same batches for every run on the same data. */
  stream(index: number): StreamBatch {
    invariant(this.#stream, 'held-out data is asked for where there is none');
    while (this.#drawn.length <= index) {
      const host = nextBatch(this.#stream, this.#options.batchSize, true);
      this.#drawn.push({ host, inputs: this.#upload(host.tokens, host.targets, host.segments) });
    }
    return at(this.#drawn, index);
  }

  /** Batch `index` of recall sequences. */
  recall(options: RecallOptions, index: number): RecallBatch {
    const { batchSize, data } = this.#options;
    const { seqLen } = data.train;
    while (this.#recall.length <= index) {
      const at = this.#recall.length;
      const host = recallEvalBatch(options, { batchSize, seqLen, seed: EVAL_SEED, index: at });
      this.#recall.push({ host, inputs: this.#upload(host.tokens, host.targets, null) });
    }
    return at(this.#recall, index);
  }

  /** Starts to score batches for the model of this evaluation, one after another; each once, whoever asks. */
  async start(tensors: TensorMap, batches: readonly HeldOutBatch<unknown>[]): Promise<Pending<Scores[]>> {
    invariant(this.#compiling, 'held-out batches are scored before the scorer is compiled');
    const scorer = await this.#compiling;
    const started: Pending<Scores>[] = [];
    for (const batch of batches) {
      const scores = this.#scores.get(batch) ?? scorer.start(tensors, batch.inputs);
      this.#scores.set(batch, scores);
      started.push(await startedOn(this.#options.engine, scores));
    }
    return allPending(started);
  }

  /** Forgets all scores: the next evaluation is of another model. */
  next(): void {
    this.#scores = new Map();
  }

  async dispose(): Promise<void> {
    await (await this.#compiling?.catch(() => null))?.dispose();
  }

  #upload(tokens: Int32Array, targets: Int32Array, segments: Int32Array | null): StreamBatch['inputs'] {
    const { batchSize, data, engine } = this.#options;
    const { seqLen } = data.train;
    const placed = {
      tokens: uploadForScores(engine, [batchSize, seqLen], tokens),
      targets: uploadForScores(engine, [batchSize * seqLen], targets),
    };
    if (this.#stream?.hasSegments !== true) return placed;
    // Rows that are one document among rows that hold several.
    const undivided = new Int32Array(batchSize * seqLen);
    return { ...placed, segments: uploadForScores(engine, [batchSize, seqLen], segments ?? undivided) };
  }
}
