export * from './decoder.js';
export * from './generate.js';
export * from './sample.js';
export * from './text-stream.js';
