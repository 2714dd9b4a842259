/** The stage of a run that is being trained: its data, its windows and its trainer. */
import type { HostTensor } from '../core/index.js';
import { openData, type OpenedData } from '../data/index.js';
import { parameterSpecs, type HostParameters } from '../model/index.js';
import type { OptimizerState } from '../run/index.js';
import type { RunConfig } from './config.js';
import { layoutOf } from './optimizers/index.js';
import { stageOfStep, type Stage } from './stages.js';
import type { TrainRunOptions } from './train-run.js';
import { Trainer } from './trainer.js';
import { windowPlan, type WindowPlan } from './windows.js';

/** Opens the data of a run, or of a stage of it, as `trainRun` does. */
export function openRunData(
  { data, train, seed }: Pick<RunConfig, 'data' | 'train' | 'seed'>,
  baseDir = process.cwd(),
): OpenedData {
  return openData(data, { seqLen: train.seqLen, seed, baseDir });
}

/** What a trainer starts from. */
export interface TrainerState {
  readonly parameters: HostParameters | (() => HostParameters);
  readonly optimizer: OptimizerState | undefined;
}

/** A stage with its data open. */
export interface EnteredStage {
  readonly stage: Stage;
  readonly data: OpenedData;
  /** The windows of its steps. */
  readonly windows: WindowPlan;
  /** Whether no sequence of it has been trained on. */
  readonly fresh: boolean;
}

/** The stage in which the step after `step` is taken; `initial` is the data of the first one. */
export function enterStage(
  stages: readonly Stage[],
  step: number,
  { run, baseDir }: TrainRunOptions,
  initial: OpenedData,
): EnteredStage {
  const stage = stageOfStep(stages, Math.min(step + 1, run.train.steps));
  const windows = windowPlan({ model: stage.model, train: stage.train, seed: run.seed });
  const data = stage.index === 0 ? initial : openRunData(stage, baseDir);
  return { stage, data, windows, fresh: step === stage.from };
}

/**
 * Begins to make a stage's trainer. On one device that works beside the host, parameters may be measured before the
 * program of a step is there; devices of a mesh take part in each other's work, and compile while they do nothing else.
 */
export async function createTrainer(
  { stage, data, windows }: EnteredStage,
  step: number,
  state: TrainerState,
  options: TrainRunOptions,
): Promise<Trainer> {
  options.hooks?.entering?.({ stage, data });
  const { info, hints } = options.engine;
  const of = {
    ...{ engine: options.engine, model: stage.model, config: stage.train, ...state },
    models: windows.models,
    // Those of a schedule are made when it comes to them.
    ...(windows.inTurn ? { first: [windows.of(step + 1)] } : {}),
    hasSegments: data.train.hasSegments,
    ...options.stepOptions,
  };
  return hints.runsAhead > 1 && info.mesh === undefined ? Trainer.begin(of) : Trainer.create(of);
}

/** Parameters and optimizer state of a trainer, on the host. */
export async function stateOf(trainer: Trainer, { model, train }: Stage): Promise<TrainerState> {
  const tensors = trainer.tensors();
  const all = parameterSpecs(model).map((spec) => spec.name);
  const { m: means, v: squares } = layoutOf(model, train.optimizer);
  const read = async (
    names: readonly string[],
    get: (name: string) => Promise<HostTensor>,
  ): Promise<HostParameters> => {
    const found = new Map<string, HostTensor<'f32'>>();
    for (const name of names) found.set(name, (await get(name)) as HostTensor<'f32'>);
    return found;
  };
  const parameters = await read(all, (name) => tensors.parameter(name));
  const m = await read(means, (name) => tensors.moment('m', name));
  return { parameters, optimizer: { m, v: await read(squares, (name) => tensors.moment('v', name)) } };
}
