export { isStudyFolder } from '../core/index.js';
export {
  compareDesigns,
  pairCrossings,
  pairNumbers,
  relate,
  RULE,
  type DesignPair,
  type Finding as ComparisonFinding,
  type PairComparison,
  type PairedNumber,
} from './compare.js';
export { etaSeconds, formatDuration } from './eta.js';
export { STUDY_FILES } from './formats.js';
export {
  executeStudy,
  pendingRuns,
  type ExecuteOptions,
  type RunOutcome,
  type StudyObserver,
  type StudySnapshot,
} from './execute.js';
export { type Executor, type ExecutorJob, type Started, type UnitOutcome } from './executors/contract.js';
export { EXECUTOR_NAMES, EXECUTORS, type ExecutorName } from './executors/table.js';
export { chooseParallelism, machine, type Machine, type Parallelism } from './parallelism.js';
export { ON_HOST, Places, planCapacity, type AskedPlaces, type Capacity, type Place, type RunNeeds } from './places.js';
export { slug } from './names.js';
export { nodePlace, removeNodeFolder, type NodePlace } from './node-folder.js';
export { branchSteps, sharedBeginnings, sharedTokens, type SharedBeginning, type SharedBeginnings } from './shared.js';
export {
  compareSchema,
  type Arm,
  type CompareOptions,
  expandStudy,
  loadStudy,
  studySchema,
  tokenBudget,
  type PlannedRun,
  type StudyPlan,
} from './plan.js';
export { openReusable, reuseRuns, type ReusableStudies, type ReusedRun } from './reuse.js';
export { readRun, tracedRunHeads, type RunEval, type RunHeads, type RunRecord } from './read-run.js';
export { openStudyFolder, readPlan, runFolder } from './store.js';
export { measuredRun, summarize, type RunSummary, type SummaryOptions } from './summary.js';
export { formatCost, QUESTIONS, TOPICS, verdictsOf, type Verdict, type VerdictContext } from './verdicts.js';
export { openLog } from './worker-process.js';
export { RunProcess } from './run-process.js';
export { carrierVerdict, STRONGEST_HEADS, strongestHeads } from './mechanism.js';
export { removeSpentBranches, studyUnits, unitNow, waitsFor, type Unit, type UnitState } from './units.js';
export { heedParent, nextRun, serveWorker, type NextRun, type WorkerLink, type WorkerProgress } from './worker.js';
export { flopsSpent, trainingFlops, type Spent } from './training-flops.js';
export { compareAtEqualCost, type SpendingRun } from './equal-cost.js';
