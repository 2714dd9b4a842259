/** Scores of every position of rows of one length, batch after batch. */
import { at, checkTokenIds } from '../core/index.js';
import { usualBatchTokens } from './batches.js';
import type { LoadedModel } from './loaded-model.js';
import { Scorer, type Scores } from './scorer.js';
import { compileForward } from './segments.js';
import { LOGIT_ROWS } from './sequence-scorer.js';

/** What a model reads, and the token after each. */
export interface TokenRow {
  /** Ids i32 `[T]`. */
  readonly tokens: Int32Array;
  /** The id after each, i32 `[T]`. */
  readonly targets: Int32Array;
}

/**
 * Losses in nats and hits of every position of rows of equal length, row after row, in batches as large as the engine's
 * memory lets them usually be. A row of 8,192 tokens or more goes in segments where the engine would keep the scores of
 * full attention.
 *
 * @param batchDone called after each batch with the rows that are scored by now; what it throws ends the work
 * @throws DataError if a row holds a token that the model does not know
 */
export async function scoreRows(
  model: LoadedModel,
  rows: readonly TokenRow[],
  batchDone: (rows: number) => void = () => undefined,
): Promise<Scores[]> {
  const { vocabSize } = model.config;
  for (const row of rows) for (const ids of [row.tokens, row.targets]) checkTokenIds(ids, vocabSize, 'a row holds');
  const seqLen = rows[0]?.tokens.length ?? 0;
  const batchSize = Math.max(1, Math.min(rows.length, Math.floor(usualBatchTokens(model, seqLen) / seqLen)));
  const scorer = await Scorer.create(model, {
    ...{ batchSize, seqLen, rowsAtOnce: LOGIT_ROWS },
    compile: (graph) => compileForward(model.engine, graph, { batchSize, length: seqLen }),
  });
  const scores: Scores[] = [];
  const joined = (batch: readonly TokenRow[], of: keyof TokenRow): Int32Array => {
    const all = new Int32Array(batchSize * seqLen);
    batch.forEach((row, i) => all.set(row[of], i * seqLen));
    return all;
  };
  try {
    for (let from = 0; from < rows.length; from += batchSize) {
      // Rows that are missing in the last batch repeat its last one, and are left out of what is found.
      const batch = Array.from({ length: batchSize }, (_, i) => at(rows, Math.min(from + i, rows.length - 1)));
      const { loss, hit } = await scorer.score(model.tensors, {
        tokens: scorer.upload([batchSize, seqLen], joined(batch, 'tokens')),
        targets: scorer.upload([batchSize * seqLen], joined(batch, 'targets')),
      });
      for (let i = 0; i < batchSize && from + i < rows.length; i++) {
        const part = (values: Float64Array) => values.slice(i * seqLen, (i + 1) * seqLen);
        scores.push({ loss: part(loss), hit: part(hit) });
      }
      batchDone(scores.length);
    }
  } finally {
    await scorer.dispose();
  }
  return scores;
}
