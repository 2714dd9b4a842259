export * from './dtype.js';
export * from './errors.js';
export * from './files.js';
export * from './format.js';
export * from './lock.js';
export * from './rng.js';
export * from './schema.js';
export * from './tensor.js';
