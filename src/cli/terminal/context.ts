/** What commands get from the process around them; tests give their own. */
import type { Command } from 'commander';
import type { Streams } from './output.js';

/** What a command sees of the process that it runs in. */
export interface CliContext extends Streams {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborts on each of `STOP_SIGNALS`, and where nobody gets what is printed. */
  readonly signal: AbortSignal;
  /** Whether a scheduler's signal came, not only a person's: interrupted work ends with `EXIT.again`. */
  readonly isPreempted: () => boolean;
  /** Ends the process at once, saying why; what nobody gets is said at its end. */
  readonly endNow: (reason: unknown) => void;
  /** The script that starts this command line, for worker processes. */
  readonly mainPath: string;
  /** Takes the exit code of a command that did not throw; without a call it is 0. */
  readonly exitWith: (code: number) => void;
}

/** Adds a command, with its options and its action, to the program. */
export type AddCommand = (program: Command, context: CliContext) => void;
