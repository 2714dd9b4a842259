export * from './index.browser.js';
export {
  openInitialModel,
  openInitialWeights,
  planInitial,
  type InitConfig,
  type InitialModel,
  type InitialWeights,
  type Vocabulary,
} from './initial.js';
export { openRunData } from './entered-stage.js';
export * from './loop.js';
export * from './train-run.js';
export { checkWindows, runAtStep, stagesOf, type Stage } from './stages.js';
export { TRAINING_METRICS, type TrainingMetric } from './metrics.js';
export { formatTiming, PHASES, RunClock, shareBeside, type Phase, type RunTiming } from './timing.js';
export { windowPlan, windowShares } from './windows.js';
