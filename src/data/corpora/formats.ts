/** The files of a corpus, as docs/formats.md describes them. */
import { z } from 'zod';
import { field, type FileFormat } from '../../core/index.js';
import { CORPUS_FILE, recordSchema } from './make.js';

const document = z.strictObject({
  source: field(z.string(), 'path of the document in its archive'),
  text: field(z.string(), 'its text'),
});

/** The files of a folder that `longsight data fetch` makes. */
export const CORPUS_FILES: readonly FileFormat[] = [
  {
    path: CORPUS_FILE,
    type: 'JSON',
    holds: 'what the corpus was made of, and its files; written last',
    fields: recordSchema,
  },
  {
    path: 'NAME-N.jsonl',
    type: 'JSON, one object a line',
    holds: 'documents in shuffled order, about 60 MB of text a file; N has two digits or more',
    fields: document,
  },
  {
    path: 'fetch.lock/N',
    type: 'JSON in the first line',
    holds: 'the process that works in the folder ([locks](durability.md#locks))',
    fields: null,
  },
  {
    path: '.fetch/',
    type: 'folder',
    holds: 'the archive, as far as it is loaded, and its texts; it goes when the corpus is done',
    fields: null,
  },
];
