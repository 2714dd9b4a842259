/** Stages of a run: sequence lengths, batches, rotary base, mixture and learning rate that change on the way. */
import { at, last, Rng } from '../core/index.js';
import type { DataConfig } from '../data/index.js';
import type { ModelConfig } from '../model/index.js';
import { tokensPerStep, type RunConfig, type TrainConfig } from './config.js';
import { learningRate, type ScheduleConfig } from './schedule.js';
import { windowPlan } from './windows.js';

/** A stage of a run: what holds for steps `from + 1` to `to`. */
export interface Stage {
  /** The stage's number, from 0. */
  readonly index: number;
  readonly from: number;
  readonly to: number;
  readonly model: ModelConfig;
  readonly data: DataConfig;
  /** The training settings, with the stage's own sequence length and batch. */
  readonly train: TrainConfig;
  /** The seed of the stage's data; every stage draws other sequences. */
  readonly seed: number;
  /** The learning-rate schedule, whose step 0 is step `scheduleFrom` of the run. */
  readonly schedule: ScheduleConfig;
  /** The step of the run at which the schedule starts. */
  readonly scheduleFrom: number;
  /** Tokens trained on before it. */
  readonly tokensBefore: number;
}

/** Throws `ConfigError` where moving windows do not fit the model, the steps or the batches of a run. */
export function checkWindows(run: RunConfig): void {
  for (const { model, train } of stagesOf(run)) windowPlan({ model, train, seed: run.seed });
}

/** The stages of a run, one after another; one that holds throughout where `train.stages` has none. */
export function stagesOf(run: RunConfig): readonly Stage[] {
  const { stages: given, ...base } = run.train;
  const changes = given ?? [];
  const ends = [...changes.map((change) => change.from), base.steps];
  const firstOwn = changes.find((change) => change.lr !== undefined)?.from ?? base.steps;
  const stages: Stage[] = [
    {
      ...{ index: 0, from: 0, to: at(ends, 0), model: run.model, data: run.data, train: base, seed: run.seed },
      schedule: { ...base, steps: firstOwn },
      ...{ scheduleFrom: 0, tokensBefore: 0 },
    },
  ];
  changes.forEach((change, i) => {
    const before = at(stages, i);
    const { from, ropeTheta, weights, seqLen, batchSize, accumulate } = change;
    const sizes = Object.entries({ seqLen, batchSize, accumulate }).filter(([, value]) => value !== undefined);
    stages.push({
      ...{ index: i + 1, from, to: at(ends, i + 1) },
      model: ropeTheta === undefined ? before.model : { ...before.model, ropeTheta },
      data: weights === undefined ? before.data : withWeights(before.data, weights),
      train: { ...before.train, ...Object.fromEntries(sizes) },
      seed: Rng.of(run.seed, 'stage', i + 1).u32(),
      ...scheduleOf(before, change, changes.slice(i + 1).find((c) => c.lr !== undefined)?.from ?? base.steps),
      tokensBefore: before.tokensBefore + (from - before.from) * tokensPerStep(before.train),
    });
  });
  return stages;
}

type Change = NonNullable<TrainConfig['stages']>[number];

function scheduleOf(before: Stage, change: Change, to: number): Pick<Stage, 'schedule' | 'scheduleFrom'> {
  const { schedule, scheduleFrom, train } = before;
  if (change.lr === undefined) return { schedule, scheduleFrom };
  const steps = to - change.from;
  const kind = change.schedule ?? train.schedule;
  const warmupSteps = Math.min(change.warmupSteps ?? 0, steps);
  const decaySteps = kind === 'wsd' ? Math.min(change.decaySteps ?? Math.ceil(steps / 5), steps - warmupSteps) : 0;
  const minLrRatio = change.minLrRatio ?? train.minLrRatio;
  return {
    schedule: { schedule: kind, lr: change.lr, minLrRatio, steps, warmupSteps, decaySteps },
    scheduleFrom: change.from,
  };
}

function withWeights(data: DataConfig, weights: readonly number[]): DataConfig {
  return data.map((source, i) => ({ ...source, weight: weights[i] ?? source.weight }));
}

/** The stage in which step `step` (from 1) is taken; the first for 0. */
export function stageOfStep(stages: readonly Stage[], step: number): Stage {
  return stages.find((stage) => step <= stage.to) ?? last(stages);
}

/** Tokens trained on once `step` steps are taken. */
export function tokensAfter(stages: readonly Stage[], step: number): number {
  const stage = stageOfStep(stages, step);
  return stage.tokensBefore + (step - stage.from) * tokensPerStep(stage.train);
}

/** The learning rate of a step, counted from the start of the run. */
export function stageLearningRate({ schedule, scheduleFrom }: Stage, step: number): number {
  return learningRate(schedule, step - scheduleFrom);
}

/** The configuration of a run as it is at `step`: what a checkpoint of that step is measured with. */
export function runAtStep<R extends RunConfig>(run: R, step: number): R {
  const { model, data, train } = stageOfStep(stagesOf(run), step);
  return { ...run, model, data, train };
}
