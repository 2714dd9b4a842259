/**
 * The parts of a `tokenizer.json` that are read. Every field is here, so that an unknown one, a component that is not
 * implemented or a value of a wrong kind is named and refused.
 */
import { z } from 'zod';
import { LIMITS } from '../../core/index.js';
import { BEHAVIORS } from './pattern.js';

const plain = <T extends string>(type: T) => z.strictObject({ type: z.literal(type) });
const pattern = z.union([z.strictObject({ Regex: z.string() }), z.strictObject({ String: z.string() })]);
const character = z.string().refine((text) => [...text].length === 1, 'must be one character');

const replace = z.strictObject({ type: z.literal('Replace'), pattern, content: z.string() });
const metaspace = z
  .strictObject({
    type: z.literal('Metaspace'),
    replacement: character,
    prepend_scheme: z.enum(['always', 'first', 'never']).default('always'),
    split: z.boolean().nullish(),
    add_prefix_space: z.boolean().nullish(),
    str_rep: z.string().nullish(),
  })
  .refine(
    (value) => value.add_prefix_space !== false || value.prepend_scheme === 'never',
    'add_prefix_space false contradicts prepend_scheme; the Rust library refuses this too: say "prepend_scheme": "never"',
  );

const normalizerStep = z.discriminatedUnion('type', [
  plain('NFC'),
  plain('NFD'),
  plain('NFKC'),
  plain('NFKD'),
  plain('Lowercase'),
  plain('StripAccents'),
  plain('Nmt'),
  plain('ByteLevel'),
  replace,
  z.strictObject({ type: z.literal('Strip'), strip_left: z.boolean(), strip_right: z.boolean() }),
  z.strictObject({ type: z.literal('Prepend'), prepend: z.string() }),
  z.strictObject({
    type: z.literal('BertNormalizer'),
    clean_text: z.boolean(),
    handle_chinese_chars: z.boolean(),
    strip_accents: z.boolean().nullish(),
    lowercase: z.boolean(),
  }),
]);
const normalizer = z.discriminatedUnion('type', [
  ...normalizerStep.options,
  z.strictObject({ type: z.literal('Sequence'), normalizers: z.array(normalizerStep) }),
]);
/** One normalizer of a `tokenizer.json`. */
export type NormalizerStep = z.output<typeof normalizerStep>;
/** The normalizer of a `tokenizer.json`: one step, or a sequence. */
export type NormalizerConfig = z.output<typeof normalizer>;

const byteLevel = z.strictObject({
  type: z.literal('ByteLevel'),
  add_prefix_space: z.boolean(),
  trim_offsets: z.boolean(),
  use_regex: z.boolean().default(true),
});
const preTokenizerStep = z.discriminatedUnion('type', [
  byteLevel,
  metaspace,
  plain('Whitespace'),
  plain('WhitespaceSplit'),
  plain('BertPreTokenizer'),
  z.strictObject({ type: z.literal('Punctuation'), behavior: z.enum(BEHAVIORS).default('Isolated') }),
  z.strictObject({ type: z.literal('Digits'), individual_digits: z.boolean() }),
  z.strictObject({ type: z.literal('CharDelimiterSplit'), delimiter: character }),
  z.strictObject({ type: z.literal('FixedLength'), length: z.int().min(1) }),
  z.strictObject({ type: z.literal('Split'), pattern, behavior: z.enum(BEHAVIORS), invert: z.boolean() }),
]);
const preTokenizer = z.discriminatedUnion('type', [
  ...preTokenizerStep.options,
  z.strictObject({ type: z.literal('Sequence'), pretokenizers: z.array(preTokenizerStep) }),
]);
/** One pre-tokenizer of a `tokenizer.json`. */
export type PreTokenizerStep = z.output<typeof preTokenizerStep>;
/** The pre-tokenizer of a `tokenizer.json`: one step, or a sequence. */
export type PreTokenizerConfig = z.output<typeof preTokenizer>;

const named = z.tuple([z.string(), z.int().min(0)]);
const templatePiece = z.union([
  z.strictObject({ SpecialToken: z.strictObject({ id: z.string(), type_id: z.int() }) }),
  z.strictObject({ Sequence: z.strictObject({ id: z.enum(['A', 'B']), type_id: z.int() }) }),
]);
const around = { sep: named, cls: named };
const postProcessorStep = z.discriminatedUnion('type', [
  byteLevel,
  z.strictObject({ type: z.literal('BertProcessing'), ...around }),
  z.strictObject({
    type: z.literal('RobertaProcessing'),
    ...around,
    trim_offsets: z.boolean(),
    add_prefix_space: z.boolean(),
  }),
  z.strictObject({
    type: z.literal('TemplateProcessing'),
    single: z.array(templatePiece),
    pair: z.array(templatePiece),
    special_tokens: z.record(
      z.string(),
      z.strictObject({ id: z.string(), ids: z.array(z.int().min(0)), tokens: z.array(z.string()) }),
    ),
  }),
]);
const postProcessor = z.discriminatedUnion('type', [
  ...postProcessorStep.options,
  z.strictObject({ type: z.literal('Sequence'), processors: z.array(postProcessorStep) }),
]);
/** One post-processor of a `tokenizer.json`. */
export type PostProcessorStep = z.output<typeof postProcessorStep>;
/** The post-processor of a `tokenizer.json`: one step, or a sequence. */
export type PostProcessorConfig = z.output<typeof postProcessor>;

const count = z.int().min(0);
const decoderStep = z.discriminatedUnion('type', [
  byteLevel,
  metaspace,
  replace,
  plain('ByteFallback'),
  plain('Fuse'),
  z.strictObject({ type: z.literal('Strip'), content: character, start: count, stop: count }),
  z.strictObject({ type: z.literal('WordPiece'), prefix: z.string(), cleanup: z.boolean() }),
  z.strictObject({ type: z.literal('BPEDecoder'), suffix: z.string().min(1) }),
  z.strictObject({
    type: z.literal('CTC'),
    pad_token: z.string().min(1),
    word_delimiter_token: z.string().min(1),
    cleanup: z.boolean(),
  }),
]);
const decoder = z.discriminatedUnion('type', [
  ...decoderStep.options,
  z.strictObject({ type: z.literal('Sequence'), decoders: z.array(decoderStep) }),
]);
/** One decoder of a `tokenizer.json`. */
export type DecoderStep = z.output<typeof decoderStep>;
/** The decoder of a `tokenizer.json`: one step, or a sequence. */
export type DecoderConfig = z.output<typeof decoder>;

const addedToken = z.strictObject({
  id: z.int().min(0),
  content: z.string().min(1),
  single_word: z.boolean(),
  lstrip: z.boolean(),
  rstrip: z.boolean(),
  normalized: z.boolean(),
  special: z.boolean(),
});
/** An added token of a `tokenizer.json`, with its flags. */
export type AddedToken = z.output<typeof addedToken>;

/** Checked in place: a vocabulary has a hundred thousand entries, and none of its keys may be lost. */
const vocabulary = z.custom<Readonly<Record<string, number>>>(
  (value) =>
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    Object.values(value).every((id) => Number.isInteger(id) && id >= 0 && id < LIMITS.vocabulary.most),
  'must be an object from tokens to whole numbers from 0 to 2^24',
);
const isMerge = (value: unknown): boolean =>
  typeof value === 'string' ||
  (Array.isArray(value) && value.length === 2 && value.every((part) => typeof part === 'string'));
const merges = z.custom<readonly (string | readonly [string, string])[]>(
  (value) => Array.isArray(value) && value.every(isMerge),
  'must be a list of pairs of tokens',
);
const pieces = z.custom<readonly (readonly [string, number])[]>(
  (value) =>
    Array.isArray(value) &&
    value.every(
      (entry) =>
        Array.isArray(entry) && entry.length === 2 && typeof entry[0] === 'string' && Number.isFinite(entry[1]),
    ),
  'must be a list of pairs of a token and its score',
);

const noDropout = z.custom<0 | null>(
  (value) => value === null || value === 0,
  'must be null or 0: with dropout, ids are random',
);
const bpe = z.strictObject({
  type: z.literal('BPE'),
  dropout: noDropout.optional(),
  unk_token: z.string().nullish(),
  continuing_subword_prefix: z.string().nullish(),
  end_of_word_suffix: z.string().nullish(),
  fuse_unk: z.boolean().default(false),
  byte_fallback: z.boolean().default(false),
  ignore_merges: z.boolean().default(false),
  vocab: vocabulary,
  merges,
});
const wordPiece = z.strictObject({
  type: z.literal('WordPiece'),
  unk_token: z.string(),
  continuing_subword_prefix: z.string(),
  max_input_chars_per_word: count,
  vocab: vocabulary,
});
const wordLevel = z.strictObject({ type: z.literal('WordLevel'), unk_token: z.string(), vocab: vocabulary });
const unigram = z.strictObject({
  type: z.literal('Unigram'),
  unk_id: count,
  byte_fallback: z.boolean().default(false),
  vocab: pieces,
});
const model = z.discriminatedUnion('type', [bpe, wordPiece, wordLevel, unigram]);
/** A BPE model of a `tokenizer.json`. */
export type BpeConfig = z.output<typeof bpe>;
/** A WordPiece model of a `tokenizer.json`. */
export type WordPieceConfig = z.output<typeof wordPiece>;
/** A WordLevel model of a `tokenizer.json`. */
export type WordLevelConfig = z.output<typeof wordLevel>;
/** A Unigram model of a `tokenizer.json`. */
export type UnigramConfig = z.output<typeof unigram>;
/** The model of a `tokenizer.json`. */
export type ModelConfig = z.output<typeof model>;

const none = (message: string) => z.custom<null>((value) => value === null, message).optional();

/** The schema of a whole `tokenizer.json`. */
export const tokenizerFile = z.strictObject({
  version: z.literal('1.0').optional(),
  truncation: none('must be null: texts are never cut to a length'),
  padding: none('must be null: texts are never padded'),
  added_tokens: z.array(addedToken).default([]),
  normalizer: normalizer.nullish(),
  pre_tokenizer: preTokenizer.nullish(),
  post_processor: postProcessor.nullish(),
  decoder: decoder.nullish(),
  model,
});
/** A whole `tokenizer.json`, checked. */
export type TokenizerFile = z.output<typeof tokenizerFile>;

/** Early files name no type of their model; its fields tell it. */
export function withModelType(json: unknown): unknown {
  const given = (json as { model?: unknown } | null)?.model;
  if (typeof given !== 'object' || given === null || 'type' in given) return json;
  let type: string | undefined;
  if ('merges' in given) type = 'BPE';
  else if ('max_input_chars_per_word' in given) type = 'WordPiece';
  else if ('unk_id' in given) type = 'Unigram';
  return type === undefined ? json : { ...(json as object), model: { type, ...given } };
}
