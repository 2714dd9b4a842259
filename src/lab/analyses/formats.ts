/** What analyses keep and print, as docs/formats.md describes it. */
import { z } from 'zod';
import { field, type FileFormat } from '../../core/index.js';
import { ANALYSES, PRINTED_ANALYSES } from './index.js';

const step = field(z.number(), 'optimizer steps of the checkpoint', 'steps');
const tokens = field(z.number(), 'training tokens seen', 'tokens');
const of = field(z.string(), 'fingerprint of what it was made from: weights, data, options, the model compared with');

/** The files of `RUN` that analyses write. */
export const ANALYSIS_FILES: readonly FileFormat[] = Object.entries(ANALYSES).map(
  ([kind, { command, question, fields }]) => ({
    path: `analysis/${kind}-step-N.json`,
    type: 'JSON',
    holds: `what \`longsight ${command}\` found at a checkpoint: ${question}`,
    fields: z.strictObject({ step, tokens, ...fields.shape, of }),
  }),
);

/** What analyses print that keep nothing. */
export const PRINTED_RESULTS: readonly FileFormat[] = Object.values(PRINTED_ANALYSES).map(
  ({ command, summary, fields }) => ({
    path: `longsight ${command} --json`,
    type: 'JSON, one object a line',
    holds: `${summary}, at each checkpoint`,
    fields: z.looseObject(fields.shape),
  }),
);
