export * from './features.js';
export * from './logistic.js';
export * from './probe.js';
export type { Features } from './rows.js';
