/** The training loop: resumable, interruptible, with everything in a run folder. */
import { isAbsolute, join, resolve } from 'node:path';
import {
  at,
  checkFence,
  present,
  ConfigError,
  DivergedError,
  InterruptedError,
  StoppedTogetherError,
  LongsightError,
  messageOf,
  sizeOf,
  StoreError,
  underLock,
  turn,
} from '../core/index.js';
import type { SharedStop } from '../engine/index.js';
import { nextBatch, type OpenedData } from '../data/index.js';
import { initialParameters, parameterSpecs, type ModelConfig } from '../model/index.js';
import {
  branchPath,
  checkpointPath,
  isBranchThere,
  LOCK_FILE,
  metricsPath,
  MetricsWriter,
  pruneCheckpoints,
  writeCheckpoint,
  writeRunConfig,
  writeLastStatus,
  writeStatus,
  readStatus,
  snapshotTensors,
  type CheckpointTensors,
  type Checkpoint,
  type RunState,
  type RunStatus,
} from '../run/index.js';
import { isEvaluated, tokensPerStep, type RunConfig } from './config.js';
import {
  createTrainer,
  enterStage,
  openRunData,
  stateOf,
  type EnteredStage,
  type TrainerState,
} from './entered-stage.js';
import { openInitialWeights } from './initial.js';
import { layoutOf, OPTIMIZERS, optimizerOf, type OptimizerName } from './optimizers/index.js';
import { checkMesh } from './sharding.js';
import { continuesIn, once, prepareResume, takeBranch, type StartingPoint } from './resume.js';
import { checkSameStart } from './same-start.js';
import { stageLearningRate, stagesOf, tokensAfter, type Stage } from './stages.js';
import type { TrainingMetric } from './metrics.js';
import { RunClock, type RunTiming } from './timing.js';
import { underWay, type StartedEvaluation, type StartedStep } from './started.js';
import type { TrainResult, TrainRunOptions } from './train-run.js';
import { type Trainer, type StepResult } from './trainer.js';

/**
 * Trains a model in a run folder, from the start or from its newest complete checkpoint, to the last step. On the same
 * engine with the same threads, a run that was stopped and resumed, however often, gives the same parameters bit for
 * bit as one that was not.
 *
 * @throws InterruptedError once `signal` has aborted: the step at hand is finished, a checkpoint and the status written
 *   (a `StoreError` where the signal's reason is one: nobody gets what is printed)
 * @throws DivergedError at the first loss, gradient norm or parameter that is not finite; the last checkpoint stays
 * @throws StoreError if the folder is taken, holds another run (says what differs), or cannot be written, and in every
 *   process of several that would go on from different checkpoints
 * @throws LockLostError once another process has taken the folder: this one writes nothing more there
 * @throws ConfigError if the model's vocabulary is smaller than the data's; DataError if the data cannot be read
 */
export async function trainRun(options: TrainRunOptions): Promise<TrainResult> {
  const dir = isAbsolute(options.dir) ? options.dir : resolve(options.dir);
  const { run, resume = 'no' } = options;
  // Where the run begins, what it starts from is looked at before anything is written.
  const initial = once(() => openInitialWeights(run));
  if (!continuesIn(dir, resume)) initial();
  const data = options.data ?? openRunData(run, options.baseDir);
  try {
    checkVocabulary(run, data);
    const { takeOver, signal, hooks } = options;
    return await underLock(
      join(dir, LOCK_FILE),
      dir,
      { takeOver, signal, waiting: hooks?.note },
      async (_lock, stop) => {
        const found = continuesIn(dir, resume); // as the folder is now that nobody else is in it
        if (!found) {
          const { name = null, engine, place } = options;
          writeRunConfig(dir, { name, run, engine: engine.info, place, transfer: initial()?.transfer });
        }
        const branched = await takeBranch(dir, options);
        const continues = found || branched;
        await checkSameStart(dir, options.engine, continues);
        const checkpoint = continues ? prepareResume(dir, options, branched) : null;
        const start = { checkpoint, initial: checkpoint === null ? initial() : null };
        for (const note of start.initial?.notes ?? []) hooks?.note?.(note);
        return await runTo(dir, { ...options, signal: stop }, data, start, continues);
      },
    );
  } finally {
    if (options.data === undefined) data[Symbol.dispose]();
  }
}

function checkVocabulary({ model }: RunConfig, { vocabSize }: OpenedData): void {
  if (model.vocabSize >= vocabSize) return;
  throw new ConfigError(
    `model.vocabSize ${model.vocabSize} is smaller than the ${vocabSize} tokens of the data; set model.vocabSize: ${vocabSize}`,
    { details: { model: model.vocabSize, data: vocabSize } },
  );
}

async function runTo(
  dir: string,
  options: TrainRunOptions,
  data: OpenedData,
  { checkpoint, initial }: StartingPoint,
  continues: boolean,
): Promise<TrainResult> {
  const { run, engine } = options;
  const before = { step: checkpoint?.state.step ?? 0, tokens: checkpoint?.state.tokens ?? 0 };
  const stages = stagesOf(run);
  const { mesh } = engine.info;
  const clock = options.clock ?? new RunClock();
  if (continues) clock.continue(readStatus(dir)?.timing);
  for (const { train } of stages) if (mesh) checkMesh(train, mesh);
  let loop: Loop | undefined;
  try {
    const entered = enterStage(stages, before.step, options, data);
    if (checkpoint !== null && !entered.fresh) entered.data.train.restore(checkpoint.state.data);
    using metrics = new MetricsWriter(metricsPath(dir), continues ? (checkpoint?.state.step ?? -1) : null);
    writeStatus(dir, { state: 'running', ...before, timing: clock.timing() });
    const state: TrainerState = {
      parameters: () => (checkpoint ?? initial)?.parameters() ?? initialParameters(run.model, run.seed),
      optimizer: checkpoint?.optimizer(),
    };
    const trainer = await clock.time('compile', () => createTrainer(entered, before.step, state, options));
    loop = new Loop(dir, options, { stages, initial: data, entered, trainer, clock }, metrics, checkpoint);
    await loop.run();
    const { step, tokens } = loop;
    return { step, tokens, resumedFrom: checkpoint?.state.step ?? null, checkpoint: checkpointPath(dir, step) };
  } catch (error) {
    await loop?.wrapUp();
    noteEnd(dir, loop ?? before, error, clock.timing());
    throw error;
  } finally {
    await loop?.dispose();
  }
}

/** Notes in the status why a run ended, if that can still be written; the error itself is what counts. */
function noteEnd(
  dir: string,
  { step, tokens }: { step: number; tokens: number },
  error: unknown,
  timing: RunTiming,
): void {
  const state = error instanceof InterruptedError ? 'interrupted' : 'failed';
  const message = messageOf(error);
  try {
    writeLastStatus(dir, { state, step, tokens, message, timing });
  } catch (second) {
    if (!(second instanceof LongsightError)) throw second;
  }
}

/** Parameters and moments up to this size are copied to the host so that they are written beside the training. */
const WRITE_BEHIND_BYTES = 8 * 2 ** 30;

/** Times `runsAhead`: steps that an accelerator is given before the host waits for an evaluation. */
const AHEAD_OF_EVALUATIONS = 3;

/** Bytes of a model's parameters and moments. */
function stateBytes(model: ModelConfig, optimizer: OptimizerName): number {
  return parameterSpecs(model).reduce((sum, spec) => {
    const { moments } = OPTIMIZERS[optimizerOf(spec, optimizer)];
    return sum + (1 + moments.length) * 4 * sizeOf(spec.shape);
  }, 0);
}

/**
 * Steps are started as far ahead as the engine likes, so that it works on while batches are prepared and uploaded and
 * numbers are looked at; `#step` is the last one whose numbers are there. Metrics are written as numbers arrive. An
 * evaluation is started like a step, between two steps, and what it came to is written between their numbers.
 * Checkpoints and stops first wait for every started step, so that resuming is exact and nothing depends on how far
 * ahead that was. Processes of several hosts agree on the step after which they stop, before it is started.
 */
class Loop {
  readonly #dir: string;
  readonly #options: TrainRunOptions;
  readonly #stages: readonly Stage[];
  /** The data of the first stage, which the caller disposes. */
  readonly #initial: OpenedData;
  #entered: EnteredStage;
  #trainer: Trainer;
  readonly #metrics: MetricsWriter;
  readonly #clock: RunClock;
  readonly #startMs = performance.now();
  readonly #timeBefore: number;
  readonly #stepBefore: number;
  #step: number;
  #started: StartedStep[] = [];
  #evaluation: StartedEvaluation | null = null;
  #savedStep: number | null;
  /** A checkpoint that is being written beside the training, and why the last one was not. */
  #writing: Promise<void> | null = null;
  #writeError: { readonly error: unknown } | null = null;
  /** Losses since the last line of training metrics. */
  #loss: { sum: number; count: number };
  /** How processes of several hosts stop together; null for one process, which stops after the step at hand. */
  readonly #shared: SharedStop | null;
  readonly #ask = (): void => this.#shared?.ask();
  #trainMs = 0;
  /** The learning rate and the gradient norm of the last step. */
  #last: { lr: number; gradNorm: number; routing: StepResult['routing'] } = { lr: 0, gradNorm: 0, routing: null };
  /** Milliseconds and tokens since the last line of training metrics in this process. */
  #lap = { ms: 0, tokens: 0 };

  constructor(
    dir: string,
    options: TrainRunOptions,
    start: {
      readonly stages: readonly Stage[];
      readonly initial: OpenedData;
      readonly entered: EnteredStage;
      readonly trainer: Trainer;
      readonly clock: RunClock;
    },
    metrics: MetricsWriter,
    checkpoint: Checkpoint | null,
  ) {
    this.#dir = dir;
    this.#options = options;
    this.#stages = start.stages;
    this.#initial = start.initial;
    this.#entered = start.entered;
    this.#trainer = start.trainer;
    this.#metrics = metrics;
    this.#clock = start.clock;
    const state = checkpoint?.state;
    this.#stepBefore = this.#step = state?.step ?? 0;
    this.#savedStep = state?.step ?? null;
    this.#timeBefore = state?.time ?? 0;
    this.#loss = { ...(state?.loss ?? { sum: 0, count: 0 }) };
    const { engine, run, signal } = options;
    this.#shared = engine.shareStop?.(this.#step, run.train.steps) ?? null;
    if (signal?.aborted === true) this.#ask();
    signal?.addEventListener('abort', this.#ask);
  }

  get step(): number {
    return this.#step;
  }

  get tokens(): number {
    return tokensAfter(this.#stages, this.#step);
  }

  async run(): Promise<void> {
    const { run, engine } = this.#options;
    const { steps, evalEvery, checkpointEvery } = run.train;
    /** Whether the engine does nothing while the host works. */
    const alone = engine.hints.runsAhead === 1;
    if (this.#step === 0) await this.#evaluate(0, false);
    if (alone) await this.#evaluated();
    await this.#clock.time('compile', () => this.#trainer.compiled());
    await this.#stopIfAsked(this.#step);
    await this.#keepBranch(this.#step);
    for (let step = this.#step + 1; step <= steps; step++) {
      if (step > this.#entered.stage.to) await this.#enterNext();
      await this.#start(step);
      const atCheckpoint = this.#due(step, checkpointEvery);
      const evaluates = atCheckpoint || this.#due(step, 0) || isEvaluated(evalEvery, step);
      if (evaluates) {
        if (alone || atCheckpoint || this.#evaluation !== null) await this.#settle(0);
        await this.#evaluated();
        await this.#evaluate(step, atCheckpoint);
        if (alone) await this.#evaluated();
      }
      if (atCheckpoint) await this.#checkpoint(true);
      await this.#keepBranch(step);
      await this.#settle();
      if (this.#writeError !== null) throw this.#writeError.error;
      await this.#stopIfAsked(step);
    }
    await this.#settle(0);
    await this.#evaluated();
    await this.#clock.time('waiting', () => this.written());
    writeLastStatus(this.#dir, this.#statusOf('done'));
    await this.#shared?.finish();
  }

  /** Every so many steps (0: never), and at the end of a stage. */
  #due(step: number, every: number): boolean {
    return step === this.#entered.stage.to || (every > 0 && step % every === 0);
  }

  /** Waits for the checkpoint that is being written. Throws what its writing failed with. */
  async written(): Promise<void> {
    await this.#writing;
    if (this.#writeError !== null) throw this.#writeError.error;
  }

  /** Ends what a run that failed has under way: an evaluation, and the checkpoint that waits for it. */
  async wrapUp(): Promise<void> {
    await this.#evaluated().catch(() => undefined); // what ended the run counts
    await this.#writing;
  }

  async dispose(): Promise<void> {
    this.#options.signal?.removeEventListener('abort', this.#ask);
    await this.#writing;
    await this.#trainer.dispose();
    this.#closeData();
  }

  #closeData(): void {
    if (this.#entered.data !== this.#initial) this.#entered.data[Symbol.dispose]();
  }

  /** Goes to the next stage: its data from the start, a step of its sizes, the parameters and moments as they are. */
  async #enterNext(): Promise<void> {
    await this.#evaluated();
    const state = await stateOf(this.#trainer, this.#entered.stage);
    await this.#trainer.dispose();
    this.#closeData();
    this.#entered = enterStage(this.#stages, this.#step, this.#options, this.#initial);
    this.#trainer = await this.#clock.time('compile', () =>
      createTrainer(this.#entered, this.#step, state, this.#options),
    );
    await this.#clock.time('compile', () => this.#trainer.compiled());
    const { index, train, model } = this.#entered.stage;
    this.#options.hooks?.note?.(
      `step ${this.#step}: stage ${index + 1} of ${this.#stages.length}, ${train.batchSize} x ${train.seqLen} tokens a step, ` +
        `rotary base ${model.ropeTheta}`,
    );
  }

  /** Draws a batch and gives the engine its step. */
  async #start(step: number): Promise<void> {
    const { stage, data, windows } = this.#entered;
    const model = windows.of(step);
    if (!this.#trainer.has(model)) {
      await this.#settle(0);
      await this.#clock.time('compile', () => this.#trainer.goTo(model));
    }
    const begin = performance.now();
    const lr = stageLearningRate(stage, step);
    let pending;
    try {
      pending = await this.#trainer.start(nextBatch(data.train, stage.train.batchSize), lr, step, model);
    } catch (error) {
      await this.#settle(0); // a step before this one may have diverged, and say so
      throw error;
    }
    this.#started.push({ step, lr, pending });
    // A turn of the event loop, so that signals and messages arrive whatever the engine does.
    await turn();
    this.#spend(step, performance.now() - begin);
  }

  /** How many steps may be under way: more with an evaluation, so that an accelerator has work meanwhile. */
  #ahead(): number {
    const { runsAhead, accelerator = false } = this.#options.engine.hints;
    return (accelerator && this.#evaluation !== null ? AHEAD_OF_EVALUATIONS : 1) * runsAhead - 1;
  }

  /** Waits for the numbers of the oldest started steps until at most `left` are under way (default: `#ahead()`). */
  async #settle(left?: number): Promise<void> {
    while (this.#started.length > (left ?? this.#ahead())) {
      const next = present(this.#started[0]);
      if (this.#evaluation !== null && this.#evaluation.step < next.step) await this.#evaluated();
      const { step, lr, pending } = present(this.#started.shift());
      const begin = performance.now();
      const numbers = await pending.result();
      this.#spend(step, performance.now() - begin);
      this.#account(step, lr, numbers);
    }
  }

  #spend(step: number, ms: number): void {
    this.#clock.add(step === this.#stepBefore + 1 ? 'firstStep' : 'steps', ms);
    this.#trainMs += ms;
    this.#lap.ms += ms;
  }

  #account(step: number, lr: number, numbers: StepResult): void {
    const { run, hooks } = this.#options;
    this.#checkFinite(step, numbers);
    this.#step = step;
    this.#loss = { sum: this.#loss.sum + numbers.loss, count: this.#loss.count + 1 };
    this.#lap.tokens += tokensPerStep(this.#entered.stage.train);
    const tokPerSec = this.#speed(this.tokens - tokensAfter(this.#stages, this.#stepBefore), this.#trainMs);
    hooks?.progress?.({
      step,
      steps: run.train.steps,
      tokens: this.tokens,
      lr,
      tokPerSec,
      loss: numbers.loss,
      gradNorm: numbers.gradNorm,
    });
    this.#last = { lr, gradNorm: numbers.gradNorm, routing: numbers.routing };
    if (this.#due(step, run.train.logEvery)) this.#log();
  }

  #speed(tokens: number, ms: number): number {
    return tokens / (ms / 1000);
  }

  #checkFinite(step: number, { loss, gradNorm }: StepResult): void {
    if (Number.isFinite(loss) && Number.isFinite(gradNorm)) return;
    const what = Number.isFinite(loss) ? `the gradient norm is ${gradNorm}` : `the loss is ${loss}`;
    const saved =
      this.#savedStep === null ? 'no checkpoint had been written' : `the checkpoint of step ${this.#savedStep} is kept`;
    throw new DivergedError(
      `training diverged at step ${step}: ${what}; ${saved}; lower train.lr or raise train.warmupSteps`,
      { details: { step, loss, gradNorm, checkpoint: this.#savedStep } },
    );
  }

  #time(): number {
    return this.#timeBefore + (performance.now() - this.#startMs) / 1000;
  }

  #log(): void {
    if (this.#loss.count === 0) return;
    const { lr, gradNorm, routing } = this.#last;
    const { windows } = this.#entered;
    const logged: Partial<Record<TrainingMetric, number>> = {
      'train/loss': this.#loss.sum / this.#loss.count,
      'train/lr': lr,
      'train/grad_norm': gradNorm,
      'train/tok_per_sec': this.#speed(this.#lap.tokens, this.#lap.ms),
      ...(windows.keys === null ? {} : { 'train/window': at(windows.keys, windows.of(this.#step)) }),
      ...(routing === null
        ? {}
        : {
            'train/expert_balance_loss': routing.balance,
            'train/expert_entropy': routing.entropy,
            'train/expert_peak_share': routing.peak,
          }),
    };
    this.#metrics.write({ step: this.#step, tokens: this.tokens, time: this.#time(), ...logged });
    this.#loss = { sum: 0, count: 0 };
    this.#lap = { ms: 0, tokens: 0 };
    writeStatus(this.#dir, this.#statusOf('running'));
  }

  /** Starts an evaluation of the parameters after `step`, the last that was started. */
  async #evaluate(step: number, atCheckpoint: boolean): Promise<void> {
    const { parameters } = this.#trainer;
    const { stage, data } = this.#entered;
    const tokens = tokensAfter(this.#stages, step);
    let measured;
    try {
      measured = await this.#options.hooks?.evaluate?.({ step, tokens, atCheckpoint, parameters, stage, data });
    } catch (error) {
      await this.#settle(0); // a step before it may have diverged, and say so
      throw error;
    }
    if (measured === undefined) return;
    this.#evaluation = { step, tokens, ...underWay(measured) };
  }

  /** Waits for the evaluation that is under way, if there is one, and writes what it came to. */
  async #evaluated(): Promise<void> {
    const own = this.#evaluation;
    if (own === null) return;
    this.#evaluation = null;
    try {
      await own.measured.numbers();
      const begin = performance.now();
      this.#metrics.write({ step: own.step, tokens: own.tokens, time: this.#time(), ...own.measured.result() });
      const [next] = this.#started;
      // The engine is at work on steps, which are waited for that much less.
      if (next !== undefined) this.#spend(next.step, performance.now() - begin);
      else this.#clock.add('evaluations', performance.now() - begin);
      own.end();
    } catch (error) {
      own.end({ error });
      throw error;
    }
  }

  /** Keeps the state after a step for runs that go on from it, unless it is there. */
  async #keepBranch(step: number): Promise<void> {
    const { branchAt = [] } = this.#options;
    if (step === 0 || !branchAt.includes(step) || isBranchThere(this.#dir, step)) return;
    await this.#settle(0);
    await this.#checkpoint(false, branchPath(this.#dir, step));
  }

  /**
   * Writes a checkpoint, one of the run's own unless `path` is given; beside the training where the engine works beside
   * the host and memory allows a copy.
   */
  async #checkpoint(scheduled: boolean, path?: string): Promise<void> {
    const { run, engine } = this.#options;
    await this.#clock.time('waiting', () => this.written());
    const [step, model] = [this.#step, this.#entered.stage.model];
    const behind = engine.hints.runsAhead > 1 && stateBytes(model, run.train.optimizer) <= WRITE_BEHIND_BYTES;
    if (!behind) await this.#evaluated();
    const evaluation = this.#evaluation;
    const state = {
      ...{ step, tokens: this.tokens, time: this.#time(), scheduled, seed: run.seed, model },
      data: structuredClone(this.#entered.data.train.state()),
      loss: this.#loss,
      ...(run.train.optimizer === 'adamw' ? {} : { optimizer: layoutOf(model, run.train.optimizer) }),
    };
    const before = async () => {
      await evaluation?.ended;
      this.#metrics.sync(); // after a power cut no checkpoint may be there without the lines before it
    };
    const write = async (tensors: CheckpointTensors) => {
      await writeCheckpoint(this.#dir, state, tensors, { behind, before, ...(path === undefined ? {} : { path }) });
      if (path !== undefined) return;
      this.#savedStep = step;
      pruneCheckpoints(this.#dir, step, run.train.keepCheckpoints);
    };
    await this.#clock.time('checkpoints', async () => {
      const tensors = this.#trainer.tensors();
      if (!behind) return write(tensors);
      const copy = await snapshotTensors(state, tensors);
      this.#writing = write(copy).catch((error: unknown) => {
        this.#writeError = { error };
      });
      return undefined;
    });
  }

  /** Stops after `step`, the last that was started, where this process was asked to; of several, where any was. */
  async #stopIfAsked(step: number): Promise<void> {
    const { signal, run, engine } = this.#options;
    const isAsked = () => signal?.aborted === true;
    if (isAsked()) checkFence(this.#dir);
    if (step === run.train.steps) return;
    if (this.#shared === null ? !isAsked() : await this.#shared.goesOn(step + 1)) return;
    await this.#settle(0);
    await this.#evaluated();
    await this.written();
    if (this.#savedStep !== this.#step && this.#step > 0) await this.#checkpoint(false);
    await this.written(); // it says so if the disk did not take it
    const details = { step: this.#step };
    const stopped = `training was stopped after step ${this.#step}; resume it to go on from there`;
    await this.#shared?.finish();
    engine.atWork?.(false);
    if (!isAsked()) throw new StoppedTogetherError(`another node was asked to stop: ${stopped}`, { details });
    const reason: unknown = signal?.reason;
    if (reason instanceof StoreError) throw new StoreError(`${reason.message}; ${stopped}`, { details, cause: reason });
    throw new InterruptedError(stopped, { details });
  }

  #statusOf(state: RunState): RunStatus {
    return { state, step: this.#step, tokens: this.tokens, timing: this.#clock.timing() };
  }
}
