/**
 * Needle samples that a model can read: of the kind that its run was measured on, or in the tokens of an imported
 * model.
 */
import { checkTokenIds, ConfigError } from '../core/index.js';
import type { NeedleSample } from '../data/index.js';
import { needleSamples, needleTask, tokenNeedleTask, type NeedleTask } from '../eval/index.js';
import { openRunData } from '../train/index.js';
import { needleEvalSchema } from './measures/needle.js';
import type { OpenedModel } from './open-model.js';

/** Which needle samples are drawn. */
export interface NeedleOptions {
  readonly label: string;
  readonly samples: number;
  /** Tokens of a sample (default: those of the run's sequences). */
  readonly length?: number | undefined;
  /** The flag that the length was asked by, for messages (default: `--length`). */
  readonly flag?: string;
  /** Where needles stand, 0 = start of the context, 1 = right before the question (default: the far half). */
  readonly depths?: readonly number[];
}

/** The far half by default: near needles need no retrieval. */
export const FAR_DEPTHS: readonly number[] = [0, 0.1, 0.2, 0.3, 0.4, 0.5];

/** Tokens of a needle sample for an imported model, unless told. */
const IMPORTED_LENGTH = 1024;

/** The needles that a model can read, and the usual length of a sample. Throws `ConfigError` where there are none. */
function needlesFor(model: OpenedModel): { task: NeedleTask; usual: number } {
  const settings = needleEvalSchema.parse({});
  if (model.run === null) {
    if (model.tokenizer === null) {
      throw new ConfigError(`${model.source} has no tokenizer.json, so no needle can be put into words for it`);
    }
    return { task: tokenNeedleTask(model.tokenizer, settings), usual: IMPORTED_LENGTH };
  }
  using data = openRunData(model.run.run);
  return { task: needleTask(data, settings), usual: data.train.seqLen };
}

/** The needle task of a model and the length of its samples. Throws `ConfigError` if the length is too short. */
export function needlePlan(
  model: OpenedModel,
  asked?: number,
  flag = '--length',
): { task: NeedleTask; length: number } {
  const { task, usual } = needlesFor(model);
  const length = asked ?? usual;
  if (length < task.minLength) {
    throw new ConfigError(
      `a needle sample of ${length} tokens is too short; the length (${flag}) must be at least ${task.minLength}`,
    );
  }
  model.noteLength(length);
  return { task, length };
}

/**
 * Needle samples of the run's own kind, or in the tokens of an imported model.
 *
 * @throws ConfigError for models without a tokenizer, runs whose data hold no needles, or lengths that are too short
 */
export function needlesOf(model: OpenedModel, options: NeedleOptions): NeedleSample[] {
  const { task, length } = needlePlan(model, options.length, options.flag);
  const { label, samples: count, depths = FAR_DEPTHS } = options;
  const found = needleSamples(task, { label, length, depths, count });
  for (const { tokens, answer } of found)
    for (const ids of [tokens, answer]) checkTokenIds(ids, model.config.vocabSize, 'the needle samples hold');
  return found;
}
