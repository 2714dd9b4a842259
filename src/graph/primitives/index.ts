/** The ops from which everything else is built. */
export * from '../ir/leaves.js';
export * from './control.js';
export * from './elementwise.js';
export * from './indexing.js';
export * from './layout.js';
export * from './reduce.js';
