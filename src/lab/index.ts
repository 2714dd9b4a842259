export { isPlain, merge, parsePath, unknownName, valueAt, withValueAt, type Plain } from './overrides.js';
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
export { evaluateTexts, type TextOptions } from './texts.js';
export { locate, parseYaml, parseYamlConfig, readYamlFile, toYaml, type YamlFile } from './yaml-file.js';
export { evalSchema, type EvalConfig } from './measures/config.js';
export {
  defineMeasure,
  type Column,
  type CurvePlot,
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
export { needleEvalSchema, needleShare } from './measures/needle.js';
export { evalEvent, evalMetrics, evalRecordSchema, evalText, evalWords, type EvalRecord } from './measures/record.js';
export { distanceBins, meanRecallSeries, recallSeries } from './measures/recall.js';
export { AR_THRESHOLD, arSeries, type ArSummary } from './measures/associative-recall.js';
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
export { MEASURE_NAMES, MEASURES, type MeasureName, type MeasureSummaries } from './measures/table.js';
