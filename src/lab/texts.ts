/** Measuring a model on texts that a user names: its loss, and associative recall. */
import { DataError } from '../core/index.js';
import { textStatistics, type DataSource, type GramStatistics, type OpenedData } from '../data/index.js';
import type { LoadedModel } from '../loaded/index.js';
import { evalSchema } from './measures/config.js';
import { Measurement } from './measures/measurement.js';
import type { EvalRecord } from './measures/record.js';

/** How texts are measured. */
export interface TextOptions {
  /** What messages call the texts, such as the file that they came from. */
  readonly name: string;
  /** Tokens of a window; texts are cut into windows that do not overlap, and what is left at the end is not used. */
  readonly seqLen: number;
  /** What tells rare grams: those of the model's training data where they are known; else the other texts tell. */
  readonly grams: GramStatistics | null;
  /** Called with one sentence about what takes long. */
  readonly note: (text: string) => void;
}

/** Models without a run of ours count no training. */
const UNTRAINED = { step: 0, tokens: 0 };

/**
 * The loss and associative recall of a model on texts, each in its tokens; null where no text is given.
 *
 * @throws DataError if no text fills a window
 */
export async function evaluateTexts(
  { engine, config: model, tensors }: LoadedModel,
  texts: readonly Int32Array[],
  { name, seqLen, grams, note }: TextOptions,
): Promise<EvalRecord> {
  const windows = texts.flatMap((tokens, document) =>
    windowsOf(tokens, seqLen).map((window) => ({ window, document })),
  );
  if (texts.length > 0 && windows.length === 0) {
    throw new DataError(
      `no text of ${name} has the ${seqLen + 1} tokens that a sample and its last target take; give longer ones or a smaller length (--length)`,
    );
  }
  const source = windowSource(windows, seqLen, model.vocabSize);
  const data: OpenedData = {
    vocabSize: model.vocabSize,
    train: source,
    heldOut: () => (windows.length > 0 ? source : null),
    heldOutDocuments: () => [],
    ...{ notes: [], recall: null, needles: null },
    grams: windows.length === 0 ? null : (grams?.within(texts) ?? textStatistics(texts, model.vocabSize)),
    [Symbol.dispose]: () => undefined,
  };
  const config = evalSchema.parse({
    ...{ batches: Math.max(1, windows.length), batchSize: 1, needle: false, trace: false },
    ar: windows.length > 0,
  });
  const measurement = await Measurement.create({ engine, model, data, config, batchSize: 1, note });
  try {
    return await measurement.evaluate(tensors, UNTRAINED);
  } finally {
    await measurement.dispose();
  }
}

/** Non-overlapping windows of `seqLen` tokens and the one after them. */
function windowsOf(tokens: Int32Array, seqLen: number): Int32Array[] {
  const count = Math.floor((tokens.length - 1) / seqLen);
  return Array.from({ length: Math.max(0, count) }, (_, i) => tokens.subarray(i * seqLen, (i + 1) * seqLen + 1));
}

function windowSource(
  windows: readonly { readonly window: Int32Array; readonly document: number }[],
  seqLen: number,
  vocabSize: number,
): DataSource {
  let next = 0;
  return {
    vocabSize,
    seqLen,
    hasSegments: false,
    fill: (batch, row) => {
      const { window, document } = windows[next++ % windows.length] ?? { window: new Int32Array(0), document: -1 };
      batch.tokens.set(window.subarray(0, seqLen), row * seqLen);
      batch.targets.set(window.subarray(1), row * seqLen);
      batch.weights.fill(1, row * seqLen, (row + 1) * seqLen);
      batch.documents?.fill(document, row * (seqLen + 1), (row + 1) * (seqLen + 1));
    },
    state: () => next,
    restore: (state) => {
      next = Number(state);
    },
  };
}
