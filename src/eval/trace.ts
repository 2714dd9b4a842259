/** The needle samples on which retrieval heads are traced. */
import { ConfigError } from '../core/index.js';
import type { NeedleSample, OpenedData } from '../data/index.js';
import { optionsOf, traceEvalSchema, type EvalConfig } from './config.js';
import { plannedNeedles } from './needle.js';
import { needleSamples } from './needle-task.js';

/** The needle samples on which retrieval heads are traced. */
export interface TracePlan {
  readonly samples: readonly NeedleSample[];
  /** 1 = the last token of the question. */
  readonly queryFromEnd: number;
}

/**
 * The samples that `eval.trace` asks for, of the kind that `needleTask` chooses. The same for every run on the same
 * data and options. Null if tracing is off, or nothing asks for it and no sample fits (`note` says so).
 *
 * @throws ConfigError if tracing is asked for and the data or the length cannot give it
 */
export function planTrace(
  { trace }: EvalConfig,
  data: OpenedData,
): { readonly plan: TracePlan | null; readonly note: string | null } {
  if (trace === false) return { plan: null, note: null };
  const options = traceEvalSchema.parse(optionsOf(trace));
  const length = options.length ?? data.train.seqLen;
  const { task, problem } = plannedNeedles(data, options, [length]);
  if (task === null) {
    const text = `${problem}; set eval.trace.length or eval.trace: false`;
    if (trace !== undefined) throw new ConfigError(`eval.trace: ${text}`);
    return { plan: null, note: `retrieval heads are not traced: ${text}` };
  }
  const { depths, samples: count, queryFromEnd } = options;
  return {
    plan: { samples: needleSamples(task, { label: 'trace', length, depths, count }), queryFromEnd },
    note: null,
  };
}
