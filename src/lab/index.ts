export { merge, parsePath, unknownName, valueAt, withValueAt } from './overrides.js';
export {
  checkRun,
  evaluateCheckpoint,
  HEADS,
  performRun,
  precisionOf,
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
export { conversationOf, readConversations, templated, type TemplatedConversation } from './conversations.js';
export { evaluateTexts, type TextOptions } from './texts.js';
export { locate, parseYaml, parseYamlConfig, readYamlFile, toYaml, type YamlFile } from './yaml-file.js';
export { evalSchema, type EvalConfig } from './measures/config.js';
export {
  defineMeasure,
  type Column,
  type CurvePlot,
  type ForReaders,
  type StoredIn,
  type TaskPicture,
  type FigureSpec,
  type FigureView,
  type Measure,
  type MeasuredRun,
  type Outcome,
  type SpecialFigure,
  type SummaryView,
  type TrainingPoint,
} from './measures/define.js';
export { Measurement, planMeasures, type MeasurePlans, type MeasurementOptions } from './measures/measurement.js';
export { needleEvalSchema, needleShare, type NeedleSummary } from './measures/needle.js';
export type { TraceSummary } from './measures/trace.js';
export { ANALYSIS_FILES, PRINTED_RESULTS } from './analyses/formats.js';
export { MEASURED_FILES } from './formats.js';
export { evalEvent, evalMetrics, evalRecordSchema, evalText, evalWords, type EvalRecord } from './measures/record.js';
export { distanceBins, meanRecallSeries, recallSeries } from './measures/recall.js';
export { lossCrossing, lossThresholds, type LossSummary } from './measures/loss.js';
export { AR_THRESHOLD, arCrossing, arSeries, arThresholds, type ArSummary } from './measures/associative-recall.js';
export {
  crossing,
  farBins,
  formatCrossing,
  formatCrossings,
  largestWindow,
  lateChange,
  meanOverTokens,
  median,
  type Crossing,
  type DistanceBin,
} from './measures/series.js';
export { metricTitle, metricTitles } from './metric-titles.js';
export { MEASURE_NAMES, MEASURES, type MeasureName, type MeasureSummaries } from './measures/table.js';
export {
  engineChoice,
  measuredBeyond,
  modelLeftAside,
  openModel,
  openModels,
  originOf,
  WEIGHTS_HELD,
  type OpenedModel,
  type OpenOptions,
  type WeightsHeld,
} from './open-model.js';
export { checkpointsOf, measuringRun, runOf, type NamedRun } from './named-run.js';
export { CHECKPOINT_USES } from './settings-in-effect.js';
export {
  holdsTextOut,
  missingShards,
  readsText,
  readTextFile,
  sequencesOf,
  stopTokensOf,
  textOf,
  tokenizerOf,
  tokensOf,
  type NamedText,
  type SequenceOptions,
} from './model-texts.js';
export { evaluateOnTexts, traceImported } from './imported.js';
export { checkAttention, enginesHere, WINDOW_EDGES, type AttentionErrors } from './attention-check.js';
export { CHECKED_STEPS, EngineChecks, type EngineCheck } from './engine-check.js';
export { choicesOf } from './choices.js';
export { tracedHeads, type TracedHeads } from './traced-heads.js';
export { fitScalingLaw, type ScalingCurves } from './scaling-law.js';
export { rulerScores, type RulerFile } from './ruler-scores.js';
export { openParity, PARITY_TOLERANCES, type ParityTolerances } from './parity.js';
export { FAR_DEPTHS, needlePlan, needlesOf, type NeedleOptions } from './needles.js';
export { ANALYSES, analysisOf, isKept, PRINTED_ANALYSES, type AnalysisKind } from './analyses/index.js';
export { attentionDistances } from './analyses/attention-distance.js';
export { limitScore } from './analyses/limited-model.js';
export type { LimitRow } from './analyses/limits.js';
export { hintsOf, unwrapOption, type OptionHints, type UnwrappedOption } from './analysis-options.js';
export {
  defineAnalysis,
  keep,
  keptAs,
  measure,
  show,
  type Analysis,
  type AnalysisContext,
  type AnalysisSession,
  type CsvTable,
  type Measured,
  type Printed,
} from './analysis.js';
export type {
  Bar,
  BarsFigure,
  DistanceFigure,
  DistanceRange,
  DotsFigure,
  Figure,
  HeadsFigure,
  LayersFigure,
  LayerValue,
  LimitCurve,
  LimitsFigure,
  RangeCurve,
  RangesFigure,
  TokensFigure,
} from './figures.js';
export {
  FINDING_KINDS,
  FINDINGS,
  readFindings,
  type Finding,
  type FindingKind,
  type Findings,
} from './analyses/findings.js';
export { checkpointAt, windowMark, windowSuffix } from './at-window.js';
