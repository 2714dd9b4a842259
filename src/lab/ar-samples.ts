/** Far hits of associative recall in a run's held-out text, as samples that ask for one token each. */
import type { AnswerSample } from '../analysis/index.js';
import { ConfigError } from '../core/index.js';
import { nextBatch } from '../data/index.js';
import { farFrom, type ArRow } from '../eval/index.js';
import { openRunData } from '../train/index.js';
import { arEvalSchema, findInRows } from './measures/associative-recall.js';
import type { OpenedModel } from './open-model.js';

/** Hits taken of one row at most, so that samples come from many documents. */
const PER_ROW = 4;
/** Rows looked at for one sample, at most. */
const ROWS_PER_SAMPLE = 50;

/**
 * Samples in each of which the model is to name a token that ends a rare bigram seen far back in the same document.
 *
 * @param count samples at most
 * @param note told, in one sentence, what takes long
 * @throws ConfigError if the model has no run, or the run's data hold no such hit out
 */
export function arSamples(model: OpenedModel, count: number, note: (text: string) => void): AnswerSample[] {
  const named = model.run;
  if (named === null) throw new ConfigError(`${model.name}: associative recall needs a run with held-out text`);
  using data = openRunData(named.run);
  const stream = data.heldOut();
  if (data.grams === null || stream === null) {
    throw new ConfigError(`${model.name}: the data of the run hold no text out, so it has no associative recall`);
  }
  const asked = named.run.eval.ar;
  const { maxCount } = arEvalSchema.parse(typeof asked === 'object' ? asked : {});
  const isRare = data.grams.rarity(maxCount, note);
  const far = farFrom(stream.seqLen);
  const samples: AnswerSample[] = [];
  for (let i = 0; samples.length < count && i < ROWS_PER_SAMPLE * count; i++) {
    for (const { row, found } of findInRows(nextBatch(stream, 1, true), data.grams, isRare)) {
      const hits = [...found.distance].flatMap((distance, t) => (distance >= far ? [t] : []));
      for (const t of hits.slice(0, Math.min(PER_ROW, count - samples.length))) samples.push(sampleOf(row, t));
    }
  }
  if (samples.length === 0) {
    throw new ConfigError(`${model.name}: no rare bigram comes back ${far} tokens or more later in its held-out text`);
  }
  return samples;
}

/** The row from the start of the document that target `t` belongs to. */
function sampleOf({ tokens, targets, documents }: ArRow, t: number): AnswerSample {
  let start = t;
  while (start > 0 && documents?.[start - 1] === documents?.[t]) start--;
  return {
    tokens: tokens.slice(start, t + 1),
    queryPosition: t - start,
    answer: targets.slice(t, t + 1),
  };
}
