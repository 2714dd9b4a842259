/** Evaluation on texts of any model, and head traces of models saved by Transformers, which have no run. */
import { HeadTracer, type HeadScores } from '../analysis/index.js';
import { ConfigError, DataError, LongsightError } from '../core/index.js';
import type { OpenedData } from '../data/index.js';
import { NeedleEvaluator, type NeedleGrid } from '../eval/index.js';
import { openRunData } from '../train/index.js';
import { needleEvalSchema } from './measures/needle.js';
import type { EvalRecord } from './measures/record.js';
import { sequencesOf } from './model-texts.js';
import { needlePlan, needlesOf } from './needles.js';
import type { OpenedModel } from './open-model.js';
import { evaluateTexts } from './texts.js';

interface ImportedOptions {
  /** A file of texts to measure (default: only needles are measured). */
  readonly texts?: string | undefined;
  /** Tokens of a window; those of training, or 1,024 for a model without a run, unless given. */
  readonly length?: number | undefined;
  /** Called with what takes long, and what is measured otherwise than usual. */
  readonly note: (text: string) => void;
}

/** Tokens of a sample unless told. */
const LENGTH = 1024;
/** Samples on which heads are traced. */
const TRACE_SAMPLES = 32;
/** Such models count no training of ours. */
const UNTRAINED = { step: 0, tokens: 0 };

/**
 * The loss and associative recall of a model on a file of texts, in windows of `length` tokens, and of a model saved by
 * Transformers the needle grid in its own tokens. Where texts are named, needles that cannot be measured are left out,
 * and `needlesLeftOut` says why.
 *
 * @throws ConfigError, DataError where the model has no tokenizer or the texts are too short
 */
export async function evaluateOnTexts(
  model: OpenedModel,
  { texts, length, note }: ImportedOptions,
): Promise<{ readonly record: Omit<EvalRecord, 'step' | 'tokens'>; readonly needlesLeftOut: string | null }> {
  const seqLen = length ?? model.run?.run.train.seqLen ?? LENGTH;
  const sequences = texts === undefined ? [] : sequencesOf(model, { texts, samples: Infinity, window: seqLen });
  if (texts !== undefined && sequences.length === 0) throw new DataError(`${texts} holds no text; give one at least`);
  using data = trainingData(model, note);
  const about = { name: texts ?? model.source, seqLen, grams: data?.grams ?? null, note };
  const { step: _, tokens: __, ...record } = await evaluateTexts(model, sequences, about);
  if (model.run !== null) return { record, needlesLeftOut: null };
  try {
    return { record: { ...record, needle: await needleGrid(model, length) }, needlesLeftOut: null };
  } catch (error) {
    if (texts === undefined || !(error instanceof ConfigError || error instanceof DataError)) throw error;
    return { record, needlesLeftOut: error.message };
  }
}

/** The data that a run was trained on; null for models without a run, and, with a note, where they are gone. */
export function trainingData({ run }: OpenedModel, note: (text: string) => void): OpenedData | null {
  if (run === null) return null;
  try {
    return openRunData(run.run);
  } catch (error) {
    if (!(error instanceof LongsightError)) throw error;
    note(`rare bigrams are told by the other texts, as the training data cannot be read: ${error.message}`);
    return null;
  }
}

/**
 * Scores of every head of a model on needles in its own tokens.
 *
 * @param length tokens of a sample; 1,024 unless given
 */
export async function traceImported(model: OpenedModel, length: number | undefined): Promise<HeadScores> {
  const samples = needlesOf(model, { label: 'trace', samples: TRACE_SAMPLES, length });
  const tracer = await HeadTracer.create(model, samples);
  try {
    return await tracer.trace(model.tensors, UNTRAINED);
  } finally {
    await tracer.dispose();
  }
}

async function needleGrid(model: OpenedModel, asked: number | undefined): Promise<NeedleGrid> {
  const { task, length } = needlePlan(model, asked);
  const config = { ...needleEvalSchema.parse({}), lengths: [length] };
  const evaluator = await NeedleEvaluator.create(model, { task, config, batchTokens: length });
  try {
    return await evaluator.evaluate(model.tensors);
  } finally {
    await evaluator.dispose();
  }
}
