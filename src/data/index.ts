export { MANY_DOCUMENTS, TextCorpus, type Split } from './corpus.js';
export { expandFiles } from './glob.js';
export { CORPUS_NAMES, openCorpus, type NamedCorpus } from './named.js';
export * from './needle.js';
export * from './open.js';
export * from './recall.js';
export {
  emptyBatch,
  MixtureSource,
  nextBatch,
  RngStateSchema,
  rngToJson,
  type Batch,
  type DataSource,
  type JsonValue,
} from './source.js';
export { BYTE_VOCAB_SIZE, TextSource } from './text.js';
