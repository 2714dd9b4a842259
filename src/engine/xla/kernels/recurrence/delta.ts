export * from './delta-channel.js';
export * from './delta-removal.js';
export * from './delta-scalar.js';
export * from './delta-steps.js';
