export { lastCut } from './bpe/split.js';
export * from './hf.js';
export * from './safetensors.js';
export * from './tokenizer.js';
