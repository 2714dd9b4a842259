/** Files of samples, ours or users'. */
import { DataError } from '../../core/index.js';
import { parseRow, readRows, refuseUnread } from '../fields.js';

/** A RULER sample as `ruler run` needs it: the prompt, and the answers to look for. */
export interface RulerSample {
  /** The sample's `index`, or its line number where the file gives none. */
  readonly index: number;
  readonly prompt: string;
  readonly outputs: readonly string[];
}

/**
 * Rows of a JSONL file in RULER's field names: `input` and `outputs` (a list, or one text) are needed; `answer_prefix`
 * is appended to the input, `index` is the line's number unless given. Other fields with text, such as a context of its
 * own, are refused.
 *
 * @throws DataError naming the line that is wrong
 */
export function readRulerFile(path: string): RulerSample[] {
  return readRows(path).map(({ line, where, index }) => sampleOf(line, where, index));
}

/** Fields of RULER's rows, and what prediction files add to them. */
const FIELDS = ['input', 'answer_prefix', 'outputs', 'pred'];

function sampleOf(line: string, where: string, lineIndex: number): RulerSample {
  const row = parseRow(line, where);
  const { input, answer_prefix: prefix = '', outputs, index = lineIndex } = row;
  const list = typeof outputs === 'string' ? [outputs] : outputs;
  if (typeof input !== 'string' || typeof prefix !== 'string') {
    throw new DataError(`${where} needs a text "input" (and "answer_prefix", if there is one)`);
  }
  if (!Array.isArray(list) || list.length === 0 || !list.every((o): o is string => typeof o === 'string')) {
    throw new DataError(`${where} needs "outputs", a list of at least one text`);
  }
  if (typeof index !== 'number' || !Number.isInteger(index)) {
    throw new DataError(`${where} has an "index" that is no whole number`);
  }
  refuseUnread(row, FIELDS, where);
  return { index, prompt: input + prefix, outputs: list };
}
