export { analyseRun, analyseStudy, type Analysed, type Analysis, type Group } from './analyse.js';
export { comparePair, pairCrossings, pairNumbers, relate, RULE, type PairComparison } from './compare.js';
export { etaSeconds, formatDuration } from './eta.js';
export {
  executeStudy,
  pendingRuns,
  type ExecuteOptions,
  type RunOutcome,
  type StudyObserver,
  type StudySnapshot,
} from './execute.js';
export { differences, isPlain, merge, parsePath, unknownName, valueAt, withValueAt, type Plain } from './overrides.js';
export { chooseParallelism, machine, type Machine, type Parallelism } from './parallelism.js';
export { expandStudy, loadStudy, slug, studySchema, tokenBudget, type PlannedRun, type StudyPlan } from './plan.js';
export { isRunFolder, readMetrics, readRun, readStatus, type RunRecord, type RunStatus } from './read-run.js';
export {
  analyseRunFolder,
  analyseStudyFolder,
  overview,
  reportHtml,
  reportJson,
  writeReport,
  type ReportFiles,
} from './report.js';
export { isStudyFolder, openStudyFolder, readPlan, runFolder } from './store.js';
export {
  checkRun,
  evalPath,
  evaluateCheckpoint,
  headsPath,
  performRun,
  traceCheckpoint,
  type PerformOptions,
} from './run.js';
export {
  documentedRunSchema,
  loadRunFile,
  resolveRunConfig,
  runSchema,
  type FullRunConfig,
  type Setting,
} from './run-config.js';
export { crossing, meanOverTokens, type Crossing, type RunSummary } from './summary.js';
export { QUESTIONS, type Verdict } from './verdicts.js';
export { formatCount, formatCrossing, formatTokens, significant } from './words.js';
export { serveWorker, type WorkerLink, type WorkerProgress } from './worker.js';
export { locate, parseYaml, parseYamlConfig, readYamlFile, toYaml, type YamlFile } from './yaml-file.js';
export {
  FINDING_KINDS,
  findingPath,
  hasFinding,
  readFindings,
  writeFinding,
  type Finding,
  type FindingKind,
  type Findings,
} from './findings.js';
export { fitStudy, scalingPage, studyPoints, type NamedFit, type NamedPoints } from './scaling.js';
