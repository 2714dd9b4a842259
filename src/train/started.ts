/** Steps and evaluations that an engine has been given and whose numbers are still to come. */
import { pending, type Pending } from '../core/index.js';
import type { Measured } from './train-run.js';
import type { PendingStep } from './trainer.js';

/** An evaluation that the engine has been given. */
export interface StartedEvaluation {
  /** The step after which it was started, and its tokens. */
  readonly step: number;
  readonly tokens: number;
  readonly measured: Pending<Measured>;
  /** Settles once it is written, or rejects with what it failed with; `end` says so. */
  readonly ended: Promise<void>;
  readonly end: (failed?: { readonly error: unknown }) => void;
}

/** An evaluation's numbers, now or to come, with what says that it has ended. */
export function underWay(
  measured: Measured | Pending<Measured>,
): Pick<StartedEvaluation, 'measured' | 'ended' | 'end'> {
  let end: StartedEvaluation['end'] = () => undefined;
  const ended = new Promise<void>((resolve, reject) => {
    // What it failed with is thrown as it is, whatever that was.
    // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors
    end = (failed) => (failed === undefined ? resolve() : reject(failed.error));
  });
  ended.catch(() => undefined); // thrown where the evaluation is waited for
  return { measured: isPending(measured) ? measured : settledAs(measured), ended, end };
}

const isPending = (measured: Measured | Pending<Measured>): measured is Pending<Measured> =>
  typeof measured['numbers'] === 'function';

const settledAs = (measured: Measured): Pending<Measured> =>
  pending(
    () => Promise.resolve(),
    () => measured,
  );

/** A step that the engine has been given. */
export interface StartedStep {
  readonly step: number;
  /** The learning rate of the step, 0 or more. */
  readonly lr: number;
  readonly pending: PendingStep;
}
