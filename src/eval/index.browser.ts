/** What needs no Node: programs for browsers get this in place of `index.ts`. */
export { defaultBins, RecallTally, type RecallBin, type RecallScore } from './recall.js';
export { EVAL_SEED, needleSample, needleSamples, type NeedleTask } from './needle-task.js';
