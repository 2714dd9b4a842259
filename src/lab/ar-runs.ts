/** Which runs are asked by associative recall unless a user names another measure, and under which limits. */
import { fingerprint, LongsightError } from '../core/index.js';
import type { ReachPart } from '../analysis/index.js';
import { arBins } from '../eval/index.js';
import { recurrentMixers } from '../model/index.js';
import { openRunData, runAtStep } from '../train/index.js';
import { planMeasures } from './measures/measurement.js';
import type { NamedRun } from './named-run.js';
import type { OpenedModel } from './open-model.js';

const known = new WeakMap<NamedRun, boolean>();

/**
 * Whether a model belongs to a run that measures associative recall on text, and no recall stream, which would say
 * more. False where the run's data are gone.
 */
export function isAskedForAr({ run }: OpenedModel): boolean {
  if (run === null) return false;
  let asked = known.get(run);
  if (asked === undefined) {
    asked = plansAr(run);
    known.set(run, asked);
  }
  return asked;
}

function plansAr({ run }: NamedRun): boolean {
  try {
    using data = openRunData(run);
    const { plans } = planMeasures({ data, config: run.eval }, ['ar', 'recall']);
    return plans.has('ar') && !plans.has('recall');
  } catch (error) {
    if (error instanceof LongsightError) return false;
    throw error;
  }
}

/** The widest limit of recurrent layers, in tokens: each token costs as many steps, so a limit of 64 costs 64 times. */
const RECURRENT_LIMIT = 64;

/**
 * The limits under which associative recall is measured: the ends of its distance bins below the length of the run's
 * rows, in visible keys; where recurrent layers are limited, up to 64.
 */
export function arLimits(
  { run, step, config }: Pick<OpenedModel, 'run' | 'step' | 'config'>,
  part: ReachPart,
): number[] {
  const { seqLen } = run === null ? { seqLen: 0 } : runAtStep(run.run, step ?? 0).train;
  const isRecurrent = part !== 'full' && config.layers.some((plan) => recurrentMixers(plan).length > 0);
  const ends = arBins(seqLen).filter((keys) => keys < seqLen && (!isRecurrent || keys <= RECURRENT_LIMIT));
  return ends.length > 0 ? ends : [1];
}

/** A cache of measurements by what they are of: configurations that are equal are measured once. */
export function measuredOnce<C, R>(measure: (config: C) => Promise<R>): (config: C) => Promise<R> {
  const found = new Map<string, R>();
  return async (config) => {
    const key = fingerprint(config);
    const before = found.get(key);
    if (before !== undefined) return before;
    const result = await measure(config);
    found.set(key, result);
    return result;
  };
}
