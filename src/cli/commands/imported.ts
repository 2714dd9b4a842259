/** `eval` and `trace` of models saved by Transformers, which have no run to say what is measured. */
import { HeadTracer, type HeadScores } from '../../analysis/index.js';
import { ConfigError, DataError } from '../../core/index.js';
import type { DataSource, OpenedData } from '../../data/index.js';
import type { Engine, TensorMap } from '../../engine/index.js';
import {
  Evaluator,
  evalSchema,
  needleEvalSchema,
  NeedleEvaluator,
  type EvalRecord,
  type NeedleGrid,
} from '../../eval/index.js';
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
 * The loss on `--texts`, in windows of `--length` tokens, and the needle grid in the model's own tokens. Where texts
 * are named, needles that cannot be measured are left out with a note.
 *
 * @throws ConfigError, DataError where the model has no tokenizer or the texts are too short
 */
export async function evaluateImported(path: string, flags: ImportedFlags, output: Output): Promise<ImportedRecord> {
  const subject = openSubject(path, flags);
  return withEngine(subject, flags, output, async (engine) => {
    const { tensors } = loadedOf(engine, subject);
    const { step: _, tokens: __, ...text } = await evaluateTexts(subject, flags, engine, tensors);
    try {
      return { ...text, needle: await needleGrid(subject, flags, engine, tensors) };
    } catch (error) {
      if (flags.texts === undefined || !(error instanceof ConfigError || error instanceof DataError)) throw error;
      output.note(`needles not measured: ${error.message}`);
      output.event({ event: 'needlesLeftOut', why: error.message });
      return { ...text, needle: null };
    }
  });
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

async function evaluateTexts(
  subject: Subject,
  { texts, length: seqLen = LENGTH }: ImportedFlags,
  engine: Engine,
  tensors: TensorMap,
): Promise<EvalRecord> {
  const sequences = texts === undefined ? [] : sequencesOf(subject, { texts, samples: Infinity, window: seqLen });
  const windows = sequences.flatMap((tokens) => windowsOf(tokens, seqLen));
  if (texts !== undefined && windows.length === 0) {
    throw new DataError(
      `no text of ${texts} has the ${seqLen + 1} tokens that a sample and its last target take; give longer ones or a smaller --length`,
    );
  }
  const source = windowSource(windows, seqLen, subject.model.vocabSize);
  const data: OpenedData = {
    vocabSize: subject.model.vocabSize,
    train: source,
    heldOut: () => (windows.length > 0 ? source : null),
    ...{ notes: [], recall: null, needles: null },
    [Symbol.dispose]: () => undefined,
  };
  const config = evalSchema.parse({ batches: Math.max(1, windows.length), batchSize: 1 });
  const evaluator = await Evaluator.create({ engine, model: subject.model, data, config, batchSize: 1 });
  try {
    return await evaluator.evaluate(tensors, UNTRAINED);
  } finally {
    await evaluator.dispose();
  }
}

/** Non-overlapping windows of `seqLen` tokens and the one after them; what is left at the end is not used. */
function windowsOf(tokens: Int32Array, seqLen: number): Int32Array[] {
  const count = Math.floor((tokens.length - 1) / seqLen);
  return Array.from({ length: Math.max(0, count) }, (_, i) => tokens.subarray(i * seqLen, (i + 1) * seqLen + 1));
}

function windowSource(windows: readonly Int32Array[], seqLen: number, vocabSize: number): DataSource {
  let next = 0;
  return {
    vocabSize,
    seqLen,
    hasSegments: false,
    fill: (batch, row) => {
      const window = windows[next++ % windows.length] as Int32Array;
      batch.tokens.set(window.subarray(0, seqLen), row * seqLen);
      batch.targets.set(window.subarray(1), row * seqLen);
      batch.weights.fill(1, row * seqLen, (row + 1) * seqLen);
    },
    state: () => next,
    restore: (state) => {
      next = state as number;
    },
  };
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
