/** `kind: shards`: a folder of token shards, made by `longsight data prepare`. */
import { resolve } from 'node:path';
import { z } from 'zod';
import { f64At } from '../../core/index.js';
import type { Split } from '../corpus.js';
import { TokenShards } from '../shards/dataset.js';
import { hasShards, readManifest } from '../shards/manifest.js';
import { ShardsSource } from '../shards/source.js';
import { shardGrams } from '../grams/training.js';
import { defineSource, weight } from './define.js';

const schema = z
  .strictObject({
    kind: z.literal('shards'),
    weight,
    path: z.string().min(1).describe('folder of token shards, made by `longsight data prepare`'),
    minTokens: z
      .int()
      .min(1)
      .default(1)
      .describe('shorter documents are left out; with maxTokens, for long/short mixtures'),
    maxTokens: z.int().min(1).optional().describe('longer documents are left out (default: none)'),
    resets: z
      .boolean()
      .default(true)
      .describe('attention and recurrent state start anew at each document of a row; if not, rows are one text'),
  })
  .refine(({ minTokens, maxTokens = Infinity }) => minTokens <= maxTokens, {
    path: ['maxTokens'],
    message: 'must be at least minTokens',
  });

/**
 * Token shards as a data source. Held-out documents that do not fill a row of tokens do not count, and a note says so.
 */
export const shardsKind = defineSource({
  schema,
  paths: ['path'],
  vocabSize: ({ path }) => (hasShards(path) ? readManifest(path).tokenizer.vocabSize : 0),
  tokenizer: ({ path }) => (readManifest(path).tokenizer.fingerprint === 'bytes' ? 'bytes' : { folder: path }),
  open: ({ path, minTokens, maxTokens = Infinity, resets }, { baseDir }) => {
    const shards = new TokenShards(resolve(baseDir, path));
    const options = { minTokens, maxTokens, resets };
    const counts = (split: Split, seqLen: number): boolean => ShardsSource.fillsRow(shards, split, options, seqLen);
    return {
      stream: (split, seqLen, seed) =>
        split === 'heldOut' && !counts(split, seqLen) ? null : new ShardsSource(shards, split, options, seqLen, seed),
      notes: (seqLen) =>
        shards.size('heldOut') === 0 || counts('heldOut', seqLen)
          ? []
          : [
              `${path} does not count for the held-out loss: its documents of allowed lengths do not fill a row of ${seqLen} tokens`,
            ],
      needles: { kind: 'tokens', tokenizer: shards.tokenizer },
      recall: null,
      grams: shards.size('heldOut') === 0 ? null : shardGrams(shards),
      heldOutDocuments: () => {
        const ends = shards.ends('heldOut');
        return Array.from(ends, (end, document) => {
          const start = document === 0 ? 0 : f64At(ends, document - 1);
          const read = (from: number, into: Int32Array) => shards.read('heldOut', start + from, into);
          return { document, length: end - start, read };
        }).filter(({ length }) => length >= minTokens && length <= maxTokens);
      },
      [Symbol.dispose]: () => shards[Symbol.dispose](),
    };
  },
});
