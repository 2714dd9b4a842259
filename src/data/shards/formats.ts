/** The files of a folder of token shards, as docs/formats.md describes them. */
import { z } from 'zod';
import { field, type FileFormat } from '../../core/index.js';
import { manifestSchema } from './manifest.js';

const plan = z.strictObject({
  format: field(z.literal(2), 'version of the format'),
  tokenizer: field(z.string(), 'SHA-256 of `tokenizer.json`; `bytes` for bytes'),
  endOfText: field(z.int(), 'id of the token that ends a document'),
  heldOut: field(z.number(), 'share of the documents to hold out', 'share'),
  field: field(z.string(), 'field of JSON lines, or column of Parquet, that holds the text'),
  invalid: field(z.enum(['refuse', 'replace']), 'what becomes of bytes that are no UTF-8'),
  cut: field(z.boolean(), 'whether long texts may be cut between words, which changes no id'),
  chunkBytes: field(z.int(), 'text of a shard', 'bytes'),
  files: field(
    z.array(
      z.strictObject({
        name: field(z.string().optional(), 'name of a file; left out for an address'),
        url: field(z.string().optional(), 'address; left out for a file'),
        bytes: field(z.int(), 'its size', 'bytes'),
        sha256: field(z.string().optional(), 'SHA-256 of a file'),
      }),
    ),
    'what it is made from',
  ),
});

/** The files of a folder that `longsight data prepare` makes. */
export const SHARD_FILES: readonly FileFormat[] = [
  {
    path: 'manifest.json',
    type: 'JSON',
    holds: 'tokenizer, files of origin, and the shards of each split; written last',
    fields: manifestSchema,
  },
  {
    path: 'plan.json',
    type: 'JSON',
    holds: 'files and options, to know the same preparation again wherever its files lie',
    fields: plan,
  },
  {
    path: 'train-N.tokens, held-out-N.tokens',
    type: 'binary, little-endian',
    holds: 'token ids, and where documents end',
    fields: null,
    parts: {
      head: ['byte', 'what stands there'],
      rows: [
        ['0', '`LSTOKENS`'],
        ['8', 'u32 version, 1'],
        ['12', 'u32 bytes of a token: 1, 2 or 4, the fewest that hold the vocabulary'],
        ['16', 'u64 number of tokens'],
        ['24', 'u64 number of documents that end in this shard'],
        ['32', 'SHA-256 of everything after the header'],
        ['64', 'tokens, then zeros up to a multiple of 8'],
        ['after them', 'u64 places after the last token of each document, rising'],
      ],
    },
  },
  {
    path: 'tokenizer.json, tokenizer_config.json',
    type: 'JSON',
    holds: 'the tokenizer, copied as it is; none for bytes',
    fields: null,
  },
  {
    path: 'grams-FINGERPRINT.counts',
    type: 'binary, little-endian',
    holds:
      'how often grams that repeat inside held-out documents occur in the training data; made by the first run that measures associative recall',
    fields: null,
    parts: {
      head: ['byte', 'what stands there'],
      rows: [
        ['0', '`LSCOUNTS`'],
        ['8', 'u32 version, 1'],
        ['12', 'u32 tokens of a gram'],
        ['16', 'u64 number of grams'],
        ['24', 'SHA-256 of what follows'],
        ['56', 'for each gram its number and its count, both f64'],
      ],
    },
  },
  {
    path: 'prepare.lock/N',
    type: 'JSON in the first line',
    holds: 'the process that works in the folder ([locks](durability.md#locks))',
    fields: null,
  },
];
