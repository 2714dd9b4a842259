export * from './config.js';
export {
  openInitialModel,
  openInitialWeights,
  planInitial,
  type InitConfig,
  type InitialModel,
  type InitialWeights,
  type Vocabulary,
} from './initial.js';
export * from './loop.js';
export * from './train-run.js';
export * from './optimizers/index.js';
export * from './schedule.js';
export { runAtStep, stagesOf, type Stage } from './stages.js';
export { formatTiming, PHASES, RunClock, shareBeside, type Phase, type RunTiming } from './timing.js';
export { stepProgram, type StepConfig, type StepOptions } from './step-programs.js';
export { Trainer, type PendingStep, type StepResult, type TrainerOptions } from './trainer.js';
