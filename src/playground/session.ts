/**
 * One run of the playground: the model, data, training step and measures of `longsight train`, without files. It runs
 * wherever an engine does, in Node and in browsers, and gives the numbers of a run of `runInput`.
 */
import {
  MIN_RECALL_NEEDLE_LENGTH,
  nextBatch,
  recallEvalBatch,
  recallNeedle,
  RecallOptionsSchema,
  RecallSource,
  recallVocabSize,
} from '../data/index.js';
import type { DeviceTensor, Engine } from '../engine/index.js';
import { EVAL_SEED, needleSamples, RecallTally } from '../eval/index.js';
import { HeadTracer } from '../analysis/index.js';
import { Scorer } from '../loaded/index.js';
import { initialParameters, parameterSpecs, printLayer, resolveModelConfig, type ModelConfig } from '../model/index.js';
import { learningRate, TrainConfigSchema, Trainer } from '../train/index.js';
import {
  BATCH_SIZE,
  EVAL_BATCHES,
  NEEDLE_DEPTHS,
  NEEDLES,
  RECALL_BINS,
  runInput,
  SEQ_LEN,
  type PlaygroundRun,
} from './design.js';
import type { MeasuredPoint, StepPoint } from './protocol.js';

/** A batch of held-out sequences on the engine. */
interface HeldOut {
  readonly tokens: DeviceTensor;
  readonly targets: DeviceTensor;
  /** i32 [batch * length]: the distance of the recall target at each position; 0 where there is none. */
  readonly distances: Int32Array;
}

/** A run that is under way. Calls must not overlap. */
export class Session {
  #step = 0;

  private constructor(
    private readonly config: ReturnType<typeof TrainConfigSchema.parse>,
    readonly model: ModelConfig,
    private readonly trainer: Trainer,
    private readonly source: RecallSource,
    private readonly scorer: Scorer,
    private readonly heldOut: readonly HeldOut[],
    private readonly tracer: HeadTracer,
  ) {}

  /**
   * Compiles the programs of a run on an engine, and draws its first weights and its data.
   *
   * @throws UnsupportedOpError if the engine lacks an op of the design
   */
  static async begin(engine: Engine, run: PlaygroundRun): Promise<Session> {
    const input = runInput(run);
    const config = TrainConfigSchema.parse(input.train);
    const options = RecallOptionsSchema.parse({});
    const model = resolveModelConfig({ ...input.model, vocabSize: recallVocabSize(options) });
    const on = { engine, config: model };
    const { seed } = run;
    const trainer = await Trainer.create({ engine, model, config, parameters: initialParameters(model, seed) });
    const scorer = await Scorer.create(on, { batchSize: BATCH_SIZE, seqLen: SEQ_LEN });
    const heldOut = Array.from({ length: EVAL_BATCHES }, (_, index): HeldOut => {
      const size = { batchSize: BATCH_SIZE, seqLen: SEQ_LEN };
      const { tokens, targets, distances } = recallEvalBatch(options, { ...size, seed: EVAL_SEED, index });
      return {
        tokens: scorer.upload([BATCH_SIZE, SEQ_LEN], tokens),
        targets: scorer.upload([BATCH_SIZE * SEQ_LEN], targets),
        distances,
      };
    });
    const task = { task: 'recall' as const, minLength: MIN_RECALL_NEEDLE_LENGTH };
    const needles = needleSamples(
      { ...task, draw: (rng, place) => recallNeedle(rng, options, place) },
      { label: 'trace', length: SEQ_LEN, depths: NEEDLE_DEPTHS, count: NEEDLES },
    );
    const tracer = await HeadTracer.create(on, needles);
    const source = new RecallSource(options, SEQ_LEN, seed, 'train 0');
    return new Session(config, model, trainer, source, scorer, heldOut, tracer);
  }

  /** Optimizer steps taken so far. */
  get step(): number {
    return this.#step;
  }

  /** Elements of all weights. */
  get parameters(): number {
    return parameterSpecs(this.model).reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
  }

  /** Layers in the short form of patterns, from the first. */
  get labels(): string[] {
    return this.model.layers.map((layer) => printLayer(layer));
  }

  /** Takes one optimizer step. */
  async train(): Promise<StepPoint> {
    const step = this.#step + 1;
    const batch = nextBatch(this.source, BATCH_SIZE);
    const { loss, gradNorm } = await this.trainer.step(batch, learningRate(this.config, step), step);
    this.#step = step;
    return { step, tokens: this.#tokens(), loss, gradNorm };
  }

  /** Measures the model as it is: recall by distance, and how much attention each head puts on a far value. */
  async measure(): Promise<MeasuredPoint> {
    const { parameters } = this.trainer;
    const tally = new RecallTally(RECALL_BINS);
    for (const { tokens, targets, distances } of this.heldOut)
      tally.add(await this.scorer.score(parameters, { tokens, targets }), distances);
    const point = { step: this.#step, tokens: this.#tokens() };
    const { layers } = await this.tracer.trace(parameters, point);
    return {
      ...point,
      recall: tally.result().bins.map(({ from, to, probability }) => ({ from, to, probability })),
      heads: layers.map(({ heads }) => heads.map(({ score }) => score)),
    };
  }

  /** Frees what the engine holds for the run. */
  async dispose(): Promise<void> {
    await this.trainer.dispose();
    await this.scorer.dispose();
    await this.tracer.dispose();
  }

  #tokens(): number {
    return this.#step * BATCH_SIZE * SEQ_LEN;
  }
}
