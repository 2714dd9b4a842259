export { firstCut, lastCut } from './bpe/split.js';
export { tokenizerJson, trainBpe, WordCounter, type TrainBpeOptions, type TrainedBpe } from './bpe/train.js';
export { readChatTemplate, type ChatMessage, type ChatTemplate } from './chat-template.js';
export { endTokens } from './end-tokens.js';
export type { Family, HfConfigJson } from './hf/family/family.js';
export {
  EXPORT_DTYPES,
  exportDType,
  exportHfModel,
  planExport,
  type ExportDType,
  type ExportedParameters,
  type ExportOptions,
  type ExportResult,
} from './hf/export.js';
export { EXPORT_FILES } from './hf/formats.js';
export {
  HF_FAMILIES,
  HF_SHARED_FIELDS,
  HF_WITHOUT_EFFECT,
  HF_WRAPPERS,
  type HfFamily,
  type HfField,
  type HfWrapper,
} from './hf/described.js';
export * from './hf/open.js';
export { HF_MODEL_TYPES, inspectHfConfig, readHfConfig, type HfConfigReading } from './hf/registry.js';
export { weightFiles } from './hf/places.js';
export type { WeightDType } from './hf/reader.js';
export type { HfTensorParts, TensorProblems } from './hf/tensors.js';
export * from './safetensors.js';
export { sameTokenizer, type TokenizerOrigin } from './same-tokenizer.js';
export type { Span } from './spans.js';
export * from './tokenizer.js';
