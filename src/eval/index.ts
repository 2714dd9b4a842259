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
export { NeedleEvaluator, needleTask, type NeedleEvaluatorOptions } from './needle.js';
export { defaultBins, RecallTally } from './recall.js';
export * from './record.js';
export { pickParameters, Scorer, type Scores } from './score.js';
export { planTrace, type TracePlan } from './trace.js';
export { EVAL_SEED, needleSamples, type NeedleTask } from './needle-task.js';
export { tokenNeedleTask } from './token-needle.js';
export * from './ruler/index.js';
export * from './choice-file.js';
export * from './choice.js';
