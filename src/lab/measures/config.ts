/** The `eval` part of a run configuration: what is measured at every evaluation and checkpoint. */
import { z } from 'zod';
import { sharedEvalSchema } from './define.js';
import { MEASURES, type MeasureName } from './table.js';

/** Options of a measure, or a switch. */
type Switch<S extends z.ZodType> = z.ZodOptional<z.ZodUnion<readonly [z.ZodBoolean, S]>>;

/** What each measure with options of its own has under its name. */
type Switches = {
  [K in MeasureName as (typeof MEASURES)[K]['options'] extends null ? never : K]: Switch<
    Extract<(typeof MEASURES)[K]['options'], z.ZodType>
  >;
};

const switches = Object.fromEntries(
  Object.entries(MEASURES).flatMap(([name, { options, about }]) =>
    options === null ? [] : [[name, z.union([z.boolean(), options]).optional().describe(about)]],
  ),
) as unknown as Switches;

/** The schema of `eval`: the shared options, and one entry a measure of `MEASURES`. */
export const evalSchema = z.strictObject({ ...sharedEvalSchema.shape, ...switches });

/** What is measured inside a run, defaults of the shared options filled in. */
export type EvalConfig = z.output<typeof evalSchema>;
