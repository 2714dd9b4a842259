/** What needs no Node: programs for browsers get this in place of `index.ts`. */
export * from './mqar.js';
export * from './needle.js';
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
