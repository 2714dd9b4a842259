/** Files of samples, ours or users'. */
import { z } from 'zod';
import { readRows, refuseUnread } from '../fields.js';

/** A RULER sample as `ruler run` needs it: the prompt, and the answers to look for. */
export interface RulerSample {
  /** The sample's `index`, or its line number where the file gives none. */
  readonly index: number;
  readonly prompt: string;
  readonly outputs: readonly string[];
}

const rowSchema = z.looseObject({
  input: z.string(),
  answer_prefix: z.string().default(''),
  outputs: z.union([z.string(), z.array(z.string()).min(1)]),
  index: z.int().optional(),
});

/** Fields of RULER's rows, and what prediction files add to them. */
const FIELDS = ['input', 'answer_prefix', 'outputs', 'pred'];

/**
 * Rows of a JSONL file in RULER's field names: `input` and `outputs` (a list, or one text) are needed; `answer_prefix`
 * is appended to the input, `index` is the line's number unless given. Other fields with text, such as a context of its
 * own, are refused.
 *
 * @throws DataError naming the line and the field that is wrong
 */
export function readRulerFile(path: string): RulerSample[] {
  return readRows(path, rowSchema).map(({ value: row, where, index }) => {
    refuseUnread(row, FIELDS, where);
    const { input, answer_prefix: prefix, outputs } = row;
    return {
      index: row.index ?? index,
      prompt: input + prefix,
      outputs: typeof outputs === 'string' ? [outputs] : outputs,
    };
  });
}
