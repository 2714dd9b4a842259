export type { CorpusArchive, CorpusDefinition } from './definition.js';
export { CORPUS_FILES } from './formats.js';
export { makeCorpus, type CorpusRecord, type MakeCorpusOptions } from './make.js';
export { FETCHED_CORPORA, fetchedCorpus } from './table.js';
