/** What a run of training is given, what it tells on the way, and how it ends. */
import type { Pending } from '../core/index.js';
import type { OpenedData } from '../data/index.js';
import type { Engine, TensorMap } from '../engine/index.js';
import type { BranchPoint } from '../run/index.js';
import type { RunConfig } from './config.js';
import type { Stage } from './stages.js';
import type { RunClock } from './timing.js';
import type { StepOptions } from './step-programs.js';
import type { StepResult } from './trainer.js';

/** Where a run stands; given to hooks. */
export interface TrainPoint {
  readonly step: number;
  readonly tokens: number;
  /** Whether a checkpoint of this step is due: once it is there, so is what the hook has written. */
  readonly atCheckpoint: boolean;
  /** The stage that the step belongs to, and its data. */
  readonly stage: Stage;
  readonly data: OpenedData;
  /** The model's parameters on the engine; good until the hook's promise settles. */
  readonly parameters: TensorMap;
}

/** How far a run is, given after every step. */
export interface TrainProgress extends Omit<StepResult, 'routing'> {
  /** Optimizer steps that are done. */
  readonly step: number;
  /** Optimizer steps of the whole run. */
  readonly steps: number;
  /** Training tokens that were read. */
  readonly tokens: number;
  /** The learning rate of the step. */
  readonly lr: number;
  /** Tokens per second since the run was started or resumed, without the time of hooks and checkpoints. */
  readonly tokPerSec: number;
}

/** What an evaluation measured, by the names of metrics. */
export type Measured = Readonly<Record<string, number>>;

/** What else happens during a run; all optional. */
export interface TrainHooks {
  /** After every step, in order, once its numbers are there; steps after it may be under way. */
  readonly progress?: (progress: TrainProgress) => void;
  /** A fact worth a line: a damaged checkpoint that is not used, the step a run resumes from. */
  readonly note?: (text: string) => void;
  /**
   * At step 0, after the steps that `evalEvery` names, before every scheduled checkpoint and at the end; the loop waits
   * for the promise. What it gives goes to the metrics, names and all. Where that is under way, the next steps are
   * started before its numbers are waited for; it is done before the numbers of those steps are looked at, and before
   * the checkpoint is there.
   */
  readonly evaluate?: (point: TrainPoint) => Promise<Measured | Pending<Measured>>;
  /** A stage is about to be entered, its folder known to be this run's: what its evaluations need can be made ready. */
  readonly entering?: (at: Pick<TrainPoint, 'stage' | 'data'>) => void;
}

/** What `trainRun` trains, where, and how it starts. */
export interface TrainRunOptions {
  /** The run folder. */
  readonly dir: string;
  readonly name?: string | null;
  /** A resolved run configuration; stored whole, with whatever else it holds. */
  readonly run: RunConfig;
  readonly engine: Engine;
  /** The folder in which relative paths of text files start (default: the current folder). */
  readonly baseDir?: string;
  /** `no`: the folder must be free; `yes`: it must hold this run; `auto`: resume if it holds this run, else begin. */
  readonly resume?: 'no' | 'yes' | 'auto';
  /**
   * Whether to wait less long for the heartbeat of a process that cannot be seen from here, such as one of another
   * host; see `takeLock`.
   */
  readonly takeOver?: boolean | undefined;
  /** Where the run was put, such as `cuda:0`; stored in `config.json`. */
  readonly place?: string | undefined;
  readonly signal?: AbortSignal;
  readonly hooks?: TrainHooks;
  /** Measures where the time goes (default: its own). Hooks add their phases to it. */
  readonly clock?: RunClock;
  readonly stepOptions?: StepOptions;
  /** Another run that is the same up to a step: this one goes on from its state there, if that is ahead of its own. */
  readonly branch?: BranchPoint | undefined;
  /** Steps after which the state is kept for runs that go on from it. */
  readonly branchAt?: readonly number[] | undefined;
  /** Opened data to use instead of opening it again; the caller disposes it. It must be fresh: no sequence drawn. */
  readonly data?: OpenedData;
}

/** How a run ended. */
export interface TrainResult {
  /** Optimizer steps that were done. */
  readonly step: number;
  /** Training tokens that were read. */
  readonly tokens: number;
  /** The step that the run was resumed from; null if it started from the beginning. */
  readonly resumedFrom: number | null;
  /** The last checkpoint's folder. */
  readonly checkpoint: string;
}
