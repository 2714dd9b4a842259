/** What an evaluation finds, as it is stored, and as metrics. */
import { z } from 'zod';
import { field } from '../../core/index.js';
import type { Stored } from './define.js';
import { MEASURES, type Intersection, type MeasureName } from './table.js';

/** Measures whose results are part of the evaluation record. */
type InRecord = { [K in MeasureName]: (typeof MEASURES)[K]['stored'] extends 'record' ? K : never }[MeasureName];

type Fields = Intersection<(typeof MEASURES)[InRecord]['schema']['shape']>;

const fields = Object.fromEntries(
  Object.values(MEASURES).flatMap(({ stored, schema }) => (stored === 'record' ? Object.entries(schema.shape) : [])),
) as unknown as Fields;

/**
 * The schema of `evals/step-N.json`: where in training it was made, and the fields of every measure that is stored in
 * it.
 */
export const evalRecordSchema = z.object({
  format: field(z.literal(1).optional(), 'version of the format'),
  step: field(z.number(), 'optimizer steps done', 'steps'),
  tokens: field(z.number(), 'training tokens seen', 'tokens'),
  ...fields,
});

/** What an evaluation found; what was not measured is null or left out. */
export type EvalRecord = Stored<typeof evalRecordSchema>;

/** The numbers of a record under their metric names, such as `eval/loss`; those that were not measured are left out. */
export function evalMetrics(record: EvalRecord): Record<string, number> {
  const all = Object.values(MEASURES).flatMap((measure) =>
    measure.stored === 'record' ? Object.entries(measure.metrics(record)) : [],
  );
  return Object.fromEntries(all.flatMap(([name, value]) => (value == null ? [] : [[name, value]])));
}

/** A record in words for the line of progress: `held-out loss 3.2107, recall at distances 129 to 256 0.531`. */
export function evalWords(record: EvalRecord): string {
  const words = Object.values(MEASURES).map((measure) => (measure.stored === 'record' ? measure.words(record) : null));
  return words.filter((text) => text !== null).join(', ');
}

/** What the progress event holds of a record. */
export function evalEvent(record: EvalRecord): Record<string, unknown> {
  const { step, tokens } = record;
  const events = Object.values(MEASURES).flatMap((m) => (m.stored === 'record' ? Object.entries(m.event(record)) : []));
  return { step, tokens, ...Object.fromEntries(events) };
}

/** A record as text for a terminal, one paragraph a measure. */
export function evalText(record: EvalRecord): string {
  const texts = Object.values(MEASURES).map((measure) => (measure.stored === 'record' ? measure.text(record) : null));
  return texts.filter((text) => text !== null).join('\n\n');
}
