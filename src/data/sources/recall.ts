/** `kind: recall`: the synthetic recall stream. It needs no files. */
import { z } from 'zod';
import { RecallOptionsSchema, RecallSource, recallVocabSize } from '../recall.js';
import { defineSource, weight } from './define.js';

const schema = z
  .strictObject({ kind: z.literal('recall'), weight, ...RecallOptionsSchema.shape })
  .superRefine((value, context) => {
    const { kind: _kind, weight: _weight, ...options } = value;
    const result = RecallOptionsSchema.safeParse(options);
    for (const { path, message } of result.error?.issues ?? []) context.addIssue({ code: 'custom', path, message });
  });

/**
 * The recall stream as a data source. Its held-out sequences come from another random stream than those of training.
 */
export const recallKind = defineSource({
  schema,
  paths: [],
  vocabSize: recallVocabSize,
  tokenizer: () => null,
  open: (config, { index }) => ({
    stream: (split, seqLen, seed) =>
      new RecallSource(config, seqLen, seed, `${split === 'heldOut' ? 'held-out' : 'train'} ${index}`),
    notes: () => [],
    needles: { kind: 'recall', options: config },
    recall: config,
    [Symbol.dispose]: () => undefined,
  }),
});
