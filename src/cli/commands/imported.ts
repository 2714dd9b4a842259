/** `eval` and `trace` of models saved by Transformers, which have no run to say what is measured. */
import { HeadTracer, type HeadScores } from '../../analysis/index.js';
import { ConfigError, DataError, LongsightError } from '../../core/index.js';
import type { OpenedData } from '../../data/index.js';
import type { Engine, TensorMap } from '../../engine/index.js';
import { NeedleEvaluator, type NeedleGrid } from '../../eval/index.js';
import { evaluateTexts, needleEvalSchema, type EvalRecord } from '../../lab/index.js';
import { openRunData } from '../../train/index.js';
import {
  needlePlan,
  needlesOf,
  openSubject,
  sequencesOf,
  loadedOf,
  withEngine,
  type Subject,
} from '../analyses/subject.js';
import type { Output } from '../output.js';
import type { EngineFlags, SetFlag } from '../options.js';

/** How help texts call an imported model. */
export const IMPORTED_MODEL = 'the folder of a model saved by Transformers';

/** The options of `eval` for an imported model. */
export interface ImportedFlags extends EngineFlags, SetFlag {
  readonly texts?: string;
  /** Tokens of a sample. */
  readonly length?: number;
}

/** An evaluation of an imported model, which has no step. */
export type ImportedRecord = Omit<EvalRecord, 'step' | 'tokens'>;

/** Tokens of a sample unless told. */
const LENGTH = 1024;
/** Samples on which heads are traced. */
const TRACE_SAMPLES = 32;
/** Such models count no training of ours. */
const UNTRAINED = { step: 0, tokens: 0 };

/**
 * The loss and associative recall on `--texts`, in windows of `--length` tokens, and of a model saved by Transformers
 * the needle grid in its own tokens. Where texts are named, needles that cannot be measured are left out with a note.
 *
 * @throws ConfigError, DataError where the model has no tokenizer or the texts are too short
 */
export async function evaluateOnTexts(
  path: string,
  flags: ImportedFlags & { readonly step?: number },
  output: Output,
): Promise<ImportedRecord> {
  const subject = openSubject(path, flags);
  const { texts, length: seqLen = subject.run?.run.train.seqLen ?? LENGTH } = flags;
  const sequences = texts === undefined ? [] : sequencesOf(subject, { texts, samples: Infinity, window: seqLen });
  return withEngine(subject, flags, output, async (engine) => {
    const model = loadedOf(engine, subject);
    using data = trainingData(subject, output);
    const note = (text: string) => output.note(text);
    const record = await evaluateTexts(model, sequences, {
      name: texts ?? path,
      seqLen,
      grams: data?.grams ?? null,
      note,
    });
    const { step: _, tokens: __, ...found } = record;
    if (subject.run !== null) return found;
    try {
      return { ...found, needle: await needleGrid(subject, flags, engine, model.tensors) };
    } catch (error) {
      if (texts === undefined || !(error instanceof ConfigError || error instanceof DataError)) throw error;
      output.note(`needles not measured: ${error.message}`);
      output.event({ event: 'needlesLeftOut', why: error.message });
      return found;
    }
  });
}

/** The data that a run was trained on; null for models without a run, and, with a note, where they are gone. */
function trainingData({ run }: Subject, output: Output): OpenedData | null {
  if (run === null) return null;
  try {
    return openRunData(run.run);
  } catch (error) {
    if (!(error instanceof LongsightError)) throw error;
    output.note(`rare bigrams are told by the other texts, as the training data cannot be read: ${error.message}`);
    return null;
  }
}

/** Scores of every head on needles in the model's own tokens. */
export async function traceImported(path: string, flags: ImportedFlags, output: Output): Promise<HeadScores> {
  const subject = openSubject(path, flags);
  const samples = needlesOf(subject, { label: 'trace', samples: TRACE_SAMPLES, length: flags.length });
  return withEngine(subject, flags, output, async (engine) => {
    const model = loadedOf(engine, subject);
    const tracer = await HeadTracer.create(model, samples);
    try {
      return await tracer.trace(model.tensors, UNTRAINED);
    } finally {
      await tracer.dispose();
    }
  });
}

async function needleGrid(
  subject: Subject,
  { length: asked }: ImportedFlags,
  engine: Engine,
  tensors: TensorMap,
): Promise<NeedleGrid> {
  const { task, length } = needlePlan(subject, asked);
  const config = { ...needleEvalSchema.parse({}), lengths: [length] };
  const { model } = subject;
  const evaluator = await NeedleEvaluator.create({ engine, model, task, config, batchTokens: length });
  try {
    return await evaluator.evaluate(tensors);
  } finally {
    await evaluator.dispose();
  }
}
