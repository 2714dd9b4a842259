export * from './analyze.js';
export * from './curves.js';
export * from './law.js';
export { minimize, type Evaluation, type MinimizeOptions, type Minimum, type Problem } from './minimize.js';
export * from './table.js';
export * from './uncertainty.js';
