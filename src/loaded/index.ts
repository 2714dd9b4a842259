export { batchSequences, usualBatchTokens, type SequenceBatches } from './batches.js';
export {
  loadModel,
  parametersFor,
  uploadParameters,
  withConfig,
  type LoadedModel,
  type ModelOnEngine,
  type NamedWeights,
} from './loaded-model.js';
export { scoreRows, type TokenRow } from './rows.js';
export {
  answerScore,
  Scorer,
  startedOn,
  uploadForScores,
  type AnswerScore,
  type ScorerBatch,
  type ScorerControls,
  type ScorerOptions,
  type Scores,
} from './scorer.js';
export { compileForward, compileSegmented, LONG_SEQUENCE } from './segments.js';
export {
  answerTargets,
  noSettings,
  SequenceScorer,
  type AnswerSample,
  type HeadSettings,
  type SampleScore,
  type ScoreSample,
} from './sequence-scorer.js';
