/** The measures inside runs. A new one is a definition in a file beside this one, and a line here. */
import { arMeasure } from './associative-recall.js';
import { lossMeasure } from './loss.js';
import { needleMeasure } from './needle.js';
import { recallMeasure } from './recall.js';
import { traceMeasure } from './trace.js';

/** Every measure, by its name under `eval`, in the order in which they are taken and stored. */
export const MEASURES = {
  loss: lossMeasure,
  recall: recallMeasure,
  needle: needleMeasure,
  trace: traceMeasure,
  ar: arMeasure,
} as const;

/** The name of a measure. */
export type MeasureName = keyof typeof MEASURES;

/** What a run came to, as all measures tell it. */
export type MeasureSummaries = Intersection<
  { [K in MeasureName]: ReturnType<(typeof MEASURES)[K]['summarize']> }[MeasureName]
>;

/** All of a union's members at once. */
export type Intersection<U> = (U extends unknown ? (x: U) => void : never) extends (x: infer I) => void ? I : never;

/** The names of all measures, in the order of the table. */
export const MEASURE_NAMES = Object.keys(MEASURES) as MeasureName[];
