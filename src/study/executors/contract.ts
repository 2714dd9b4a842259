/** What an executor is: one way to have the runs of a study trained. */
import { z } from 'zod';

/** A run of a study, as executors see it. */
export interface ExecutorUnit {
  /** The name of the run: what `longsight study run FOLDER ID` takes. */
  readonly id: string;
  /** How the study folder says that it is: `done`, `running`, `failed` and so on. */
  readonly state: string;
  /** Why it failed or stopped; null if there is nothing to say. */
  readonly message: string | null;
  readonly resources: { readonly engine: string; readonly devices: number };
  /** The run whose state it goes on from; null if it begins by itself. */
  readonly after: { readonly run: string } | null;
}

/** How a run of a study ended, as far as its executor knows. */
export interface UnitOutcome {
  readonly name: string;
  readonly state: 'done before' | 'done' | 'failed' | 'stopped';
  /** Why a failed run failed. */
  readonly message?: string;
}

/** What an executor is asked to do. */
export interface ExecutorJob {
  /** The study folder, as an absolute path. */
  readonly dir: string;
  /** The name of the study: letters, digits, `.`, `_` and `-`. */
  readonly name: string;
  /** Names of the runs that are wanted now, in the order of the plan. */
  readonly wanted: readonly string[];
  /** Every run of the study, as its folder says at this moment. */
  readonly units: () => readonly ExecutorUnit[];
  /** What starts the command line `longsight` on this host. */
  readonly command: readonly string[];
  /** Options that every `longsight study run` gets, such as `--engine onnx`. */
  readonly runOptions: readonly string[];
  /** Whether the runs are to be stopped rather than trained. */
  readonly cancel: boolean;
  /** Tells people what happens, a line each. */
  readonly note: (text: string) => void;
  /** Tells programs what happens. */
  readonly event: (value: object) => void;
  readonly signal: AbortSignal;
  /** Trains the runs that are wanted in worker processes of this host. */
  readonly trainHere: () => Promise<readonly UnitOutcome[]>;
}

/** What came of starting the runs: they have ended, or something else trains them. */
export type Started =
  | { readonly kind: 'ended'; readonly outcomes: readonly UnitOutcome[] }
  | {
      readonly kind: 'handed over';
      /** What a person reads. */
      readonly text: string;
      /** What a program reads. */
      readonly value: object;
      /**
       * Waits for the runs to end, without a claim on the study folder; absent where there is nothing to wait for.
       *
       * @throws InterruptedError once the job's signal has aborted; the runs go on
       */
      readonly follow?: () => Promise<readonly UnitOutcome[]>;
    };

/** What executors can do beside training runs. */
type ExecutorAbility = 'cancel' | 'follow';

/** A definition of an executor; see `defineExecutor`. */
export interface ExecutorDefinition<S extends z.ZodType> {
  /** A sentence for the help of `longsight study`. */
  readonly summary: string;
  /** Its keys under `executors.NAME` of a study file; `z.undefined()` for none. */
  readonly options: S;
  /** Which of `--cancel` and `--follow` it takes. */
  readonly can: readonly ExecutorAbility[];
  /** Whether it trains on this host: takes `--workers`, `--devices` and `--per-device`. */
  readonly isLocal: boolean;
  /** Throws `ConfigError` where this host lacks what it needs; called before anything is written. */
  readonly check?: () => Promise<void>;
  /** Called under the lock of the study folder. */
  readonly start: (job: ExecutorJob, options: z.output<S>) => Promise<Started>;
}

/** One way to have the runs of a study trained; its options as a study file has them. */
export interface Executor extends Omit<ExecutorDefinition<z.ZodType>, 'start'> {
  readonly start: (job: ExecutorJob, given: unknown) => Promise<Started>;
}

/** Whether an executor has keys in a study file. */
export const hasOptions = ({ options }: Pick<Executor, 'options'>): boolean => !(options instanceof z.ZodUndefined);

/** An executor whose `start` reads its options by its own schema; a study file without them has the defaults. */
export function defineExecutor<S extends z.ZodType>({ start, ...definition }: ExecutorDefinition<S>): Executor {
  const { options } = definition;
  return {
    ...definition,
    start: (job, given) => start(job, options.parse(given ?? (hasOptions(definition) ? {} : undefined))),
  };
}
