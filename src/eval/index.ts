export {
  evalSchema,
  needleEvalSchema,
  recallEvalSchema,
  traceEvalSchema,
  type EvalConfig,
  type NeedleEvalConfig,
  type RecallEvalConfig,
  type TraceEvalConfig,
} from './config.js';
export { Evaluator, planEvaluation, type EvaluatorOptions, type TrainingPoint } from './evaluator.js';
export {
  EVAL_SEED,
  NeedleEvaluator,
  needleSamples,
  needleTask,
  type NeedleEvaluatorOptions,
  type NeedleTask,
} from './needle.js';
export { defaultBins, RecallTally } from './recall.js';
export * from './record.js';
export { pickParameters, Scorer, type Scores } from './score.js';
export { planTrace, type TracePlan } from './trace.js';
export { tokenNeedleTask } from './token-needle.js';
export * from './ruler/index.js';
export * from './choice.js';
