/** The `eval` part of a run configuration: what is measured at every evaluation and checkpoint. */
import { z } from 'zod';
import { ByteNeedleSchema } from '../data/index.js';

/** Descriptions come last in a chain: zod drops them under `optional` and `default`. */
const count = z.int().min(1);
const fractions = z.array(z.number().min(0).max(1)).min(1);

const ascending = (values: readonly number[]): boolean =>
  values.every((v, i) => i === 0 || v > (values[i - 1] as number));

/** The options `eval.recall`: recall by distance. */
export const recallEvalSchema = z.strictObject({
  batches: count.default(4).describe('batches of recall sequences'),
  bins: z
    .array(count)
    .min(1)
    .refine(ascending, { message: 'must ascend' })
    .optional()
    .describe('upper ends of the distance bins, in tokens (default: 16, 32, 64, ... up to the sequence length)'),
});

/** The options `eval.needle`: the needle grid. */
export const needleEvalSchema = z.strictObject({
  lengths: z.array(count).min(1).optional().describe('lengths of the samples, in tokens (default: that of training)'),
  depths: fractions
    .default([0, 0.25, 0.5, 0.75, 1])
    .describe('where the needle lies: 0 = start of the context, 1 = right before the question'),
  samples: count.default(8).describe('samples per length and depth'),
  ...ByteNeedleSchema.shape,
});

/** The options `eval.trace`: scores of retrieval heads. */
export const traceEvalSchema = z.strictObject({
  samples: count.default(32).describe('needle samples'),
  length: count.optional().describe('length of a sample, in tokens (default: that of training)'),
  depths: fractions
    .default([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    .describe('depths of the needle, taken in turn; the far half by default, as near needles need no retrieval'),
  queryFromEnd: count
    .default(1)
    .describe('row of the attention: 1 = the last token of the question, 2 = the one before (the published script)'),
  ...ByteNeedleSchema.shape,
});

const orSwitch = <S extends z.ZodType>(schema: S) => z.union([z.boolean(), schema]).optional();

/** The options `eval`: what is measured inside a run. */
export const evalSchema = z.strictObject({
  batches: count.default(4).describe('held-out batches for the loss'),
  batchSize: count.optional().describe('sequences per batch (default: that of training)'),
  precision: z
    .enum(['f32', 'bf16'])
    .optional()
    .describe('precision of what is measured (default: that of training on accelerators, else f32)'),
  perPosition: z.boolean().default(true).describe('loss by position in the sequence'),
  recall: orSwitch(recallEvalSchema).describe(
    'recall by distance; options, or true or false (default: on for recall data)',
  ),
  needle: orSwitch(needleEvalSchema).describe(
    'needle grid, depth by length; options, or true or false (default: on for text and token shards whose sequences can hold one)',
  ),
  trace: orSwitch(traceEvalSchema).describe(
    'retrieval-head scores at checkpoints; options, or true or false (default: on where sequences can hold a needle)',
  ),
});

/** What is measured inside a run, defaults filled in. */
export type EvalConfig = z.output<typeof evalSchema>;
/** How recall by distance is measured, defaults filled in. */
export type RecallEvalConfig = z.output<typeof recallEvalSchema>;
/** How the needle grid is measured, defaults filled in. */
export type NeedleEvalConfig = z.output<typeof needleEvalSchema>;
/** How retrieval heads are traced, defaults filled in. */
export type TraceEvalConfig = z.output<typeof traceEvalSchema>;

/** The options in a part that may also be a switch; none for a switch. */
export function optionsOf(value: unknown): unknown {
  return typeof value === 'object' ? value : {};
}
