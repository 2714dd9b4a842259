/** What the page knows of one of the two designs. No DOM. */
import type { PlaygroundRun } from '../../src/playground/design.js';
import type { MeasuredPoint, StepPoint } from '../../src/playground/protocol.js';

/** What a design is doing. */
type LaneState = 'loading' | 'beginning' | 'resting' | 'training' | 'failed';

/** One of the two designs. */
export interface Lane {
  readonly run: PlaygroundRun;
  readonly state: LaneState;
  readonly step: number;
  readonly steps: readonly StepPoint[];
  readonly measured: readonly MeasuredPoint[];
  /** Milliseconds of a step, a moving mean; null before the first. */
  readonly milliseconds: number | null;
  readonly parameters: number;
  readonly labels: readonly string[];
  /** What computes, once it is loaded. */
  readonly library: string;
  /** Whether its matrix products are those with relaxed SIMD. */
  readonly relaxedSimd: boolean;
  readonly threads: number;
  readonly problem: string | null;
}
