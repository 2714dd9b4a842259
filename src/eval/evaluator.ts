/**
 * Everything that is measured at an evaluation, compiled once and run at every checkpoint on the same held-out data.
 */
import { ConfigError } from '../core/index.js';
import { nextBatch, recallEvalBatch, type OpenedData, type RecallOptions } from '../data/index.js';
import type { DeviceTensor, Engine, TensorMap } from '../engine/index.js';
import type { ModelConfig } from '../model/index.js';
import {
  needleEvalSchema,
  optionsOf,
  recallEvalSchema,
  type EvalConfig,
  type NeedleEvalConfig,
  type RecallEvalConfig,
} from './config.js';
import { NeedleEvaluator, plannedNeedles } from './needle.js';
import { EVAL_SEED, type NeedleTask } from './needle-task.js';
import { defaultBins, RecallTally } from './recall.js';
import type { EvalRecord } from './record.js';
import { Scorer, type Scores } from './score.js';

/** Where in training an evaluation stands. */
export interface TrainingPoint {
  readonly step: number;
  readonly tokens: number;
}

/** Which model is measured, on which data. */
export interface EvaluatorOptions {
  readonly engine: Engine;
  readonly model: ModelConfig;
  readonly data: OpenedData;
  readonly config: EvalConfig;
  /** Of training; the default of evaluation. The length of sequences is that of `data`. */
  readonly batchSize: number;
}

/** One batch and what it counts for. */
interface EvalBatch {
  readonly tokens: DeviceTensor;
  readonly targets: DeviceTensor;
  /** The document of each token, where rows hold several. */
  readonly segments?: DeviceTensor;
  /** Counts for the loss with these weights, `[batchSize * seqLen]`. */
  readonly weights: Float32Array | null;
  /** Counts for recall with these distances, `[batchSize * seqLen]`. */
  readonly distances: Int32Array | null;
}

/** Which measurements a configuration and its data come to. */
interface EvalPlan {
  readonly recall: RecallEvalConfig | null;
  readonly needle: {
    readonly task: NeedleTask;
    readonly config: NeedleEvalConfig & { readonly lengths: readonly number[] };
  } | null;
  /** What is left out although nothing switched it off, and why; one sentence each. */
  readonly notes: readonly string[];
}

/** Measures a model again and again on the same held-out data: loss, recall by distance, needle grid. */
export class Evaluator {
  readonly #options: EvaluatorOptions;
  readonly #scorer: Scorer | null;
  readonly #batches: readonly EvalBatch[];
  readonly #needle: NeedleEvaluator | null;
  readonly #bins: readonly number[] | null;
  /** What is not measured although nothing switched it off, and why. */
  readonly notes: readonly string[];

  private constructor(
    options: EvaluatorOptions,
    parts: { scorer: Scorer | null; batches: readonly EvalBatch[]; needle: NeedleEvaluator | null; plan: EvalPlan },
  ) {
    this.#options = options;
    this.#scorer = parts.scorer;
    this.#batches = parts.batches;
    this.#needle = parts.needle;
    const { recall } = parts.plan;
    this.#bins = recall && (recall.bins ?? defaultBins(options.data.train.seqLen));
    this.notes = parts.plan.notes;
  }

  /**
   * Compiles the scoring graphs and draws the held-out data. It is the same for every run on the same data and options,
   * whatever the run's seed.
   *
   * @throws ConfigError if something is asked for that the data or the model cannot give
   */
  static async create(options: EvaluatorOptions): Promise<Evaluator> {
    const plan = planEvaluation(options);
    const { engine, model, data, config } = options;
    const { seqLen } = data.train;
    const batchSize = config.batchSize ?? options.batchSize;
    const heldOut = data.heldOut();
    const hasSegments = heldOut?.hasSegments ?? false;
    const wanted = plan.recall !== null || heldOut !== null;
    const scorer = wanted ? await Scorer.create({ engine, config: model }, { batchSize, seqLen, hasSegments }) : null;
    const batches = scorer ? drawBatches(options, plan, scorer, batchSize) : [];
    const batchTokens = batchSize * seqLen;
    const needle = plan.needle && (await NeedleEvaluator.create({ engine, model, ...plan.needle, batchTokens }));
    return new Evaluator(options, { scorer, batches, needle, plan });
  }

  /**
   * Measures a model.
   *
   * @param tensors its parameters on the engine, perhaps among others; they are left as they are
   * @param parts `light` leaves the needle grid out, for evaluations between checkpoints
   */
  async evaluate(tensors: TensorMap, at: TrainingPoint, parts: 'all' | 'light' = 'all'): Promise<EvalRecord> {
    const losses = new LossTally(this.#options.data.train.seqLen);
    const recall = this.#bins && new RecallTally(this.#bins);
    for (const { weights, distances, ...batch } of this.#batches) {
      const scores = await (this.#scorer as Scorer).score(tensors, batch);
      if (weights) losses.add(scores, weights);
      if (distances) recall?.add(scores, distances);
    }
    return {
      format: 1,
      step: at.step,
      tokens: at.tokens,
      loss: losses.mean(),
      perPositionLoss: this.#options.config.perPosition ? losses.perPosition() : null,
      recall: recall?.result() ?? null,
      needle: parts === 'all' && this.#needle ? await this.#needle.evaluate(tensors) : null,
    };
  }

  async dispose(): Promise<void> {
    await this.#scorer?.dispose();
    await this.#needle?.dispose();
  }
}

/** Weighted losses, in all and by position. */
class LossTally {
  readonly #seqLen: number;
  readonly #loss: Float64Array;
  readonly #weight: Float64Array;

  constructor(seqLen: number) {
    this.#seqLen = seqLen;
    this.#loss = new Float64Array(seqLen);
    this.#weight = new Float64Array(seqLen);
  }

  add({ loss }: Scores, weights: Float32Array): void {
    weights.forEach((weight, i) => {
      const t = i % this.#seqLen;
      this.#loss[t] = (this.#loss[t] as number) + weight * (loss[i] as number);
      this.#weight[t] = (this.#weight[t] as number) + weight;
    });
  }

  mean(): number | null {
    const total = (values: Float64Array) => values.reduce((a, b) => a + b, 0);
    const weight = total(this.#weight);
    return weight === 0 ? null : total(this.#loss) / weight;
  }

  /** Null without any weight. */
  perPosition(): (number | null)[] | null {
    if (this.#weight.every((w) => w === 0)) return null;
    return Array.from(this.#loss, (sum, t) => (this.#weight[t] === 0 ? null : sum / (this.#weight[t] as number)));
  }
}

/**
 * Defaults of what is neither switched on nor off come from the data. Throws `ConfigError` where something cannot be
 * had.
 */
export function planEvaluation({ data, config }: Pick<EvaluatorOptions, 'data' | 'config'>): EvalPlan {
  const notes = [...data.notes];
  const asked = config.recall !== undefined && config.recall !== false;
  if (asked && data.recall === null) {
    throw new ConfigError('eval.recall: the data has no recall source; add one or leave eval.recall out');
  }
  const recall =
    config.recall === false || data.recall === null ? null : recallEvalSchema.parse(optionsOf(config.recall));
  return { recall, needle: planNeedle(data, config, notes), notes };
}

function planNeedle(data: OpenedData, { needle }: EvalConfig, notes: string[]): EvalPlan['needle'] {
  const hasText = data.needles !== null && data.needles.kind !== 'recall';
  if (needle === false || (needle === undefined && !hasText)) return null;
  const options = needleEvalSchema.parse(optionsOf(needle));
  const lengths = options.lengths ?? [data.train.seqLen];
  const { task, problem } = plannedNeedles(data, options, lengths);
  if (task !== null) return { task, config: { ...options, lengths } };
  const text = `${problem}; set eval.needle.lengths or eval.needle: false`;
  if (needle !== undefined) throw new ConfigError(`eval.needle: ${text}`);
  notes.push(`no needle grid: ${text}`);
  return null;
}

function drawBatches(
  { data, config }: EvaluatorOptions,
  plan: EvalPlan,
  scorer: Scorer,
  batchSize: number,
): EvalBatch[] {
  const { seqLen } = data.train;
  const heldOut = data.heldOut();
  const undivided = new Int32Array(batchSize * seqLen);
  const place = (tokens: Int32Array, targets: Int32Array, segments: Int32Array | null = null) => ({
    tokens: scorer.upload([batchSize, seqLen], tokens),
    targets: scorer.upload([batchSize * seqLen], targets),
    ...(heldOut?.hasSegments ? { segments: scorer.upload([batchSize, seqLen], segments ?? undivided) } : {}),
  });
  // Alone, the recall stream is its own held-out data: one pass gives the loss and recall.
  const shared = heldOut?.isRecall === true && plan.recall !== null;
  const batches: EvalBatch[] = [];
  if (plan.recall && data.recall) {
    const count = Math.max(plan.recall.batches, shared ? config.batches : 0);
    for (let index = 0; index < count; index++) {
      const batch = recallEvalBatch(data.recall, { batchSize, seqLen, seed: EVAL_SEED, index });
      batches.push({
        ...place(batch.tokens, batch.targets),
        weights: shared && index < config.batches ? recallWeights(batch.distances, data.recall) : null,
        distances: index < plan.recall.batches ? batch.distances : null,
      });
    }
  }
  for (let i = 0; heldOut && !shared && i < config.batches; i++) {
    const { tokens, targets, weights, segments } = nextBatch(heldOut, batchSize);
    batches.push({ ...place(tokens, targets, segments), weights, distances: null });
  }
  return batches;
}

function recallWeights(distances: Int32Array, { targetWeight, otherWeight }: RecallOptions): Float32Array {
  return Float32Array.from(distances, (d) => (d === 0 ? otherWeight : targetWeight));
}
