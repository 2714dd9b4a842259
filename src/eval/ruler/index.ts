export * from './claim.js';
export * from './predictions.js';
export * from './run.js';
export * from './score.js';
