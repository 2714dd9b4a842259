export {
  checkpointPath,
  findCheckpoint,
  latestCheckpoint,
  listCheckpoints,
  openCheckpoint,
  type Checkpoint,
  type CheckpointEntry,
  type CheckpointState,
  type OptimizerState,
} from './checkpoint.js';
export * from './config.js';
export * from './loop.js';
export { MetricsWriter, readMetricsUpTo, type MetricsLine } from './metrics.js';
export * from './optimizer.js';
export { holdsRun, type RunConfig, type RunState, type RunStatus } from './run-folder.js';
export * from './schedule.js';
export { runAtStep, stagesOf, type Stage } from './stages.js';
export {
  stepProgram,
  Trainer,
  type PendingStep,
  type Precision,
  type StepConfig,
  type StepOptions,
  type StepResult,
  type TrainerOptions,
} from './trainer.js';
