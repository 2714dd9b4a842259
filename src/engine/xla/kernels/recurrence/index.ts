export * from './delta.js';
export * from './linear.js';
export * from './selective.js';
export { CHUNK, type RecurrenceShape } from './shared.js';
export { deltaBackward, deltaForward, linearBackward, linearForward, type Arrays, type Run } from './pipeline.js';
