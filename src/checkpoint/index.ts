export { firstCut, lastCut } from './bpe/split.js';
export { tokenizerJson, trainBpe, WordCounter, type TrainBpeOptions, type TrainedBpe } from './bpe/train.js';
export { endTokens } from './end-tokens.js';
export * from './hf.js';
export * from './safetensors.js';
export * from './tokenizer.js';
