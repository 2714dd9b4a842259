/** Needle tasks: where samples come from, whatever they are made of. */
import { at, Rng } from '../core/index.js';
import type { NeedlePlace, NeedleSample } from '../data/index.js';

/** Evaluations use this seed whatever the run's, so that runs of different seeds are judged on the same samples. */
export const EVAL_SEED = 0;

/** Which kind of needle a run's data calls for, and the shortest sample of it. */
export interface NeedleTask {
  readonly task: 'bytes' | 'recall';
  /** The fewest tokens of a sample. */
  readonly minLength: number;
  /** A sample; `place.value`, where given, is what text needles hide (recall needles have values of their own). */
  readonly draw: (rng: Rng, place: NeedlePlace) => NeedleSample;
}

/** Which samples are wanted. */
export interface NeedleDraw {
  /** Samples of other labels are others. */
  readonly label: string;
  /** Tokens of every sample. */
  readonly length: number;
  /** Depths from 0 (start of the context) to 1 (right before the question), taken in turn. */
  readonly depths: readonly number[];
  /** The number of samples. */
  readonly count: number;
  /** What the needle of sample `i` says, in text (default: random numbers). */
  readonly textOf?: (i: number) => string;
}

/** `count` samples of one length, their depths taken in turn from `depths`; the same for the same arguments. */
export function needleSamples(task: NeedleTask, draw: NeedleDraw): NeedleSample[] {
  return Array.from({ length: draw.count }, (_, i) => needleSample(task, draw, i));
}

/** Sample `i` of `needleSamples`. */
export function needleSample(task: NeedleTask, draw: Omit<NeedleDraw, 'count'>, i: number): NeedleSample {
  const { label, length, depths, textOf } = draw;
  const rng = Rng.of(EVAL_SEED, 'eval', label, task.task, length, i);
  const place = { length, depth: at(depths, i % depths.length) };
  return task.draw(rng, textOf === undefined ? place : { ...place, value: textOf(i) });
}
