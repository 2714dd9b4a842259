/** Reports: figures, the HTML page, JSON and CSV. All are views of the records that runs and studies left on disk. */
export { adviseOn, type AdvisedDesign, type AdviceRequest, type StudyAdvice } from './advice.js';
export { comparedMeasures, findingInWords } from './compared.js';
export { analyzeRun, analyzeStudy, engineLine, type Analyzed, type Analysis, type Group } from './report-data.js';
export { REPORT_FILES } from './formats.js';
export {
  analyzeRunFolder,
  analyzeStudyFolder,
  overview,
  reportHtml,
  reportJson,
  reportParts,
  writeReport,
  type ReportFiles,
  type ReportParts,
} from './report.js';
export {
  FITTED,
  FITTED_MEASURES,
  fitStudy,
  scalingPage,
  studyPoints,
  type FittedMeasure,
  type NamedFit,
  type NamedPoints,
} from './scaling.js';
export { COST_CONTEXT } from './costs.js';
