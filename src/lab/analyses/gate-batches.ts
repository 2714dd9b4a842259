/** Batches that gates are learned on: training data of a run, or texts. */
import { checkTokenIds, ConfigError, maxOf } from '../../core/index.js';
import { emptyBatch, nextBatch, type Batch } from '../../data/index.js';
import { usualBatchTokens } from '../../loaded/index.js';
import { openRunData, runAtStep } from '../../train/index.js';
import { sequencesOf, type SequenceOptions } from '../model-texts.js';
import type { OpenedModel } from '../open-model.js';

/** A stream of batches of one shape. */
interface BatchStream extends Disposable {
  next(): Batch;
}

/**
 * Batches of a model: of the training data of its run from their start, as many sequences at a time as it was trained
 * on; of texts, where these are named, over and over, padded behind their ends.
 *
 * @throws ConfigError where there is neither a run nor texts, or no text has two tokens
 */
export function gateBatches(model: OpenedModel, chosen: SequenceOptions): BatchStream {
  if (model.run === null || chosen.texts !== undefined) {
    const batches = textBatches(model, sequencesOf(model, chosen));
    return { next: batches, [Symbol.dispose]: () => undefined };
  }
  const run = runAtStep(model.run.run, model.step ?? 0);
  const data = openRunData(run);
  return {
    next: () => {
      const batch = nextBatch(data.train, run.train.batchSize);
      checkTokenIds(batch.tokens, model.config.vocabSize, 'the training data give');
      return batch;
    },
    [Symbol.dispose]: () => data[Symbol.dispose](),
  };
}

function textBatches(model: OpenedModel, texts: readonly Int32Array[]): () => Batch {
  const rows = texts.filter((tokens) => tokens.length > 1);
  if (rows.length === 0)
    throw new ConfigError('gates are learned on texts of two tokens at least; name others (--texts)');
  for (const tokens of rows) checkTokenIds(tokens, model.config.vocabSize, 'a text holds');
  const length = maxOf(rows.map((tokens) => tokens.length)) - 1;
  const size = Math.max(1, Math.min(rows.length, Math.floor(usualBatchTokens(model, length) / length)));
  let from = 0;
  return () => {
    const batch = emptyBatch(size, length);
    for (let row = 0; row < size; row++) {
      const tokens = rows[from++ % rows.length] ?? new Int32Array(0);
      const [first, n] = [row * length, tokens.length - 1];
      batch.tokens.set(tokens.subarray(0, n), first);
      batch.targets.set(tokens.subarray(1), first);
      batch.weights.fill(1, first, first + n);
    }
    return batch;
  };
}
