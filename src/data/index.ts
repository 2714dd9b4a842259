export * from './index.browser.js';
export { MANY_DOCUMENTS, TextCorpus, type Split } from './corpus.js';
export {
  listInputs,
  planChunks,
  readRange,
  unpackInputs,
  type Input,
  type InputKind,
  type Piece,
  type Range,
  type ReadOptions,
} from './documents.js';
export { METADATA_FIELDS, readRows, refuseUnread, type JsonRow } from './fields.js';
export * from './corpora/index.js';
export { SHARD_FILES } from './shards/formats.js';
export { expandFiles } from './glob.js';
export { CORPUS_NAMES, openCorpus, type NamedCorpus } from './named.js';
export { GramCounts, GramKeys, repeatedGrams } from './grams/counts.js';
export { gramStatistics, textStatistics, type GramSource, type GramStatistics } from './grams/training.js';
export {
  DataConfigSchema,
  dataTokenizer,
  dataVocabSize,
  openData,
  SourceConfigSchema,
  type DataConfig,
  type OpenDataOptions,
  type OpenedData,
  type SourceConfig,
} from './sources/open.js';
export type { HeldOutDocument, NeedleMaterial } from './sources/define.js';
export { isUrl, kindOf, packingOf } from './kinds.js';
export { absolutePaths } from './sources/paths.js';
export {
  DEFAULT_CHUNK_BYTES,
  prepareShards,
  type PrepareOptions,
  type PrepareProgress,
  type PrepareResult,
} from './prepare/prepare.js';
export * from './ruler/index.js';
export { removeUnpacked } from './unpack.js';
export { TokenShards } from './shards/dataset.js';
export { ShardFile } from './shards/format.js';
export { hasShards, readManifest, tokenizerOfShards, type Manifest } from './shards/manifest.js';
export { ShardsSource, type PackingOptions } from './shards/source.js';
export { textRows, type TextRow } from './text-rows.js';
export { BYTE_VOCAB_SIZE, TextSource } from './text.js';
