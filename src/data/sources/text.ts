/** `kind: text`: the user's own text, or a named corpus, as bytes. */
import { z } from 'zod';
import { realNumber } from '../../core/index.js';
import { TextCorpus } from '../corpus.js';
import { expandFiles } from '../glob.js';
import { CORPUS_NAMES, openCorpus } from '../named.js';
import { BYTE_VOCAB_SIZE, TextSource } from '../text.js';
import { textGrams } from '../grams/training.js';
import { defineSource, weight } from './define.js';

const schema = z
  .strictObject({
    kind: z.literal('text'),
    weight,
    files: z
      .union([z.string().min(1), z.array(z.string().min(1))])
      .transform((files) => (typeof files === 'string' ? [files] : files))
      .default([])
      .describe('files or patterns (*, **, ?, {a,b}): text, or .jsonl with a "text" in each line'),
    corpus: z.enum(CORPUS_NAMES).optional().describe('a public-domain text by name, beside or instead of files'),
    heldOut: realNumber().min(0).max(0.5).default(0.05).describe('fraction of the text held out from training'),
  })
  .refine((source) => source.files.length > 0 || source.corpus !== undefined, {
    path: ['files'],
    message: 'name text files (files) or a corpus (corpus)',
  });

/**
 * Text files and named corpora as a data source. A file that two sources name is refused: its held-out part would be
 * trained on.
 */
export const textKind = defineSource({
  schema,
  paths: ['files'],
  vocabSize: () => BYTE_VOCAB_SIZE,
  tokenizer: () => 'bytes',
  open: (config, { index, baseDir, claim }) => {
    const named = config.corpus === undefined ? [] : openCorpus(config.corpus, baseDir).files;
    const files = [...expandFiles(config.files, baseDir), ...named];
    claim(files);
    const corpus = new TextCorpus(files, config.heldOut);
    const nulls = corpus.nullTexts;
    return {
      stream: (split, seqLen, seed) =>
        split === 'heldOut' && config.heldOut === 0 ? null : new TextSource(corpus, split, seqLen, seed),
      notes: () =>
        nulls === 0 ? [] : [`${nulls} documents of the text source ${index} whose "text" is null were left out`],
      needles: { kind: 'text', corpus },
      recall: null,
      grams: corpus.size('heldOut') === 0 ? null : textGrams(corpus, `the text source ${index}`),
      heldOutDocuments: () =>
        corpus.places('heldOut').map(({ start, length }, document) => ({
          document,
          length,
          read: (from, into) => {
            const bytes = new Uint8Array(into.length);
            corpus.read('heldOut', start + from, bytes);
            into.set(bytes);
          },
        })),
      [Symbol.dispose]: () => corpus[Symbol.dispose](),
    };
  },
});
