export {
  configPath,
  evalsFolder,
  findingsFolder,
  isRunFolder,
  LOCK_FILE,
  metricsPath,
  statusPath,
} from '../core/index.js';
export { isBranchThere, removeBranch, takeOverBeginning, type BranchPoint } from './branch.js';
export {
  findCheckpoint,
  latestCheckpoint,
  checkpointDigest,
  listCheckpoints,
  openCheckpoint,
  pruneCheckpoints,
  removeTemporaryCheckpoints,
  snapshotTensors,
  writeCheckpoint,
  type Checkpoint,
  type CheckpointEntry,
  type CheckpointState,
  type CheckpointTensors,
  type OptimizerLayout,
  type OptimizerState,
} from './checkpoint.js';
export {
  checkFree,
  checkSame,
  checkSameRun,
  completeModel,
  completeTrain,
  isBegun,
  noteResume,
  readRunConfig,
  writeRunConfig,
  type StoredConfig,
  type StoredRun,
} from './config.js';
export { LOG_FILES, RUN_FILES } from './formats.js';
export { exportLogs, LOG_FORMATS, type LogExport, type LogFormat } from './log-export.js';
export {
  metricLabel,
  MetricsWriter,
  readMetrics,
  type Metrics,
  type MetricsLine,
  type MetricWords,
  type Point,
} from './metrics.js';
export {
  branchPath,
  checkpointsFolder,
  checkpointPath,
  evalPath,
  findingPath,
  removeResultsAfter,
  reportPaths,
} from './paths.js';
export {
  hasFinding,
  readFindings,
  readRunFolder,
  writeEval,
  writeFinding,
  type FindingSchemas,
  type StepSchema,
  type StoredFindings,
  type StoredRunFolder,
} from './read.js';
export { readStatus, writeLastStatus, writeStatus, type RunState, type RunStatus } from './status.js';
