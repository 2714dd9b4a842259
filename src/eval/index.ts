export * from './index.browser.js';
export {
  AR_KIND,
  arBins,
  ArTally,
  farFrom,
  findAssociativeRecall,
  type ArRecord,
  type ArRow,
  type ArTargets,
} from './associative-recall.js';
export { DocumentTally, type DocumentMean } from './document-tally.js';
export { HeldOutScores, type HeldOutBatch, type HeldOutOptions } from './held-out-scores.js';
export {
  NeedleEvaluator,
  needleTask,
  plannedNeedles,
  type NeedleEvaluatorOptions,
  type NeedleGrid,
  type NeedleGridSettings,
} from './needle.js';
export { tokenNeedleTask } from './token-needle.js';
export * from './ruler/index.js';
export * from './choice-file.js';
export * from './choice.js';
