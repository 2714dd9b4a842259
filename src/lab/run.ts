/** One run, whole: training with everything that is measured on the way written into the run folder. */
import type { HeadScores } from '../analysis/index.js';
import { allPending, checkMemory, ConfigError, invariant, pending, present, type Pending } from '../core/index.js';
import type { OpenedData } from '../data/index.js';
import { inPrecision, measuringPrecision, type Engine, type Precision, type TensorMap } from '../engine/index.js';
import { uploadParameters } from '../loaded/index.js';
import { checkParameterMemory, resolveModelConfig } from '../model/index.js';
import {
  openRunData,
  RunClock,
  runAtStep,
  stagesOf,
  trainRun,
  type Measured,
  type TrainHooks,
  type TrainPoint,
  type TrainResult,
} from '../train/index.js';
import { Measurement, planMeasures, type MeasuredFinding, type MeasurementOptions } from './measures/measurement.js';
import { evalMetrics, type EvalRecord } from './measures/record.js';
import { MEASURES } from './measures/table.js';
import type { FullRunConfig } from './run-config.js';
import { writeEval, writeFinding, type BranchPoint, type Checkpoint } from '../run/index.js';

/** What files of traced heads in a run folder are named for. */
export const HEADS = MEASURES.trace.stored.finding;

/** Which run is performed, where, and on which engine. */
export interface PerformOptions {
  /** The run folder. */
  readonly dir: string;
  readonly run: FullRunConfig;
  readonly engine: Engine;
  readonly resume: 'no' | 'yes' | 'auto';
  /** Whether to take over the lock of a process that cannot be seen from here, such as one of another host. */
  readonly takeOver?: boolean | undefined;
  /** Where the run was put, such as `cuda:0`; stored with it. */
  readonly place?: string | undefined;
  /** A run that is the same up to a step, whose state there this one goes on from. */
  readonly branch?: Omit<BranchPoint, 'findings'> | undefined;
  /** Steps after which the state is kept for runs that go on from it. */
  readonly branchAt?: readonly number[] | undefined;
  /** When the process that does the run began, by `performance.now()` (default: now). */
  readonly sinceMs?: number;
  readonly signal?: AbortSignal;
  readonly progress?: TrainHooks['progress'];
  readonly note?: TrainHooks['note'];
  /** Called with the record of every evaluation. */
  readonly evaluated?: (record: EvalRecord) => void;
}

/**
 * Checks what a run needs beside its configuration: that its data can be read, and give what `eval` asks for. Writes
 * nothing.
 *
 * @throws ConfigError, DataError
 */
export function checkRun(run: FullRunConfig): void {
  checkParameterMemory(run.model);
  for (const stage of stagesOf(run)) {
    const { batchSize, seqLen } = stage.train;
    if (stage.from > 0) resolveModelConfig(stage.model, `the model from step ${stage.from} on`);
    // Token ids, targets and their weights, four bytes each.
    checkMemory(
      12 * batchSize * seqLen,
      `a step of ${batchSize} x ${seqLen} tokens`,
      'lower train.batchSize or seqLen',
    );
    using data = openRunData(stage);
    planMeasures({ data, config: run.eval });
  }
}

/**
 * Trains a run, evaluating as it goes; at every checkpoint `evals/step-N.json` and what measures find beside it, such
 * as `analysis/retrieval-heads-step-N.json`, are written before it. Throws as `trainRun` does.
 */
export async function performRun(options: PerformOptions): Promise<TrainResult> {
  const { run, engine, dir } = options;
  const clock = new RunClock(options.sinceMs);
  using data = await clock.time('data', () => openRunData(run));
  const measured = new StageMeasurements(options, clock);
  engine.atWork?.(true);
  try {
    const result = await trainRun({
      ...{ dir, name: run.name ?? null, run, engine, data, resume: options.resume, takeOver: options.takeOver, clock },
      place: options.place,
      branchAt: options.branchAt,
      ...(options.branch === undefined ? {} : { branch: { ...options.branch, findings: [HEADS] } }),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
      hooks: {
        evaluate: (point) => measured.at(point),
        // An engine that compiles beside the host does so while the step is compiled; others when it comes to that.
        ...(engine.hints.runsAhead > 1 ? { entering: (at) => measured.enter(at) } : {}),
        ...(options.progress === undefined ? {} : { progress: options.progress }),
        ...(options.note === undefined ? {} : { note: options.note }),
      },
    });
    engine.atWork?.(false);
    return result;
  } finally {
    await measured.dispose();
  }
}

/**
 * What is measured during a run: one measurement for each stage, made once and ready before it is needed where that
 * helps.
 */
class StageMeasurements {
  readonly #options: PerformOptions;
  readonly #clock: RunClock;
  #current: { readonly stage: number; readonly made: Promise<Measurement> } | null = null;

  constructor(options: PerformOptions, clock: RunClock) {
    this.#options = options;
    this.#clock = clock;
  }

  /** Begins to make ready what a stage's evaluations need. What fails is thrown by the first of them. */
  enter({ stage, data }: Pick<TrainPoint, 'stage' | 'data'>): void {
    const before = this.#current?.made;
    const made = (async () => {
      await (await before?.catch(() => undefined))?.dispose();
      const { run, engine } = this.#options;
      return measurementOf({ ...run, model: stage.model, train: stage.train }, engine, data, this.#options);
    })();
    made.catch(() => undefined);
    this.#current = { stage: stage.index, made };
  }

  /** Starts an evaluation; at a checkpoint also traces. Its result writes what was found. */
  async at(point: TrainPoint): Promise<Pending<Measured>> {
    const { dir, evaluated } = this.#options;
    const { parameters, atCheckpoint } = point;
    const clock = this.#clock;
    const measured = await clock.time('compile', () => this.#measurement(point));
    const evaluation = await clock.time('evaluations', () =>
      measured.start(parameters, point, atCheckpoint ? 'all' : 'light'),
    );
    const findings = atCheckpoint
      ? await clock.time('traces', () => measured.startFindings(parameters, point))
      : allPending<MeasuredFinding>([]);
    const numbers = async () => {
      await clock.time('evaluations', () => evaluation.numbers());
      await clock.time('traces', () => findings.numbers());
    };
    return pending(numbers, () => {
      const record = evaluation.result();
      evaluated?.(record);
      if (atCheckpoint) writeEval(dir, record);
      for (const { kind, value } of findings.result()) writeFinding(dir, kind, value);
      return evalMetrics(record);
    });
  }

  async dispose(): Promise<void> {
    await (await this.#current?.made.catch(() => undefined))?.dispose();
  }

  async #measurement(point: TrainPoint): Promise<Measurement> {
    const known = this.#current?.stage === point.stage.index;
    if (!known) this.enter(point);
    const measured = await this.#current?.made;
    invariant(measured, 'an evaluation has nothing to measure with');
    return measured;
  }
}

/** What a checkpoint is measured with: its own run's configuration, or a changed one. */
export interface MeasureOptions {
  /** Its data, `eval` and sizes of training count; the model is always that of the checkpoint. */
  readonly run: FullRunConfig;
  readonly engine: Engine;
  /** What the run says, unless given. */
  readonly precision?: Precision | undefined;
  /** Called with one sentence about each thing that is not measured or takes long. */
  readonly note?: TrainHooks['note'] | undefined;
  /** The run's data as they are at the checkpoint's step, where they are open already. */
  readonly data?: OpenedData | undefined;
  /** The checkpoint's parameters, where they lie on the engine already. */
  readonly tensors?: TensorMap | undefined;
}

/** Evaluates a stored checkpoint as training would have. */
export async function evaluateCheckpoint(
  checkpoint: Checkpoint,
  options: MeasureOptions & Pick<MeasurementOptions, 'only'>,
): Promise<EvalRecord> {
  return measureCheckpoint(checkpoint, options, (measurement, tensors) =>
    measurement.evaluate(tensors, checkpoint.state, 'all'),
  );
}

/** Traces retrieval heads in a stored checkpoint; null where the configuration has no needles to trace. */
export async function traceCheckpoint(checkpoint: Checkpoint, options: MeasureOptions): Promise<HeadScores | null> {
  const only = { ...options, only: ['trace'] as const };
  const [found] = await measureCheckpoint(checkpoint, only, (measurement, tensors) =>
    measurement.findings(tensors, checkpoint.state),
  );
  return found === undefined ? null : (found.value as HeadScores);
}

async function measureCheckpoint<T>(
  checkpoint: Checkpoint,
  { run: whole, engine, data: given, tensors, ...options }: MeasureOptions & Pick<MeasurementOptions, 'only'>,
  what: (measurement: Measurement, tensors: TensorMap) => Promise<T>,
): Promise<T> {
  const run = runAtStep(whole, checkpoint.state.step);
  using opened = given === undefined ? openRunData(run) : null;
  const data = given ?? present(opened);
  const { model } = checkpoint.state;
  if (model.vocabSize < data.vocabSize) {
    throw new ConfigError(
      `${checkpoint.path} knows ${model.vocabSize} tokens, but the data have ${data.vocabSize}; measure it on data like those that it was trained on`,
      { details: { model: model.vocabSize, data: data.vocabSize } },
    );
  }
  const measurement = await measurementOf({ ...run, model }, engine, data, options);
  try {
    return await what(measurement, tensors ?? uploadParameters(engine, checkpoint.parameters()));
  } finally {
    await measurement.dispose();
  }
}

/** The precision that a run is measured in on an engine, unless `asked` names another. */
export function precisionOf(run: Pick<FullRunConfig, 'eval' | 'train'>, engine: Engine, asked?: Precision): Precision {
  return measuringPrecision(engine, { asked: asked ?? run.eval.precision, trained: run.train.precision });
}

function measurementOf(
  run: FullRunConfig,
  given: Engine,
  data: OpenedData,
  options: Pick<MeasureOptions, 'precision' | 'note'> & Pick<MeasurementOptions, 'only'> = {},
): Promise<Measurement> {
  const { note, only, precision } = options;
  return Measurement.create({
    engine: inPrecision(given, precisionOf(run, given, precision)),
    ...{ model: run.model, data, config: run.eval },
    batchSize: Math.max(1, run.train.batchSize / run.train.accumulate),
    ...(note === undefined ? {} : { note }),
    ...(only === undefined ? {} : { only }),
  });
}
