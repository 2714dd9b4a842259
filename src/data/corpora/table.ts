/** The corpora that can be fetched; a new one is a definition in a file of its own and a line here. */
import { DataError, nearest } from '../../core/index.js';
import type { CorpusDefinition } from './definition.js';
import { linux } from './linux.js';
import { rfc } from './rfc.js';

/** Every corpus that `longsight data fetch` makes. */
export const FETCHED_CORPORA: readonly CorpusDefinition[] = [linux, rfc];

/**
 * A corpus that can be fetched, by its name.
 *
 * @throws DataError naming those that there are
 */
export function fetchedCorpus(name: string): CorpusDefinition {
  const found = FETCHED_CORPORA.find((corpus) => corpus.name === name);
  if (found !== undefined) return found;
  const names = FETCHED_CORPORA.map((corpus) => corpus.name);
  const near = nearest(name, names);
  const hint = near === undefined ? '' : `; did you mean "${near}"?`;
  throw new DataError(`there is no corpus "${name}" to fetch; choose one of ${names.join(', ')}${hint}`);
}
