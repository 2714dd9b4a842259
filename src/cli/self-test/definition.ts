/** What a check of the self-test is. */
import type { Bench } from './bench.js';

/** What a check found. */
export interface Outcome {
  /** `skipped`: this machine does not allow it; `text` says why. */
  readonly state: 'ok' | 'failed' | 'skipped';
  /** One line for people. */
  readonly text: string;
}

/** Something that is tried on the user's machine. */
export interface SelfCheck {
  readonly name: string;
  /** What throws counts as failed, but for a stop. */
  readonly run: (bench: Bench) => Promise<Outcome>;
}
