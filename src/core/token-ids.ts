/** Token ids that a model knows. */
import { DataError } from './errors.js';

/**
 * Refuses token ids that are no rows of a model's embedding. Engines differ in what they do with them: some stop, and
 * some, like XLA, read another row without a word.
 *
 * @param vocabSize ids from 0 to below this are known
 * @param source who gives the ids, as the sentence's subject: `the tokenizer gives`
 * @throws DataError naming the first id that is not known
 */
export function checkTokenIds(ids: ArrayLike<number>, vocabSize: number, source: string): void {
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i] ?? NaN;
    if (id >= 0 && id < vocabSize) continue;
    throw new DataError(`${source} token ${id}, but the model knows ids below ${vocabSize}`, {
      details: { token: id, vocabSize },
    });
  }
}
