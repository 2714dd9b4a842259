export * from './channel.js';
export * from './scalar.js';
export * from './steps.js';
