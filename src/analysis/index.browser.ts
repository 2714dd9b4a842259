/** What needs no Node: programs for browsers get this in place of `index.ts`. */
export * from './attention-rows.js';
export * from './retrieval-heads.js';
