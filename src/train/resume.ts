/** How a run goes on in its folder: from which checkpoint, and which settings may have changed since it began. */
import { existsSync } from 'node:fs';
import {
  ConfigError,
  describeDifferences,
  differences,
  parseConfig,
  StoreError,
  type Difference,
} from '../core/index.js';
import {
  checkFree,
  checkSame,
  checkSameRun,
  isBegun,
  isRunFolder,
  latestCheckpoint,
  noteResume,
  readRunConfig,
  removeResultsAfter,
  removeTemporaryCheckpoints,
  takeOverBeginning,
  type Checkpoint,
} from '../run/index.js';
import { TrainConfigSchema, type RunConfig, type TrainConfig } from './config.js';
import type { InitialWeights } from './initial.js';
import { stageLearningRate, stageOfStep, stagesOf, type Stage } from './stages.js';
import type { TrainRunOptions } from './train-run.js';

/** What a run goes on from, or what it starts from; neither where all its weights are new. */
export interface StartingPoint {
  readonly checkpoint: Checkpoint | null;
  readonly initial: InitialWeights | null;
}

/** A value that is made when it is first asked for. */
export function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | null = null;
  return () => (made ??= { value: make() }).value;
}

/**
 * Whether a run goes on in a folder or begins there; it begins too where one is to go on that was killed before it had
 * written anything. Throws where it can do neither.
 */
export function continuesIn(dir: string, resume: 'no' | 'yes' | 'auto'): boolean {
  if (resume !== 'no' && isRunFolder(dir)) return true;
  if (resume === 'yes' && !(existsSync(dir) && isBegun(dir))) {
    throw new ConfigError(`${dir} holds no run to resume; begin one there without resuming (leave out --resume)`, {
      details: { dir },
    });
  }
  try {
    checkFree(dir);
  } catch (cause) {
    // Another process has begun the run since the first look: whoever takes the lock goes on with it.
    if (resume !== 'no' && isRunFolder(dir)) return true;
    throw cause;
  }
  return false;
}

/** Whether a run has taken over the beginning of another. */
export async function takeBranch(dir: string, { run, branch, hooks }: TrainRunOptions): Promise<boolean> {
  if (branch === undefined) return false;
  checkSameRun(dir, run);
  const step = await takeOverBeginning(dir, branch);
  if (step !== null) hooks?.note?.(`goes on from step ${step} of ${branch.name}, which is the same up to there`);
  return step !== null;
}

/** The settings of `train` that may change as long as no step that was taken would have been another one. */
const SCHEDULE_KEYS = [
  ...(['steps', 'schedule', 'lr', 'minLrRatio', 'warmupSteps', 'decaySteps', 'stages'] as const),
] satisfies (keyof TrainConfig)[];

/**
 * The checkpoint that a run goes on from, its own or, `branched`, that of the run whose beginning it took over; null
 * where it was ended before its first. Removes what was written after it, and notes in `config.json` that the run goes
 * on, and with which steps and schedule if these have changed.
 *
 * @throws StoreError if the folder holds another run, or steps that were taken would change
 */
export function prepareResume(
  dir: string,
  { run, engine, hooks, place, branch }: TrainRunOptions,
  branched: boolean,
): Checkpoint | null {
  const { checkpoint, damaged } = latestCheckpoint(dir);
  const step = checkpoint?.state.step ?? 0;
  const changed = scheduleChanges(dir, run, checkpoint);
  for (const note of damaged) hooks?.note?.(note);
  if (checkpoint !== null) {
    const { model, seed } = checkpoint.state;
    const wanted = { model: stageOfStep(stagesOf(run), step).model, seed: run.seed };
    checkSame(`${checkpoint.path} is of another run`, { model, seed }, wanted);
  }
  removeTemporaryCheckpoints(dir);
  if (step >= run.train.steps && changed.length === 0) return checkpoint;
  removeResultsAfter(dir, checkpoint?.state.step ?? -1);
  const from = branched ? branch?.name : undefined;
  const other = changed.length === 0 ? {} : { train: run.train, changed };
  noteResume(dir, { engine: engine.info, step, place, from, ...other });
  if (changed.length > 0) hooks?.note?.(`goes on with other steps: ${describeDifferences(changed)}`);
  if (!branched) hooks?.note?.(`resuming from step ${step} of ${run.train.steps}`);
  return checkpoint;
}

/**
 * How the steps and the schedule of a run differ from those that its folder states; empty where they do not.
 *
 * @throws StoreError if anything else differs, or if one of the steps up to the checkpoint would have been another one
 */
function scheduleChanges(dir: string, run: RunConfig, checkpoint: Checkpoint | null): readonly Difference[] {
  const step = checkpoint?.state.step ?? 0;
  const { train } = readRunConfig(dir).run;
  const stated = Object.fromEntries(SCHEDULE_KEYS.map((key) => [key, train[key] ?? undefined]));
  const own = Object.fromEntries(SCHEDULE_KEYS.map((key) => [key, run.train[key]]));
  const plain = (value: unknown) => JSON.parse(JSON.stringify(value)) as unknown;
  const changed = differences(plain({ train: stated }), plain({ train: own }));
  if (changed.length === 0) {
    checkSameRun(dir, run);
    return changed;
  }
  const before = { ...run, train: { ...run.train, ...stated } };
  checkSameRun(dir, before);
  const problem =
    takenOtherwise({ ...run, train: parseConfig(TrainConfigSchema, before.train, dir) }, run, step) ??
    endsUnmeasured(run, checkpoint);
  if (problem === null) return changed;
  throw new StoreError(
    `${dir} holds another run: ${describeDifferences(changed, 3)}, ${problem}; a run may get more steps, or stages after ` +
      `step ${step}, only where no step that it has taken changes: use the same configuration, give what follows a schedule of its ` +
      `own (train.stages: [{ from: ${step}, lr: ... }]), or start from its weights in another folder (train.init)`,
    { details: { differences: changed } },
  );
}

/** Why one of the first `step` steps of a run would be another one with other settings; null where none would. */
function takenOtherwise(before: RunConfig, now: RunConfig, step: number): string | null {
  if (now.train.steps < step) return `and it has taken ${step} steps`;
  const [old, own] = [stagesOf(before), stagesOf(now)];
  for (let taken = 1; taken <= step; taken++) {
    const [a, b] = [stageOfStep(old, taken), stageOfStep(own, taken)];
    const [was, would] = [stageLearningRate(a, taken), stageLearningRate(b, taken)];
    if (was !== would)
      return `and the learning rate of step ${taken}, which it has taken, would be ${would} in place of ${was}`;
    const other = differences(sequencesOf(a), sequencesOf(b));
    if (other.length > 0)
      return `and step ${taken}, which it has taken, would be another (${describeDifferences(other, 1)})`;
  }
  return null;
}

/** Why a run cannot end where it was stopped between two measurements; null where it does not. */
function endsUnmeasured({ train }: RunConfig, checkpoint: Checkpoint | null): string | null {
  if (checkpoint === null || checkpoint.state.scheduled || train.steps !== checkpoint.state.step) return null;
  return `and it was stopped after step ${train.steps} without measuring it`;
}

/** What decides which sequences the steps of a stage read, and with which model. */
function sequencesOf({ from, model, data, train, seed }: Stage): unknown {
  const { seqLen, batchSize, accumulate } = train;
  return JSON.parse(JSON.stringify({ from, model, data, seqLen, batchSize, accumulate, seed })) as unknown;
}
